"""This plugin as the one who programs flows: meters and flows over VOLTHA's own interface."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .._errors import DeviceNotFoundError, ForeignFlowsError, ServiceConflictError, VolthaError
from ._builder import MeterIds, cookie_base, service_flows
from ._installer import add_flows, add_meters, is_installed, remove_flows, remove_meters, verify
from ._meter import BandwidthProfile, MeterSpec, choose_meter_id
from ._stored import StoredService

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from .._follow import Follower
    from .._session import Locks, Session
    from ._builder import Place
    from ._service import ServiceConfig
    from ._stored import ServiceKey, ServiceStore

__all__ = ["DIRECT", "DirectOwner", "whose_flows"]

DIRECT: Final = "direct"
#: A foreign flow that came less than this many seconds ago may be overlooked.
_RECENT: Final = 0.5


class DirectOwner:
    """Programs flows for one tenant. `settle` gives seconds; `alone` says whether foreign flows on an OLT are refused."""

    name: Final = DIRECT

    def __init__(
        self,
        *,
        tenant: str,
        store: ServiceStore,
        locks: Locks,
        settle: Callable[[], float],
        alone: Callable[[], bool],
        logger: logging.LoggerAdapter[logging.Logger],
    ) -> None:
        self._tenant: Final = tenant
        self._store: Final = store
        self._locks: Final = locks
        self._settle: Final = settle
        self._alone: Final = alone
        self._logger: Final = logger

    async def require_alone(self, session: Session, place: Place) -> None:
        if self._alone() and (found := (await session.logical_flows(place.logical_device_id, age=_RECENT)).foreign):
            raise ForeignFlowsError(
                f"OLT {place.olt_serial} has flows of {whose_flows(found)}; two who program one OLT undo each other's work",
                remedy="Set flow_owner to that controller, or remove its flows; foreign_flows = allow lets both go on",
            )

    async def plan(self, session: Session, key: ServiceKey, place: Place, service: ServiceConfig) -> StoredService:
        listed = await session.meters(place.logical_device_id, age=_RECENT)
        cookies = (await session.logical_flows(place.logical_device_id, age=_RECENT)).cookies
        # From here to the claim nothing awaits, so that nobody takes a meter or flow in between.
        ids, meters = self._meters(service, {**listed, **self._store.index.meters(place.olt_serial)})
        item = StoredService(
            key=key,
            service=service.plain(),
            place=place,
            flows=service_flows(service, place, ids, self._cookie(key, place)),
            meters=meters,
            meter_ids=ids,
        )
        self._store.index.require_free(item)
        self._require_unused(item, cookies)
        self._store.index.put(item)
        return item

    def _cookie(self, key: ServiceKey, place: Place) -> int:
        return cookie_base(self._tenant, key.subscriber_id, place.olt_serial, key.onu_serial, str(key.uni), key.name)

    def _meters(self, service: ServiceConfig, taken: dict[int, Any]) -> tuple[MeterIds, tuple[MeterSpec, ...]]:
        up, down = service.upstream, service.downstream
        made: list[MeterSpec] = []
        for profile in (up, service.upstream_olt or up, down, service.downstream_olt or down):
            made.append(self._meter(profile, {**taken, **{meter.id: meter.bands for meter in made}}))
        return MeterIds(*(meter.id for meter in made)), tuple(dict.fromkeys(made))

    def _meter(self, profile: BandwidthProfile, taken: dict[int, Any]) -> MeterSpec:
        bands = profile.bands()
        return MeterSpec(choose_meter_id(bands, taken, owner=self._tenant), bands)

    def _require_unused(self, item: StoredService, listed: dict[int, int]) -> None:
        """Refuse to overwrite a flow that is not in our books: a controller's, another tenant's, or an operator's."""
        before = self._store.index.get(item.key)
        own = {flow.cookie for each in (item, before) if each is not None for flow in each.flows}
        for flow in item.flows:
            cookie = listed.get(flow.id, flow.cookie)
            if cookie not in own:
                raise ServiceConflictError(
                    f"OLT {item.place.olt_serial} has another flow with the same match as this service (s_tag"
                    f" {item.service.get('s_tag')}, UNI port {item.place.uni_port}); its cookie is {cookie:#x}, not one of ours",
                    remedy="Take another service tag, or find out who programs flows beside this plugin",
                )

    async def put_in(self, session: Session, item: StoredService, follower: Follower, *, again: bool = False) -> None:
        onu = await session.client.device(item.place.onu_id) if again else None
        await add_meters(session, item, self._locks, follower)
        await add_flows(session, item)
        await verify(session, item, follower, settle=self._settle(), before=onu.reason if onu else "")

    async def take_out(self, session: Session, item: StoredService, follower: Follower) -> int:
        return await remove_flows(session, item, follower)

    async def release(self, session: Session, item: StoredService) -> int:
        """Delete meters without users. A meter that could not be deleted does no harm, and the next user takes it."""
        try:
            return await remove_meters(session, item, self._locks, self._store.index)
        except VolthaError as trouble:
            self._logger.warning("meters of OLT %s were left: %s", item.place.olt_serial, trouble)
            return 0

    async def is_installed(self, session: Session, item: StoredService) -> bool:
        try:
            listed = await session.meters(item.place.logical_device_id)
        except DeviceNotFoundError:
            return False
        if any(listed.get(meter.id) != meter.bands for meter in item.meters):
            return False
        return await is_installed(session, item)


def whose_flows(found: dict[str, int]) -> str:
    """Foreign flows as a person reads them."""
    return ", ".join(f"{owner}: {count}" for owner, count in sorted(found.items()))
