"""What the plugin does with devices on one stack: names resolved, one command for a device at a time, each followed."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from dotmac_isp.plugins.core.model import DeviceEvent

from .._configure import configure_enabled
from .._device import DeviceView, onus_of
from .._errors import DeviceNotFoundError, ServiceConfigError
from .._follow import Follower, time_limit
from .._olt import change_address, check_address, create_olt, switch_pon
from .._onu import pon_index
from ..services._flow import pon_port_no
from ._admission import Admission, check_serial
from ._admitting import Admissions
from ._change_stream import ChangeStream
from ._life import delete_device, reboot_device, switch_at_olt, switch_serial
from ._reads import Reads
from ._stuck import StuckWatch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from dotmac_isp.plugins.core.api import PluginAPI
    from dotmac_isp.plugins.core.model import PluginContext

    from .._monitor import Monitor
    from .._session import Locks, Session
    from ._stuck import Stuck

__all__ = ["DeviceControl"]

_DEACTIVATED: Final = "deactivated/"
#: A reboot takes minutes on hardware (section 2.2); a call's own deadline bounds it.
_REBOOT: Final = 25.0


class DeviceControl:
    """The devices of one stack."""

    def __init__(self, api: PluginAPI, *, session: Callable[[], Session], locks: Locks, monitor: Monitor) -> None:
        self._api: Final = api
        self._session_now: Final = session
        self._locks: Final = locks
        self._monitor: Final = monitor
        self.admissions: Final = Admissions(api, session=session, tell=monitor.tell)
        self.stuck: Final = StuckWatch()
        self._deactivated: Final[set[str]] = set()
        self.reads: Final = Reads(session)
        self.changes: Final = ChangeStream(
            session=session,
            # One reader only (section 1.2): where a controller programs the flows it is the controller.
            wanted=lambda: bool(api.settings.read_change_events) and api.settings.flow_owner == "direct",
            changed=monitor.look_soon,
            logger=api.logger,
        )

    @property
    def _session(self) -> Session:
        return self._session_now()

    @property
    def deactivated(self) -> frozenset[str]:
        """The serial numbers that were deactivated at their OLT, as far as this plugin did it."""
        return frozenset(self._deactivated)

    async def load(self) -> None:
        """Read what is remembered: who may work, and who is deactivated."""
        await self.admissions.load()
        documents = await self._api.storage.list(_DEACTIVATED)
        self._deactivated.update(document.key.removeprefix(_DEACTIVATED) for document in documents)

    async def _remember(self, serial: str, *, enabled: bool) -> None:
        """Remember who is deactivated: VOLTHA shows it as unreachable only."""
        if enabled:
            self._deactivated.discard(serial)
            await self._api.storage.delete(_DEACTIVATED + serial)
        else:
            await self._api.storage.put(_DEACTIVATED + serial, {"at": time.time()})
            self._deactivated.add(serial)

    async def seen(self, devices: Sequence[DeviceView]) -> None:
        """What is done after each look at all devices."""
        fresh, over = self.stuck.take(devices, time.time(), patience=self._api.settings.stuck_after)
        for each in fresh:
            self._api.logger.warning("%s: %s", each.name, each.sentence)
            self._tell(each, "device_stuck", "major")
        for each in over:
            self._tell(each, "device_unstuck", "info")
        await self.admissions.enforce(devices)

    def _tell(self, stuck: Stuck, kind: str, severity: str) -> None:
        text = stuck.sentence if kind == "device_stuck" else f"{stuck.device.key} does not hang any more ({stuck.name})"
        self._monitor.tell(
            DeviceEvent(
                event_type=kind,
                device_id=stuck.device.id,
                serial_number=stuck.device.serial,
                source=self._api.plugin_id,
                tenant_id=self._api.tenant_id,
                severity=severity,
                message=text,
                attributes=stuck.plain(),
            )
        )

    async def require(self, name: str, kind: str | None = None) -> DeviceView:
        """The device; raises `DeviceNotFoundError` that says what is there."""
        if kind is not None:
            return await self._session.directory.require(name, kind=kind)
        found = await self._session.directory.find(name)
        if found is None:
            raise DeviceNotFoundError(
                f"no device with the id or serial number {name!r}", remedy="discover_devices lists what VOLTHA has"
            )
        return found

    @asynccontextmanager
    async def _command(
        self, device: DeviceView, operation: str, context: PluginContext | None, default: float | None = None
    ) -> AsyncIterator[Follower]:
        """One command at a time for a device, with its time; the monitor looks when it is over."""
        settings = self._api.settings
        usual = default or (settings.olt_timeout if device.is_olt else settings.onu_timeout)
        follower = Follower(f"{operation} {device.key}", time_limit(usual, context))
        try:
            async with self._locks[f"{device.kind}/{device.key}"]:
                yield follower
        finally:
            self._monitor.look_soon()

    async def create(self, address: str, device_type: str) -> dict[str, Any]:
        """Create an OLT and leave it as it is."""
        async with self._locks[f"olt/{address}"]:
            olt, created = await create_olt(self._session, address, device_type)
        self._monitor.look_soon()
        return {**olt.plain(), "created": created}

    async def switch(self, name: str, *, enabled: bool, context: PluginContext | None) -> dict[str, Any]:
        """Enable or disable a device."""
        device = await self.require(name)
        async with self._command(device, "enable" if enabled else "disable", context) as follower:
            await configure_enabled(self._session, device, enabled=enabled, follower=follower)
            return (await self.require(device.id)).plain()

    async def reboot(self, name: str, *, wait: bool, context: PluginContext | None) -> dict[str, Any]:
        """Reboot a device."""
        device = await self.require(name)
        async with self._command(device, "reboot", context, _REBOOT) as follower:
            return await reboot_device(self._session, device, follower, wait=wait)

    async def delete(self, name: str, *, force: bool, context: PluginContext | None) -> dict[str, Any]:
        """Delete a device; one that is not there is deleted already."""
        device = await self._session.directory.find(name)
        if device is None:
            return {"device_id": name, "serial_number": "", "deleted": False, "forced": force, "rediscovered_as": None}
        async with self._command(device, "delete", context) as follower:
            if not device.is_olt:
                return await delete_device(self._session, device, follower, force=force)
            # Each port that goes is a change event: nobody reading them would make VOLTHA hang (surprise 4).
            async with self.changes.needed():
                return await delete_device(self._session, device, follower, force=force)

    async def change_address(self, name: str, address: str, context: PluginContext | None) -> dict[str, Any]:
        """Give an OLT another address."""
        address = check_address(address)
        olt = await self.require(name, "olt")
        async with self._command(olt, "change address of", context) as follower:
            await change_address(self._session, olt, address, follower)
            return (await self.require(olt.id)).plain()

    async def switch_port(
        self, name: str, port: int | str, *, enabled: bool, context: PluginContext | None
    ) -> dict[str, Any]:
        """Enable or disable a PON port."""
        index = pon_index(port)
        if index is None:
            raise ServiceConfigError("pon_port is missing", remedy="Give the PON's index from 0, or its port number")
        olt = await self.require(name, "olt")
        async with self._command(olt, "switch a port of", context) as follower:
            await switch_pon(self._session, olt, pon_port_no(index), enabled=enabled, follower=follower)
        ports = await self.reads.ports(olt.id)
        return next(each for each in ports if each["port_no"] == pon_port_no(index))

    async def switch_at_olt(
        self, name: str, *, enabled: bool, by_serial: bool, context: PluginContext | None
    ) -> dict[str, Any]:
        """Let the OLT deactivate or activate an ONU that VOLTHA lists."""
        onu = await self.require(name, "onu")
        async with self._command(onu, "switch at the OLT", context) as follower:
            await self._remember(onu.serial, enabled=enabled)
            return await switch_at_olt(self._session, onu, follower, enabled=enabled, serial=by_serial)

    async def switch_serial(
        self, olt: str, pon: int | str, serial: str, *, enabled: bool, context: PluginContext | None
    ) -> dict[str, Any]:
        """The same for a serial number on a PON, which VOLTHA may list elsewhere or not at all."""
        index = pon_index(pon)
        if index is None:
            raise ServiceConfigError("pon_port is missing", remedy="Give the PON's index from 0")
        parent = await self.require(olt, "olt")
        devices = await self._session.devices()
        onu = next((each for each in onus_of(devices, parent) if each.serial == serial and each.pon == index), None)
        if onu is not None:
            return await self.switch_at_olt(onu.id, enabled=enabled, by_serial=True, context=context)
        await switch_serial(self._session, parent.id, index, check_serial(serial), enabled=enabled)
        await self._remember(serial, enabled=enabled)
        return {"serial_number": serial, "pon_port": index, "enabled_at_olt": enabled}

    async def allow(self, entry: Admission) -> dict[str, Any]:
        """Allow an ONU, and enable it where it waits."""
        await self.admissions.allow(entry)
        await self.admissions.enforce(await self._session.devices())
        self._monitor.look_soon()
        return entry.plain()

    async def forbid(self, serial: str) -> dict[str, Any]:
        """Take an ONU off the list; with admission by list it is disabled."""
        known = await self.admissions.forbid(serial)
        await self.admissions.enforce(await self._session.devices())
        self._monitor.look_soon()
        return {"serial_number": serial, "removed": known}
