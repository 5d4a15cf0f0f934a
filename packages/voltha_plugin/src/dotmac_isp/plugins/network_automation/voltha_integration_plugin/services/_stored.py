"""What is remembered of each subscriber: the services that are wanted, and exactly what was installed for them.

One document per subscriber under `subscriber/<id>`. Removal takes away just what stands here, whatever the service looks like now.
A service that is being worked on carries a claim, so that two hosts with one store never work on it at once; a claim lapses, so
that what a killed host left unfinished is finished by another.
"""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from dotmac_isp.plugins.core.errors import StorageConflictError

from .._errors import ServiceBusyError, VolthaError
from ._builder import MeterIds, Place
from ._flow import FlowSpec, device_flows
from ._index import ServiceIndex
from ._meter import MeterSpec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from dotmac_isp.plugins.core.api import Document, Lease, Storage

__all__ = ["ServiceKey", "ServiceStore", "State", "StoredService", "check_subscriber_id"]

_PREFIX: Final = "subscriber/"
_PAGE: Final = 500
_LONGEST_ID: Final = 256
_SEEN: Final = 2048
#: How long a claim holds when its host dies, in seconds. Work that takes longer renews it with each write.
_CLAIM: Final = 20.0

#: Wanted and on its way, wanted and installed, not wanted for now, not wanted any more.
State = Literal["adding", "active", "suspended", "removing"]


class ServiceKey(msgspec.Struct, frozen=True):
    """Names one service: of whom, on which UNI of which ONU, and what it is called there."""

    subscriber_id: str
    onu_serial: str
    uni: int
    name: str = "internet"


class StoredService(msgspec.Struct, frozen=True, kw_only=True):
    """One service: wanted (`service`), where it is, and what stands for it in VOLTHA. `updated_at` is Unix time.

    `owner` says who programs its flows: `direct`, or the controller's name; a controller's service has no flows here.
    """

    key: ServiceKey
    service: dict[str, Any]
    place: Place
    flows: tuple[FlowSpec, ...] = ()
    meters: tuple[MeterSpec, ...] = ()
    meter_ids: MeterIds | None = None
    owner: str = "direct"
    state: State = "adding"
    updated_at: float = msgspec.field(default_factory=time.time)
    claim: str = ""
    claimed_until: float = 0.0

    @property
    def wanted(self) -> bool:
        """Whether it should be in VOLTHA."""
        return self.state in ("adding", "active")

    @property
    def status(self) -> str:
        """The state for a person: an active service whose data flows wait for a MAC address is not quite that."""
        waiting = self.service.get("mac_learning") and not self.service.get("mac_address")
        return "waiting_for_mac" if self.state == "active" and waiting else self.state

    @property
    def queue(self) -> tuple[str, int, int]:
        """The scheduler that it shares with services of the same technology profile on its UNI."""
        return (self.key.onu_serial, self.key.uni, self.service.get("technology_profile", 64))

    def becoming(self, state: State) -> StoredService:
        """The same service in another state, now."""
        return msgspec.structs.replace(self, state=state, updated_at=time.time())

    def plain(self) -> dict[str, Any]:
        """The service as `list_subscribers` gives it."""
        return {
            "subscriber_id": self.key.subscriber_id,
            "name": self.key.name,
            "serial_number": self.key.onu_serial,
            "olt_serial_number": self.place.olt_serial,
            "device_id": self.place.onu_id,
            "uni": self.key.uni,
            "uni_port": self.place.uni_port,
            "status": self.status,
            "owner": self.owner,
            "service": dict(self.service),
            "flows": [_plain_flow(flow) for flow in self.flows],
            "meters": [
                {"id": meter.id, "bands": [msgspec.to_builtins(band) for band in meter.bands]} for meter in self.meters
            ],
            "updated_at": self.updated_at,
        }


