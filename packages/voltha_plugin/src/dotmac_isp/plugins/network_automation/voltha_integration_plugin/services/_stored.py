"""What is remembered of each subscriber: the service that is wanted, and exactly what was installed for it.

One document per subscriber under `subscriber/<id>`. Removal takes away just what stands here, whatever the service looks like now.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from dotmac_isp.plugins.core.errors import StorageConflictError

from .._errors import VolthaError
from ._flow import FlowSpec
from ._index import ServiceIndex
from ._meter import MeterSpec
from ._service import Place

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from dotmac_isp.plugins.core.api import Storage

__all__ = ["ServiceKey", "ServiceStore", "StoredService", "check_subscriber_id"]

_PREFIX: Final = "subscriber/"
_PAGE: Final = 500
_LONGEST_ID: Final = 256


class ServiceKey(msgspec.Struct, frozen=True):
    """Names one service: of whom, on which UNI of which ONU, with which technology profile."""

    subscriber_id: str
    onu_serial: str
    uni: int
    technology_profile: int


class StoredService(msgspec.Struct, frozen=True, kw_only=True):
    """One service: wanted (`service`), where it is, and what stands for it in VOLTHA. `updated_at` is Unix time."""

    key: ServiceKey
    service: dict[str, Any]
    place: Place
    flows: tuple[FlowSpec, ...]
    meters: tuple[MeterSpec, ...]
    state: Literal["adding", "active", "removing"] = "adding"
    updated_at: float = msgspec.field(default_factory=time.time)

    def becoming(self, state: Literal["adding", "active", "removing"]) -> StoredService:
        """The same service in another state, now."""
        return msgspec.structs.replace(self, state=state, updated_at=time.time())

    def plain(self) -> dict[str, Any]:
        """The service as `list_subscribers` gives it."""
        return {
            "subscriber_id": self.key.subscriber_id,
            "serial_number": self.key.onu_serial,
            "olt_serial_number": self.place.olt_serial,
            "device_id": self.place.onu_id,
            "uni": self.key.uni,
            "uni_port": self.place.uni_port,
            "status": self.state,
            "service": dict(self.service),
            "flows": [
                {"id": str(flow.id), "table": flow.table, "device": flow.side, "cookie": str(flow.cookie)}
                for flow in self.flows
            ],
            "meters": [
                {"id": meter.id, "bands": [msgspec.to_builtins(band) for band in meter.bands]} for meter in self.meters
            ],
            "updated_at": self.updated_at,
        }


def check_subscriber_id(subscriber_id: object) -> str:
    """The id as it is; raises when it is no text of 1 to 256 printable characters."""
    if isinstance(subscriber_id, str) and 0 < len(subscriber_id) <= _LONGEST_ID and subscriber_id.isprintable():
        return subscriber_id
    raise VolthaError(
        f"{str(subscriber_id)[:40]!r} is no subscriber id", remedy="Give 1 to 256 printable characters, as text"
    )


class ServiceStore:
    """The documents, and beside them an index of what is used on each OLT."""

    def __init__(self, storage: Storage) -> None:
        self._storage: Final = storage
        self.index: ServiceIndex = ServiceIndex()

    async def load(self) -> None:
        """Read every document into the index."""
        self.index = ServiceIndex()
        async for item in self.every():
            self.index.put(item)

    async def every(self) -> AsyncIterator[StoredService]:
        """All services as they are stored right now, by subscriber."""
        after: str | None = None
        while page := await self._storage.list(_PREFIX, limit=_PAGE, after=after):
            for document in page:
                for item in _decode(document.value):
                    yield item
            after = page[-1].key

    async def of_subscriber(self, subscriber_id: str) -> list[StoredService]:
        """The services of one subscriber as they are stored right now."""
        document = await self._storage.get(_PREFIX + subscriber_id)
        return [] if document is None else _decode(document.value)

    async def save(self, item: StoredService) -> None:
        """Store a service in place of the one with its key."""
        self.index.put(item)
        await self._change(item.key, item)

    async def drop(self, key: ServiceKey) -> None:
        """Forget a service; a subscriber without any leaves no document."""
        self.index.remove(key)
        await self._change(key, None)
        path = _PREFIX + key.subscriber_id
        document = await self._storage.get(path)
        if document is not None and not document.value["services"]:
            try:
                await self._storage.delete(path, expected_version=document.version)
            except StorageConflictError:
                return  # somebody added a service meanwhile

    async def _change(self, key: ServiceKey, item: StoredService | None) -> None:
        added = [] if item is None else [msgspec.to_builtins(item)]
        wanted = msgspec.to_builtins(key)

        def change(value: Any) -> Any:
            kept = [] if value is None else [each for each in value["services"] if each["key"] != wanted]
            return {"subscriber_id": key.subscriber_id, "services": kept + added}

        await self._storage.update(_PREFIX + key.subscriber_id, change)


def _decode(value: Any) -> list[StoredService]:
    return msgspec.convert(value["services"], list[StoredService])
