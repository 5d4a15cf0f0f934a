"""What every part of the manager builds on: what is installed, configured and running."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any, Final

from ..audit import AuditOptions
from ..dependencies import dependants, pip_name, plan
from ..discovery import discover, load_settings_model
from ..errors import ConfigurationError, DiscoveryError, InstanceNotFoundError, LifecycleError
from ..health import Limits
from ..hosting import IsolationFact
from ..lifecycle import Instance
from ..model import InstanceRef, PluginState, tenant_label, validate_tenant_id
from ..secrets import InstanceSecrets
from ..settings import Configuration, SecurityNeeds, resolve, state_home
from ._inventory import nearest_plugin
from ._place import choose_place
from ._trust import Trust, permissions_of

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from ..audit import AuditTrail
    from ..discovery import Discovery, InstalledPlugin, Manifest, Problem
    from ..licensing import LicenceBook
    from ..lifecycle import Tenant
    from ..permissions import Authoriser, Explanation
    from ..secrets import SecretProvider
    from ..settings import ResolvedSettings
    from ..telemetry import Telemetry
    from ._audit_sinks import AuditSinks
    from ._building import Building
    from ._services import HostServices

__all__ = ["ManagerBase"]

_LOG: Final = logging.getLogger("dotmac.host")
_S = PluginState
#: The states in which an instance counts against a licence.
_TAKING_A_PLACE: Final = frozenset(
    {_S.INITIALIZING, _S.INITIALIZED, _S.ACTIVATING, _S.ACTIVE, _S.DEACTIVATING, _S.SUSPENDED}
)


class ManagerBase:
    """Runs plugins for tenants. `async with PluginManager() as plugins: …`, or `start()` and `stop()`.

    :param home: state and configuration folder; default `DOTMAC_HOME`, else the platform's place for `dotmac-plugins`.
    :param environment: the deployment scenario that applies where a call names none.
    :param storage_url: where plugins' documents are kept; default a SQLite file in `home`.
    :param blocked: versions that must not load, by plugin id (`"<1.2 | loses events"`).
    :param safe_mode: `"all"`, or the ids of plugins that stay off; default what `DOTMAC_SAFE_MODE` says.
    :param required: plugins without which `start` fails, because they are not installed or cannot be used.
    :param secret_providers: where secrets come from, in the order they are asked.
    :param authoriser, licences: decide in the place of `policy.toml` and of the folder `licences`.
    :param health_interval, metrics_interval: seconds between background rounds; 0 switches them off.
    :param audit: how the audit trail is kept; default what `DOTMAC_AUDIT_DURABLE`, `…_FILE` and `…_SYSLOG` say.
    :param policy_interval: seconds between looks at policy and licences; 0 leaves it to `reread_configuration`.
    """

    def __init__(
        self,
        *,
        home: Path | None = None,
        environment: str | None = None,
        storage_url: str | None = None,
        limits: Limits | None = None,
        blocked: Mapping[str, str] | None = None,
        safe_mode: str | Iterable[str] | None = None,
        required: Iterable[str] = (),
        secret_providers: Iterable[SecretProvider] | None = None,
        authoriser: Authoriser | None = None,
        licences: LicenceBook | None = None,
        health_interval: float = 30.0,
        metrics_interval: float = 60.0,
        policy_interval: float = 5.0,
        audit: AuditOptions | None = None,
        at_once: int = 16,
    ) -> None:
        self.home: Final = home if home is not None else state_home()
        self.environment = environment
        self._storage_url: Final = storage_url
        self._limits: Final = limits or Limits()
        self._blocked: Final = dict(blocked or {})
        self._safe: Final = _safe_mode(os.environ.get("DOTMAC_SAFE_MODE", "") if safe_mode is None else safe_mode)
        self._required: Final = tuple(required)
        self._providers: Final = secret_providers
        self._trust: Final = Trust(
            self.home, authoriser, licences, manifest_of=self._manifest_of, peers=self._loaded_for
        )
        self._intervals: Final = (health_interval, metrics_interval, policy_interval)
        self._audit_options: Final = audit or AuditOptions.from_environment()
        self._at_once: Final = at_once
        self._building: Building | None = None
        self._ending: asyncio.Task[None] | None = None
        self._services: HostServices | None = None
        self._audit_sinks: AuditSinks | None = None
        self._discovery: Discovery | None = None
        self._configuration: Configuration | None = None
        self._overrides: dict[InstanceRef, dict[str, Any]] = {}

    @property
    def running(self) -> bool:
        """Whether `start` was called and `stop` was not."""
        return self._building is not None

    @property
    def configuration(self) -> Configuration:
        """What the configuration files say."""
        if self._configuration is None:
            self._configuration = Configuration.read(self.home)
        return self._configuration

    @property
    def discovery(self) -> Discovery:
        """What is installed, and what cannot be used and why."""
        return self._discovery if self._discovery is not None else self.rediscover()

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Installed plugins that cannot be used, and what the configuration and the policy say wrongly."""
        discovery, configuration = self.discovery, self.configuration
        return (
            *discovery.problems,
            *configuration.check_against(discovery),
            *self._trust.problems(discovery, configuration),
        )

    @property
    def authoriser(self) -> Authoriser:
        """What decides about permissions now."""
        return self._trust.authoriser

    def known_permissions(self) -> frozenset[str]:
        """Every permission that an installed plugin, or the configuration for one, asks for."""
        return permissions_of(self.discovery, self.configuration)

    def explain_permission(
        self,
        plugin_id: str,
        permission: str,
        *,
        tenant_id: str | None = None,
        user_id: str | None = None,
        roles: Iterable[str] = (),
    ) -> Explanation | None:
        """Why the policy in force allows or refuses this, with the rules. `None`: no policy decides here; see `authoriser`."""
        return self._trust.explain(
            plugin_id=plugin_id,
            permission=permission,
            tenant_id=validate_tenant_id(tenant_id),
            user_id=user_id,
            roles=roles,
        )

    def explain_isolation(
        self, plugin_id: str, *, tenant_id: str | None = None, environment: str | None = None
    ) -> list[IsolationFact]:
        """Where the plugin runs for a tenant, what it may use and which guarantees it must have, each with who says so."""
        plugin = self.installed(plugin_id)
        ref, level = self._ref(plugin_id, tenant_id), plugin.manifest.security_level
        policy = self._trust.isolation
        rules = policy.rules(plugin_id, ref.tenant_id, level)
        place = choose_place(plugin, rules, self.configuration.isolation(plugin_id, environment or self.environment))
        facts = policy.explain(plugin_id, ref.tenant_id, level, plugin.manifest.hosting)
        if not any(one.key == "mode" for one in facts):
            facts.append(IsolationFact(key="mode", value=place.mode, source=place.why))
        return sorted(facts, key=lambda one: (one.key != "mode", one.key))

    def read_policy(self) -> None:
        """Read the policy of a host that does not run, to explain it. Raises `ConfigurationError`."""
        self._trust.load()

    @property
    def licences(self) -> LicenceBook:
        """What decides about licences now."""
        return self._trust.licences

    @property
    def telemetry(self) -> Telemetry:
        """Numbers of all calls; `telemetry.render()` gives Prometheus' text format."""
        return self._house.telemetry

    @property
    def audit(self) -> AuditTrail:
        """The audit trail."""
        return self._house.audit

    def redact(self, text: str) -> str:
        """The text with every secret that the host has given out replaced, for logs and for what is shown to people."""
        return self._house.redact(text)

    def rediscover(self) -> Discovery:
        """Look again at what is installed, as after a `pip install`. Instances that run are not touched."""
        self._discovery = discover(blocked=self._blocked)
        for problem in self._discovery.problems:
            _LOG.warning("%s", problem)
        return self._discovery

    def secret_reader(self, plugin_id: str, *, tenant_id: str | None = None) -> InstanceSecrets:
        """The secrets of a plugin for a tenant, loaded or not: which there are, and which are missing."""
        plugin = self.installed(plugin_id)
        required = self._needs(plugin_id).secrets_required
        return InstanceSecrets(self._house.secrets_for(plugin), plugin.manifest, tenant_id, also_required=required)

    def reread_configuration(self) -> Configuration:
        """Read the configuration files again. When they cannot be used, this raises and the old ones stay in force."""
        self._configuration = Configuration.read(self.home)
        return self._configuration

    # inside

    def _manifest_of(self, ref: InstanceRef) -> Manifest | None:
        instance = self._find(ref)
        return None if instance is None else instance.plugin.manifest

    def _loaded_for(self, plugin_id: str) -> list[str | None]:
        """The tenants for which a plugin is loaded, or on the way to it."""
        instances = (tenant.instances.get(plugin_id) for tenant in self._house.tenants.values())
        return [one.ref.tenant_id for one in instances if one is not None and one.state in _TAKING_A_PLACE]

    @property
    def _house(self) -> Building:
        if self._building is None:
            raise LifecycleError(
                "this PluginManager is not running", remedy="await plugins.start() first, or use async with"
            )
        return self._building

    @property
    def _running_services(self) -> HostServices:
        services = self._services
        if services is None:
            raise LifecycleError(
                "this PluginManager is not running", remedy="await plugins.start() first, or use async with"
            )
        return services

    def _ref(self, plugin_id: str, tenant_id: str | None) -> InstanceRef:
        return InstanceRef(plugin_id, validate_tenant_id(tenant_id))

    def _instances(self) -> list[Instance]:
        return [instance for tenant in self._house.tenants.values() for instance in tenant.instances.values()]

    def _find(self, ref: InstanceRef) -> Instance | None:
        tenant = self._house.tenants.get(ref.tenant_id)
        return None if tenant is None else tenant.instances.get(ref.plugin_id)

    def _existing(self, ref: InstanceRef) -> Instance:
        instance = self._find(ref)
        if instance is not None:
            return instance
        if ref.plugin_id not in self.discovery.plugins:
            self.installed(ref.plugin_id)
        raise InstanceNotFoundError(
            f"{ref.plugin_id} is not loaded for tenant {tenant_label(ref.tenant_id)}",
            remedy=f"await plugins.load({ref.plugin_id!r}, tenant_id={ref.tenant_id!r})",
        )

    def installed(self, plugin_id: str) -> InstalledPlugin:
        """The installed plugin, or the reason why there is none."""
        plugin = self.discovery.plugins.get(plugin_id)
        if plugin is None:
            plugin = self.rediscover().plugins.get(plugin_id)
        if plugin is not None:
            return plugin
        problem = self.discovery.problem(plugin_id)
        if problem is not None:
            raise DiscoveryError(problem.message, plugin_id=plugin_id, remedy=problem.remedy)
        raise DiscoveryError(
            f"there is no plugin {plugin_id!r}",
            plugin_id=plugin_id,
            remedy=nearest_plugin(plugin_id, self.discovery.plugins, pip_name(plugin_id)),
        )

    def _check_required(self) -> None:
        for plugin_id in self._required:
            self.installed(plugin_id)

    def _why_off(self, plugin_id: str, environment: str | None, tenant_id: str | None) -> str | None:
        if self._safe is None or plugin_id in self._safe:
            return "safe mode"
        enabled, why = self.configuration.enabled(plugin_id, environment or self.environment, tenant_id)
        return None if enabled else why

    def _check_enabled(self, plugin: InstalledPlugin, ref: InstanceRef, environment: str | None) -> None:
        why = self._why_off(plugin.id, environment, ref.tenant_id)
        if why is not None:
            instance = self._find(ref)
            if instance is None:
                self._place(plugin, ref, environment).disable(why)
            raise LifecycleError(f"{plugin.id} is off for tenant {tenant_label(ref.tenant_id)}: {why}")
        for problem in self.configuration.check_against(self.discovery):
            if problem.plugin_id == plugin.id and problem.severity == "error":
                raise ConfigurationError(problem.message, remedy=problem.remedy)

    def _tenant_is_suspended(self, tenant_id: str | None) -> bool:
        tenant = self._house.tenant(tenant_id)
        if not tenant.suspended and tenant_id is not None:
            tenant.suspended = self.configuration.suspended(tenant_id)
        return bool(tenant.suspended)

    def _instance(self, plugin: InstalledPlugin, ref: InstanceRef, environment: str | None) -> Instance:
        instance = self._find(ref)
        if instance is None or instance.state in {_S.UNLOADED, _S.DISABLED}:
            instance = self._place(plugin, ref, environment)
        elif environment is not None:
            instance.environment = environment
        return instance

    def _place(self, plugin: InstalledPlugin, ref: InstanceRef, environment: str | None) -> Instance:
        if self._ending is not None:
            raise LifecycleError("this PluginManager is stopping", remedy="Start it again, and load the plugin then")
        nothing = resolve(plugin.id, None, layers=())
        instance = Instance(plugin, ref.tenant_id, self._house, nothing, needs=self._needs(plugin.id))
        instance.environment = environment or self.environment
        self._house.tenant(ref.tenant_id).instances[plugin.id] = instance
        return instance

    def _needs(self, plugin_id: str) -> SecurityNeeds:
        """What the configuration file demands beyond the plugin's manifest."""
        entry = self.configuration.integration(plugin_id)
        return entry.security if entry is not None and isinstance(entry.security, SecurityNeeds) else SecurityNeeds()

    def _settings_for(self, instance: Instance) -> ResolvedSettings:
        """The instance's settings, read anew; what is wrong with them becomes its state. What is not loaded becomes what is installed now."""
        installed = self.discovery.plugins.get(instance.ref.plugin_id)
        if not instance.loaded and installed is not None and installed is not instance.plugin:
            needs = self._needs(installed.id)
            instance.begin_with(instance.blueprint(plugin=installed, settings=instance.settings, needs=needs))
        try:
            return self._resolve(instance.plugin, instance.ref, instance.environment)
        except (ConfigurationError, DiscoveryError) as error:
            if instance.state is not _S.ACTIVE:
                instance.misconfigured(str(error))
            raise

    def _resolve(
        self,
        plugin: InstalledPlugin,
        ref: InstanceRef,
        environment: str | None,
        *,
        override: Mapping[str, Any] | None = None,
    ) -> ResolvedSettings:
        model = load_settings_model(plugin)
        layers = self.configuration.layers(
            plugin,
            environment=environment or self.environment,
            tenant_id=ref.tenant_id,
            override=self._overrides.get(ref) if override is None else override,
            model_class=model,
        )
        return resolve(plugin.id, model, layers=layers)

    def _environment_of(self, ref: InstanceRef) -> str | None:
        """The deployment scenario of an instance."""
        instance = self._find(ref)
        return self.environment if instance is None else instance.environment or self.environment

    def _dependants(self, ref: InstanceRef) -> list[Instance]:
        """The tenant's instances that require this one, those that must stop first first."""
        tenant = self._house.tenant(ref.tenant_id)
        manifests = {one: instance.plugin.manifest for one, instance in tenant.instances.items()}
        return [tenant.instances[one] for one in dependants(manifests, ref.plugin_id)]

    def _in_stop_order(self, tenant: Tenant) -> list[Instance]:
        manifests = {one: instance.plugin.manifest for one, instance in tenant.instances.items()}
        order = plan(manifests)
        return [tenant.instances[one] for one in (*order.held_back, *reversed(order.order))]


def _safe_mode(said: str | Iterable[str]) -> frozenset[str] | None:
    """The plugins that stay off; `None` for all."""
    names = [part.strip() for part in said.split(",")] if isinstance(said, str) else list(said)
    return None if "all" in names else frozenset(name for name in names if name)
