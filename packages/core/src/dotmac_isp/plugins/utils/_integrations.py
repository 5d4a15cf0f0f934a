"""One call for each vendor integration: load it and start it, so that it can be used (specification, "Migration Guide").

The guide's code loads an integration and uses it next, with no start between the two; so these start what they load.
`start=False` leaves it loaded only, as `VendorPluginLoader.load_vendor_integrations` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ._loading import check_environment
from .vendor_plugin_loader import VendorPluginLoader

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dotmac_isp.plugins.core.manager import PluginHandle, PluginManager

    from ._results import LoadResults

__all__ = ["load_all_vendor_integrations", "load_analytics_events", "load_voltha_integration"]

_VOLTHA: Final = "voltha_integration"
_ANALYTICS: Final = "analytics_events"


async def load_voltha_integration(
    plugin_manager: PluginManager,
    environment: str | None = None,
    tenant_id: str | None = None,
    *,
    configuration: Mapping[str, Any] | None = None,
    start: bool = True,
) -> PluginHandle:
    """Load and start the VOLTHA integration for a tenant; gives its handle (`await handle.provision_olt(…)`).

    `configuration` holds settings that override every other layer. Loaded and started already: no error. Raises what stands in
    the way, as `VendorPluginLoader.start_vendor_plugin` does, and `ConfigurationError` for an unknown environment.
    """
    return await _load_one(plugin_manager, _VOLTHA, environment, tenant_id, configuration, start=start)


async def load_analytics_events(
    plugin_manager: PluginManager,
    environment: str | None = None,
    tenant_id: str | None = None,
    *,
    configuration: Mapping[str, Any] | None = None,
    start: bool = True,
) -> PluginHandle:
    """Load and start the analytics integration for a tenant; gives its handle (`await handle.track_event(…)`).

    Arguments and errors are those of `load_voltha_integration`.
    """
    return await _load_one(plugin_manager, _ANALYTICS, environment, tenant_id, configuration, start=start)


async def load_all_vendor_integrations(
    plugin_manager: PluginManager,
    environment: str | None = None,
    tenant_id: str | None = None,
    *,
    configuration: Mapping[str, Mapping[str, Any]] | None = None,
    start: bool = True,
) -> LoadResults:
    """Load and start every installed and enabled integration for a tenant.

    One that fails is in `failed_plugins` and stops no other; `started_plugins` lists those that run. Raises as
    `VendorPluginLoader.load_vendor_integrations` does.
    """
    loader = VendorPluginLoader(plugin_manager)
    results = await loader.load_vendor_integrations(environment, tenant_id, configuration=configuration)
    if start:
        outcome = await loader.start_all_vendor_plugins(results["loaded_plugins"])
        results["started_plugins"] = outcome["succeeded"]
        results["failed_plugins"] |= outcome["failed"]
    return results


async def _load_one(
    manager: PluginManager,
    plugin_id: str,
    environment: str | None,
    tenant_id: str | None,
    configuration: Mapping[str, Any] | None,
    *,
    start: bool,
) -> PluginHandle:
    check_environment(manager, environment)
    await manager.load(plugin_id, tenant_id=tenant_id, environment=environment, configuration=configuration)
    if start:
        await manager.start_plugin(plugin_id, tenant_id=tenant_id)
    return manager.get(plugin_id, tenant_id=tenant_id)
