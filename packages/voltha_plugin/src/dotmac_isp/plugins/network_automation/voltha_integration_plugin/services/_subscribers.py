"""Subscriber services from wish to working line: desired state stored, flows installed, seen, remembered; or everything taken back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from .._errors import ServiceConflictError, VolthaError
from .._follow import Follower
from ._installer import add_flows, add_meters, is_installed, remove_flows, remove_meters, verify
from ._meter import MeterSpec, choose_meter_id
from ._place import find_place
from ._service import ServiceConfig, cookie_base, single_tagged_flows
from ._stored import ServiceKey, ServiceStore, StoredService

if TYPE_CHECKING:
    import logging

    from .._device import DeviceView
    from .._session import Locks, Session
    from ._meter import BandwidthProfile
    from ._service import Place

__all__ = ["Subscribers"]

#: What rolling back may take, whatever time the caller had left.
_ROLLBACK_TIME: Final = 15.0

Guarded = Callable[[Awaitable[None]], Awaitable[None]]


class Subscribers:
    """The services of one tenant. `settle` gives seconds; `guarded` runs a rollback to its end even when the caller is cancelled."""

    def __init__(
        self,
        *,
        tenant: str,
        store: ServiceStore,
        locks: Locks,
        settle: Callable[[], float],
        guarded: Guarded,
        logger: logging.LoggerAdapter[logging.Logger],
    ) -> None:
        self._tenant: Final = tenant
        self._store: Final = store
        self._locks: Final = locks
        self._settle: Final = settle
        self._guarded: Final = guarded
        self._logger: Final = logger

    async def add(
        self, session: Session, onu: DeviceView, subscriber_id: str, service: ServiceConfig, follower: Follower
    ) -> tuple[StoredService, bool]:
        """Bring a service up; gives it and whether anything had to be changed for it."""
        async with self._locks[f"onu/{onu.serial}"]:
            place = await find_place(session, onu, service.uni, follower)
            former = await self._former(subscriber_id, place, service)
            key = ServiceKey(subscriber_id, onu.serial, service.uni, service.technology_profile)
            same = [item for item in former if item.key == key and item.service == service.plain()]
            if len(former) == len(same) == 1 and same[0].place == place and await is_installed(session, same[0]):
                if same[0].state != "active":
                    await self._store.save(same[0].becoming("active"))
                return same[0].becoming("active"), False
            item = await self._plan(session, key, place, service)
            await self._require_free_flows(session, item)
            await self._install(session, item, former, follower)
            return item.becoming("active"), True

    async def remove(self, session: Session, item: StoredService, follower: Follower) -> tuple[int, int]:
        """Take a service out; gives how many flows and meters were removed."""
        async with self._locks[f"onu/{item.key.onu_serial}"]:
            await self._store.save(item.becoming("removing"))
            flows = await remove_flows(session, item, follower)
            await self._store.drop(item.key)
            return flows, await self._release_meters(session, item)

    async def _former(self, subscriber_id: str, place: Place, service: ServiceConfig) -> list[StoredService]:
        """What the subscriber has on this UNI already: a single-tagged service takes the whole of it."""
        return [
            item
            for item in await self._store.of_subscriber(subscriber_id)
            if item.key.onu_serial == place.onu_serial and item.key.uni == service.uni
        ]

    async def _plan(self, session: Session, key: ServiceKey, place: Place, service: ServiceConfig) -> StoredService:
        """The service with its meters and flows; claims them in the index in the same step, so that nobody else does."""
        listed = await session.meters(place.logical_device_id)
        taken = {**listed, **self._store.index.meters(place.olt_serial)}
        up = self._meter(service.upstream, taken)
        down = self._meter(service.downstream, {**taken, up.id: up.bands})
        parts = (self._tenant, key.subscriber_id, place.olt_serial, key.onu_serial, str(key.uni), str(service.s_tag))
        flows = single_tagged_flows(
            service, place, up_meter=up.id, down_meter=down.id, cookie=cookie_base(*parts, str(key.technology_profile))
        )
        self._store.index.require_free(key, place.olt_serial, flows)
        return StoredService(
            key=key, service=service.plain(), place=place, flows=flows, meters=tuple(dict.fromkeys((up, down)))
        )

    def _meter(self, profile: BandwidthProfile, taken: dict[int, Any]) -> MeterSpec:
        bands = profile.bands()
        return MeterSpec(choose_meter_id(bands, taken, owner=self._tenant), bands)

    async def _require_free_flows(self, session: Session, item: StoredService) -> None:
        """Refuse to overwrite a flow that is not in our books: a controller's, another tenant's, or an operator's."""
        listed = (await session.logical_flows(item.place.logical_device_id)).cookies
        own = {flow.cookie for flow in item.flows} | {
            flow.cookie for old in await self._store.of_subscriber(item.key.subscriber_id) for flow in old.flows
        }
        for flow in item.flows:
            cookie = listed.get(flow.id, flow.cookie)
            if cookie not in own:
                raise ServiceConflictError(
                    f"OLT {item.place.olt_serial} has another flow with the same match as this service (tag"
                    f" {item.service['s_tag']}, UNI port {item.place.uni_port}); its cookie is {cookie:#x}, not one of ours",
                    remedy="Take another service tag, or find out who programs flows beside this plugin",
                )

    async def _install(
        self, session: Session, item: StoredService, former: Sequence[StoredService], follower: Follower
    ) -> None:
        self._store.index.require_free(item.key, item.place.olt_serial, item.flows)
        self._store.index.put(item)
        try:
            for old in former:
                await remove_flows(session, old, follower)
            await self._put_in(session, item, follower)
        except BaseException as error:
            await self._guarded(self._roll_back(session, item, former, error))
            raise
        for old in former:
            if old.key != item.key:
                await self._store.drop(old.key)
            await self._release_meters(session, old)

    async def _put_in(self, session: Session, item: StoredService, follower: Follower) -> None:
        await self._store.save(item.becoming("adding"))
        await add_meters(session, item, self._locks, follower)
        await add_flows(session, item)
        await verify(session, item, follower, settle=self._settle())
        await self._store.save(item.becoming("active"))

    async def _roll_back(
        self, session: Session, item: StoredService, former: Sequence[StoredService], error: BaseException
    ) -> None:
        """Leave nothing of a service that failed, and put back what it was to replace."""
        name = item.key.subscriber_id
        self._logger.warning("service of subscriber %r failed, rolling back: %r", name, error)
        follower = Follower("rolling back", _ROLLBACK_TIME)
        try:
            await remove_flows(session, item, follower)
            await self._store.drop(item.key)
            for old in former:
                await self._put_back(session, old, item, follower)
            await self._release_meters(session, item)
        except VolthaError as trouble:
            self._logger.error(  # noqa: TRY400 - one line says it; the failure itself goes to the caller
                "rolling back the service of subscriber %r did not end: %s; remove_subscriber_flow takes up from there",
                name,
                trouble,
            )

    async def _put_back(self, session: Session, old: StoredService, failed: StoredService, follower: Follower) -> None:
        """Install a replaced service again; one that could not be repaired stays stored as wanted."""
        if old.service == failed.service or old.place != failed.place:
            await self._store.save(old.becoming("adding"))
        else:
            await self._put_in(session, old, follower)

    async def _release_meters(self, session: Session, item: StoredService) -> int:
        """Delete meters without users. A meter that could not be deleted does no harm, and the next user takes it."""
        try:
            return await remove_meters(session, item, self._locks, self._store.index)
        except VolthaError as trouble:
            self._logger.warning("meters of OLT %s were left: %s", item.place.olt_serial, trouble)
            return 0
