"""Which event identifiers were taken already: the filter ahead of the engine, without which a rollup could not be exact.

A SQLite table of hashes. It needs no disk flush of its own: it notes up to which record of the spool it is complete, in the same
transaction as the hashes, and what a crash took away is read again from the spool, whose segments are kept until then.
"""

from __future__ import annotations

import hashlib
import sqlite3
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

__all__ = ["EventIds"]


def _hash(tenant: str, event_id: str) -> bytes:
    return hashlib.blake2b(f"{tenant}\0{event_id}".encode(), digest_size=16).digest()


class EventIds:
    """Use from one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute("CREATE TABLE IF NOT EXISTS ids (hash BLOB PRIMARY KEY, day INTEGER NOT NULL) WITHOUT ROWID")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS covered (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL)"
        )
        row = self._db.execute("SELECT seq FROM covered").fetchone()
        #: Every record of the spool up to this one has its identifiers here.
        self.covered: int = row[0] if row else 0

    def known(self, tenant: str, event_ids: Sequence[str]) -> set[str]:
        """Those of the identifiers that were taken before."""
        hashes = {_hash(tenant, event_id): event_id for event_id in event_ids}
        found: set[str] = set()
        keys = list(hashes)
        for start in range(0, len(keys), 500):
            part = keys[start : start + 500]
            marks = ",".join("?" * len(part))
            rows = self._db.execute(f"SELECT hash FROM ids WHERE hash IN ({marks})", part)  # noqa: S608 - question marks only
            found.update(hashes[row[0]] for row in rows)
        return found

    def add(self, pairs: Iterable[tuple[str, str]], *, covered: int, day: int) -> None:
        """Note `(tenant, event id)` pairs, and that the spool is covered up to a record."""
        self._db.execute("BEGIN")
        self._db.executemany("INSERT OR IGNORE INTO ids VALUES (?, ?)", ((_hash(t, e), day) for t, e in pairs))
        self._db.execute("INSERT OR REPLACE INTO covered VALUES (1, ?)", (covered,))
        self._db.execute("COMMIT")
        self.covered = covered

    def forget_before(self, day: int) -> None:
        """Drop identifiers of events that would be refused for their age by now."""
        self._db.execute("DELETE FROM ids WHERE day < ?", (day,))

    def make_durable(self) -> None:
        """Flush to the disk; after this the spool may drop what is covered."""
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        self._db.close()
