"""VOLTHA's events: read from Kafka, normalised, correlated to alarms, remembered, and told.

What works with them loads late (`_events`, `_kafka`); the model of severities is light.
"""

from __future__ import annotations

from ._severity import Severity, severity_of

__all__ = ["Severity", "severity_of"]
