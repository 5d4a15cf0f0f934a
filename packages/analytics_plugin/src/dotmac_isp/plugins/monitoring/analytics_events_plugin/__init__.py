"""Analytics events for a platform of internet providers: tracked durably, reported, drawn, watched.

The plugin is light: the HTTP client loads when it first speaks to the collector; the engine runs in the collector's own child process.
"""

from __future__ import annotations

from ._plugin import AnalyticsEventsPlugin
from .events import CATEGORIES, SEVERITIES, BatchResult, Event, EventError, Rejection

__all__ = [
    "CATEGORIES",
    "SEVERITIES",
    "AnalyticsEventsPlugin",
    "BatchResult",
    "Event",
    "EventError",
    "Rejection",
]
