"""What happened, in numbers and in words: calls, failures, durations and states per instance, and logs that say whose they are.

The numbers are plain attributes on the way of a call; only the exporter, when somebody asks, makes text of them.
"""

from __future__ import annotations

from ._logs import configure_logging
from ._rate import RateLimit
from ._recorder import LABEL_SETS
from ._registry import InstanceMetrics, PluginTotals, Telemetry, TelemetryTotals
from ._scope_fields import ScopeFilter, instance_logger
from ._stats import BOUNDS, CallStats

__all__ = [
    "BOUNDS",
    "LABEL_SETS",
    "CallStats",
    "InstanceMetrics",
    "PluginTotals",
    "RateLimit",
    "ScopeFilter",
    "Telemetry",
    "TelemetryTotals",
    "configure_logging",
    "instance_logger",
]
