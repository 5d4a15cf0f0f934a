"""All numbers of one manager, by instance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ..model import InstanceRef, PluginState
from ._recorder import Recorder
from ._stats import CallStats
from ._turns import LifeRecorder

if TYPE_CHECKING:
    from ..model import FailureKind

__all__ = ["InstanceMetrics", "PluginTotals", "Telemetry", "TelemetryTotals"]


class PluginTotals(msgspec.Struct):
    """What all instances of one plugin did. `seconds` is the time spent in calls."""

    instances: int = 0
    calls: int = 0
    failures: int = 0
    seconds: float = 0.0
    failures_by_kind: dict[str, int] = msgspec.field(default_factory=dict)


class TelemetryTotals(msgspec.Struct):
    """What all instances of one manager did, and the same by plugin id."""

    instances: int = 0
    calls: int = 0
    failures: int = 0
    seconds: float = 0.0
    plugins: dict[str, PluginTotals] = msgspec.field(default_factory=dict)


class InstanceMetrics:
    """The numbers of one instance: its operations as the gate sees them, and its own metrics."""

    __slots__ = ("allowed", "operations", "own", "ref", "refused", "state")

    def __init__(self, plugin_id: str, tenant_id: str | None) -> None:
        self.ref = InstanceRef(plugin_id, tenant_id)
        self.state: PluginState | None = None
        self.operations: dict[str, CallStats] = {}
        self.own = Recorder()
        #: Connections of a jailed instance that the broker let through, and those that it refused.
        self.allowed = 0
        self.refused = 0

    def operation(self, name: str) -> CallStats:
        """The numbers of one hook or method. Keep the result: it stays the same object."""
        stats = self.operations.get(name)
        if stats is None:
            stats = self.operations[name] = CallStats()
        return stats

    @property
    def recorder(self) -> Recorder:
        """The instance's own numbers, to be set by the host."""
        return self.own

    def recorder_of_life(self, *, begun: bool) -> LifeRecorder:
        """What the plugin gets as `api.metrics`. `begun`: no other life of the instance answers calls."""
        return LifeRecorder(self.own, begun=begun)


class Telemetry:
    """The instances' numbers of one manager. Nothing is global: two managers in one process count apart."""

    def __init__(self) -> None:
        self._instances: dict[tuple[str, str | None], InstanceMetrics] = {}

    def instance(self, plugin_id: str, tenant_id: str | None) -> InstanceMetrics:
        """The numbers of this instance, made at first use."""
        key = (plugin_id, tenant_id)
        metrics = self._instances.get(key)
        if metrics is None:
            metrics = self._instances[key] = InstanceMetrics(plugin_id, tenant_id)
        return metrics

    def drop(self, plugin_id: str, tenant_id: str | None) -> None:
        """Forget an instance: it disappears from the exposition and from the totals."""
        self._instances.pop((plugin_id, tenant_id), None)

    def set_state(self, plugin_id: str, tenant_id: str | None, state: PluginState) -> None:
        """Note the state of an instance."""
        self.instance(plugin_id, tenant_id).state = state

    def egress(self, plugin_id: str, tenant_id: str | None, *, allowed: bool) -> None:
        """Count what became of a connection that a jailed instance asked for."""
        metrics = self.instance(plugin_id, tenant_id)
        if allowed:
            metrics.allowed += 1
        else:
            metrics.refused += 1

    def instances(self) -> list[InstanceMetrics]:
        """All instances, in the order in which they were first seen. Safe to call from another thread."""
        return list(self._instances.values())

    def totals(self) -> TelemetryTotals:
        """Calls and failures, in all and by plugin."""
        totals = TelemetryTotals()
        for metrics in self.instances():
            plugin = totals.plugins.setdefault(metrics.ref.plugin_id, PluginTotals())
            plugin.instances += 1
            for stats in list(metrics.operations.values()):
                _add(plugin, stats)
        for plugin in totals.plugins.values():
            totals.instances += plugin.instances
            totals.calls += plugin.calls
            totals.failures += plugin.failures
            totals.seconds += plugin.seconds
        return totals

    def render(self) -> bytes:
        """Everything in Prometheus' text format (`text/plain; version=0.0.4`).

        Takes 0.1 to 0.2 ms for each operation of each instance (seconds for 1,000 tenants): call it in a thread.
        Raises `ConfigurationError` when prometheus-client is not installed.
        """
        from ._exposition import render  # noqa: PLC0415 - prometheus-client is optional and slow to import

        return render(self.instances())


def _add(plugin: PluginTotals, stats: CallStats) -> None:
    plugin.calls += stats.calls
    plugin.seconds += stats.seconds
    failures: dict[FailureKind, int] = dict(stats.failures or {})
    for kind, count in failures.items():
        plugin.failures += count
        plugin.failures_by_kind[kind.value] = plugin.failures_by_kind.get(kind.value, 0) + count
