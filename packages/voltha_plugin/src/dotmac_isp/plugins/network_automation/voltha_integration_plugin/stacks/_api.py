"""What a further stack sees of its host: the same, with its own settings and its own corner of the storage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from dotmac_isp.plugins.core.api import Change, Document, Lease, PluginAPI, Storage

    from .._settings import VolthaSettings

__all__ = ["StackAPI"]


class StackAPI:
    """A `PluginAPI` for one stack: everything is the instance's but `settings` and `storage`."""

    def __init__(self, api: PluginAPI, name: str) -> None:
        self._api: Final = api
        self._name: Final = name
        self.storage: Final = _Corner(api.storage, f"stack/{name}/")
        self._known: tuple[Any, Any] = (None, None)

    @property
    def settings(self) -> VolthaSettings:
        """The instance's settings with this stack's differences, made anew when they change."""
        whole: VolthaSettings = self._api.settings
        if self._known[0] is not whole:
            self._known = (whole, whole.of_stack(self._name))
        settings: VolthaSettings = self._known[1]
        return settings

    def __getattr__(self, name: str) -> Any:
        return getattr(self._api, name)


class _Entry(msgspec.Struct, frozen=True):
    key: str
    value: Any
    version: int
    updated_at: float


class _Seen(msgspec.Struct, frozen=True):
    key: str
    document: Any


class _Corner:
    """The documents below a prefix, named without it."""

    def __init__(self, storage: Storage, prefix: str) -> None:
        self._storage: Final = storage
        self._prefix: Final = prefix

    def _short(self, document: Document) -> _Entry:
        return _Entry(document.key.removeprefix(self._prefix), document.value, document.version, document.updated_at)

    async def get(self, key: str) -> Document | None:
        found = await self._storage.get(self._prefix + key)
        return None if found is None else self._short(found)

    async def put(
        self, key: str, value: Any, *, expected_version: int | None = None, lease: Lease | None = None
    ) -> Document:
        written = await self._storage.put(self._prefix + key, value, expected_version=expected_version, lease=lease)
        return self._short(written)

    async def update(self, key: str, change: Callable[[Any], Any], *, lease: Lease | None = None) -> Document:
        return self._short(await self._storage.update(self._prefix + key, change, lease=lease))

    async def delete(self, key: str, *, expected_version: int | None = None, lease: Lease | None = None) -> bool:
        return await self._storage.delete(self._prefix + key, expected_version=expected_version, lease=lease)

    async def list(self, prefix: str = "", *, limit: int | None = None, after: str | None = None) -> Sequence[Document]:
        since = None if after is None else self._prefix + after
        found = await self._storage.list(self._prefix + prefix, limit=limit, after=since)
        return [self._short(document) for document in found]

    async def watch(self, prefix: str = "") -> AsyncIterator[Change]:
        async for change in self._storage.watch(self._prefix + prefix):
            document = None if change.document is None else self._short(change.document)
            yield _Seen(change.key.removeprefix(self._prefix), document)

    async def acquire_lease(self, name: str, *, ttl: float) -> Lease | None:
        return await self._storage.acquire_lease(self._prefix + name, ttl=ttl)
