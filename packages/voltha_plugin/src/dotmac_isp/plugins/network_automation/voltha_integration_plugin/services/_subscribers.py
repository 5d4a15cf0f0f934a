"""Subscriber services from wish to working line: desired state stored, brought in, seen, remembered; or everything taken back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import msgspec

from .._errors import FlowRejectedError, ServiceBusyError, ServiceConflictError, VolthaError
from .._follow import Follower
from ._place import find_place
from ._service import ServiceConfig
from ._stored import ServiceKey, ServiceStore, StoredService

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator

    from dotmac_isp.plugins.core.api import Lease

    from .._device import DeviceView
    from .._session import Locks, Session
    from ._builder import Place
    from ._owner import Owner

__all__ = ["Subscribers"]

#: What rolling back may take, whatever time the caller had left.
_ROLLBACK_TIME: Final = 15.0
#: A caller with less time left than this does not wait for another host any more.
_LAST_MOMENT: Final = 0.5

Guarded = Callable[[Awaitable[None]], Awaitable[None]]


class Subscribers:
    """The services of one tenant. `owner_of` gives who programs an OLT's flows, by its serial number or a stored owner's name;
    `guarded` runs a rollback to its end even when the caller is cancelled.
    """

    def __init__(
        self,
        *,
        store: ServiceStore,
        locks: Locks,
        owner_of: Callable[[str], Owner],
        owner_named: Callable[[str], Owner],
        guarded: Guarded,
        logger: logging.LoggerAdapter[logging.Logger],
    ) -> None:
        self._store: Final = store
        self._locks: Final = locks
        self._owner_of: Final = owner_of
        self._owner_named: Final = owner_named
        self._guarded: Final = guarded
        self._logger: Final = logger

    async def add(
        self, session: Session, onu: DeviceView, subscriber_id: str, service: ServiceConfig, follower: Follower
    ) -> tuple[StoredService, bool]:
        """Bring a service up, in place of the subscriber's one of this name on the UNI; gives it, and whether anything changed."""
        key = ServiceKey(subscriber_id, onu.serial, service.uni, service.name)
        async with self._locks[f"onu/{onu.serial}"]:
            place = await find_place(session, onu, service.uni, follower)
            former = await self._free(key, follower)
            if former is not None and former.state == "active" and former.service == service.plain():
                owner = self._owner_named(former.owner)
                if former.place == place and await owner.is_installed(session, former):
                    return former, False
            owner = self._owner_of(place.olt_serial)
            self._require_one_owner(owner, place.olt_serial)
            await owner.require_alone(session, place)
            with self._working(key):
                item = await owner.plan(session, key, place, service)
                return await self._install(session, item, former, follower), True

    async def change_speed(
        self, session: Session, onu: DeviceView | None, key: ServiceKey, service: ServiceConfig, follower: Follower
    ) -> tuple[StoredService, bool]:
        """Give a service other speeds: its flows are removed and added with other meters. A suspended one stays so."""
        former = await self._free(key, follower)
        if former is not None and former.state == "suspended":
            changed = msgspec.structs.replace(former, service=service.plain(), meters=(), meter_ids=None)
            return await self._store.save(changed.becoming("suspended"), done=True), former.service != service.plain()
        if onu is None:
            raise VolthaError(f"ONU {key.onu_serial} is not in VOLTHA")
        return await self.add(session, onu, key.subscriber_id, service, follower)

    async def suspend(
        self, session: Session, key: ServiceKey, follower: Follower, *, lease: Lease | None = None, again: bool = False
    ) -> tuple[StoredService, bool]:
        """Take a service out of VOLTHA and keep it, with its tags; gives it, and whether anything changed.

        With `again` also one that is suspended already, of which something is still there.
        """
        async with self._locks[f"onu/{key.onu_serial}"]:
            item = await self._require(key, follower)
            if item.state == "suspended" and not again:
                return item, False
            with self._working(key):
                item = await self._store.save(item.becoming("suspended"), lease=lease)
                owner = self._owner_named(item.owner)
                await owner.take_out(session, item, follower)
                await owner.release(session, item)
                return await self._store.save(item, done=True), True

    async def restore(
        self, session: Session, onu: DeviceView, key: ServiceKey, follower: Follower
    ) -> tuple[StoredService, bool]:
        """Bring a suspended service back; gives it, and whether anything changed."""
        item = await self._require(key, follower)
        return await self.add(session, onu, key.subscriber_id, ServiceConfig.parse(item.service), follower)

    async def remove(
        self, session: Session, item: StoredService, follower: Follower, *, lease: Lease | None = None
    ) -> tuple[int, int]:
        """Take a service out; gives how many flows and meters were removed."""
        async with self._locks[f"onu/{item.key.onu_serial}"]:
            if (stored := await self._free(item.key, follower)) is None:
                return 0, 0
            with self._working(item.key):
                item = await self._store.save(stored.becoming("removing"), lease=lease)
                owner = self._owner_named(item.owner)
                flows = await owner.take_out(session, item, follower)
                await self._store.drop(item.key, lease=lease)
                return flows, await owner.release(session, item)

    async def repair(
        self,
        session: Session,
        onu: DeviceView,
        item: StoredService,
        follower: Follower,
        *,
        anew: bool = False,
        lease: Lease | None = None,
    ) -> StoredService:
        """Bring a wanted service back to where it should be, with `anew` by deleting and adding.

        What fails stays wanted; raises what went wrong.
        """
        key = item.key
        async with self._locks[f"onu/{key.onu_serial}"]:
            item = await self._require(key, follower)
            place = await find_place(session, onu, key.uni, follower)
            with self._working(key):
                # The wish stands first: whatever happens now, somebody takes up from here.
                item = await self._store.save(item.becoming("adding"), lease=lease)
                try:
                    anew = anew or item.place != place or onu.has_lost_flows
                    if anew or not await self._added_again(session, item, follower):
                        item = await self._anew(session, item, place, follower, lease)
                except VolthaError:
                    await self._store.save(item, done=True, lease=lease)
                    raise
                return await self._store.save(item.becoming("active"), done=True, lease=lease)

    def _require_one_owner(self, owner: Owner, olt_serial: str) -> None:
        """An OLT has one who programs its flows: refuse while services of another are stored."""
        for other in self._store.index.owners(olt_serial) - {owner.name}:
            raise ServiceConflictError(
                f"OLT {olt_serial} has services that are programmed by {other!r}, and this one would be by {owner.name!r}",
                remedy="Remove those services first, or set flow_owners back for this OLT",
            )

    async def _added_again(self, session: Session, item: StoredService, follower: Follower) -> bool:
        """Add what is missing, without deleting first: what the devices still have goes on working meanwhile."""
        if not item.flows and item.owner == "direct":
            return False
        try:
            await self._owner_named(item.owner).put_in(session, item, follower, again=True)
        except FlowRejectedError as error:
            self._logger.info("service of subscriber %r: %s; installing it anew", item.key.subscriber_id, error)
            return False
        return True

    async def _anew(
        self, session: Session, item: StoredService, place: Place, follower: Follower, lease: Lease | None
    ) -> StoredService:
        """Delete and add: the only thing that brings a service back after an ONU's power cycle (surprise 7)."""
        owner = self._owner_named(item.owner)
        await owner.take_out(session, item, follower)
        planned = await owner.plan(session, item.key, place, ServiceConfig.parse(item.service))
        planned = await self._store.save(planned, lease=lease)
        await owner.put_in(session, planned, follower)
        return planned

    async def _require(self, key: ServiceKey, follower: Follower) -> StoredService:
        if (found := await self._free(key, follower)) is None:
            raise VolthaError(
                f"subscriber {key.subscriber_id!r} has no service {key.name!r} on ONU {key.onu_serial} UNI {key.uni}",
                remedy="`list_subscribers` gives the services that there are",
            )
        return found

    async def _free(self, key: ServiceKey, follower: Follower) -> StoredService | None:
        """The service as it is stored, once no other host works on it any more; raises `ServiceBusyError` when that takes too long."""
        while True:
            found = await self._store.one(key)
            if found is None:
                return None
            try:
                self._store.require_unclaimed(found)
            except ServiceBusyError:
                if follower.remaining <= _LAST_MOMENT:
                    raise
                await asyncio.sleep(_LAST_MOMENT / 2)
            else:
                return found

    @contextlib.contextmanager
    def _working(self, key: ServiceKey) -> Iterator[None]:
        self._store.index.start(key)
        try:
            yield
        finally:
            self._store.index.end(key)

    async def _install(
        self, session: Session, item: StoredService, former: StoredService | None, follower: Follower
    ) -> StoredService:
        owner = self._owner_named(item.owner)
        try:
            if former is not None:
                await self._make_room(session, former, follower)
            item = await self._store.save(item.becoming("adding"))
            await owner.put_in(session, item, follower)
        except BaseException as error:
            await self._guarded(self._roll_back(session, item, former, error))
            raise
        item = await self._store.save(item.becoming("active"), done=True)
        if former is not None:
            await self._owner_named(former.owner).release(session, former)
        return item

    async def _make_room(self, session: Session, former: StoredService, follower: Follower) -> None:
        """Take out what is replaced; until that is done it is what stands in the books."""
        if former.state != "suspended":
            await self._store.save(former, indexed=False)
            await self._owner_named(former.owner).take_out(session, former, follower)

    async def _roll_back(
        self, session: Session, item: StoredService, former: StoredService | None, error: BaseException
    ) -> None:
        """Leave nothing of a service that failed, and put back what it was to replace."""
        name = item.key.subscriber_id
        self._logger.warning("service of subscriber %r failed, rolling back: %r", name, error)
        follower = Follower("rolling back", _ROLLBACK_TIME)
        owner = self._owner_named(item.owner)
        try:
            await owner.take_out(session, item, follower)
            if former is not None:
                await self._put_back(session, former, item, follower)
            else:
                await self._store.drop(item.key)
            await owner.release(session, item)
        except VolthaError as trouble:
            self._logger.error(  # noqa: TRY400 - one line says it; the failure itself goes to the caller
                "rolling back the service of subscriber %r did not end: %s; the reconciler takes up from there",
                name,
                trouble,
            )

    async def _put_back(self, session: Session, old: StoredService, failed: StoredService, follower: Follower) -> None:
        """Install a replaced service again; one that could not be repaired stays stored as wanted."""
        if old.state == "suspended":
            await self._store.save(old, done=True)
        elif old.service == failed.service or old.place != failed.place:
            await self._store.save(old.becoming("adding"), done=True)
        else:
            await self._store.save(old.becoming("adding"))
            await self._owner_named(old.owner).put_in(session, old, follower)
            await self._store.save(old.becoming("active"), done=True)
