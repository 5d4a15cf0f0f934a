"""Running queries for a tenant."""

from __future__ import annotations

import math
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ...store import StoreRefusedError, StoreUnavailableError
from ._query import Query, Sql, build

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...store import Rows, Store

__all__ = ["Answer", "Questions"]

_PLAIN: Final = frozenset({int, str, bool, type(None)})
_OVER_LIMIT: Final = ("TIMEOUT_EXCEEDED", "MEMORY_LIMIT_EXCEEDED", "TOO_MANY_ROWS", "TOO_SLOW")
#: Beside those of every question: read only, so much time, memory and data.
_FREE_LIMITS: Final = {
    "readonly": 2,
    "max_execution_time": 10,
    "max_memory_usage": 1_000_000_000,
    "max_rows_to_read": 200_000_000,
    "max_result_rows": 20_000,
    "max_result_bytes": 64_000_000,
    "result_overflow_mode": "throw",
    "max_ast_elements": 20_000,
    "max_subquery_depth": 20,
    "allow_introspection_functions": 0,
}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Rows as plain JSON data; `time` as RFC 3339 in UTC."""

    columns: tuple[str, ...]
    rows: list[dict[str, Any]]


class Questions:
    """Asks the store on behalf of one tenant."""

    def __init__(self, store: Store, tenant: str) -> None:
        self._store = store
        self.tenant = tenant

    async def ask(self, query: Query) -> Answer:
        """Answer a query; the groups come back under their own names."""
        rows = await self.run(build(query, self.tenant))
        names = {f"group_{index}": name for index, name in enumerate(query.group_by)}
        columns = tuple(names.get(column, column) for column in rows.columns)
        return Answer(columns=columns, rows=_plain_rows(columns, rows.rows))

    async def ask_json(self, query: Query) -> bytes:
        """The same as JSON. Without groups, whose names are anybody's, the rows are the engine's own text."""
        if query.group_by:
            return msgspec.json.encode(await self.ask(query))
        sql = build(query, self.tenant)
        rows = msgspec.Raw(await self._store.query_json(sql.text, sql.parameters))
        return msgspec.json.encode({"columns": (*(("time",) if query.interval else ()), "value"), "rows": rows})

    async def number(self, query: Query) -> float | None:
        """The single value of a query without groups; `None`: there is nothing to measure."""
        answer = await self.ask(query)
        value = answer.rows[0]["value"] if answer.rows else None
        return None if value is None else float(value)

    async def run(self, sql: Sql) -> Rows:
        """Run a statement that was made with `scope`."""
        return await self._store.query(sql.text, sql.parameters)

    async def free(self, sql: Sql) -> Answer:
        """Run a statement that `free_sql` let pass, with limits, and so that it cannot change anything."""
        try:
            async with self._store.free_room:
                rows = await self._store.query(sql.text, sql.parameters, _FREE_LIMITS)
        except StoreUnavailableError as error:
            if any(word in str(error) for word in _OVER_LIMIT):
                raise StoreRefusedError(f"the question takes more time or memory than it may: {error}") from error
            raise
        return Answer(columns=rows.columns, rows=_plain_rows(rows.columns, rows.rows))

    async def table(self, sql: Sql) -> Answer:
        rows = await self.run(sql)
        return Answer(columns=rows.columns, rows=_plain_rows(rows.columns, rows.rows))


def _plain_rows(columns: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """Column by column: most need nothing done to them, and thousands of rows are made for one answer."""
    plain = [_plain_column(values) for values in zip(*rows, strict=True)]
    return [dict(zip(columns, row, strict=True)) for row in zip(*plain, strict=True)]


def _plain_column(values: tuple[Any, ...]) -> Sequence[Any]:
    return values if _PLAIN.issuperset(map(type, values)) else [_plain(value) for value in values]


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return f"{value.isoformat()}Z" if value.tzinfo is None else value.isoformat().replace("+00:00", "Z")
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (str, int)) else str(value)
