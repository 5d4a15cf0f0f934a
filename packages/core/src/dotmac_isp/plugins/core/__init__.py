"""The core of the plugin runtime: what host applications and plugins import.

Everything here loads on first use, so that importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .api import PluginAPI
    from .base import BasePlugin, HostService, HostSettings, MonitoringPlugin, NetworkAutomationPlugin
    from .errors import ConfigurationError, CredentialsRefused, NotReady, PluginError
    from .health import Limits
    from .hookspecs import hookimpl
    from .manager import PluginHandle, PluginManager
    from .model import (
        DeviceEvent,
        Failure,
        HealthReport,
        HealthStatus,
        HookResults,
        InstanceRef,
        MetricSample,
        PluginContext,
        PluginInfo,
        PluginState,
        Secret,
        SettingChange,
    )
    from .settings import PluginSettings

__all__ = [
    "BasePlugin",
    "ConfigurationError",
    "CredentialsRefused",
    "DeviceEvent",
    "Failure",
    "HealthReport",
    "HealthStatus",
    "HookResults",
    "HostService",
    "HostSettings",
    "InstanceRef",
    "Limits",
    "MetricSample",
    "MonitoringPlugin",
    "NetworkAutomationPlugin",
    "NotReady",
    "PluginAPI",
    "PluginContext",
    "PluginError",
    "PluginHandle",
    "PluginInfo",
    "PluginManager",
    "PluginSettings",
    "PluginState",
    "Secret",
    "SettingChange",
    "hookimpl",
]

_HOMES: Final = {
    "api": ("PluginAPI",),
    "base": ("BasePlugin", "HostService", "HostSettings", "MonitoringPlugin", "NetworkAutomationPlugin"),
    "errors": ("ConfigurationError", "CredentialsRefused", "NotReady", "PluginError"),
    "health": ("Limits",),
    "hookspecs": ("hookimpl",),
    "manager": ("PluginHandle", "PluginManager"),
    "settings": ("PluginSettings",),
}
_HOME_OF: Final = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME_OF.get(name, 'model')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
