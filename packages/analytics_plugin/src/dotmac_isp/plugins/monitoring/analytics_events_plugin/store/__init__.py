"""The store: ClickHouse's tables and SQL, on an engine of our own or on an existing server, behind one client."""

from __future__ import annotations

from ._clickhouse import Rows, Store, StoreRefusedError, StoreUnavailableError, connection_options
from ._engine import Endpoint, EngineProcess, FixedEndpoint
from ._schema import EVENT_COLUMNS, EVENTS, PER_MINUTE

__all__ = [
    "EVENTS",
    "EVENT_COLUMNS",
    "PER_MINUTE",
    "Endpoint",
    "EngineProcess",
    "FixedEndpoint",
    "Rows",
    "Store",
    "StoreRefusedError",
    "StoreUnavailableError",
    "connection_options",
]
