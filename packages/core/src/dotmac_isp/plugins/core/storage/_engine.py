"""Opening the storage that a URL names."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote
from weakref import WeakValueDictionary

from ..errors import ConfigurationError, StorageError
from ..model import validate_tenant_id
from ._scoped import ScopedStorage
from ._types import ScopeKey

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

    from ..api import Storage
    from ._types import Backend
    from ._watch import Hub

__all__ = ["StorageEngine", "open_storage"]

_PLUGIN_ID_LENGTH = 128
_REMEDY = "Give sqlite:////absolute/path, sqlite:///path/below/home, or postgresql://user:password@host/database"


class StorageEngine:
    """One store for all plugins and tenants of a host; made by `open_storage`."""

    def __init__(self, backend: Backend, hub: Hub, place: str) -> None:
        self._backend = backend
        self._hub = hub
        self._locks: WeakValueDictionary[tuple[ScopeKey, bytes], asyncio.Lock] = WeakValueDictionary()
        #: Where the documents are, for people: a path, or a URL without its password.
        self.place = place

    def scope(self, tenant_id: str | None, plugin_id: str) -> Storage:
        """The documents of this plugin for this tenant (`None`: the system tenant). Raises `TenantIdError`."""
        return ScopedStorage(self._backend, self._hub, ScopeKey(_tenant(tenant_id), _plugin(plugin_id)), self._locks)

    async def drop_tenant(self, tenant_id: str | None) -> int:
        """Remove everything that any plugin stored for this tenant; how many documents there were."""
        return await self._backend.drop(_tenant(tenant_id), None)

    async def drop(self, tenant_id: str | None, plugin_id: str) -> int:
        """Remove everything that this plugin stored for this tenant; how many documents there were."""
        return await self._backend.drop(_tenant(tenant_id), _plugin(plugin_id))

    async def close(self) -> None:
        """Finish the writes that are under way, end the watchers, let go of files and connections. Again: nothing."""
        await self._backend.close()


async def open_storage(url: str | None, *, home: Path) -> StorageEngine:
    """Open the store that `url` names; without one, the SQLite file `storage.sqlite3` in `home`.

    `sqlite:////absolute/path`, `sqlite:///path/below/home`, `postgresql://user:password@host:port/database`.
    Raises `ConfigurationError` for a URL that names none and for a missing driver, `StorageError` when it cannot be opened.
    """
    if url is None:
        return await _open_sqlite(home / "storage.sqlite3")
    scheme, colon, rest = url.partition("://")
    if scheme == "sqlite" and colon:
        return await _open_sqlite(_sqlite_path(rest, home))
    if scheme in ("postgresql", "postgres") and colon:
        from ._postgres import PostgresBackend  # noqa: PLC0415 - its driver is optional

        postgres = await PostgresBackend.open(url)
        return StorageEngine(postgres, postgres.hub, postgres.place)
    # The URL itself is not shown: whatever it is, it may hold a password.
    raise ConfigurationError(f"no storage is known for a URL that begins with {scheme[:20]!r}", remedy=_REMEDY)


async def _open_sqlite(path: Path) -> StorageEngine:
    from ._sqlite import SqliteBackend  # noqa: PLC0415 - a host with PostgreSQL needs no sqlite3

    sqlite = await SqliteBackend.open(path)
    return StorageEngine(sqlite, sqlite.hub, str(path))


def _sqlite_path(rest: str, home: Path) -> Path:
    path = unquote(rest.removeprefix("/"))
    if not rest.startswith("/") or not path or "\0" in path:
        raise ConfigurationError("the storage's sqlite URL names no file", remedy=_REMEDY)
    if path == ":memory:":
        raise ConfigurationError("documents must outlive the process, and memory does not", remedy=_REMEDY)
    return home / path


def _tenant(tenant_id: str | None) -> str:
    return validate_tenant_id(tenant_id) or ""


def _plugin(plugin_id: str) -> str:
    if not plugin_id or len(plugin_id) > _PLUGIN_ID_LENGTH or not plugin_id.isprintable():
        raise StorageError(
            f"{plugin_id[:40]!r} is no plugin id", remedy=f"1 to {_PLUGIN_ID_LENGTH} printable characters"
        )
    return plugin_id
