"""The store: ClickHouse's tables and SQL, on an engine of our own or on an existing server, behind one client."""

from __future__ import annotations

from ._clickhouse import Rows, Store, StoreRefusedError, StoreUnavailableError
from ._connection import Connection, parse_connection
from ._engine import Endpoint, EngineProcess, FixedEndpoint
from ._past_refused import insert_past_refused
from ._present import without
from ._reconcile import difference_sql, reconcile_sql
from ._rollups import AMOUNTS_PER_HOUR, DEVICES_PER_HOUR, PER_MINUTE, ROLLUPS, Rollup
from ._schema import DOCUMENTS, EVENT_COLUMNS, EVENTS, MEMBERS, Layout

__all__ = [
    "AMOUNTS_PER_HOUR",
    "DEVICES_PER_HOUR",
    "DOCUMENTS",
    "EVENTS",
    "EVENT_COLUMNS",
    "MEMBERS",
    "PER_MINUTE",
    "ROLLUPS",
    "Connection",
    "Endpoint",
    "EngineProcess",
    "FixedEndpoint",
    "Layout",
    "Rollup",
    "Rows",
    "Store",
    "StoreRefusedError",
    "StoreUnavailableError",
    "difference_sql",
    "insert_past_refused",
    "parse_connection",
    "reconcile_sql",
    "without",
]
