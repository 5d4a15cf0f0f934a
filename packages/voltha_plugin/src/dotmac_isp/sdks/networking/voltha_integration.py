"""`VolthaSDK`: the old way to VOLTHA, kept for code that uses it. It calls the plugin and adds nothing.

The new way::

    from dotmac_isp.plugins.utils import load_voltha_integration

    await load_voltha_integration(plugin_manager, "production", tenant_id)
    voltha = plugin_manager.get("voltha_integration", tenant_id=tenant_id)
    await voltha.provision_olt("10.0.0.5:9191", "openolt")
"""

from __future__ import annotations

import asyncio
import warnings
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final, Self

from dotmac_isp.plugins.core.errors import LifecycleError
from dotmac_isp.plugins.core.model import PluginContext

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from types import TracebackType

    from dotmac_isp.plugins.core.manager import PluginManager
    from dotmac_isp.plugins.core.model import Device, DeviceEvent, DeviceStatus, HealthReport

__all__ = ["VolthaSDK"]

_PLUGIN: Final = "voltha_integration"


@cache
def _methods() -> frozenset[str]:
    from dotmac_isp.plugins.network_automation.voltha_integration_plugin import (  # noqa: PLC0415 - importing the SDK stays cheap
        VolthaIntegrationPlugin,
    )

    return frozenset(dir(VolthaIntegrationPlugin))


