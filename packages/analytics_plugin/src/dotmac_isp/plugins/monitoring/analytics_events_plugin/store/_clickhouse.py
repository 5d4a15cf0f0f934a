"""One asynchronous client for both sizes of engine."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ._engine import FixedEndpoint
from ._present import doubled_sql, identities, present_sql
from ._schema import EVENT_COLUMNS, EVENTS, Layout

if TYPE_CHECKING:
    from ._engine import Endpoint

__all__ = ["Rows", "Store", "StoreRefusedError", "StoreUnavailableError"]

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
_BULK_LIMITS: Final[dict[str, Any]] = {"max_execution_time": 300, "max_memory_usage": 4_000_000_000}
_CALL_SECONDS: Final = 60.0
#: Rows as an array of objects, times as RFC 3339 in UTC, what is no number as null.
_JSON: Final[dict[str, Any]] = {
    "output_format_json_array_of_rows": 1,
    "output_format_json_quote_64bit_integers": 0,
    "output_format_json_quote_decimals": 0,
    "output_format_json_quote_denormals": 0,
    "date_time_output_format": "iso",
    # An error in the middle must not end as half an answer.
    "http_wait_end_of_query": 1,
}
#: How statements call the tenant that they are for.
_TENANT_PARAMETERS: Final = ("tenant", "dotmac_tenant")


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


class Store:
    """Tables of events on an engine. Reconnects when the engine was started anew.

    Raises `StoreUnavailableError` (try again) and `StoreRefusedError` (do not).
    """

    def __init__(self, endpoint: Endpoint, layout: Layout | None = None, *, walls: bool = False) -> None:
        self.endpoint = endpoint
        self.layout = layout or Layout()
        self._walls = walls
        self._client: Any = None
        self._generation = 0
        self._lock = asyncio.Lock()
        #: Free SQL may take long: half of the engine's connections stay for everybody else.
        self.free_room = asyncio.Semaphore(2)

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
                await client.command(f"CREATE DATABASE IF NOT EXISTS dotmac_analytics{self.layout.everywhere}")
                client.database = "dotmac_analytics"
            sharing = self.layout.sharing_statements() if self.shared else []
            for statement in (*self.layout.statements(), *sharing):
                await client.command(statement)
            if self._walls:
                await self._wall_up(client)
        except BaseException:
            await client.close()
            raise
        self._generation = generation
        return client

    async def _wall_up(self, client: Any) -> None:
        from clickhouse_connect.driver.exceptions import DatabaseError  # noqa: PLC0415

        try:
            for statement in self.layout.walls(client.database):
                await client.command(statement)
        except DatabaseError as error:
            raise StoreRefusedError(
                f"the server does not let this user make row policies ({_brief(error)}); grant it ACCESS MANAGEMENT, "
                "or leave row_policies out of ANALYTICS_DB_CONNECTION"
            ) from error

    async def insert_events(self, ndjson: bytes, token: str) -> None:
        """Insert rows as JSON lines. The same token again changes nothing, neither in the table nor in the rollups."""
        settings = {**self.layout.insert_settings, "insert_deduplication_token": token}
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
        values = dict(parameters or {})
        settings = {**_LIMITS, **(limits or {}), **self._behind_walls(values)}
        result = await self._call("query", sql, parameters=values, settings=settings)
        return Rows(tuple(result.column_names), result.result_rows)

    async def query_json(self, sql: str, parameters: Mapping[str, Any]) -> bytes:
        """Read, as JSON that the engine writes: nothing of the rows is made here only to be written again."""
        settings = {**_LIMITS, **_JSON, **self._behind_walls(parameters)}
        return bytes(
            await self._call("raw_query", sql, parameters=dict(parameters), settings=settings, fmt="JSONEachRow")
        )

    def _behind_walls(self, values: Mapping[str, Any]) -> dict[str, str]:
        """A statement that names its tenant reads as the role that sees nothing else."""
        tenant = next((values[name] for name in _TENANT_PARAMETERS if name in values), None)
        return self.layout.reading_as(str(tenant)) if self._walls and tenant is not None else {}

    @property
    def shared(self) -> bool:
        """Whether other collectors may store there too."""
        return isinstance(self.endpoint, FixedEndpoint)

    async def present(self, lines: bytes) -> set[tuple[str, str]]:
        """`(tenant, event id)` of those lines of a block whose events are stored already."""
        block = identities(lines)
        text, values = present_sql(block)
        rows = await self.query(text, values, {"max_query_size": 4 * 1024 * 1024})
        return {(str(tenant), str(event_id)) for tenant, event_id in rows.rows} & {
            (one.tenant_id, one.event_id) for one in block
        }

    async def doubled(self, lines: bytes) -> Sequence[tuple[str, int]]:
        """`(tenant, hour)` of those events of a block that the table has twice: another collector stored them at the same time."""
        text, values = doubled_sql(identities(lines))
        rows = await self.query(text, values, {"max_query_size": 4 * 1024 * 1024})
        return [(str(tenant), int(hour)) for tenant, hour in rows.rows]

    async def change(self, sql: str, parameters: Mapping[str, Any] | None = None, *, wait: bool = True) -> None:
        """Delete, or insert what a SELECT gives; returns when it is done on all replicas, or without `wait` when it is begun."""
        # What a SELECT gives is no block that could come again: it must not be taken for one that was there before.
        settings = {"lightweight_deletes_sync": 2, "mutations_sync": 2 if wait else 0, "insert_deduplicate": 0}
        await self._call("command", sql, parameters=dict(parameters or {}), settings=settings)

    async def delete(self, table: str, condition: str, parameters: Mapping[str, Any]) -> None:
        """Delete rows; `condition` is one of our own with the values bound. They are gone when this returns."""
        place = f"{self.layout.local(table)}{self.layout.everywhere}"
        await self.change(f"DELETE FROM {place} WHERE {condition}", parameters)  # noqa: S608 - our own names

    async def read_raw(self, sql: str, form: str, parameters: Mapping[str, Any] | None = None) -> bytes:
        """What a SELECT gives, in a format of the engine's (Parquet, JSONEachRow, …)."""
        data = await self._call(
            "raw_query", sql, parameters=dict(parameters or {}), settings=dict(_BULK_LIMITS), fmt=form
        )
        return bytes(data)

    async def insert_raw(self, table: str, data: bytes, form: str, token: str) -> None:
        """Insert rows in a format of the engine's, as `read_raw` gave them."""
        settings = {**self.layout.insert_settings, "insert_deduplication_token": token}
        await self._call("raw_insert", table, insert_block=data, settings=settings, fmt=form)

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


#: Where the engine is, which is nothing to those who ask.
_PLACE: Final = re.compile(r"\s*\(for url [^)]*\)")


def _brief(error: Exception) -> str:
    text = _PLACE.sub("", str(error))
    start = text.find("DB::Exception:")
    return text[start:][:400] if start >= 0 else text[:400]
