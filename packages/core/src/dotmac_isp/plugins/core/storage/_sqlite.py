"""Documents in one SQLite file, for one machine. Several processes may use the file at once.

Write-ahead log with `synchronous=FULL`: what a call acknowledged survives the end of the process by any signal, and
the loss of power as far as the disk keeps what it confirmed. Not for network file systems: the log needs shared memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, TypeVar

from .._wal import use_write_ahead_log
from ..errors import StorageError
from ._sqlite_thread import WriterThread
from ._types import Row, ScopeKey, conflict, lost
from ._watch import Hub

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ._types import Fence

__all__ = ["SqliteBackend"]

T = TypeVar("T")

_FORMAT: Final = 1
_APPLICATION: Final = 0x446F744D  # "DotM": says whose file it is
_POLL: Final = 0.2
_BUSY: Final = 30.0
#: How long a deletion stays visible to other processes' watchers, and a lease that ran out keeps its last token.
_KEPT: Final = 3600.0
_CLEAN_EVERY: Final = 600.0

_SCHEMA: Final = (
    """CREATE TABLE documents (
        tenant TEXT NOT NULL, plugin TEXT NOT NULL, key BLOB NOT NULL,
        body TEXT, version INTEGER NOT NULL, updated_at REAL NOT NULL,
        PRIMARY KEY (tenant, plugin, key))""",
    "CREATE INDEX documents_by_version ON documents (version)",
    """CREATE TABLE leases (
        tenant TEXT NOT NULL, plugin TEXT NOT NULL, name BLOB NOT NULL,
        token INTEGER NOT NULL, expires_at REAL NOT NULL,
        PRIMARY KEY (tenant, plugin, name)) WITHOUT ROWID""",
    "CREATE TABLE counter (one INTEGER PRIMARY KEY CHECK (one = 1), value INTEGER NOT NULL)",
    "INSERT INTO counter VALUES (1, 0)",
    f"PRAGMA application_id = {_APPLICATION}",
    f"PRAGMA user_version = {_FORMAT}",
)


class SqliteBackend:
    """`Backend` on a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.hub = Hub(self.watching)
        self._writer = WriterThread(self._connect_writer, self._look, _POLL)
        self._readers = ThreadPoolExecutor(1, thread_name_prefix="dotmac-storage-read")
        self._reader: sqlite3.Connection | None = None
        # Read in the event loop itself: a watch begins at the very call, and one number takes microseconds.
        self._counter: sqlite3.Connection | None = None
        self._counter_lock = threading.Lock()
        self._seen = 0
        self._data_version: int | None = None
        self._cleaned_at = -_CLEAN_EVERY
        self._closed = False

    @classmethod
    async def open(cls, path: Path) -> SqliteBackend:
        """Open the file, or make it (readable by its owner only). Raises `StorageError`."""
        backend = cls(path)
        with backend._errors():
            try:
                await asyncio.wrap_future(backend._writer.start())
                backend._reader = backend._connect()
                backend._counter = backend._connect()
            except BaseException:
                await backend.close()
                raise
        return backend

    async def get(self, scope: ScopeKey, key: bytes) -> Row | None:
        rows = await self._read(
            "SELECT key, body, version, updated_at FROM documents WHERE tenant = ? AND plugin = ? AND key = ?",
            (*scope, key),
        )
        return rows[0] if rows and rows[0].body is not None else None

    async def select(self, scope: ScopeKey, start: bytes, after: bytes | None, end: bytes, limit: int) -> list[Row]:
        return await self._read(
            "SELECT key, body, version, updated_at FROM documents WHERE tenant = ? AND plugin = ? "
            "AND key >= ? AND key < ? AND key > ? AND body IS NOT NULL ORDER BY key LIMIT ?",
            (*scope, start, end, after or b"", limit),
        )

    async def put(self, scope: ScopeKey, key: bytes, body: str, expected: int | None, fence: Fence | None) -> Row:
        def write(connection: sqlite3.Connection) -> Row:
            _check_fence(connection, scope, fence)
            _check_version(_current(connection, scope, key), key, expected)
            return _write(connection, scope, key, body)

        return await self._do(write, lambda row: self.hub.publish(scope, row))

    async def delete(self, scope: ScopeKey, key: bytes, expected: int | None, fence: Fence | None) -> bool:
        def write(connection: sqlite3.Connection) -> Row | None:
            _check_fence(connection, scope, fence)
            current = _current(connection, scope, key)
            if current == 0:
                return None
            _check_version(current, key, expected)
            self._clean_at_times(connection)
            return _write(connection, scope, key, None)

        def publish(row: Row | None) -> None:
            if row is not None:
                self.hub.publish(scope, row)

        return await self._do(write, publish) is not None

    async def acquire(self, scope: ScopeKey, name: bytes, ttl: float) -> int | None:
        def take(connection: sqlite3.Connection) -> int | None:
            now = time.time()
            if connection.execute(
                "SELECT 1 FROM leases WHERE tenant = ? AND plugin = ? AND name = ? AND expires_at > ?",
                (*scope, name, now),
            ).fetchone():
                return None
            self._clean_at_times(connection)
            token = _next(connection)
            connection.execute("INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?, ?)", (*scope, name, token, now + ttl))
            return token

        return await self._do(take)

    async def renew(self, scope: ScopeKey, fence: Fence, ttl: float) -> bool:
        def extend(connection: sqlite3.Connection) -> bool:
            done = connection.execute(
                "UPDATE leases SET expires_at = ? WHERE tenant = ? AND plugin = ? AND name = ? AND token = ?",
                (time.time() + ttl, *scope, *fence),
            )
            return done.rowcount == 1

        return await self._do(extend)

    async def release(self, scope: ScopeKey, fence: Fence) -> None:
        def remove(connection: sqlite3.Connection) -> None:
            connection.execute(
                "DELETE FROM leases WHERE tenant = ? AND plugin = ? AND name = ? AND token = ?", (*scope, *fence)
            )

        await self._do(remove)

    async def drop(self, tenant: str, plugin: str | None) -> int:
        def remove(connection: sqlite3.Connection) -> int:
            where, values = (
                ("tenant = ?", (tenant,)) if plugin is None else ("tenant = ? AND plugin = ?", (tenant, plugin))
            )
            connection.execute(f"DELETE FROM leases WHERE {where}", values)  # noqa: S608 - the texts are above
            (count,) = connection.execute(
                f"SELECT count(*) FROM documents WHERE {where} AND body IS NOT NULL",  # noqa: S608
                values,
            ).fetchone()
            connection.execute(f"DELETE FROM documents WHERE {where}", values)  # noqa: S608
            return int(count)

        return await self._do(remove)

    def position(self) -> int:
        with self._counter_lock, self._errors():
            if self._counter is None:
                raise StorageError("the storage is closed")
            (value,) = self._counter.execute("SELECT value FROM counter").fetchone()
        return int(value)

    def watching(self, active: bool) -> None:
        if self._closed:
            return
        if active:
            self._seen = self.position()
            self._data_version = None
        self._writer.tick(active)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._writer.stop()
        await asyncio.to_thread(self._writer.join)
        self.hub.close()
        await asyncio.to_thread(self._readers.shutdown)
        with self._counter_lock:
            for connection in (self._reader, self._counter):
                if connection is not None:
                    connection.close()
            self._reader = self._counter = None

    async def _read(self, statement: str, values: tuple[Any, ...]) -> list[Row]:
        def read() -> list[Row]:
            if self._reader is None:
                raise StorageError("the storage is closed")
            return [Row(*row) for row in self._reader.execute(statement, values).fetchall()]

        with self._errors():
            try:
                reading = self._readers.submit(read)
            except RuntimeError:
                raise StorageError("the storage is closed") from None
            return await asyncio.wrap_future(reading)

    async def _do(self, work: Callable[[sqlite3.Connection], T], done: Callable[[T], None] | None = None) -> T:
        with self._errors():
            return await asyncio.wrap_future(self._writer.submit(work, done))

    def _look(self, connection: sqlite3.Connection) -> None:
        """Publish what other processes wrote. `data_version` changes with their commits and not with ours."""
        (data_version,) = connection.execute("PRAGMA data_version").fetchone()
        if data_version == self._data_version:
            return
        rows = connection.execute(
            "SELECT tenant, plugin, key, body, version, updated_at FROM documents WHERE version > ? ORDER BY version",
            (self._seen,),
        ).fetchall()
        self._data_version = data_version
        for tenant, plugin, *row in rows:
            self.hub.publish(ScopeKey(tenant, plugin), Row(*row))
            self._seen = row[2]

    def _clean_at_times(self, connection: sqlite3.Connection) -> None:
        now = time.monotonic()
        if now - self._cleaned_at > _CLEAN_EVERY:
            self._cleaned_at = now
            _clean(connection)

    def _connect_writer(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # SQLite gives its log and its shared memory the permissions of the file.
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        connection = self._connect()
        try:
            _prepare(connection, self._path)
            self._clean_at_times(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA synchronous = FULL")
        except BaseException:
            connection.close()
            raise
        return connection

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StorageError(
                f"the storage {str(self._path)!r} failed: {error}",
                remedy="See that it is a file of this program on a local disk with space, and that its owner runs this",
            ) from error


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables, once among all processes that open the file at the same time."""
    use_write_ahead_log(connection, patience=_BUSY)
    connection.execute("BEGIN IMMEDIATE")
    try:
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables == 0:
            for statement in _SCHEMA:
                connection.execute(statement)
        elif application != _APPLICATION:
            raise StorageError(f"{str(path)!r} is a database of another program", remedy="Give a file of its own")
        elif found != _FORMAT:
            raise StorageError(
                f"{str(path)!r} has format {found}; this version reads format {_FORMAT}",
                remedy="Use the version of dotmac-plugins-core that wrote it, or a newer one",
            )
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _clean(connection: sqlite3.Connection) -> None:
    """Forget deletions and leases that are long over."""
    before = time.time() - _KEPT
    connection.execute("DELETE FROM documents WHERE body IS NULL AND updated_at < ?", (before,))
    connection.execute("DELETE FROM leases WHERE expires_at < ?", (before,))


def _next(connection: sqlite3.Connection) -> int:
    connection.execute("UPDATE counter SET value = value + 1")
    (value,) = connection.execute("SELECT value FROM counter").fetchone()
    return int(value)


def _current(connection: sqlite3.Connection, scope: ScopeKey, key: bytes) -> int:
    """The version of the document, 0 when there is none."""
    row = connection.execute(
        "SELECT version FROM documents WHERE tenant = ? AND plugin = ? AND key = ? AND body IS NOT NULL", (*scope, key)
    ).fetchone()
    return 0 if row is None else int(row[0])


def _write(connection: sqlite3.Connection, scope: ScopeKey, key: bytes, body: str | None) -> Row:
    row = Row(key, body, _next(connection), time.time())
    connection.execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?, ?, ?)", (*scope, *row))
    return row


def _check_version(current: int, key: bytes, expected: int | None) -> None:
    if expected is not None and current != expected:
        raise conflict(key, expected, current)


def _check_fence(connection: sqlite3.Connection, scope: ScopeKey, fence: Fence | None) -> None:
    if fence is None:
        return
    if not connection.execute(
        "SELECT 1 FROM leases WHERE tenant = ? AND plugin = ? AND name = ? AND token = ?", (*scope, *fence)
    ).fetchone():
        raise lost(fence)
