"""The methods on devices that the plugin's handle has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._admission import Admission

if TYPE_CHECKING:
    from dotmac_isp.plugins.core.model import PluginContext

    from ..stacks._stacks import Stacks

__all__ = ["DeviceMethods"]


class DeviceMethods:
    """OLTs and ONUs: create, switch, reboot, delete, admit, look up. A device is named by serial number or VOLTHA's id.

    Every command is followed until its state is seen; `StateTimeoutError` says which step hangs. Asking twice is no error.
    """

    if TYPE_CHECKING:

        @property
        def _stacks(self) -> Stacks: ...

    async def list_stacks(self) -> list[dict[str, Any]]:
        """The VOLTHA stacks of this tenant: name, target, whether it is connected."""
        return self._stacks.plain()

    async def voltha_version(self, stack: str | None = None) -> dict[str, Any]:
        """Which version of VOLTHA a stack runs."""
        return await self._stacks.named(stack).devices.reads.version()

    async def list_adapters(self, stack: str | None = None) -> list[dict[str, Any]]:
        """The adapters that are registered, and when they were heard last."""
        return await self._stacks.named(stack).devices.reads.adapters()

    async def list_device_types(self, stack: str | None = None) -> list[dict[str, Any]]:
        """The device types that there are adapters for."""
        return await self._stacks.named(stack).devices.reads.device_types()

    async def create_olt(self, address: str, device_type: str = "openolt", stack: str | None = None) -> dict[str, Any]:
        """Create an OLT by `host:port` or MAC address and leave it PREPROVISIONED; `provision_olt` also enables it."""
        return await self._stacks.named(stack).devices.create(address, device_type)

    async def enable_device(self, device_id: str, context: PluginContext | None = None) -> dict[str, Any]:
        """Enable an OLT or ONU and wait until it is active."""
        work = await self._stacks.holding(device_id)
        return await work.devices.switch(device_id, enabled=True, context=context)

    async def disable_device(self, device_id: str, context: PluginContext | None = None) -> dict[str, Any]:
        """Disable an OLT or ONU (its user ports are locked then) and wait until it is."""
        work = await self._stacks.holding(device_id)
        return await work.devices.switch(device_id, enabled=False, context=context)

    async def reboot_device(
        self, device_id: str, wait: bool = True, context: PluginContext | None = None
    ) -> dict[str, Any]:
        """Reboot an OLT or ONU; with `wait` until it went down and came back (give minutes for an OLT)."""
        return await (await self._stacks.holding(device_id)).devices.reboot(device_id, wait=wait, context=context)

    async def delete_device(
        self, device_id: str, force: bool = False, context: PluginContext | None = None
    ) -> dict[str, Any]:
        """Delete an OLT with its ONUs, or an ONU, which is discovered again (`rediscovered_as`) if it is still connected.

        `force` takes it out of VOLTHA whatever its adapter says. `deleted` is false when it was not there.
        """
        return await (await self._stacks.holding(device_id)).devices.delete(device_id, force=force, context=context)

    async def change_olt_address(
        self, device_id: str, host_and_port: str, context: PluginContext | None = None
    ) -> dict[str, Any]:
        """Tell VOLTHA an OLT's new `host:port`."""
        work = await self._stacks.holding(device_id)
        return await work.devices.change_address(device_id, host_and_port, context)

    async def enable_port(
        self, device_id: str, pon_port: int | str, context: PluginContext | None = None
    ) -> dict[str, Any]:
        """Enable a PON port of an OLT (index, number or label); gives the port."""
        work = await self._stacks.holding(device_id)
        return await work.devices.switch_port(device_id, pon_port, enabled=True, context=context)

    async def disable_port(
        self, device_id: str, pon_port: int | str, context: PluginContext | None = None
    ) -> dict[str, Any]:
        """Disable a PON port of an OLT, and with it every ONU on it; gives the port."""
        work = await self._stacks.holding(device_id)
        return await work.devices.switch_port(device_id, pon_port, enabled=False, context=context)

    async def enable_onu(
        self, device_id: str, by_serial: bool = False, context: PluginContext | None = None
    ) -> dict[str, Any]:
        """Let the OLT activate an ONU again that `disable_onu` deactivated."""
        work = await self._stacks.holding(device_id)
        return await work.devices.switch_at_olt(device_id, enabled=True, by_serial=by_serial, context=context)

    async def disable_onu(
        self, device_id: str, by_serial: bool = False, context: PluginContext | None = None
    ) -> dict[str, Any]:
        """Let the OLT deactivate an ONU (PLOAM): its laser stays dark. `disable_device` only locks its user ports."""
        work = await self._stacks.holding(device_id)
        return await work.devices.switch_at_olt(device_id, enabled=False, by_serial=by_serial, context=context)

    async def enable_onu_serial(
        self, olt: str, pon_port: int | str, serial_number: str, context: PluginContext | None = None
    ) -> dict[str, Any]:
        """Let a serial number in again on a PON."""
        work = await self._stacks.holding(olt)
        return await work.devices.switch_serial(olt, pon_port, serial_number, enabled=True, context=context)

    async def disable_onu_serial(
        self, olt: str, pon_port: int | str, serial_number: str, context: PluginContext | None = None
    ) -> dict[str, Any]:
        """Keep a serial number off a PON."""
        work = await self._stacks.holding(olt)
        return await work.devices.switch_serial(olt, pon_port, serial_number, enabled=False, context=context)

    async def allow_onu(
        self,
        serial_number: str,
        olt: str = "",
        pon_port: int | None = None,
        note: str = "",
        stack: str | None = None,
    ) -> dict[str, Any]:
        """Let an ONU work, below one OLT (its serial number) and on one PON only where they are given.

        Of effect with the setting `onu_admission = "allow-list"`; an ONU that waits is enabled.
        """
        entry = Admission(serial=serial_number, olt_serial=olt, pon=pon_port, note=note)
        return await self._stacks.named(stack).devices.allow(entry)

    async def forbid_onu(self, serial_number: str, stack: str | None = None) -> dict[str, Any]:
        """Take an ONU off the list of those that may work."""
        return await self._stacks.named(stack).devices.forbid(serial_number)

    async def list_allowed_onus(self, stack: str | None = None) -> list[dict[str, Any]]:
        """The list of ONUs that may work."""
        return self._stacks.named(stack).devices.admissions.plain()

    async def list_waiting_onus(self) -> list[dict[str, Any]]:
        """The ONUs that were discovered and are not on the list, which is why they are disabled."""
        return [each for work in self._stacks.works for each in await work.waiting_onus()]

    async def stuck_devices(self) -> list[dict[str, Any]]:
        """The devices that hang: `name` of the state, `since`, what it means (`sentence`) and what helps (`remedy`)."""
        return [each.plain() for work in self._stacks.works for each in work.devices.stuck.found.values()]

    async def list_ports(self, device_id: str) -> list[dict[str, Any]]:
        """The ports of an OLT or ONU."""
        devices = (await self._stacks.holding(device_id)).devices
        return await devices.reads.ports((await devices.require(device_id)).id)

    async def list_device_flows(self, device_id: str) -> list[dict[str, Any]]:
        """The flows on an OLT or ONU, as VOLTHA writes them."""
        devices = (await self._stacks.holding(device_id)).devices
        return await devices.reads.flows((await devices.require(device_id)).id)

    async def list_device_groups(self, device_id: str) -> list[dict[str, Any]]:
        """The multicast groups on a device."""
        devices = (await self._stacks.holding(device_id)).devices
        return await devices.reads.groups((await devices.require(device_id)).id)

    async def list_logical_devices(self, stack: str | None = None) -> list[dict[str, Any]]:
        """The logical devices, one for each OLT that works."""
        return await self._stacks.named(stack).devices.reads.logical_devices()

    async def inspect_logical_device(self, device_id: str, what: str = "flows") -> list[dict[str, Any]]:
        """The `flows`, `groups`, `ports` or `meters` of an OLT's logical device, named by the OLT or by its own id."""
        work = await self._stacks.holding(device_id)
        device = await work.session.directory.find(device_id)
        logical = device_id if device is None else device.parent_id
        return await work.devices.reads.logical_device(logical, what)
