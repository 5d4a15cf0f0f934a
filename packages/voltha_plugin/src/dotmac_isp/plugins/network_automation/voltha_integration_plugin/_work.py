"""Everything that works while an instance is active, put together in one place. Imports gRPC and protobufs, so it loads late."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from ._client import Login
from ._configure import DeviceConfig, configure
from ._follow import Follower, time_limit
from ._health import ask_health, missing_adapters
from ._monitor import Monitor
from ._olt import check_olt_address, provision_olt
from ._onu import OnuPlace, pon_index, provision_onu
from ._session import Locks, open_session
from ._status import describe
from .devices._control import DeviceControl
from .diagnosis._facts import Known, collect_facts
from .diagnosis._rules import decide, plain
from .events._events import Events
from .events._log import EventLog
from .metrics._collect import collect, count_devices
from .metrics._control import MetricControl
from .services._desk import ServiceDesk
from .services._stored import check_subscriber_id
from .software._control import SoftwareControl
from .topology._plant_store import PlantStore
from .topology._reads import read_ports
from .topology._tree import build_topology

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dotmac_isp.plugins.core.api import PluginAPI
    from dotmac_isp.plugins.core.model import DeviceEvent, HealthReport, PluginContext, Secret

    from ._device import DeviceView
    from ._session import Session
    from ._settings import VolthaSettings

__all__ = ["Work", "begin_work"]

_CLOSE_GRACE: Final = 10.0


class Work:
    """One active instance: its session, its services, its monitor."""

    def __init__(self, api: PluginAPI, session: Session, login: Login) -> None:
        self._api: Final = api
        self._login: Final = login
        self._locks: Final = Locks()
        self.session = session
        #: The latest events, for whoever follows them.
        self.log: Final = EventLog()
        self._monitor: Final = Monitor(
            look=self._list_devices,
            relay=lambda event: api.hooks.on_device_event(event=event),
            heard=self._hear,
            interval=lambda: self._settings.device_monitoring_interval,
            source=api.plugin_id,
            tenant_id=api.tenant_id,
            logger=api.logger,
            seen=self._seen,
        )
        self.devices: Final = DeviceControl(api, session=lambda: self.session, locks=self._locks, monitor=self._monitor)
        self.desk: Final = ServiceDesk(api, session=lambda: self.session, locks=self._locks, tell=self._monitor.tell)
        self._store: Final = self.desk.store
        self.values: Final = MetricControl(api, session=lambda: self.session, locks=self._locks)
        #: What the operator told of splitters, cables and places.
        self.plant: Final = PlantStore(api.storage)
        self.software: Final = SoftwareControl(
            api, session=lambda: self.session, locks=self._locks, tell=self._monitor.tell
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._events = self._make_events()
        self._former_calls: dict[str, int] = {}

    @property
    def _settings(self) -> VolthaSettings:
        settings: VolthaSettings = self._api.settings
        return settings

    async def start(self) -> None:
        """Ask VOLTHA whether it is there, read what is remembered, and begin to watch."""
        client = self.session.client
        await client.call("GetVoltha", limit=self._settings.connect_timeout)
        adapters = {item.type for item in (await client.call("ListAdapters")).items}
        if missing := missing_adapters(adapters, self._settings.required_adapters):
            self._api.logger.warning("%s has no adapter %s", client.endpoint.label, ", ".join(missing))
        if not client.endpoint.tls and not _is_loopback(self._settings.voltha_host):
            self._api.logger.warning(
                "user and password travel to %s unencrypted; set voltha_tls", client.endpoint.label
            )
        await self.desk.begin()
        await self.devices.load()
        await self.software.load()
        self._monitor.devices = await self.session.devices()
        await self._events.start()
        self._begin_tasks()
        await self.desk.bulks.resume()
        self._monitor.look_soon()

    def _begin_tasks(self) -> None:
        self._tasks.append(self._api.spawn(self._monitor.run(), name="voltha device monitor"))
        self._tasks.append(self._api.spawn(self.devices.changes.run(), name="voltha change events"))
        self._tasks.append(self._api.spawn(self.desk.reconciler.run(), name="voltha service reconciler"))
        self._tasks.append(self._api.spawn(self._store.follow(), name="voltha services of other hosts"))
        self._tasks.append(self._api.spawn(self.desk.learner.run(), name="voltha MAC addresses"))
        self._read_events()

    def _hear(self, event: DeviceEvent) -> None:
        self.log.put(event)
        self.desk.reconciler.notice(event)

    def _make_events(self) -> Events:
        return Events(
            self._api,
            tell=self._monitor.tell,
            listed=lambda: self._monitor.devices,
            relist=self._list_devices,
            look_soon=self._monitor.look_soon,
            history=self.values.history,
        )

    def _read_events(self) -> None:
        if self._events.reader is not None:
            self._tasks.append(self._api.spawn(self._events.reader.run(), name="voltha events"))

    async def stop(self, grace: float) -> None:
        """Stop watching and end the channel; calls under way get `grace` seconds."""
        await self.software.stop()
        await self.desk.close()
        await self._stop_tasks()
        await self.session.client.close(grace)

    async def _stop_tasks(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
            await self._events.checkpoint()

    async def reconnect(self) -> None:
        """Speak to VOLTHA as the settings say now; calls under way end on the former connection."""
        former, self.session = self.session, await open_session(self._api, self._login)
        for name, count in former.client.calls.items():
            self._former_calls[name] = self._former_calls.get(name, 0) + count
        self._api.spawn(former.client.close(_CLOSE_GRACE), name="voltha former connection")
        await self.reread_events()
        self._monitor.look_soon()

    async def reread_events(self) -> None:
        """Read VOLTHA's events from where the settings say now."""
        await self._stop_tasks()
        self._events = self._make_events()
        await self._events.start()
        self._begin_tasks()

    def forget_login(self) -> None:
        """Use the secrets as they are now from the next call on."""
        self._login.forget()

    def look_soon(self) -> None:
        """The monitoring interval changed, or something happened."""
        self._monitor.look_soon()

    async def _list_devices(self) -> list[DeviceView]:
        return await self.session.devices()

    async def health(self) -> HealthReport:
        return self._events.health(await ask_health(self.session.client, self._settings.required_adapters))

    def metrics(self) -> Mapping[str, float]:
        """Numbers about this instance, from what was seen last (no call to VOLTHA)."""
        devices = self._monitor.devices
        client = self.session.client
        return {
            "voltha_devices": float(len(devices)),
            "voltha_olts": float(sum(device.is_olt for device in devices)),
            "voltha_olts_active": float(sum(device.is_olt and device.is_active for device in devices)),
            "voltha_onus": float(sum(not device.is_olt for device in devices)),
            "voltha_onus_active": float(sum(not device.is_olt and device.is_active for device in devices)),
            "voltha_subscriber_services": float(len(self._store.index)),
            "voltha_service_repairs": float(self.desk.reconciler.counts["repairs"]),
            "voltha_service_repair_failures": float(self.desk.reconciler.counts["repair_failures"]),
            "voltha_rpc_calls_total": float(client.calls.total() + sum(self._former_calls.values())),
            "voltha_rpc_failures_total": float(client.failures.total()),
            **self._events.metrics(),
        }

    async def _seen(self, devices: list[DeviceView]) -> None:
        await self.devices.seen(devices)
        await self._events.look(devices)

    async def has_device(self, name: str) -> bool:
        """Whether this stack has a device of that id or serial number."""
        return await self.session.directory.find(name) is not None

    async def has_subscriber(self, subscriber_id: str) -> bool:
        """Whether a subscriber has services on this stack."""
        return bool(await self._store.of_subscriber(subscriber_id))

    async def waiting_onus(self) -> list[dict[str, Any]]:
        """The ONUs that are disabled because they were not allowed."""
        return self.devices.admissions.waiting(await self.session.devices())

    async def discover(self) -> list[dict[str, Any]]:
        return [device.plain() for device in await self.session.devices()]

    async def status(self, device_id: str) -> dict[str, Any] | None:
        device = await self.session.directory.find(device_id)
        if device is None:
            return None
        return await describe(self.session, device, await self.desk.on_device(device))

    async def configure(self, device_id: str, config: Mapping[str, Any], context: PluginContext | None) -> bool | None:
        device = await self.session.directory.find(device_id)
        if device is None:
            return None
        wanted = DeviceConfig.parse(config, device)
        default = self._settings.olt_timeout if device.is_olt else self._settings.onu_timeout
        follower = Follower(f"configure_device {device_id}", time_limit(default, context))
        try:
            async with self._locks[f"{device.kind}/{device.key}"]:
                await configure(self.session, device, wanted, follower)
        finally:
            self._monitor.look_soon()
        return True

    async def provision_olt(self, address: str, device_type: str, context: PluginContext | None) -> dict[str, Any]:
        address = check_olt_address(address)
        limit = time_limit(self._settings.olt_timeout, context)
        self._monitor.look_soon()
        try:
            async with self._locks[f"olt/{address}"]:
                return await provision_olt(
                    self.session, address, device_type, Follower(f"provision_olt {address}", limit)
                )
        finally:
            self._monitor.look_soon()

    async def provision_onu(
        self, parent: str, place: tuple[object, int | None, str], context: PluginContext | None
    ) -> dict[str, Any]:
        pon, onu_id, serial = place
        wanted = OnuPlace(serial=serial, pon=pon_index(pon), onu_id=onu_id)
        olt = await self.session.directory.require(parent, kind="olt")
        follower = Follower(f"provision_onu {serial}", time_limit(self._settings.onu_timeout, context))
        try:
            return await provision_onu(self.session, olt, wanted, follower)
        finally:
            self._monitor.look_soon()

    async def active_alarms(self, device_id: str | None) -> list[dict[str, Any]]:
        return await self._events.active(await self._names(device_id))

    async def alarm_history(self, device_id: str | None, since: float, limit: int) -> list[dict[str, Any]]:
        return await self._events.history(await self._names(device_id), since, limit)

    async def collect_metrics(self, resource_ids: Sequence[str]) -> dict[str, Any]:
        return await collect(
            self.session,
            self._events.latest,
            resource_ids,
            more=self._settings.metric_values,
            note=self.values.history.note,
        )

    async def counts(self) -> dict[str, Any]:
        """The counts of this stack, without any resource."""
        return {**count_devices(await self.session.devices()), "resources": {}}

    async def topology(self) -> dict[str, Any]:
        devices = await self.session.devices()
        ports = await read_ports(self.session, [device for device in devices if device.is_olt])
        services = [item async for item in self._store.every()]
        alarms = self._events.book.active.values()
        plant = await self.plant.read()
        return build_topology(self.session.client.endpoint.label, devices, ports, services, alarms, plant)

    async def diagnose(self, subscriber_id: str) -> dict[str, Any]:
        check_subscriber_id(subscriber_id)
        items = await self._store.of_subscriber(subscriber_id)
        # Of a subscriber with services on several ONUs the first that was stored is looked at.
        here = [item for item in items if item.key.onu_serial == items[0].key.onu_serial]
        facts = await collect_facts(self.session, subscriber_id, here, await self._known())
        return plain(facts, decide(facts))

    async def _known(self) -> Known:
        """What a diagnosis knows without asking VOLTHA."""
        return Known(
            devices=self._monitor.devices,
            alarms=None if self._events.reader is None else list(self._events.book.active.values()),
            plant=await self.plant.read(),
            deactivated=self.devices.deactivated,
            not_admitted=self.devices.admissions.rejected,
            recent=self._events.recent,
        )

    async def _names(self, device_id: str | None) -> set[str] | None:
        """What a device is called: its id and serial number, and what the caller called it, should it be gone."""
        if device_id is None:
            return None
        device = await self.session.directory.find(device_id)
        return {device_id} if device is None else {device_id, device.id, device.serial} - {""}


async def begin_work(api: PluginAPI) -> Work:
    """Connect and start; leaves nothing open when that fails."""

    async def read_login() -> tuple[Secret, Secret]:
        return await api.secrets.require("voltha-username"), await api.secrets.require("voltha-password")

    login = Login(read_login)
    work = Work(api, await open_session(api, login), login)
    try:
        await work.start()
    except BaseException:
        await work.stop(grace=0)
        raise
    return work


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")
