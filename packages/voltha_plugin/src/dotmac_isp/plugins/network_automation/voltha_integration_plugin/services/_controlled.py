"""A controller as the one who programs flows: it is asked over REST, and what it did is seen in VOLTHA."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any, Final

from .._errors import DeviceNotFoundError, ForeignFlowsError
from .._follow import Seen
from ._builder import COOKIE_PREFIX
from ._controllers import ServiceName
from ._stored import StoredService

if TYPE_CHECKING:
    from .._follow import Follower
    from .._session import FlowTable, Session
    from ._builder import Place
    from ._controllers import Controller
    from ._service import ServiceConfig
    from ._stored import ServiceKey, ServiceStore

__all__ = ["ControlledOwner"]

_RECENT: Final = 0.5
#: A data service has as many flows from and to its user port; one that waits for a MAC address has its traps only.
_UP, _DOWN = 2, 2


class ControlledOwner:
    """Lets a controller program flows for one tenant."""

    def __init__(self, controller: Controller, *, tenant: str, store: ServiceStore) -> None:
        self.name: Final = controller.name
        self._controller: Final = controller
        self._tenant: Final = tenant
        self._store: Final = store

    async def require_alone(self, session: Session, place: Place) -> None:
        """Refuse while flows of this plugin's own are there: the controller knows nothing of them."""
        cookies = (await session.logical_flows(place.logical_device_id, age=_RECENT)).cookies.values()
        own = sum(cookie >> 56 == COOKIE_PREFIX for cookie in cookies)
        if own:
            raise ForeignFlowsError(
                f"OLT {place.olt_serial} has {own} flows that this plugin programmed itself; {self.name} knows nothing of them",
                remedy="Remove those services first, or set flow_owner to direct for this OLT",
            )

    async def plan(self, session: Session, key: ServiceKey, place: Place, service: ServiceConfig) -> StoredService:
        del session
        self._controller.check(service)
        before = self._store.index.get(key)
        if before is not None:
            self._controller.check_change(before.service, service)
        item = StoredService(key=key, service=service.plain(), place=place, owner=self.name)
        self._store.index.require_queue(item)
        self._store.index.put(item)
        return item

    def _name(self, item: StoredService) -> ServiceName:
        key = item.key
        parts = (self._tenant, key.subscriber_id, key.onu_serial, str(key.uni), key.name)
        digest = hashlib.sha256("\x00".join(parts).encode()).hexdigest()[:16]
        return ServiceName(f"dm{digest}", f"{key.onu_serial}-{key.uni}", item.service)

    async def put_in(self, session: Session, item: StoredService, follower: Follower, *, again: bool = False) -> None:
        del again
        await self._controller.provision(self._name(item))

        async def look() -> tuple[Seen, bool]:
            return await self._look(session, item), True

        await follower.until(f"{self.name} to program service {item.key.name!r} of {item.key.subscriber_id!r}", look)

    async def _look(self, session: Session, item: StoredService) -> Seen:
        place = item.place
        logical, olt, onu = await asyncio.gather(
            session.logical_flows(place.logical_device_id),
            session.device_flows(place.olt_id),
            session.device_flows(place.onu_id),
        )
        counts = self._counts(item, logical)
        on_olt, on_onu = olt.tunnels.get(place.uni_port, 0), len(onu.cookies)
        state = f"{counts[0]} flows up, {counts[1]} down, {on_olt} on the OLT, {on_onu} on the ONU"
        if item.service.get("mac_learning") and not item.service.get("mac_address"):
            return Seen(reached=counts[0] > 0, state=state)
        return Seen(reached=counts[0] >= _UP and counts[1] >= _DOWN and on_olt >= _UP and on_onu >= _UP, state=state)

    def _counts(self, item: StoredService, logical: FlowTable) -> tuple[int, int]:
        found: tuple[int, int] = logical.queues.get((item.place.uni_port, item.queue[2]), (0, 0))
        return found

    async def take_out(self, session: Session, item: StoredService, follower: Follower) -> int:
        there = await self._there(session, item)
        await self._controller.remove(self._name(item))

        async def look() -> tuple[Seen, bool]:
            left = await self._there(session, item)
            return Seen(reached=not left, state=f"{left} of its flows are still there"), True

        await follower.until(f"{self.name} to remove service {item.key.name!r} of {item.key.subscriber_id!r}", look)
        return there

    async def _there(self, session: Session, item: StoredService) -> int:
        try:
            return sum(self._counts(item, await session.logical_flows(item.place.logical_device_id)))
        except DeviceNotFoundError:
            return 0

    async def release(self, session: Session, item: StoredService) -> int:
        del session
        used = [each.service[way] for each in self._store.index if each.owner == self.name for way in _WAYS]
        mine: list[dict[str, Any]] = []
        for way in _WAYS:
            if item.service[way] not in used and item.service[way] not in mine:
                mine.append(item.service[way])
        return await self._controller.forget_profiles(mine)

    async def is_installed(self, session: Session, item: StoredService) -> bool:
        try:
            return (await self._look(session, item)).reached
        except DeviceNotFoundError:
            return False


_WAYS: Final = ("upstream", "downstream")
