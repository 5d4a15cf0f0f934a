"""Documents for plugins: plain JSON under keys, apart for each plugin and tenant, with watches and fenced leases.

One SQLite file serves one machine; PostgreSQL serves several hosts. Both do the same, and pass the same tests.
"""

from __future__ import annotations

from ._engine import StorageEngine, open_storage
from ._types import StoredChange, StoredDocument
from ._values import KEY_LENGTH

__all__ = ["KEY_LENGTH", "StorageEngine", "StoredChange", "StoredDocument", "open_storage"]
