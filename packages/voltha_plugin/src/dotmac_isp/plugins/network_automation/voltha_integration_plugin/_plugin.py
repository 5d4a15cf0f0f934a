"""The plugin's class: lifecycle, hooks, and the methods of its handle. What they do is in `_work`, which loads late."""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING, Any, Final

from dotmac_isp.plugins.core.base import NetworkAutomationPlugin
from dotmac_isp.plugins.core.errors import LifecycleError
from dotmac_isp.plugins.core.model import HealthReport, HealthStatus

from .devices._methods import DeviceMethods
from .events._methods import EventMethods
from .metrics._methods import MetricMethods
from .services._methods import ServiceMethods
from .software._methods import SoftwareMethods
from .topology._methods import TopologyMethods

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dotmac_isp.plugins.core.api import PluginAPI
    from dotmac_isp.plugins.core.model import Device, DeviceStatus, PluginContext, SettingChange

    from ._work import Work
    from .stacks._stacks import Stacks

__all__ = ["VolthaIntegrationPlugin"]

_STOP_GRACE: Final = 2.0
_CONNECTION: Final = {
    "voltha_host",
    "voltha_port",
    "voltha_tls",
    "voltha_tls_ca",
    "voltha_tls_certificate",
    "voltha_tls_key",
    "call_timeout",
    "retry_time",
}

_STACKS: Final = {"voltha_stack", "voltha_stacks"}


class VolthaIntegrationPlugin(
    DeviceMethods,
    ServiceMethods,
    EventMethods,
    MetricMethods,
    SoftwareMethods,
    TopologyMethods,
    NetworkAutomationPlugin,
):
    """OLTs, ONUs and subscriber services over VOLTHA's gRPC interface, each command followed until its state is seen.

    `device_id` and `parent_device_id` are VOLTHA's ids or serial numbers; serial numbers stay the same when an ONU is
    discovered anew or an OLT reboots. A context's deadline bounds the whole operation (`PluginContext.within(120)`); without
    one the settings do. Methods raise the errors of this package; before activation they raise `LifecycleError`.
    """

    def __init__(self, api: PluginAPI) -> None:
        super().__init__(api)
        self._active: Stacks | None = None

    @property
    def _stacks(self) -> Stacks:
        if self._active is None:
            raise LifecycleError("the VOLTHA plugin is not active", remedy="Start it before calling it")
        return self._active

    @property
    def _work(self) -> Work:
        return self._stacks.primary

    async def initialize(self) -> None:
        """Nothing but what the host did already: settings are valid, the secrets exist."""

    async def activate(self) -> None:
        """Connect. Raises `VolthaUnavailableError` (not ready) and `VolthaCredentialsError`; missing adapters degrade health."""
        # 0.3 s of protobuf classes: not on the event loop.
        module = await asyncio.to_thread(importlib.import_module, ".stacks._stacks", __package__)
        self._active = await module.open_stacks(self.api)

    async def deactivate(self) -> None:
        """Stop watching and disconnect. Devices and services stay as they are."""
        stacks, self._active = self._active, None
        if stacks is not None:
            await stacks.stop(_STOP_GRACE)

    async def cleanup(self) -> None:
        """Disconnect, in case that `deactivate` did not run."""
        await self.deactivate()

    async def health_check(self) -> HealthReport:
        """Tell ready, adapter missing, not ready, unreachable and credentials refused apart in `details["state"]`."""
        if self._active is None:
            return HealthReport(status=HealthStatus.UNKNOWN, message="not active", details={"state": "not active"})
        return await self._active.health()

    async def get_metrics(self) -> Mapping[str, float]:
        """Devices, active ONUs, subscriber services, calls to VOLTHA."""
        return {} if self._active is None else self._active.metrics()

    async def on_settings_changed(self, changes: Sequence[SettingChange]) -> None:
        """Reconnect where the address changed; everything else is read when it is used."""
        if self._active is None:
            return
        keys = {change.key for change in changes}
        if keys & _STACKS:
            former, self._active = self._active, None
            await former.stop(_STOP_GRACE)
            await self.activate()
            return
        for work in self._active.works:
            if keys & _CONNECTION:
                await work.reconnect()
            elif "kafka_bootstrap" in keys:
                await work.reread_events()
            else:
                work.look_soon()

    async def on_secret_rotated(self, name: str) -> None:  # noqa: ARG002 - both secrets are read again
        """Use the new credentials from the next call on; calls under way are not touched."""
        for work in () if self._active is None else self._active.works:
            work.forget_login()

    async def discover_devices(self, context: PluginContext | None = None) -> list[Device]:  # noqa: ARG002
        """All OLTs and ONUs: ids, serial numbers, states, places."""
        return [device for work in self._stacks.works for device in await work.discover()]

    async def get_device_status(
        self,
        device_id: str,
        context: PluginContext | None = None,  # noqa: ARG002
    ) -> DeviceStatus | None:
        """One device with its ports (and an ONU's subscribers), or `None` when VOLTHA has no such device."""
        return await (await self._stacks.holding(device_id)).status(device_id)

    async def configure_device(
        self,
        device_id: str,
        config: Mapping[str, Any],
        context: PluginContext | None = None,
    ) -> bool | None:
        """Enable or disable a device (`{"enabled": bool}`), an OLT's PON ports (`{"pon_ports": {0: bool}}`) or address.

        `True` when the device was seen to be so; `None` when VOLTHA has no such device.
        """
        return await (await self._stacks.holding(device_id)).configure(device_id, config, context)

    async def provision_olt(
        self,
        host_and_port: str,
        device_type: str = "openolt",
        context: PluginContext | None = None,
        stack: str | None = None,
    ) -> dict[str, Any]:
        """Create and enable an OLT (`host:port` or MAC address) on a stack, and wait until it is active with its logical device. Asking twice is no error.

        Gives the device, and `created`, `logical_device_id`, `nni_ports`, `onus` (how many are known right now).
        """
        return await self._stacks.named(stack).provision_olt(host_and_port, device_type, context)

    async def provision_onu(
        self,
        parent_device_id: str,
        pon_port: int | str | None,
        onu_id: int | None,
        serial_number: str,
        context: PluginContext | None = None,
    ) -> dict[str, Any]:
        """Wait until the ONU of this serial number is there and ready for flows, enabling it where it was disabled.

        VOLTHA discovers ONUs itself; `pon_port` (index, port number or label) and `onu_id` say where it should be, `None`:
        anywhere. Raises `WrongPlaceError` that says where it really is.
        """
        work = await self._stacks.holding(parent_device_id)
        return await work.provision_onu(parent_device_id, (pon_port, onu_id, serial_number), context)

    async def diagnose(self, subscriber_id: str) -> dict[str, Any]:
        """What is wrong with a subscriber's line: `finding`, `sentence`, `confidence` (0 to 1), `advice`, and the `facts`.

        Walks from the service over flows and meters to ONU, PON, neighbours and OLT with at most nine calls to VOLTHA. With Kafka it
        tells an ONU without power from a cut fibre.
        """
        return await (await self._stacks.serving(subscriber_id)).diagnose(subscriber_id)
