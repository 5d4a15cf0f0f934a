"""Prometheus' text format out of the plain numbers, written by prometheus-client itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ConfigurationError
from ..model import PluginState, tenant_label
from ._recorder import MetricKind
from ._stats import BOUNDS

try:
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.core import Metric
    from prometheus_client.registry import Collector
except ImportError as error:
    raise ConfigurationError(
        "metrics cannot be shown: the package prometheus-client is not installed",
        remedy="Install it: pip install 'dotmac-plugins-core[metrics]'",
    ) from error

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ._recorder import OwnMetric
    from ._registry import InstanceMetrics
    from ._stats import Histogram

__all__ = ["render"]

_BUCKET_LABELS = (*(repr(bound) for bound in BOUNDS), "+Inf")
# The names that the samples of one family take, beside its own.
_SUFFIXES = {
    MetricKind.COUNTER: ("", "_total", "_created"),
    MetricKind.GAUGE: ("",),
    MetricKind.HISTOGRAM: ("", "_bucket", "_count", "_sum", "_created"),
}


def render(instances: Iterable[InstanceMetrics]) -> bytes:
    """All numbers of these instances in the text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(list(instances)))
    return generate_latest(registry)


class _Snapshot(Collector):
    def __init__(self, instances: list[InstanceMetrics]) -> None:
        self._instances = instances

    def describe(self) -> list[Metric]:
        """Nothing to register by name: the registry lives as long as one page."""
        return []

    def collect(self) -> Iterator[Metric]:
        yield from self._calls()
        yield self._states()
        yield self._egress()
        yield from self._own()

    def _calls(self) -> Iterator[Metric]:
        calls = Metric("dotmac_plugin_calls", "Calls that reached the gate.", "counter")
        failures = Metric("dotmac_plugin_failures", "Calls that gave no result, by kind.", "counter")
        durations = Metric("dotmac_plugin_call_seconds", "How long calls took, in seconds.", "histogram")
        for instance in self._instances:
            base = _base(instance)
            for operation, stats in list(instance.operations.items()):
                labels = {**base, "operation": operation}
                calls.add_sample("dotmac_plugin_calls_total", labels, stats.calls)
                _add_histogram(durations, labels, stats)
                for kind, count in list((stats.failures or {}).items()):
                    failures.add_sample("dotmac_plugin_failures_total", {**labels, "kind": kind.value}, count)
        yield from (calls, failures, durations)

    def _states(self) -> Metric:
        states = Metric("dotmac_plugin_state", "1 for the state that the instance is in, 0 for the others.", "gauge")
        for instance in self._instances:
            if instance.state is None:
                continue
            base = _base(instance)
            for state in PluginState:
                states.add_sample("dotmac_plugin_state", {**base, "state": state.value}, float(state is instance.state))
        return states

    def _egress(self) -> Metric:
        egress = Metric("dotmac_plugin_egress", "Connections that jailed instances asked for, by outcome.", "counter")
        for instance in self._instances:
            for outcome, count in (("allowed", instance.allowed), ("refused", instance.refused)):
                if count:
                    egress.add_sample("dotmac_plugin_egress_total", {**_base(instance), "outcome": outcome}, count)
        return egress

    def _own(self) -> Iterator[Metric]:
        """The plugins' own metrics. Where two plugins want one name for different things, the first one has it."""
        families: dict[str, Metric] = {}
        taken: dict[str, str] = {}
        dropped = Metric(
            "dotmac_plugin_metrics_dropped",
            "Values of a plugin's own metrics that are not shown: too many label sets, or a name that is taken.",
            "counter",
        )
        for instance in self._instances:
            clashes = 0
            for metric in instance.own.read():
                family = _family(metric, families, taken)
                if family is None:
                    clashes += 1
                else:
                    _add_own(family, _base(instance), metric)
            if lost := clashes + instance.own.dropped:
                dropped.add_sample("dotmac_plugin_metrics_dropped_total", _base(instance), lost)
        yield dropped
        yield from families.values()


def _base(instance: InstanceMetrics) -> dict[str, str]:
    return {"plugin": instance.ref.plugin_id, "tenant": tenant_label(instance.ref.tenant_id)}


def _family(metric: OwnMetric, families: dict[str, Metric], taken: dict[str, str]) -> Metric | None:
    family = families.get(metric.name)
    if family is not None:
        return family if family.type == metric.kind.value else None
    names = [metric.name + suffix for suffix in _SUFFIXES[metric.kind]]
    if any(name in taken for name in names):
        return None
    taken.update(dict.fromkeys(names, metric.name))
    family = families[metric.name] = Metric(metric.name, "Counted by the plugin itself.", metric.kind.value)
    return family


def _add_own(family: Metric, base: dict[str, str], metric: OwnMetric) -> None:
    labels = {**base, **dict(metric.labels)}
    if not isinstance(metric.value, float):
        _add_histogram(family, labels, metric.value)
    elif metric.kind is MetricKind.COUNTER:
        family.add_sample(f"{metric.name}_total", labels, metric.value)
    else:
        family.add_sample(metric.name, labels, metric.value)


def _add_histogram(family: Metric, labels: dict[str, str], histogram: Histogram) -> None:
    total = 0
    for bound, count in zip(_BUCKET_LABELS, histogram.buckets, strict=True):
        total += count
        family.add_sample(f"{family.name}_bucket", {**labels, "le": bound}, total)
    family.add_sample(f"{family.name}_count", labels, total)
    family.add_sample(f"{family.name}_sum", labels, histogram.seconds)
