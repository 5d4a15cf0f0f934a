"""What a host application uses most: the loader of the specification, and one call for each vendor integration."""

from __future__ import annotations

from ._integrations import load_all_vendor_integrations, load_analytics_events, load_voltha_integration
from .vendor_plugin_loader import VendorPluginLoader

__all__ = [
    "VendorPluginLoader",
    "load_all_vendor_integrations",
    "load_analytics_events",
    "load_voltha_integration",
]
