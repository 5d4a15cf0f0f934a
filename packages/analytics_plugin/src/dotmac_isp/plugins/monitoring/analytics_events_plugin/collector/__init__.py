"""The collector: takes events over HTTP, keeps them on disk, stores them in the engine, answers questions, watches alerts.

A process of its own: `dotmac-analytics-collector serve`, or started by the host (see `provider`).
"""

from __future__ import annotations

from ._collector import Collector, CollectorConfig

__all__ = ["Collector", "CollectorConfig"]
