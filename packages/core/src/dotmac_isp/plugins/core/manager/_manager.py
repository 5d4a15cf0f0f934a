"""The façade of the runtime."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, Self

from ..errors import LifecycleError, PluginError
from ..lifecycle import provides_secrets, wait_out
from ..model import InstanceRef, PluginState, tenant_label, validate_tenant_id
from ..settings import DEFAULT_LAYER, Configuration
from ._audit_sinks import AuditSinks
from ._background import check_all, collect_all, every, tell_uses
from ._building import Building, default_providers
from ._handle import PluginHandle
from ._inventory import Inventory, Statistics, take_inventory, take_statistics
from ._reload import ReloadOperations
from ._services import HostServices

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from ..discovery import InstalledPlugin
    from ..dispatch import TenantHooks
    from ..lifecycle import Instance, InstanceStatus
    from ..model import HealthReport
    from ..settings import Explained

__all__ = ["PluginManager"]


_LOG: Final = logging.getLogger("dotmac.host")
#: How often the audit trail is told who used which permission, in seconds.
_USES_INTERVAL: Final = 60.0


class PluginManager(ReloadOperations):
    """Runs plugins for tenants. `async with PluginManager() as plugins: …`, or `start()` and `stop()`.

    Its methods come in five chapters: what it is and knows (`ManagerBase`), one instance (`InstanceOperations`), tenants and
    many at once (`TenantOperations`), making anew what works (`ReloadOperations`), and here the host itself: start and stop, hooks, handles, reports.
    """

    async def start(self) -> None:
        """Find out what is installed and configured, open the store, begin the background rounds. No plugin is loaded yet.

        Raises `ConfigurationError` for a configuration file or policy that cannot be used, and `DiscoveryError` for a required plugin.
        """
        if self._building is not None:
            raise LifecycleError("this PluginManager is running already", remedy="Stop it first, or make another one")
        self._configuration = Configuration.read(self.home)
        self._configuration.check_environment(self.environment)
        self.rediscover()
        self._check_required()
        self._trust.load()
        building = Building(
            self.home,
            limits=self._limits,
            authoriser=self._trust.authoriser,
            licences=self._trust.licences,
            providers=self._providers if self._providers is not None else default_providers(self.home),
            before_activation=self._before_activation,
            retry=self._retry,
            fell=self._settle_dependants,
            rotate=self._rotated,
            isolation=lambda: self._trust.isolation,
            configuration=lambda: self.configuration,
            environment_of=self._environment_of,
            audit=self._audit_options,
        )
        await building.open(self._storage_url)
        self._building = building
        self._services = HostServices(building, lambda: self.configuration)
        self._audit_sinks = AuditSinks(building, self._find)
        await self._start_secret_plugins()
        building.run(every(_USES_INTERVAL, lambda: tell_uses(building), name="permission uses"), name="permission uses")
        health, metrics, policy = self._intervals
        if health > 0:
            building.run(every(health, self._health_round, name="health"), name="health checks")
        if metrics > 0:
            building.run(every(metrics, self._metrics_round, name="metrics"), name="metrics collection")
        if policy > 0:
            building.run(every(policy, self._review, name="policy"), name="policy watch")

    async def stop(self) -> None:
        """Unload every instance, dependants first, and let go of everything. Always ends; no error when it is not running."""
        building, services = self._building, self._services
        if building is None or services is None:
            return
        if self._ending is None:
            self._ending = asyncio.create_task(self._end(building, services), name="dotmac: stop")
        await wait_out(self._ending)

    async def _end(self, building: Building, services: HostServices) -> None:
        try:
            for ref, error in (await self.unload_all()).failed.items():
                _LOG.error("%s could not be unloaded: %s", ref, error)
            await services.stop()
        finally:
            self._building = self._services = self._ending = None
            self._trust.close()
            await building.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def get(self, plugin_id: str, *, tenant_id: str | None = None) -> PluginHandle:
        """The handle of an instance. Raises `InstanceNotFoundError` when it is not loaded."""
        ref = self._ref(plugin_id, tenant_id)
        self._existing(ref)
        return PluginHandle(lambda: self._existing(ref))

    def list(self, *, tenant_id: str | None = None, everything: bool = False) -> Sequence[InstanceStatus]:
        """The instances of one tenant, or of all tenants."""
        return [
            instance.status() for instance in self._instances() if everything or instance.ref.tenant_id == tenant_id
        ]

    def status(self, plugin_id: str, *, tenant_id: str | None = None) -> InstanceStatus:
        """Everything about one instance now. Raises `InstanceNotFoundError`."""
        return self._existing(self._ref(plugin_id, tenant_id)).status()

    def hooks(self, tenant_id: str | None = None) -> TenantHooks:
        """The hooks of a tenant: `await plugins.hooks("tenant_123").discover_devices()`."""
        hooks: TenantHooks = self._house.tenant(validate_tenant_id(tenant_id)).hooks
        return hooks

    def register(self, plugin: object, *, name: str, tenant_id: str | None = None, every_tenant: bool = False) -> None:
        """Add the host's own hook implementations (an object or module with `@hookimpl` functions), for one tenant or all."""
        if name in self.discovery.plugins:
            raise PluginError(f"{name!r} is the id of an installed plugin", remedy="Register under another name")
        self._house.register(plugin, name, validate_tenant_id(tenant_id), everywhere=every_tenant)

    def unregister(self, name: str) -> None:
        """Take the host's own implementations out again."""
        self._house.unregister(name)

    def explain(
        self, plugin_id: str, *, tenant_id: str | None = None, environment: str | None = None
    ) -> Sequence[Explained]:
        """Each setting, the layer that set it, and what it overrode."""
        ref = self._ref(plugin_id, tenant_id)
        instance = self._find(ref) if self._building is not None else None
        if environment is None:
            environment = instance.environment if instance is not None else self.environment
        return self._resolve(self.installed(plugin_id), ref, environment).explain()

    def reread_configuration(self) -> Configuration:
        """Read the configuration files and the policy again. What cannot be used leaves the old in force.

        Raises `ConfigurationError` for the configuration; what is wrong with the policy is logged, audited and among `problems`.
        """
        if self._building is not None:
            self._building.run(self._review(force=True), name="policy")
        return super().reread_configuration()

    async def health_check(self, plugin_id: str, *, tenant_id: str | None = None) -> HealthReport:
        """Ask one instance now."""
        return await self._existing(self._ref(plugin_id, tenant_id)).check_health()

    async def health_check_all(
        self, *, tenant_id: str | None = None, everything: bool = False
    ) -> dict[InstanceRef, HealthReport]:
        """Ask the instances of a tenant, or of all, now."""
        chosen = [one for one in self._instances() if everything or one.ref.tenant_id == tenant_id]
        await check_all(chosen, at_once=self._at_once)
        return {one.ref: one.health if one.state is PluginState.ACTIVE else await one.check_health() for one in chosen}

    def inventory(self) -> Inventory:
        """Every installed plugin, instance, host service and problem, in one."""
        return take_inventory(self, self._instances(), self._running_services.status())

    def statistics(self) -> Statistics:
        """Counts of tenants, instances by state, calls and failures."""
        return take_statistics(self._house, self._instances())

    # inside

    async def _start_secret_plugins(self) -> None:
        """Start the system tenant's providers of secrets, which the other instances need at their load."""
        for plugin_id in self.load_order():
            plugin = self.discovery.plugins[plugin_id]
            if provides_secrets(plugin) and self._is_configured(plugin):
                try:
                    await self.start_plugin(plugin_id)
                except Exception as error:  # noqa: BLE001 - its state says why, and secrets that need it say so, too
                    _LOG.warning("%s provides no secrets: %s", plugin_id, error)

    def _is_configured(self, plugin: InstalledPlugin) -> bool:
        """Whether anybody set anything for it: a provider that has settings and is only installed is left alone."""
        if plugin.manifest.settings is None:
            return True
        try:
            settings = self._resolve(plugin, InstanceRef(plugin.id, None), self.environment)
        except PluginError:
            return True  # starting it will say what is wrong
        return any(one.layer != DEFAULT_LAYER for one in settings.explain())

    async def _rotated(self, name: str, tenant_id: str | None) -> None:
        """A provider says that a secret changed; without a tenant, for every tenant."""
        for tenant in list(self._house.tenants) if tenant_id is None else [tenant_id]:
            try:
                await self.rotate_secret(name, tenant_id=tenant)
            except Exception as error:  # noqa: BLE001 - the instances' states say it; the other tenants are told all the same
                _LOG.warning("%s changed, and tenant %s cannot use it: %s", name, tenant_label(tenant), error)

    async def _review(self, *, force: bool = False) -> None:
        """Look at policy and licences again; where they decide otherwise now, look at every instance, too."""
        before = self._trust.isolation
        if not self._trust.refresh(self._house.audit, force=force):
            return
        self._house.gate.authoriser = self._trust.authoriser
        await asyncio.gather(*(self._recheck(instance) for instance in self._instances()))
        if self._trust.isolation is not before:
            await self._follow_isolation(before)

    async def _recheck(self, instance: Instance) -> None:
        """Stop the instance if it may not run any more; start it if it was stopped for this and may run again."""
        ref = instance.ref
        try:
            if not await instance.recheck() or self._find(ref) is not instance:
                return
            if instance.wanted_active:
                await self.start_plugin(ref.plugin_id, tenant_id=ref.tenant_id)
            else:
                await self.load(ref.plugin_id, tenant_id=ref.tenant_id, environment=instance.environment)
        except Exception as error:  # noqa: BLE001 - its state says why; it is not what was asked for
            _LOG.warning("%s may run again and does not: %s", ref, error)

    async def _health_round(self) -> None:
        await check_all(self._instances(), at_once=self._at_once)
        await self._running_services.check()

    async def _metrics_round(self) -> None:
        await collect_all(self._house, self._instances())
