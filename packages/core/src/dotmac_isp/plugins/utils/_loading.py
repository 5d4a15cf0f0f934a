"""Loading what is installed for one tenant, each plugin by itself: one that fails stops no other."""

from __future__ import annotations

import difflib
import logging
from typing import TYPE_CHECKING, Any, Final

import msgspec

from dotmac_isp.plugins.core.dependencies import pip_name
from dotmac_isp.plugins.core.errors import ConfigurationError, DependencyError, InstanceNotFoundError, LifecycleError
from dotmac_isp.plugins.core.lifecycle import provides_secrets
from dotmac_isp.plugins.core.model import PluginState, tenant_label

from ._failures import failure_of
from ._results import PluginFailure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dotmac_isp.plugins.core.discovery import InstalledPlugin
    from dotmac_isp.plugins.core.manager import PluginManager

__all__ = ["Round", "check_environment", "load_plugins", "wanted_plugins"]

_LOG: Final = logging.getLogger("dotmac.loader")


class Round(msgspec.Struct, kw_only=True):
    """What one load for one tenant came to; the loader remembers the last one of each tenant."""

    tenant_id: str | None
    environment: str | None
    loaded: list[str] = []
    failed: dict[str, PluginFailure] = {}
    skipped: dict[str, str] = {}

    def forget(self, plugin_id: str) -> None:
        """What was said of the plugin holds no longer."""
        self.failed.pop(plugin_id, None)
        self.skipped.pop(plugin_id, None)


class _SkippedError(Exception):
    """Not to be loaded, and no failure either."""


def check_environment(manager: PluginManager, environment: str | None) -> None:
    """Raise `ConfigurationError`, with the file, its line and what there is, for an environment that no file has."""
    configuration = manager.configuration
    known = configuration.environments()
    if environment is None or environment in known:
        return
    file = next((one for one in reversed(configuration.files) if one.deployment_scenarios), configuration.files[-1])
    line = file.line_of(("deployment_scenarios",))
    close = difflib.get_close_matches(str(environment), known, n=1)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    raise ConfigurationError(
        f"there is no environment {environment!r} in {file.path}{f', line {line}' if line else ''}: deployment_scenarios",
        field="deployment_scenarios",
        source=file.path,
        line=line,
        remedy=f"{hint}There are: {', '.join(known)}; add it there to have another",
    )


def wanted_plugins(manager: PluginManager, tenant_id: str | None, environment: str | None) -> list[str]:
    """Every plugin that is installed or named: first those that can load, in their order, then the others."""
    order = manager.load_order(tenant_id, environment)
    named = manager.configuration.plugin_ids()
    broken = [one.plugin_id for one in manager.discovery.problems if one.plugin_id and one.severity == "error"]
    return list(dict.fromkeys((*order, *named, *manager.discovery.plugins, *broken)))


async def load_plugins(
    manager: PluginManager,
    tenant_id: str | None,
    environment: str | None,
    *,
    before: Round | None,
    configuration: Mapping[str, Mapping[str, Any]],
) -> Round:
    """Load each. `before` is the tenant's last round, `configuration` holds explicit overrides by plugin id."""
    now = Round(tenant_id=tenant_id, environment=environment)
    moved = before is not None and before.environment != environment
    for plugin_id in wanted_plugins(manager, tenant_id, environment):
        try:
            await _load(manager, plugin_id, now, moved=moved, override=configuration.get(plugin_id))
        except _SkippedError as skipped:
            now.skipped[plugin_id] = str(skipped)
            _LOG.info("%s is skipped for tenant %s: %s", plugin_id, tenant_label(tenant_id), skipped)
        except Exception as error:  # noqa: BLE001 - this plugin's result; the others go on
            now.failed[plugin_id] = failure_of(error)
            _LOG.warning("%s is not loaded for tenant %s: %s", plugin_id, tenant_label(tenant_id), error)
        else:
            now.loaded.append(plugin_id)
    return now


async def _load(
    manager: PluginManager, plugin_id: str, now: Round, *, moved: bool, override: Mapping[str, Any] | None
) -> None:
    enabled, why = manager.configuration.enabled(plugin_id, now.environment, now.tenant_id)
    if not enabled:
        await manager.unload(plugin_id, tenant_id=now.tenant_id)
        raise _SkippedError(why)
    plugin = _installed(manager, plugin_id)
    if now.tenant_id is not None and provides_secrets(plugin):
        raise _SkippedError("it provides secrets to every tenant: the host runs it for the system tenant")
    _check_requirements(plugin, now)
    moved = moved and _state(manager, plugin_id, now.tenant_id) in {PluginState.ACTIVE, PluginState.INITIALIZED}
    try:
        status = await manager.load(
            plugin_id, tenant_id=now.tenant_id, environment=now.environment, configuration=override
        )
    except LifecycleError as error:
        if type(error) is LifecycleError and _state(manager, plugin_id, now.tenant_id) is PluginState.DISABLED:
            raise _SkippedError(error.message) from error
        raise
    if status.state not in {PluginState.INITIALIZED, PluginState.ACTIVE}:
        raise _SkippedError("the tenant is suspended; resume_tenant switches it on again")
    if moved and override is None:
        # It was there already, with the settings of another environment.
        await manager.configure(plugin_id, {}, tenant_id=now.tenant_id)


def _installed(manager: PluginManager, plugin_id: str) -> InstalledPlugin:
    if plugin_id not in manager.discovery.plugins and manager.discovery.problem(plugin_id) is None:
        package = pip_name(plugin_id)
        how = f"python -m pip install {package}" if " " not in package else f"install {package}"
        raise _SkippedError(f"it is not installed; to have it: {how}")
    return manager.installed(plugin_id)


def _check_requirements(plugin: InstalledPlugin, now: Round) -> None:
    for required in plugin.manifest.requires:
        if required in now.failed:
            why, remedy = now.failed[required]["error"], now.failed[required]["remedy"]
            raise DependencyError(f"{plugin.id} requires {required}, which failed: {why}", remedy=remedy)
        if required in now.skipped:
            raise DependencyError(
                f"{plugin.id} requires {required}, which is not loaded: {now.skipped[required]}",
                remedy=f"Bring {required} or switch it on, or switch {plugin.id} off",
            )


def _state(manager: PluginManager, plugin_id: str, tenant_id: str | None) -> PluginState | None:
    try:
        return manager.status(plugin_id, tenant_id=tenant_id).state
    except InstanceNotFoundError:
        return None
