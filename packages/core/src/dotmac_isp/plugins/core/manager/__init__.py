"""The façade of the runtime: `PluginManager`, and what its methods give."""

from __future__ import annotations

from ..lifecycle import InstanceStatus
from ._bulk import BulkResult
from ._handle import PluginHandle
from ._inventory import Inventory, Statistics
from ._manager import PluginManager
from ._reload import InstallChange

__all__ = ["BulkResult", "InstallChange", "InstanceStatus", "Inventory", "PluginHandle", "PluginManager", "Statistics"]
