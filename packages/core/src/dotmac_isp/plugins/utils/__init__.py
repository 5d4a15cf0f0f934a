"""What a host application uses most: the loader of the specification, and one call for each vendor integration."""

from __future__ import annotations

from ._integrations import load_all_vendor_integrations, load_analytics_events, load_voltha_integration
from ._results import (
    BulkOutcome,
    DiscoveryReport,
    HealthSummary,
    LoadResults,
    PluginFailure,
    PluginStatus,
    SecretReport,
    VendorPluginStatus,
)
from .vendor_plugin_loader import VendorPluginLoader

__all__ = [
    "BulkOutcome",
    "DiscoveryReport",
    "HealthSummary",
    "LoadResults",
    "PluginFailure",
    "PluginStatus",
    "SecretReport",
    "VendorPluginLoader",
    "VendorPluginStatus",
    "load_all_vendor_integrations",
    "load_analytics_events",
    "load_voltha_integration",
]
