"""The loader of the specification: a tenant's vendor plugins, loaded for an environment and handled together.

To load is to initialise: settings and required secrets are checked, nothing is connected. To start is to activate: the plugin
connects and takes calls. Every method is about one tenant: the one that was loaded last, unless `tenant_id=` names another
(`None` is the system tenant).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET, UnsetType

from dotmac_isp.plugins.core.errors import DiscoveryError, InstanceNotFoundError, LifecycleError, PluginError
from dotmac_isp.plugins.core.lifecycle import provides_secrets
from dotmac_isp.plugins.core.model import PluginState, validate_tenant_id

from ._failures import failure_of
from ._loading import Round, check_environment, load_plugins
from ._results import BulkOutcome, DiscoveryReport, HealthSummary, LoadResults, PluginStatus, VendorPluginStatus
from ._secrets import secret_report
from ._views import discovery_view, health_view, not_loaded, status_view, summary_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from dotmac_isp.plugins.core.manager import BulkResult, PluginManager
    from dotmac_isp.plugins.core.model import SettingChange
    from dotmac_isp.plugins.core.settings import Explained

    from ._results import PluginHealth, SecretReport

__all__ = ["VendorPluginLoader"]


class VendorPluginLoader:
    """Loads, starts, stops, configures and watches the vendor plugins of a tenant through a running `PluginManager`."""

    def __init__(self, plugin_manager: PluginManager) -> None:
        self._manager: Final = plugin_manager
        self._tenant_id: str | None = None
        self._rounds: dict[str | None, Round] = {}

    @property
    def plugin_manager(self) -> PluginManager:
        """The manager that it loads into."""
        return self._manager

    @property
    def tenant_id(self) -> str | None:
        """The tenant that it is about: the one loaded last; the system tenant before the first load."""
        return self._tenant_id

    @property
    def environment(self) -> str | None:
        """The environment that its tenant was loaded for."""
        return self._environment_of(self._tenant_id)

    async def load_vendor_integrations(
        self,
        environment: str | None = None,
        tenant_id: str | None = None,
        *,
        configuration: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> LoadResults:
        """Load every plugin that is installed and enabled, in the order of the configuration file, then the others by id.

        `environment` is a deployment scenario of the file; `configuration` holds settings by plugin id that override every
        other layer. A plugin that cannot be loaded is in `failed_plugins` and stops no other. Raises `ConfigurationError` for
        an unknown environment and for files that cannot be used, `TenantIdError`, and `DiscoveryError` for an unknown plugin in
        `configuration`. Loading again is no error: what is loaded stays, and gets the settings of the new environment.
        """
        self._check_running()
        tenant = validate_tenant_id(tenant_id)
        environment = environment if environment is not None else self._manager.environment
        check_environment(self._manager, environment)
        for plugin_id in configuration or {}:
            self._manager.installed(plugin_id)
        now = await load_plugins(
            self._manager, tenant, environment, before=self._rounds.get(tenant), configuration=configuration or {}
        )
        self._rounds[tenant] = now
        self._tenant_id = tenant
        return LoadResults(
            environment=environment,
            tenant_id=tenant,
            loaded_plugins=list(now.loaded),
            failed_plugins=dict(now.failed),
            skipped_plugins=dict(now.skipped),
            started_plugins=[],
        )

    # one plugin

    async def start_vendor_plugin(self, plugin_id: str, *, tenant_id: str | UnsetType | None = UNSET) -> PluginStatus:
        """Activate a plugin; it is loaded first when it is not. Active already: no error.

        Raises what stands in the way: `DiscoveryError` for an unknown plugin, `NotReady` (the host tries again by itself),
        `CredentialsRefused`, `ConfigurationError`, `SecretMissingError`, `DependencyError`, `StepError`.
        """
        tenant = self._tenant(tenant_id)
        # Loading again resolves the settings of an instance that failed before anew; for one that runs it is nothing.
        await self._manager.load(plugin_id, tenant_id=tenant, environment=self._environment_of(tenant))
        status = await self._manager.start_plugin(plugin_id, tenant_id=tenant)
        self._forget(plugin_id, tenant)
        return status_view(status, self._environment_of(tenant))

    async def stop_vendor_plugin(self, plugin_id: str, *, tenant_id: str | UnsetType | None = UNSET) -> PluginStatus:
        """Deactivate a plugin, and before it what requires it. Not active: no error; not loaded: `InstanceNotFoundError`."""
        tenant = self._tenant(tenant_id)
        status = await self._manager.stop_plugin(plugin_id, tenant_id=tenant)
        return status_view(status, self._environment_of(tenant))

    async def restart_vendor_plugin(self, plugin_id: str, *, tenant_id: str | UnsetType | None = UNSET) -> PluginStatus:
        """Stop a plugin, make it anew with settings read anew, and start it. Raises as `start_vendor_plugin` does."""
        tenant = self._tenant(tenant_id)
        status = await self._manager.restart_plugin(plugin_id, tenant_id=tenant)
        self._forget(plugin_id, tenant)
        return status_view(status, self._environment_of(tenant))

    async def configure_vendor_plugin(
        self,
        plugin_id: str,
        configuration: Mapping[str, Any],
        *,
        tenant_id: str | UnsetType | None = UNSET,
        persist: bool = False,
    ) -> Sequence[SettingChange]:
        """Change settings; a running plugin has them when this returns. `persist` keeps them in the tenant's file.

        Gives what changed. Raises `ConfigurationError` and changes nothing when the settings cannot be used.
        """
        tenant = self._tenant(tenant_id)
        return await self._manager.configure(plugin_id, configuration, tenant_id=tenant, persist=persist)

    async def unload_vendor_plugin(self, plugin_id: str, *, tenant_id: str | UnsetType | None = UNSET) -> None:
        """Release everything that a plugin holds, and forget it. Not loaded: no error; unknown: `DiscoveryError`."""
        tenant = self._tenant(tenant_id)
        try:
            self._manager.status(plugin_id, tenant_id=tenant)
        except InstanceNotFoundError:
            return
        await self._manager.unload(plugin_id, tenant_id=tenant)
        self._forget(plugin_id, tenant)

    # many plugins

    async def start_all_vendor_plugins(
        self, plugin_ids: Iterable[str] | None = None, *, tenant_id: str | UnsetType | None = UNSET
    ) -> BulkOutcome:
        """Start what is loaded (or the named plugins), in load order. One that fails stops no other."""
        tenant = self._tenant(tenant_id)
        chosen = list(plugin_ids) if plugin_ids is not None else self._startable(tenant)
        outcome = BulkOutcome(tenant_id=tenant, succeeded=[], failed={})
        for plugin_id in chosen:
            try:
                await self.start_vendor_plugin(plugin_id, tenant_id=tenant)
            except Exception as error:  # noqa: BLE001 - this plugin's result
                outcome["failed"][plugin_id] = failure_of(error)
            else:
                outcome["succeeded"].append(plugin_id)
        return outcome

    async def stop_all_vendor_plugins(
        self, plugin_ids: Iterable[str] | None = None, *, tenant_id: str | UnsetType | None = UNSET
    ) -> BulkOutcome:
        """Stop what is loaded (or the named plugins), what requires others first."""
        return await self._bulk(self._manager.stop_all, plugin_ids, tenant_id)

    async def restart_all_vendor_plugins(
        self, plugin_ids: Iterable[str] | None = None, *, tenant_id: str | UnsetType | None = UNSET
    ) -> BulkOutcome:
        """Restart what is loaded (or the named plugins), in load order."""
        return await self._bulk(self._manager.restart_all, plugin_ids, tenant_id)

    async def unload_all_vendor_plugins(
        self, plugin_ids: Iterable[str] | None = None, *, tenant_id: str | UnsetType | None = UNSET
    ) -> BulkOutcome:
        """Unload what is loaded (or the named plugins), what requires others first."""
        return await self._bulk(self._manager.unload_all, plugin_ids, tenant_id)

    # reports

    async def health_check_all_plugins(self, *, tenant_id: str | UnsetType | None = UNSET) -> HealthSummary:
        """Ask every plugin of the tenant now. The totals count that tenant's; what is switched off is not among them."""
        tenant = self._tenant(tenant_id)
        reports = await self._manager.health_check_all(tenant_id=tenant)
        states = {one.plugin_id: one.state for one in self._manager.list(tenant_id=tenant)}
        last = self._round(tenant)
        plugins: dict[str, PluginHealth] = {
            ref.plugin_id: health_view(report, states[ref.plugin_id])
            for ref, report in reports.items()
            if ref.plugin_id in states and ref.plugin_id not in last.skipped
        }
        for plugin_id, failure in last.failed.items():
            if plugin_id not in plugins:
                plugins[plugin_id] = {
                    "health": "unhealthy",
                    "message": failure["error"],
                    "details": {},
                    "state": "not loaded",
                    "checked_at": None,
                }
        return summary_of(tenant, plugins)

    async def get_vendor_plugin_status(
        self, plugin_id: str | None = None, *, tenant_id: str | UnsetType | None = UNSET
    ) -> VendorPluginStatus:
        """The tenant's plugins (or the one named): state, reason and latest health. Nothing is asked anew.

        Raises `DiscoveryError` for an unknown plugin.
        """
        tenant = self._tenant(tenant_id)
        last = self._round(tenant)
        plugins = {one.plugin_id: status_view(one, last.environment) for one in self._manager.list(tenant_id=tenant)}
        reasons = {**{one: failure["error"] for one, failure in last.failed.items()}, **last.skipped}
        for one, reason in reasons.items():
            plugins.setdefault(one, not_loaded(one, tenant, last.environment, reason))
        if plugin_id is not None:
            if plugin_id not in plugins:
                self._manager.installed(plugin_id)
                plugins[plugin_id] = not_loaded(plugin_id, tenant, last.environment, "nobody loaded it")
            plugins = {plugin_id: plugins[plugin_id]}
        active = sum(one["state"] == PluginState.ACTIVE.value for one in plugins.values())
        return VendorPluginStatus(
            tenant_id=tenant,
            environment=last.environment,
            total_plugins=len(plugins),
            active_plugins=active,
            plugins=plugins,
        )

    async def discover_vendor_plugins(self, *, tenant_id: str | UnsetType | None = UNSET) -> DiscoveryReport:
        """Look again at what is installed, as after a `pip install`. Nothing is loaded, and no plugin's code runs."""
        tenant = self._tenant(tenant_id)
        self._manager.rediscover()
        return discovery_view(self._manager, tenant, self._environment_of(tenant))

    async def validate_secrets(
        self, plugin_id: str | None = None, *, tenant_id: str | UnsetType | None = UNSET
    ) -> SecretReport:
        """Say which secrets of the tenant's plugins (or of the one named) are there, required and optional; never a value.

        Raises `DiscoveryError` for an unknown plugin. A provider that fails makes the secret `unknown`.
        """
        self._check_running()
        tenant = self._tenant(tenant_id)
        environment = self._environment_of(tenant)
        chosen = [plugin_id] if plugin_id is not None else self._manager.load_order(tenant, environment)
        plugins = [self._manager.installed(one) for one in chosen]
        if plugin_id is None and tenant is not None:
            plugins = [one for one in plugins if not provides_secrets(one)]
        return await secret_report(self._manager, plugins, tenant)

    def explain(
        self, plugin_id: str, *, tenant_id: str | UnsetType | None = UNSET, environment: str | None = None
    ) -> Sequence[Explained]:
        """Each setting of a plugin, its value, the layer that set it, and what that overrode. Confidential values are masked."""
        tenant = self._tenant(tenant_id)
        environment = environment if environment is not None else self._environment_of(tenant)
        check_environment(self._manager, environment)
        return self._manager.explain(plugin_id, tenant_id=tenant, environment=environment)

    # inside

    def _tenant(self, tenant_id: str | UnsetType | None) -> str | None:
        return self._tenant_id if tenant_id is UNSET else validate_tenant_id(tenant_id)

    def _round(self, tenant_id: str | None) -> Round:
        return self._rounds.get(tenant_id) or Round(tenant_id=tenant_id, environment=self._manager.environment)

    def _environment_of(self, tenant_id: str | None) -> str | None:
        return self._round(tenant_id).environment

    def _forget(self, plugin_id: str, tenant_id: str | None) -> None:
        if tenant_id in self._rounds:
            self._rounds[tenant_id].forget(plugin_id)

    def _check_running(self) -> None:
        if not self._manager.running:
            raise LifecycleError(
                "the PluginManager of this loader is not running", remedy="await plugin_manager.start() first"
            )

    def _startable(self, tenant_id: str | None) -> list[str]:
        skipped = self._round(tenant_id).skipped
        return [one.plugin_id for one in self._manager.list(tenant_id=tenant_id) if one.plugin_id not in skipped]

    async def _bulk(
        self,
        action: Callable[..., Any],
        plugin_ids: Iterable[str] | None,
        tenant_id: str | UnsetType | None,
    ) -> BulkOutcome:
        tenant = self._tenant(tenant_id)
        chosen = list(plugin_ids) if plugin_ids is not None else self._startable(tenant)
        result: BulkResult = await action(plugins=chosen, tenants=[tenant])
        failed = {ref.plugin_id: failure_of(error) for ref, error in result.failed.items()}
        acted_on = {ref.plugin_id for ref in result}
        for plugin_id in chosen:
            if plugin_id not in acted_on:
                failed[plugin_id] = failure_of(self._why_absent(plugin_id, tenant))
        return BulkOutcome(tenant_id=tenant, succeeded=[ref.plugin_id for ref in result.succeeded], failed=failed)

    def _why_absent(self, plugin_id: str, tenant_id: str | None) -> PluginError:
        try:
            self._manager.status(plugin_id, tenant_id=tenant_id)
        except (DiscoveryError, InstanceNotFoundError) as error:
            return error
        return InstanceNotFoundError(f"{plugin_id} was unloaded meanwhile")