class VolthaSDK:
    """One tenant's VOLTHA. Deprecated: load the plugin with `load_voltha_integration` and call its handle.

    With a `manager`, the plugin is used as it runs there (`async with` starts it where it does not). Without one,
    `async with VolthaSDK(tenant_id=…) as voltha:` runs a manager of its own and stops it at the end. `configuration`
    overrides settings; `environment` names a deployment scenario. `deadline` (seconds) bounds every call.
    """

    def __init__(
        self,
        *,
        tenant_id: str | None = None,
        manager: PluginManager | None = None,
        environment: str | None = None,
        configuration: Mapping[str, Any] | None = None,
        deadline: float | None = None,
    ) -> None:
        warnings.warn(
            "VolthaSDK is deprecated; use dotmac_isp.plugins.utils.load_voltha_integration(manager, environment, tenant_id)"
            ' and manager.get("voltha_integration", tenant_id=tenant_id)',
            DeprecationWarning,
            stacklevel=2,
        )
        self._tenant_id: Final = tenant_id
        self._manager = manager
        self._owns_manager: Final = manager is None
        self._environment: Final = environment
        self._configuration: Final = configuration
        self._deadline: Final = deadline

    async def __aenter__(self) -> Self:
        if self._manager is None:
            from dotmac_isp.plugins.core.manager import PluginManager  # noqa: PLC0415 - importing the SDK stays cheap

            self._manager = PluginManager(environment=self._environment)
            await self._manager.start()
        try:
            await self._manager.load(
                _PLUGIN,
                tenant_id=self._tenant_id,
                environment=self._environment,
                configuration=self._configuration,
            )
            await self._manager.start_plugin(_PLUGIN, tenant_id=self._tenant_id)
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def _stop(self) -> None:
        if self._owns_manager and self._manager is not None:
            manager, self._manager = self._manager, None
            await manager.stop()

    @property
    def _running(self) -> PluginManager:
        if self._manager is None:
            raise LifecycleError(
                "this VolthaSDK has no plugin manager",
                remedy="Use it as `async with VolthaSDK(tenant_id=…) as voltha:`, or give manager=",
            )
        return self._manager

    async def _call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        handle = self._running.get(_PLUGIN, tenant_id=self._tenant_id)
        context = None if self._deadline is None else PluginContext.within(self._deadline)
        return await handle.call(method, *args, context=context, **kwargs)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Every other method of the plugin by its name: `await voltha.delete_device(serial)`."""
        if name.startswith("_") or name not in _methods():
            raise AttributeError(f"{type(self).__name__!r} and the VOLTHA plugin have no {name!r}")
        return partial(self._call, name)

    def follow_events(self, *args: Any, **kwargs: Any) -> AsyncIterator[DeviceEvent]:
        """What happens from now on; `kinds` and `device_id` choose. Ends with the plugin's instance."""
        events: AsyncIterator[DeviceEvent] = self._running.get(_PLUGIN, tenant_id=self._tenant_id).follow_events(
            *args, **kwargs
        )
        return events

    async def bulk(
        self, action: str, items: Sequence[Mapping[str, Any]], *, every: float = 0.5
    ) -> AsyncIterator[dict[str, Any]]:
        """Do the same for many services, and give how far it is `every` so many seconds, with what was done since (`results`)."""
        status = await self._call("start_bulk", action, list(items))
        while True:
            status = await self._call("bulk_status", status["job"], status["done"])
            yield status
            if status["finished"]:
                return
            await asyncio.sleep(every)

    async def discover_devices(self) -> list[Device]:
        """All OLTs and ONUs."""
        devices: list[Device] = await self._call("discover_devices")
        return devices

    async def get_device_status(self, device_id: str) -> DeviceStatus | None:
        """One device with its ports, or `None`."""
        status: DeviceStatus | None = await self._call("get_device_status", device_id)
        return status

    async def configure_device(self, device_id: str, config: Mapping[str, Any]) -> bool | None:
        """Enable or disable a device, its PON ports, or change its address."""
        done: bool | None = await self._call("configure_device", device_id, config)
        return done

    async def provision_olt(self, host_and_port: str, device_type: str = "openolt") -> dict[str, Any]:
        """Bring an OLT into service."""
        olt: dict[str, Any] = await self._call("provision_olt", host_and_port, device_type)
        return olt

    async def provision_onu(
        self, parent_device_id: str, pon_port: int | str | None, onu_id: int | None, serial_number: str
    ) -> dict[str, Any]:
        """Bring an ONU into service."""
        onu: dict[str, Any] = await self._call("provision_onu", parent_device_id, pon_port, onu_id, serial_number)
        return onu

    async def add_subscriber_flow(
        self, device_id: str, subscriber_id: str, service_config: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Install a subscriber's service."""
        service: dict[str, Any] = await self._call("add_subscriber_flow", device_id, subscriber_id, service_config)
        return service

    async def remove_subscriber_flow(
        self, device_id: str, subscriber_id: str, service: str | None = None
    ) -> dict[str, Any]:
        """Remove a subscriber's services, or the one named."""
        removed: dict[str, Any] = await self._call("remove_subscriber_flow", device_id, subscriber_id, service)
        return removed

    async def list_subscribers(self, device_id: str | None = None) -> list[dict[str, Any]]:
        """The services that are remembered."""
        services: list[dict[str, Any]] = await self._call("list_subscribers", device_id)
        return services

    async def active_alarms(self, device_id: str | None = None) -> list[dict[str, Any]]:
        """The alarms that are raised."""
        alarms: list[dict[str, Any]] = await self._call("active_alarms", device_id)
        return alarms

    async def alarm_history(self, device_id: str | None = None, since: float = 0.0) -> list[dict[str, Any]]:
        """The alarms that are over, newest first."""
        alarms: list[dict[str, Any]] = await self._call("alarm_history", device_id, since)
        return alarms

    async def collect_metrics(self, resource_ids: Sequence[str] = ()) -> dict[str, Any]:
        """Counts, and the values of the devices named."""
        metrics: dict[str, Any] = await self._call("collect_metrics", list(resource_ids))
        return metrics

    async def topology(self) -> dict[str, Any]:
        """The network from OLT to subscriber."""
        tree: dict[str, Any] = await self._call("topology")
        return tree

    async def diagnose(self, subscriber_id: str) -> dict[str, Any]:
        """What is wrong with a subscriber's line."""
        diagnosis: dict[str, Any] = await self._call("diagnose", subscriber_id)
        return diagnosis

    async def health_check(self) -> HealthReport:
        """How VOLTHA is."""
        return await self._running.health_check(_PLUGIN, tenant_id=self._tenant_id)
