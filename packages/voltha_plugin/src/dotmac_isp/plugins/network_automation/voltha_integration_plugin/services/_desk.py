"""What is asked about subscriber services, from names to values and back: the one door of this package for the plugin's class."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from .._changes import service_event
from .._errors import DeviceNotFoundError, ServiceConfigError, VolthaError
from .._follow import Follower, time_limit
from ._bulk import Bulks
from ._direct import DIRECT, DirectOwner
from ._learner import MacLearner
from ._reconciler import Reconciler
from ._service import ServiceConfig
from ._stored import ServiceStore, StoredService, check_subscriber_id
from ._subscribers import Subscribers
from ._uplink import Uplinks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from dotmac_isp.plugins.core.api import PluginAPI
    from dotmac_isp.plugins.core.model import DeviceEvent, PluginContext, Secret

    from .._device import DeviceView
    from .._session import Locks, Session
    from .._settings import VolthaSettings
    from ._controllers import Rest
    from ._owner import Owner

__all__ = ["ServiceDesk"]

#: In a bulk job an ONU may be as it was listed so many seconds ago; what it does with its flows is seen afterwards anyway.
_BULK_AGE: Final = 2.0


class ServiceDesk:
    """The services of an active instance. `session` gives the present one, `tell` relays an event."""

    def __init__(
        self,
        api: PluginAPI,
        *,
        session: Callable[[], Session],
        locks: Locks,
        tell: Callable[[DeviceEvent], None],
    ) -> None:
        self._api: Final = api
        self._session: Final = session
        self._tell: Final = tell
        self.store: Final = ServiceStore(api.storage)
        direct = DirectOwner(
            tenant=api.tenant_id or "",
            store=self.store,
            locks=locks,
            settle=lambda: self._settings.flow_settle_time,
            alone=lambda: self._settings.foreign_flows == "refuse",
            logger=api.logger,
        )
        self._owners: Final[dict[str, Owner]] = {DIRECT: direct}
        self._rest: Rest | None = None
        self.subscribers: Final = Subscribers(
            store=self.store,
            locks=locks,
            owner_of=self._owner_of,
            owner_named=self._owner_named,
            guarded=self._guarded,
            logger=api.logger,
        )

        self.uplinks: Final = Uplinks(api.storage, tenant=api.tenant_id or "", locks=locks)
        self.bulks: Final = Bulks(api, act=self._act, tell=tell, at_once=lambda: self._settings.bulk_concurrency)
        self.learner: Final = MacLearner(api, store=self.store, session=session, learnt=self._learnt)
        self.reconciler: Final = Reconciler(
            api, store=self.store, subscribers=self.subscribers, uplinks=self.uplinks, session=session, tell=tell
        )

    async def begin(self) -> None:
        """Read what is remembered."""
        await self.store.load()

    @property
    def _settings(self) -> VolthaSettings:
        settings: VolthaSettings = self._api.settings
        return settings

    def _owner_of(self, olt_serial: str) -> Owner:
        settings = self._settings
        return self._owner_named(settings.flow_owners.get(olt_serial, settings.flow_owner))

    def _owner_named(self, name: str) -> Owner:
        if name not in self._owners:
            self._owners[name] = self._controlled(name)
        return self._owners[name]

    def _controlled(self, name: str) -> Owner:
        """Who lets a controller program flows; aiohttp loads here."""
        from ._controlled import ControlledOwner  # noqa: PLC0415
        from ._controllers import Rest, make_controller  # noqa: PLC0415

        if self._rest is None:
            self._rest = Rest(self._controller_base, self._controller_login)
        controller = make_controller(name, self._rest)
        return ControlledOwner(controller, tenant=self._api.tenant_id or "", store=self.store)

    def _controller_base(self) -> str:
        settings = self._settings
        host = f"[{settings.voltha_host}]" if ":" in settings.voltha_host else settings.voltha_host
        address = settings.controller_address or f"{host}:{settings.voltha_rest_port}"
        return f"http{'s' if settings.controller_tls else ''}://{address}"

    async def _controller_login(self) -> tuple[Secret, Secret] | None:
        user = await self._api.secrets.get("controller-username")
        password = await self._api.secrets.get("controller-password")
        return None if user is None or password is None else (user, password)

    async def close(self) -> None:
        """End jobs and connections."""
        await self.bulks.stop()
        if self._rest is not None:
            await self._rest.close()

    def _follower(self, what: str, context: PluginContext | None) -> Follower:
        return Follower(what, time_limit(self._settings.flow_timeout, context))

    async def _guarded(self, work: Awaitable[None]) -> None:
        """Run work to its end although the caller may be cancelled; only the end of the instance ends it."""

        async def run() -> None:
            await work

        await asyncio.shield(self._api.spawn(run(), name="voltha rollback"))

    async def add(
        self, device_id: str, subscriber_id: str, config: Any, context: PluginContext | None, *, age: float = 0.0
    ) -> dict[str, Any]:
        check_subscriber_id(subscriber_id)
        service = ServiceConfig.parse(config)
        directory = self._session().directory
        if age:
            onu = await directory.glimpse(device_id, kind="onu", age=age)
        else:
            onu = await directory.require(device_id, kind="onu")
        follower = self._follower(f"add_subscriber_flow {subscriber_id}", context)
        item, changed = await self.subscribers.add(self._session(), onu, subscriber_id, service, follower)
        return self._told("added", item, changed) | {"created": changed}

    async def change_speed(
        self,
        device_id: str,
        subscriber_id: str,
        speeds: Mapping[str, Any],
        name: str | None,
        context: PluginContext | None,
    ) -> dict[str, Any]:
        item = await self._only(device_id, subscriber_id, name)
        service = _with_speeds(item.service, speeds)
        onu = await self._session().directory.find(item.key.onu_serial)
        follower = self._follower(f"change_subscriber_speed {subscriber_id}", context)
        item, changed = await self.subscribers.change_speed(self._session(), onu, item.key, service, follower)
        return self._told("speed_changed", item, changed)

    async def set_mac(
        self, device_id: str, subscriber_id: str, mac_address: str, name: str | None, context: PluginContext | None
    ) -> dict[str, Any]:
        item = await self._only(device_id, subscriber_id, name)
        config = {**item.service, "mac_address": mac_address}
        added = await self.add(item.key.onu_serial, subscriber_id, config, context)
        return {**added, "changed": added["created"]}

    async def _learnt(self, item: StoredService, mac_address: str) -> None:
        """A subscriber's own packet told the address that its service waits for."""
        key = item.key
        await self.set_mac(key.onu_serial, key.subscriber_id, mac_address, key.name, None)
        self._api.logger.info("service %r of subscriber %r: learnt %s", key.name, key.subscriber_id, mac_address)

    async def suspend(
        self, device_id: str, subscriber_id: str, name: str | None, context: PluginContext | None
    ) -> dict[str, Any]:
        return await self._each("suspend", device_id, subscriber_id, name, context)

    async def restore(
        self, device_id: str, subscriber_id: str, name: str | None, context: PluginContext | None
    ) -> dict[str, Any]:
        return await self._each("restore", device_id, subscriber_id, name, context)

    async def _each(
        self, what: str, device_id: str, subscriber_id: str, name: str | None, context: PluginContext | None
    ) -> dict[str, Any]:
        """Suspend or restore one service by name, or all that the subscriber has on the device."""
        follower = self._follower(f"{what}_subscriber {subscriber_id}", context)
        shown = []
        for item in await self._some(device_id, subscriber_id, name):
            if what == "suspend":
                now, changed = await self.subscribers.suspend(self._session(), item.key, follower)
            else:
                onu = await self._session().directory.require(item.key.onu_serial, kind="onu")
                now, changed = await self.subscribers.restore(self._session(), onu, item.key, follower)
            shown.append(self._told(f"{what}ed" if what == "suspend" else "restored", now, changed))
        return {
            "subscriber_id": subscriber_id,
            "changed": any(each["changed"] for each in shown),
            "services": shown,
        }

    async def remove(
        self, device_id: str, subscriber_id: str, name: str | None, context: PluginContext | None
    ) -> dict[str, Any]:
        check_subscriber_id(subscriber_id)
        items = [item for item in await self._matching(device_id, subscriber_id) if name in (None, item.key.name)]
        follower = self._follower(f"remove_subscriber_flow {subscriber_id}", context)
        flows = meters = 0
        for item in items:
            gone = await self.subscribers.remove(self._session(), item, follower)
            flows, meters = flows + gone[0], meters + gone[1]
            self._told("removed", item, True)
        return {
            "subscriber_id": subscriber_id,
            "removed": bool(items),
            "services": len(items),
            "flows": flows,
            "meters": meters,
        }

    async def _only(self, device_id: str, subscriber_id: str, name: str | None) -> StoredService:
        """The one service that is meant."""
        items = await self._some(device_id, subscriber_id, name)
        if len(items) == 1:
            return items[0]
        names = ", ".join(item.key.name for item in items)
        raise ServiceConfigError(
            f"subscriber {subscriber_id!r} has {len(items)} services there",
            remedy=f"Name the one that is meant: {names}",
        )

    async def _some(self, device_id: str, subscriber_id: str, name: str | None) -> list[StoredService]:
        """The subscriber's services on the device, by name or all; raises when there is none."""
        check_subscriber_id(subscriber_id)
        there = await self._matching(device_id, subscriber_id)
        items = [item for item in there if name in (None, item.key.name)]
        if items:
            return items
        names = ", ".join(item.key.name for item in there)
        wanted = "no service" if name is None else f"no service {name!r}"
        raise VolthaError(
            f"subscriber {subscriber_id!r} has {wanted} on device {device_id!r}",
            remedy=f"There are {names}" if names else "`list_subscribers` gives the services that there are",
        )

    async def _matching(self, device_id: str, subscriber_id: str) -> list[StoredService]:
        """The subscriber's services on a device, which may be gone from VOLTHA or have another id by now."""
        items = await self.store.of_subscriber(subscriber_id)
        here = [item for item in items if device_id in (item.key.onu_serial, item.place.onu_id)]
        if here or not items:
            return here
        device = await self._session().directory.find(device_id)
        if device is None:
            where = ", ".join(sorted({item.key.onu_serial for item in items}))
            raise DeviceNotFoundError(
                f"no device with the id or serial number {device_id!r}",
                remedy=f"Subscriber {subscriber_id!r} has services on ONU {where}",
            )
        return [item for item in items if item.key.onu_serial == device.serial]

    def _told(self, what: str, item: StoredService, changed: bool) -> dict[str, Any]:
        """The service as it is given to the caller; a change is told to the tenant's other plugins too."""
        details = {**item.plain(), "changed": changed}
        if changed:
            event = service_event(what, details, source=self._api.plugin_id, tenant_id=self._api.tenant_id)
            self._tell(event)
        return details

    async def on_device(self, device: DeviceView) -> list[StoredService]:
        """The services of an ONU."""
        if device.is_olt:
            return []
        return [item async for item in self.store.every() if item.key.onu_serial == device.serial]

    async def set_uplink(
        self, device_id: str, traps: Sequence[str], dhcp_vlan: int | None, context: PluginContext | None
    ) -> dict[str, Any]:
        olt = await self._session().directory.require(device_id, kind="olt")
        owner = self._owner_of(olt.key)
        if owner.name != DIRECT:
            raise ServiceConfigError(
                f"OLT {olt.key} is programmed by {owner.name}, which sets the traps at its uplink itself",
                remedy="Configure them there, or set flow_owner to direct for this OLT",
            )
        follower = self._follower(f"set_uplink_traps {olt.key}", context)
        return (await self.uplinks.set(self._session(), olt, traps, dhcp_vlan, follower)).plain()

    async def _act(self, action: str, item: Mapping[str, Any]) -> dict[str, Any]:
        """One item of a bulk job."""
        device, subscriber, name = item["device_id"], item["subscriber_id"], item.get("name")
        match action:
            case "add":
                return await self.add(device, subscriber, item["service"], None, age=_BULK_AGE)
            case "speed":
                return await self.change_speed(device, subscriber, item["speeds"], name, None)
            case "suspend" | "restore":
                return await self._each(action, device, subscriber, name, None)
            case _:
                return await self.remove(device, subscriber, name, None)

    async def plan(self, device_id: str | None) -> dict[str, Any]:
        return (await self.reconciler.plan(await self._all_names(device_id))).plain()

    async def reconcile(self, device_id: str | None, *, remove_orphans: bool) -> dict[str, Any]:
        names = await self._all_names(device_id)
        return await self.reconciler.reconcile(names, remove_orphans=remove_orphans)

    async def _all_names(self, device_id: str | None) -> set[str] | None:
        if device_id is None:
            return None
        device = await self._session().directory.find(device_id)
        return {device_id} if device is None else {device_id, device.id, device.serial} - {""}

    async def list(self, device_id: str | None) -> list[dict[str, Any]]:
        items: Sequence[StoredService] = [item async for item in self.store.every()]
        if device_id is not None:
            device = await self._session().directory.find(device_id)
            names = {device_id} if device is None else {device_id, device.serial}
            items = [item for item in items if names & _names(item)]
        return [item.plain() for item in items]


def _names(item: StoredService) -> set[str]:
    return {item.key.onu_serial, item.place.onu_id, item.place.olt_serial, item.place.olt_id}


def _with_speeds(service: Mapping[str, Any], speeds: Mapping[str, Any]) -> ServiceConfig:
    """The service with other speeds; what is not given stays."""
    names = {"bandwidth_up": "upstream", "bandwidth_down": "downstream"}
    allowed = {*names, *names.values(), "upstream_olt", "downstream_olt"}
    if not isinstance(speeds, dict) or not speeds or speeds.keys() - allowed:
        raise ServiceConfigError(
            f"the speeds are {speeds!r}", remedy=f"Give some of {', '.join(sorted(allowed))}; kbit/s, or profiles"
        )
    kept = {
        key: value
        for key, value in service.items()
        if key not in speeds.keys() | {names.get(key, key) for key in speeds}
    }
    return ServiceConfig.parse({**kept, **speeds})
