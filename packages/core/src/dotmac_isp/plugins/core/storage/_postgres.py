"""Documents in PostgreSQL, for several hosts.

Time is the database's own. Changes of other hosts come by LISTEN; one connection is kept for that, and when it breaks,
what was missed is read from the table.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from ..errors import ConfigurationError, StorageError
from ._postgres_sql import CHANNEL, CLEAN, LOCK, SCHEMA, SQL
from ._types import Row, ScopeKey, conflict, lost
from ._watch import Hub

try:
    import asyncpg
except ImportError as error:
    raise ConfigurationError(
        "the storage URL names PostgreSQL, and the package asyncpg is not installed",
        remedy="Install it: pip install 'dotmac-plugins-core[postgres]'",
    ) from error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from ._types import Fence

__all__ = ["PostgresBackend"]

_CONNECTIONS: Final = 8
_PATIENCE: Final = 30.0
_CLEAN_EVERY: Final = 600.0
#: When listening begins again, changes of this many seconds before the break are looked at too.
_OVERLAP: Final = 60.0
_FAILURES: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)


class PostgresBackend:
    """`Backend` on a server."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.place, self._password = _without_password(url)
        self.hub = Hub(self.watching)
        self._origin = base64.b32encode(os.urandom(10)).decode()
        self._pool: Any = None
        self._heard: asyncio.Queue[tuple[ScopeKey, bytes, int]] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []
        self._listening = asyncio.Event()
        self._under_way = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._closed = False

    @classmethod
    async def open(cls, url: str) -> PostgresBackend:
        """Connect, make the tables where they are not there, and begin to listen. Raises `StorageError`."""
        backend = cls(url)
        with backend._errors():
            backend._pool = await asyncpg.create_pool(
                url, min_size=1, max_size=_CONNECTIONS, timeout=_PATIENCE, command_timeout=_PATIENCE
            )
            try:
                await backend._prepare()
            except BaseException:
                backend._pool.terminate()
                raise
        backend._tasks = [
            asyncio.create_task(backend._listen(), name="dotmac-storage-listen"),
            asyncio.create_task(backend._fetch(), name="dotmac-storage-fetch"),
            asyncio.create_task(backend._clean(), name="dotmac-storage-clean"),
        ]
        try:
            # A watch may begin at the next moment, and must not miss anything.
            await asyncio.wait_for(backend._listening.wait(), _PATIENCE)
        except BaseException:
            await backend.close()
            raise
        return backend

    async def get(self, scope: ScopeKey, key: bytes) -> Row | None:
        rows = await self._rows(SQL["get"], *scope, key)
        return rows[0] if rows and rows[0].body is not None else None

    async def select(self, scope: ScopeKey, start: bytes, after: bytes | None, end: bytes, limit: int) -> list[Row]:
        return await self._rows(SQL["list"], *scope, start, end, after or b"", None if limit < 0 else limit)

    async def put(self, scope: ScopeKey, key: bytes, body: str, expected: int | None, fence: Fence | None) -> Row:
        name = {None: "put", 0: "create"}.get(expected, "replace")
        values = (*scope, key, body, self._note(scope, key), *([expected] if name == "replace" else []))
        async with self._transaction(scope, fence) as connection:
            found = await connection.fetchrow(SQL[name], *values)
            if found is None:
                current = await connection.fetchval(SQL["version"], *scope, key)
                raise conflict(key, expected or 0, current or 0)
        row = Row(key, body, found["version"], found["updated_at"])
        self.hub.publish(scope, row)
        return row

    async def delete(self, scope: ScopeKey, key: bytes, expected: int | None, fence: Fence | None) -> bool:
        async with self._transaction(scope, fence) as connection:
            found = await connection.fetchrow(SQL["delete"], *scope, key, expected, self._note(scope, key))
            if found is None:
                current = await connection.fetchval(SQL["version"], *scope, key)
                if current is None or expected is None:
                    return False
                raise conflict(key, expected, current)
        self.hub.publish(scope, Row(key, None, found["version"], found["updated_at"]))
        return True

    async def acquire(self, scope: ScopeKey, name: bytes, ttl: float) -> int | None:
        with self._errors():
            token: int | None = await self._pool.fetchval(SQL["acquire"], *scope, name, ttl)
        return token

    async def renew(self, scope: ScopeKey, fence: Fence, ttl: float) -> bool:
        with self._errors():
            return await self._pool.fetchval(SQL["renew"], *scope, *fence, ttl) is not None

    async def release(self, scope: ScopeKey, fence: Fence) -> None:
        with self._errors():
            await self._pool.execute(SQL["release"], *scope, *fence)

    async def drop(self, tenant: str, plugin: str | None) -> int:
        with self._errors():
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(SQL["drop leases"], tenant, plugin)
                return int(await connection.fetchval(SQL["drop documents"], tenant, plugin))

    def position(self) -> int:
        """Nothing is past: whatever is heard from now on is new, and what this host wrote is not heard."""
        if self._closed:
            raise StorageError("the storage is closed")
        return 0

    def watching(self, active: bool) -> None:
        """Nothing to do: it always listens, so that a watch has no gap at its beginning."""

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        # First the statements under way: one that is cancelled makes the driver open a connection to say so.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._quiet.wait(), _PATIENCE)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            await asyncio.wait_for(self._pool.close(), _PATIENCE)
        except _FAILURES:
            self._pool.terminate()
        finally:
            self.hub.close()

    async def _rows(self, statement: str, *values: Any) -> list[Row]:
        with self._errors():
            return [Row(*row) for row in await self._pool.fetch(statement, *values)]

    @contextlib.asynccontextmanager
    async def _transaction(self, scope: ScopeKey, fence: Fence | None) -> AsyncIterator[Any]:
        """A connection in a transaction that holds the lease's row, so that nobody takes it before this has ended."""
        with self._errors():
            async with self._pool.acquire() as connection, connection.transaction():
                if fence is not None and await connection.fetchval(SQL["fence"], *scope, *fence) is None:
                    raise lost(fence)
                yield connection

    def _note(self, scope: ScopeKey, key: bytes) -> str:
        """What other hosts hear of a write, without its version and the closing bracket, which the server adds."""
        note = msgspec.json.encode([self._origin, *scope, base64.b64encode(key).decode()])
        return note.decode()[:-1] + ","

    def _hear(self, _connection: Any, _process: int, _channel: str, payload: str) -> None:
        # Anybody who may connect to the database may send a note, of any form.
        with contextlib.suppress(ValueError, TypeError, msgspec.MsgspecError):
            origin, tenant, plugin, key, version = msgspec.json.decode(payload, type=tuple[str, str, str, str, int])
            scope = ScopeKey(tenant, plugin)
            if origin != self._origin and self.hub.watched(scope):
                self._heard.put_nowait((scope, base64.b64decode(key), version))

    async def _fetch(self) -> None:
        """Read what the notes are about, and publish it."""
        while True:
            scope, key, version = await self._heard.get()
            # The server is away for the moment: _listen notices too, and reads what was missed.
            with contextlib.suppress(StorageError):
                for row in await self._rows(SQL["get"], *scope, key):
                    if row.version >= version:
                        self.hub.publish(scope, row)

    async def _listen(self) -> None:
        """Keep a connection that listens; after a break, catch up."""
        since: float | None = None
        pause = 0.1
        while True:
            with contextlib.suppress(*_FAILURES):
                connection = await asyncpg.connect(self._url, timeout=_PATIENCE)
                try:
                    ended = asyncio.Event()
                    connection.add_termination_listener(lambda _connection, ended=ended: ended.set())
                    await connection.add_listener(CHANNEL, self._hear)
                    if since is not None:
                        await self._catch_up(since - _OVERLAP)
                    since = await connection.fetchval(SQL["now"])
                    self._listening.set()
                    pause = 0.1
                    while not ended.is_set():
                        with contextlib.suppress(TimeoutError):
                            await asyncio.wait_for(ended.wait(), _PATIENCE / 2)
                        if not ended.is_set():
                            # Also finds a connection that is dead without having said so.
                            since = await connection.fetchval(SQL["now"], timeout=_PATIENCE / 2)
                finally:
                    connection.terminate()
            await asyncio.sleep(pause)
            pause = min(10.0, pause * 2)

    async def _catch_up(self, since: float) -> None:
        for scope in self.hub.scopes():
            with contextlib.suppress(StorageError):
                for row in await self._rows(SQL["since"], *scope, since):
                    self.hub.publish(scope, row)

    async def _clean(self) -> None:
        """Forget deletions and leases that are long over, now and then."""
        while True:
            with contextlib.suppress(StorageError), self._errors():
                for statement in CLEAN:
                    await self._pool.execute(statement)
            await asyncio.sleep(_CLEAN_EVERY)

    async def _prepare(self) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            # CREATE … IF NOT EXISTS fails when two do it at once.
            await connection.execute(LOCK)
            for statement in SCHEMA:
                await connection.execute(statement)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        if self._closed:
            raise StorageError("the storage is closed")
        self._under_way += 1
        self._quiet.clear()
        try:
            yield
        except _FAILURES as error:
            text = f"the storage {self.place} failed: {type(error).__name__}: {error}"
            shown = any(password in str(error) for password in self._password)
            for password in self._password:
                text = text.replace(password, "********")
            raise StorageError(
                text, remedy="See that the server runs and that user, password and database of the URL are right"
            ) from (None if shown else error)
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._quiet.set()


def _without_password(url: str) -> tuple[str, tuple[str, ...]]:
    """The URL as people may see it, and the forms in which its password could appear."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
        found = [parts.password or "", *parse_qs(parts.query).get("password", [])]
    except ValueError:
        raise ConfigurationError(
            "the storage's postgresql URL cannot be read",
            remedy="Write it as postgresql://user:password@host:port/database, with %xx for signs like @ / : in the password",
        ) from None
    user = f"{parts.username}@" if parts.username else ""
    passwords = {form for one in found if one for form in (one, unquote(one))}
    return f"postgresql://{user}{host}{port}{parts.path}", tuple(sorted(passwords, key=len, reverse=True))