def _plain_flow(flow: FlowSpec) -> dict[str, Any]:
    devices = "+".join(side for side, _ in device_flows(flow))
    return {
        "id": str(flow.id),
        "table": flow.table,
        "device": devices,
        "cookie": str(flow.cookie),
        "trap": flow.is_trap,
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
        #: What this instance signs its claims with.
        self.instance: Final = uuid.uuid4().hex
        self.index: ServiceIndex = ServiceIndex()
        #: Documents as they were seen last, with their versions, between a look and the write that follows.
        self._seen: dict[str, tuple[int | None, Any]] = {}

    async def load(self) -> None:
        """Read every document into the index."""
        self.index = ServiceIndex()
        async for item in self.every():
            self.index.put(item)

    async def follow(self) -> None:
        """Keep the index as other hosts change the documents; runs until cancelled."""
        async for change in self._storage.watch(_PREFIX):
            self._changed(change.key.removeprefix(_PREFIX), change.document)

    def _changed(self, subscriber_id: str, document: Document | None) -> None:
        stored = {} if document is None else {item.key: item for item in _decode(document.value)}
        for key in self.index.of_subscriber(subscriber_id):
            if key not in stored and not self.index.is_ours(key):
                self.index.remove(key)
        for key, item in stored.items():
            if item.claim != self.instance and not self.index.is_ours(key):
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
        if len(self._seen) >= _SEEN:
            self._seen.clear()
        self._seen[subscriber_id] = (0, None) if document is None else (document.version, document.value)
        return [] if document is None else _decode(document.value)

    async def one(self, key: ServiceKey) -> StoredService | None:
        """One service as it is stored right now, or `None`."""
        return next((item for item in await self.of_subscriber(key.subscriber_id) if item.key == key), None)

    async def save(
        self, item: StoredService, *, done: bool = False, indexed: bool = True, lease: Lease | None = None
    ) -> StoredService:
        """Store a service in place of the one with its key, claimed by this instance until it is `done`; gives it as stored.

        With `indexed` false the index stays as it is: another service of this key is planned there already. Raises `ServiceBusyError` when another host has claimed it, and `LeaseLostError` when `lease` is not held any more.
        """
        claim, until = ("", 0.0) if done else (self.instance, time.time() + _CLAIM)
        item = msgspec.structs.replace(item, claim=claim, claimed_until=until)
        await self._change(item.key, item, lease)
        if indexed:
            self.index.put(item)
        return item

    async def drop(self, key: ServiceKey, *, lease: Lease | None = None) -> None:
        """Forget a service; a subscriber without any leaves no document."""
        await self._change(key, None, lease)
        self.index.remove(key)
        path = _PREFIX + key.subscriber_id
        document = await self._storage.get(path)
        if document is not None and not document.value["services"]:
            try:
                await self._storage.delete(path, expected_version=document.version, lease=lease)
            except StorageConflictError:
                return  # somebody added a service meanwhile

    def require_unclaimed(self, item: StoredService) -> None:
        """Raise `ServiceBusyError` when another host works on a service right now."""
        if item.claim not in ("", self.instance) and item.claimed_until > time.time():
            left = item.claimed_until - time.time()
            raise ServiceBusyError(
                f"another host works on service {item.key.name!r} of subscriber {item.key.subscriber_id!r}",
                remedy=f"Ask again; should that host be gone, its claim lapses in {left:.0f} s",
            )

    async def _change(self, key: ServiceKey, item: StoredService | None, lease: Lease | None) -> None:
        added = [] if item is None else [_encode(item)]

        def change(value: Any) -> Any:
            stored = [] if value is None else value["services"]
            kept = [each for each in stored if msgspec.convert(each["key"], ServiceKey) != key]
            for each in stored:
                if each not in kept:
                    self.require_unclaimed(_decode_one(each))
            return {"subscriber_id": key.subscriber_id, "services": kept + added}

        # Mostly nobody else wrote since we looked: then one write does what else takes a read as well.
        path, (version, value) = _PREFIX + key.subscriber_id, self._seen.pop(key.subscriber_id, (None, None))
        if version is not None:
            try:
                written = await self._storage.put(path, change(value), expected_version=version, lease=lease)
            except StorageConflictError:
                pass
            else:
                self._remember(key.subscriber_id, item, written)
                return
        self._remember(key.subscriber_id, item, await self._storage.update(path, change, lease=lease))

    def _remember(self, subscriber_id: str, item: StoredService | None, written: Document) -> None:
        """What was written, for as long as more will be."""
        if item is not None and item.claim:
            self._seen[subscriber_id] = (written.version, written.value)


def _encode(item: StoredService) -> dict[str, Any]:
    """A service as it is stored: what stands for it in VOLTHA as one text, which is quicker than a tree of a hundred values."""
    encoded: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(item, flows=()))
    return {**encoded, "flows": msgspec.json.encode(item.flows).decode()}


def _decode_one(value: dict[str, Any]) -> StoredService:
    flows = value.get("flows", "[]")
    if isinstance(flows, str):
        value = {**value, "flows": msgspec.json.decode(flows)}
    return msgspec.convert(value, StoredService)


def _decode(value: Any) -> list[StoredService]:
    return [_decode_one(each) for each in value["services"]]
