"""The SDK that older code imports: a thin front for the analytics events plugin.

Deprecated: load the plugin through the plugin manager instead (`dotmac_isp.plugins.utils.load_analytics_events`).
"""

from __future__ import annotations

from ._sdk import AnalyticsEventsSDK

__all__ = ["AnalyticsEventsSDK"]
