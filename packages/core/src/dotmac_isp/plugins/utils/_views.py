"""What the loader shows of the manager's instances: pure functions from one to the other."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Any

import msgspec

from dotmac_isp.plugins.core.model import HealthStatus, PluginState

from ._results import DiscoveredPlugin, DiscoveryProblem, DiscoveryReport, HealthSummary, PluginHealth, PluginStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dotmac_isp.plugins.core.manager import InstanceStatus, PluginManager
    from dotmac_isp.plugins.core.model import HealthReport

__all__ = ["discovery_view", "health_view", "not_loaded", "status_view", "summary_of"]


def status_view(status: InstanceStatus, environment: str | None) -> PluginStatus:
    """An instance's status as plain data."""
    return PluginStatus(
        plugin_id=status.plugin_id,
        tenant_id=status.tenant_id,
        state=status.state.value,
        reason=status.reason,
        since=status.since,
        health=status.health.status.value,
        health_message=status.health.message,
        version=status.version,
        environment=environment,
        breaker=status.breaker,
        retry_at=status.retry_at,
        switched_off={feature: list(names) for feature, names in status.switched_off.items()},
    )


def not_loaded(plugin_id: str, tenant_id: str | None, environment: str | None, reason: str) -> PluginStatus:
    """The status of a plugin that came to no instance."""
    return PluginStatus(
        plugin_id=plugin_id,
        tenant_id=tenant_id,
        state="not loaded",
        reason=reason,
        since=None,
        health=HealthStatus.UNKNOWN.value,
        health_message=reason,
        version=None,
        environment=environment,
        breaker=None,
        retry_at=None,
        switched_off={},
    )


def health_view(report: HealthReport, state: PluginState) -> PluginHealth:
    """A health report as plain data."""
    details: dict[str, Any] = msgspec.to_builtins(report.details, enc_hook=str)
    return PluginHealth(
        health=report.status.value,
        message=report.message,
        details=details,
        state=state.value,
        checked_at=report.checked_at,
    )


def summary_of(tenant_id: str | None, plugins: Mapping[str, PluginHealth]) -> HealthSummary:
    """Count."""
    counts = collections.Counter(one["health"] for one in plugins.values())
    return HealthSummary(
        tenant_id=tenant_id,
        healthy_plugins=counts[HealthStatus.HEALTHY.value],
        degraded_plugins=counts[HealthStatus.DEGRADED.value],
        unhealthy_plugins=counts[HealthStatus.UNHEALTHY.value],
        unknown_plugins=counts[HealthStatus.UNKNOWN.value],
        total_plugins=len(plugins),
        plugins=dict(plugins),
    )


def discovery_view(manager: PluginManager, tenant_id: str | None, environment: str | None) -> DiscoveryReport:
    """What is installed, and what of it cannot be used."""
    states = {one.plugin_id: one.state.value for one in manager.list(tenant_id=tenant_id)} if manager.running else {}
    plugins: dict[str, DiscoveredPlugin] = {}
    for plugin_id, plugin in manager.discovery.plugins.items():
        enabled, why = manager.configuration.enabled(plugin_id, environment, tenant_id)
        plugins[plugin_id] = DiscoveredPlugin(
            name=plugin.info.name,
            version=plugin.version,
            category=plugin.info.category,
            description=plugin.info.description,
            distribution=plugin.distribution,
            enabled=enabled,
            why=why,
            state=states.get(plugin_id),
        )
    problems = [
        DiscoveryProblem(
            plugin_id=one.plugin_id,
            distribution=one.distribution,
            severity=one.severity,
            error=one.message,
            remedy=one.remedy,
        )
        for one in manager.problems
    ]
    return DiscoveryReport(plugins=plugins, problems=problems)
