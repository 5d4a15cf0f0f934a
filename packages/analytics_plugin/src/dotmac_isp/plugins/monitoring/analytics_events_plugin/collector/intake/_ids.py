"""Which event identifiers were taken already: the filter ahead of the engine, without which a rollup could not be exact.

A SQLite table of short keys. It needs no disk flush of its own: it notes up to which record of the spool it is complete, in the same
transaction as the keys, and what a crash took away is read again from the spool, whose segments are kept until then.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import sqlite3
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["EventIds", "key_of"]

_UUID_TEXT: Final = 36
_CACHE_KIB: Final = 64 * 1024
_MARKS: Final = 500


@functools.lru_cache(maxsize=4096)
def _tenant_mark(tenant: str) -> bytes:
    return hashlib.blake2b(tenant.encode(), digest_size=8).digest()


def key_of(tenant: str, event_id: str) -> bytes:
    """Short, and another for each tenant and identifier. UUIDs stay in their order: new ones of version 7 come to lie side by side."""
    if len(event_id) == _UUID_TEXT and event_id[8] == "-":
        plain = event_id.replace("-", "")
        with contextlib.suppress(ValueError):
            raw = bytes.fromhex(plain)
            if raw.hex() == plain:
                return raw + _tenant_mark(tenant)
    return hashlib.blake2b(f"{tenant}\0{event_id}".encode(), digest_size=16).digest()


class EventIds:
    """Use from one thread at a time, but for `checkpoint`."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        # Whose commit makes the log long enough would wait for all of it to be flushed; see `checkpoint`.
        self._db.execute("PRAGMA wal_autocheckpoint = 0")
        self._db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._db.execute("CREATE TABLE IF NOT EXISTS ids (hash BLOB PRIMARY KEY, day INTEGER NOT NULL) WITHOUT ROWID")
        self._db.execute("CREATE TABLE IF NOT EXISTS days (day INTEGER PRIMARY KEY)")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS covered (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL)"
        )
        row = self._db.execute("SELECT seq FROM covered").fetchone()
        #: Every record of the spool up to this one has its identifiers here.
        self.covered: int = row[0] if row else 0
        self._day = -1
        self._beside = sqlite3.connect(path, isolation_level=None, check_same_thread=False)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """What is done inside is kept as one, or not at all when it raises."""
        self._db.execute("BEGIN")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            self._day = -1
            raise
        self._db.execute("COMMIT")

    def take(self, keys: Sequence[bytes], *, day: int) -> set[bytes]:
        """Note keys (each given once), within `together`; gives those that were here before."""
        if day != self._day:
            self._db.execute("INSERT OR IGNORE INTO days VALUES (?)", (day,))
            self._day = day
        self._db.execute("SAVEPOINT tried")
        before = self._db.total_changes
        self._note(keys, day)
        known: set[bytes] = set()
        if self._db.total_changes - before != len(keys):
            # Seldom: some were here. Which ones, only the table without them says.
            self._db.execute("ROLLBACK TO tried")
            known = self.known(keys)
            self._note([key for key in keys if key not in known], day)
        self._db.execute("RELEASE tried")
        return known

    def _note(self, keys: Sequence[bytes], day: int) -> None:
        """Many in one statement: SQLite gives the interpreter to others once for each, and what takes turns with it waits."""
        for start in range(0, len(keys), _MARKS):
            part = keys[start : start + _MARKS]
            marks = ",".join([f"(?,{day:d})"] * len(part))
            self._db.execute(f"INSERT OR IGNORE INTO ids (hash, day) VALUES {marks}", part)  # noqa: S608 - marks and a number

    def known(self, keys: Sequence[bytes]) -> set[bytes]:
        """Those of the keys that are here."""
        found: set[bytes] = set()
        for start in range(0, len(keys), _MARKS):
            part = keys[start : start + _MARKS]
            marks = ",".join("?" * len(part))
            found.update(row[0] for row in self._db.execute(f"SELECT hash FROM ids WHERE hash IN ({marks})", part))  # noqa: S608
        return found

    def cover(self, seq: int) -> None:
        """The spool is covered up to this record, within `together`."""
        self._db.execute("INSERT OR REPLACE INTO covered VALUES (1, ?)", (seq,))
        self.covered = seq

    def forget(self, days: int) -> None:
        """Drop identifiers of events that would be refused for their age by now: those of all but the last so many days *that had events*.

        A clock that jumps ahead by a year and back again is one such day, and takes nothing with it.
        """
        row = self._db.execute("SELECT day FROM days ORDER BY day DESC LIMIT 1 OFFSET ?", (days,)).fetchone()
        if row is not None:
            self._db.execute("DELETE FROM ids WHERE day <= ?", row)
            self._db.execute("DELETE FROM days WHERE day <= ?", row)

    def checkpoint(self) -> None:
        """Move what was noted from SQLite's log into the table, while others are noted. From a thread of its own; takes milliseconds."""
        self._beside.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def make_durable(self) -> None:
        """Flush to the disk; after this the spool may drop what is covered."""
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        self._beside.close()
        self._db.close()
