"""Documents on this collector's disk, each with the version by which the later of two changes wins, wherever it was made."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from .._database import opened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

__all__ = ["LOCAL", "SECRET", "Change", "Documents"]

#: Kinds that concern this collector's own folder start with it; no other collector is told.
LOCAL: Final = "local:"
#: A collector's secret, by its name; the first of them is what all use.
SECRET: Final = "secret"  # noqa: S105 - the kind of a document
#: Kinds whose names are never given twice. Deleted is deleted: a collector that has not heard of it yet and goes on with the document
#: (notes when a report is due next, say) does not bring it back.
_NAMED_ONCE: Final = frozenset({"alert", "alert_state", "dashboard", "report_schedule", "share", "silence"})
_FOR_GOOD: Final = 100 * 366 * 86400 * 1_000_000
_FORGET_GONE: Final = 30 * 86400.0
_MOST_AT_ONCE: Final = 1000
_ADDED: Final = {
    "version": "INTEGER NOT NULL DEFAULT 0",
    "waits": "INTEGER NOT NULL DEFAULT 1",
    "gone": "INTEGER NOT NULL DEFAULT 0",
}
_PUT: Final = (
    "INSERT INTO documents (kind, tenant, id, value, updated, version, waits, gone) VALUES (?, ?, ?, ?, ?, ?, 1, 0) "
    "ON CONFLICT (kind, tenant, id) DO UPDATE SET value = excluded.value, updated = excluded.updated, "
    "version = max(excluded.version, version + 1), waits = 1, gone = 0 WHERE version < ?"
)
_TAKE: Final = (
    "INSERT INTO documents (kind, tenant, id, value, updated, version, waits, gone) VALUES (?, ?, ?, ?, ?, ?, 0, ?) "
    "ON CONFLICT (kind, tenant, id) DO UPDATE SET value = excluded.value, updated = excluded.updated, "
    "version = excluded.version, waits = 0, gone = excluded.gone WHERE excluded.version > version RETURNING id"
)


class Change(msgspec.Struct, frozen=True):
    """A document as it is since `version` (microseconds of Unix time, never less than the one before); `value` is JSON."""

    kind: str
    tenant: str
    id: str
    value: str
    version: int
    gone: bool = False


class Documents:
    """A small SQLite database; calls take a few microseconds to a few milliseconds and may come from any thread.

    :param shared: other collectors are told of every change, so what is deleted is remembered as deleted.
    """

    def __init__(self, path: Path, *, shared: bool = False) -> None:
        self._shared = shared
        self._lock = threading.Lock()
        #: Called after every change that others are to be told, from the thread that made it.
        self.on_change: Callable[[], None] = lambda: None
        self._db = opened(path)
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS documents (kind TEXT, tenant TEXT, id TEXT, value BLOB, updated REAL, "
            "PRIMARY KEY (kind, tenant, id))"
        )
        there = {row[1] for row in self._db.execute("PRAGMA table_info(documents)")}
        for column in _ADDED.keys() - there:
            self._db.execute(f"ALTER TABLE documents ADD COLUMN {column} {_ADDED[column]}")
        if "version" not in there:
            self._db.execute("UPDATE documents SET version = CAST(updated * 1000000 AS INTEGER)")
        self._run("DELETE FROM documents WHERE gone = 1 AND waits = 0 AND updated < ?", (time.time() - _FORGET_GONE,))

    def _run(self, sql: str, parameters: tuple[Any, ...] = ()) -> list[Any]:
        with self._lock:
            return self._db.execute(sql, parameters).fetchall()

    def _run_many(self, sql: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """All or none, with one flush of the disk."""
        with self._lock, self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(sql, rows)

    def put(self, kind: str, tenant: str, document_id: str, value: Any) -> None:
        self.put_many(kind, tenant, {document_id: value})

    def put_many(self, kind: str, tenant: str, values: Mapping[str, Any]) -> None:
        """Several at once, all or none, with one flush of the disk."""
        now = time.time()
        version = _version(now)
        rows = [
            (kind, tenant, key, msgspec.json.encode(value), now, version, version + _FOR_GOOD // 2)
            for key, value in values.items()
        ]
        self._run_many(_PUT, rows)
        self._changed(kind)

    def _changed(self, kind: str) -> None:
        if self._shared and not kind.startswith(LOCAL):
            self.on_change()

    def get(self, kind: str, tenant: str, document_id: str) -> Any | None:
        rows = self._run(
            "SELECT value FROM documents WHERE kind = ? AND tenant = ? AND id = ? AND gone = 0",
            (kind, tenant, document_id),
        )
        return msgspec.json.decode(rows[0][0]) if rows else None

    def delete(self, kind: str, tenant: str, document_id: str) -> bool:
        place = (kind, tenant, document_id)
        if not self._shared or kind.startswith(LOCAL):
            return bool(self._run("DELETE FROM documents WHERE kind = ? AND tenant = ? AND id = ? RETURNING id", place))
        now = time.time()
        version = _version(now) + (_FOR_GOOD if kind in _NAMED_ONCE else 0)
        rows = self._run(
            "UPDATE documents SET value = 'null', updated = ?, version = max(?, version + 1), waits = 1, gone = 1 "
            "WHERE kind = ? AND tenant = ? AND id = ? AND gone = 0 RETURNING id",
            (now, version, *place),
        )
        self._changed(kind)
        return bool(rows)

    def list(self, kind: str, tenant: str | None = None) -> list[tuple[str, str, Any]]:
        """`(tenant, id, value)` of one tenant, or of all for the collector's own work."""
        rows = self._run(
            "SELECT tenant, id, value FROM documents WHERE kind = ? AND (? IS NULL OR tenant = ?) AND gone = 0 "
            "ORDER BY tenant, id",
            (kind, tenant, tenant),
        )
        return [(row[0], row[1], msgspec.json.decode(row[2])) for row in rows]

    # -- with others -------------------------------------------------------------------------------------------------

    def waiting(self) -> Sequence[Change]:
        """Changes of which the others are still to be told, the oldest first."""
        rows = self._run(
            "SELECT kind, tenant, id, value, version, gone FROM documents WHERE waits = 1 AND kind NOT LIKE ? "
            "ORDER BY version LIMIT ?",
            (f"{LOCAL}%", _MOST_AT_ONCE),
        )
        return [Change(k, t, i, _text(value), version, bool(gone)) for k, t, i, value, version, gone in rows]

    def told(self, changes: Iterable[Change]) -> None:
        """The others know of these; one that was changed again meanwhile goes on waiting."""
        self._run_many(
            "UPDATE documents SET waits = 0 WHERE kind = ? AND tenant = ? AND id = ? AND version = ?",
            [(one.kind, one.tenant, one.id, one.version) for one in changes],
        )

    def take(self, changes: Iterable[Change]) -> Sequence[Change]:
        """Note what others changed; gives those that were news: the rest is known, or has been changed later here."""
        now = time.time()
        news = []
        with self._lock, self._db:
            self._db.execute("BEGIN IMMEDIATE")
            for one in changes:
                row = (one.kind, one.tenant, one.id, one.value, now, one.version, int(one.gone))
                if self._db.execute(_TAKE, row).fetchall():
                    news.append(one)
        return news

    def keep_only(self, known: Iterable[Change]) -> Sequence[Change]:
        """Forget what nobody knows any more (deleted so long ago that this is forgotten, too), but for what is to be told yet."""
        left = {(one.kind, one.tenant, one.id) for one in known}
        rows = self._run("SELECT kind, tenant, id, version FROM documents WHERE waits = 0 AND gone = 0")
        lost = [
            Change(kind, tenant, key, "null", version, gone=True)
            for kind, tenant, key, version in rows
            if not kind.startswith(LOCAL) and (kind, tenant, key) not in left
        ]
        places = [(one.kind, one.tenant, one.id) for one in lost]
        self._run_many("DELETE FROM documents WHERE kind = ? AND tenant = ? AND id = ?", places)
        return lost

    def forget_former(self) -> None:
        """What documents said before they were changed is gone from the disk when this returns."""
        self._run("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        with self._lock:
            self._db.close()


def _version(seconds: float) -> int:
    return int(seconds * 1_000_000)


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode()
