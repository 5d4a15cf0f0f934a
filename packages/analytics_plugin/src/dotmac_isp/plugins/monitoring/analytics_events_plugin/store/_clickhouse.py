"""One asynchronous client for both sizes of engine."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from ._schema import EVENT_COLUMNS, EVENTS, INSERT_SETTINGS, statements

if TYPE_CHECKING:
    from ._engine import Endpoint

__all__ = ["Rows", "Store", "StoreRefusedError", "StoreUnavailableError", "connection_options"]

#: Errors of the engine that go away: too many parts, memory, time, disk, read-only replica, Keeper, authentication.
_PASSING: Final = frozenset(
    {
        3,
        32,
        107,
        159,
        160,
        164,
        173,
        202,
        203,
        209,
        210,
        225,
        241,
        242,
        243,
        252,
        279,
        285,
        319,
        394,
        425,
        439,
        516,
        999,
    }
)
_LIMITS: Final[dict[str, Any]] = {"max_execution_time": 30, "max_memory_usage": 4_000_000_000}
_CALL_SECONDS: Final = 60.0


class StoreUnavailableError(Exception):
    """The engine cannot be reached or has no room right now; what was to be stored is safe and is tried again."""


class StoreRefusedError(Exception):
    """The engine understood and refused; the same request again would be refused again."""


class Rows(msgspec.Struct, frozen=True):
    """What a query gave."""

    columns: tuple[str, ...]
    rows: Sequence[tuple[Any, ...]]

    def dicts(self) -> list[dict[str, Any]]:
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


def connection_options(url: str) -> dict[str, Any]:
    """Arguments for clickhouse-connect from `clickhouse://user:password@host:8123/database?secure=1` or an http(s) address.

    Raises `ValueError` without showing the password.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"clickhouse", "clickhouses", "http", "https"} or not parts.hostname:
        raise ValueError(
            f"a connection of the kind {parts.scheme or '(none)'!r} is not understood; "
            "expected clickhouse://user:password@host:8123/database (or clickhouses:// for TLS)"
        )
    secure = parts.scheme in {"https", "clickhouses"} or parse_qs(parts.query).get("secure", ["0"])[0] in {"1", "true"}
    options: dict[str, Any] = {
        "host": parts.hostname,
        "port": parts.port or (8443 if secure else 8123),
        "username": unquote(parts.username or "default"),
        "password": unquote(parts.password or ""),
        "secure": secure,
    }
    if parts.path.strip("/"):
        options["database"] = parts.path.strip("/")
    return options


class Store:
    """Tables of events on an engine. Reconnects when the engine was started anew.

    Raises `StoreUnavailableError` (try again) and `StoreRefusedError` (do not).
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._client: Any = None
        self._generation = 0
        self._lock = asyncio.Lock()

    async def start(self) -> None:
        """Start the engine where it is ours, and make the tables."""
        await self.endpoint.start()
        await self._connected()

    async def stop(self) -> None:
        async with self._lock:
            await self._drop()
        await self.endpoint.stop()

    async def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _connected(self) -> Any:
        async with self._lock:
            if self._client is None or self._generation != self.endpoint.generation:
                await self._drop()
                self._client = await self._connect()
        return self._client

    async def _connect(self) -> Any:
        import clickhouse_connect  # noqa: PLC0415 - 0.4 s; only where there is a store
        from clickhouse_connect import common  # noqa: PLC0415

        common.set_setting("use_protocol_version", False)
        common.set_setting("autogenerate_session_id", False)
        options = await self.endpoint.options()
        generation = self.endpoint.generation
        database = options.get("database")
        client = await clickhouse_connect.get_async_client(**{**options, "compress": False, "query_limit": 0})
        try:
            if database is None:
                await client.command("CREATE DATABASE IF NOT EXISTS dotmac_analytics")
                client.database = "dotmac_analytics"
            for statement in statements():
                await client.command(statement)
        except BaseException:
            await client.close()
            raise
        self._generation = generation
        return client

    async def insert_events(self, ndjson: bytes, token: str) -> None:
        """Insert rows as JSON lines. The same token again changes nothing, neither in the table nor in the rollups."""
        settings = {**INSERT_SETTINGS, "insert_deduplication_token": token}
        await self._call(
            "raw_insert",
            EVENTS,
            column_names=list(EVENT_COLUMNS),
            insert_block=ndjson,
            settings=settings,
            fmt="JSONEachRow",
        )

    async def query(
        self, sql: str, parameters: Mapping[str, Any] | None = None, limits: Mapping[str, Any] | None = None
    ) -> Rows:
        """Read. `parameters` are bound by the engine (`{name:Type}`), never pasted; `limits` are narrower than usual."""
        result = await self._call(
            "query", sql, parameters=dict(parameters or {}), settings={**_LIMITS, **(limits or {})}
        )
        return Rows(tuple(result.column_names), result.result_rows)

    async def ping(self) -> None:
        """Raise `StoreUnavailableError` unless the engine answers."""
        await self.query("SELECT 1")

    async def _call(self, method: str, *arguments: Any, **options: Any) -> Any:
        import aiohttp  # noqa: PLC0415
        from clickhouse_connect.driver.exceptions import DatabaseError, Error  # noqa: PLC0415

        try:
            async with asyncio.timeout(_CALL_SECONDS):
                client = await self._connected()
                return await getattr(client, method)(*arguments, **options)
        except DatabaseError as error:
            code = getattr(error, "code", None)
            if code is None or code in _PASSING or not str(error).strip():
                raise StoreUnavailableError(_brief(error)) from error
            raise StoreRefusedError(_brief(error)) from error
        except (Error, aiohttp.ClientError, OSError, TimeoutError) as error:
            raise StoreUnavailableError(_brief(error) or "the engine did not answer in time") from error


def _brief(error: Exception) -> str:
    text = str(error)
    start = text.find("DB::Exception:")
    return text[start:][:400] if start >= 0 else text[:400]
