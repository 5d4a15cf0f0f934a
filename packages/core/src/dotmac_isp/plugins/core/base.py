"""What a plugin's class inherits from, and what a package's host service does.

The host makes an instance for a tenant as `cls(api)` and then calls, always in this order and never two at once::

    initialize → activate → (calls) → deactivate → cleanup

`initialize` prepares without the network (settings are valid, required secrets exist); `activate` connects and may raise
`NotReady`, `CredentialsRefused` or `ConfigurationError`, each of which has its own remedy; `deactivate` stops work; `cleanup`
releases everything. Steps that have nothing to do need not be written.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final

from .model import HealthReport, HealthStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from .api import PluginAPI, SecretReader
    from .model import Alert, AlertStatus, Device, DeviceStatus, PluginContext, PluginInfo

__all__ = ["BasePlugin", "HostService", "HostSettings", "MonitoringPlugin", "NetworkAutomationPlugin"]


class BasePlugin(ABC):  # noqa: B024 - every step has a sensible default
    """The base of every plugin (specification, "Plugin Base Classes").

    Methods named as hooks are hook implementations. Other public methods can be called through the plugin's handle.
    """

    def __init__(self, api: PluginAPI) -> None:
        self.api: Final = api

    @property
    def plugin_info(self) -> PluginInfo:
        """What this plugin is, from its manifest."""
        return self.api.info

    async def initialize(self) -> None:  # noqa: B027 - having nothing to do is fine
        """Prepare: check settings, make objects. No network, nothing that blocks."""

    async def activate(self) -> None:  # noqa: B027
        """Connect and begin to work."""

    async def deactivate(self) -> None:  # noqa: B027
        """Stop working; `activate` may follow again."""

    async def cleanup(self) -> None:  # noqa: B027
        """Release everything. Runs also after a failed step, so it must cope with what was never made."""

    async def health_check(self) -> HealthReport:
        """Say how the plugin and its vendor are. The default knows of nothing that is wrong."""
        return HealthReport(status=HealthStatus.HEALTHY, message="active")

    async def get_metrics(self) -> Mapping[str, float]:
        """Numbers about the plugin itself (not about devices), by Prometheus name: counters end in `_total`, the rest are gauges."""
        return {}


class NetworkAutomationPlugin(BasePlugin):
    """A plugin that manages network devices."""

    @abstractmethod
    async def discover_devices(self, context: PluginContext) -> list[Device]:
        """List the devices of this tenant."""

    @abstractmethod
    async def configure_device(self, device_id: str, config: Mapping[str, Any], context: PluginContext) -> bool | None:
        """Apply `config` and return `True` when it was seen to take effect; `None`: not my device."""

    @abstractmethod
    async def get_device_status(self, device_id: str, context: PluginContext) -> DeviceStatus | None:
        """Say how a device is; `None`: not my device."""


class MonitoringPlugin(BasePlugin):
    """A plugin that measures and alerts."""

    @abstractmethod
    async def collect_metrics(self, resource_ids: Sequence[str], context: PluginContext) -> Mapping[str, Any]:
        """Measure the resources; an empty list means all."""

    @abstractmethod
    async def create_alert(self, alert_data: Alert, context: PluginContext) -> str | None:
        """Make an alert and return its id."""

    @abstractmethod
    async def get_alert_status(self, alert_id: str, context: PluginContext) -> AlertStatus | None:
        """Say how an alert is; `None`: not mine."""


class HostSettings:
    """What `provide_host_services` is told: the plugin's settings as they are without a tenant, and where to keep things."""

    __slots__ = ("data_dir", "home", "plugin_id", "secrets", "values")

    def __init__(self, *, plugin_id: str, values: Any, home: Path, data_dir: Path, secrets: SecretReader) -> None:
        self.plugin_id: Final = plugin_id
        #: The plugin's validated settings model, from every layer but the tenant's.
        self.values: Final = values
        #: The host's state folder (`DOTMAC_HOME`).
        self.home: Final = home
        #: An owner-only folder of this plugin's, for host services.
        self.data_dir: Final = data_dir
        #: Secrets of the system tenant.
        self.secrets: Final = secrets


class HostService(ABC):
    """Something that a plugin needs once per host. The host starts it, watches it, restarts it when `check` says unhealthy, and stops it."""

    #: Shown in status and logs.
    name: str

    @abstractmethod
    async def start(self) -> None:
        """Start, or join one of ours that runs already. Raises when neither is possible, saying what is in the way."""

    @abstractmethod
    async def stop(self) -> None:
        """Stop what `start` started. Must end also when the service hangs."""

    @abstractmethod
    async def check(self) -> HealthReport:
        """Say how the service is."""

    async def admit(self, tenant_id: str | None, settings: Any, secrets: SecretReader) -> None:  # noqa: B027
        """An instance of the plugin for this tenant is about to activate."""

    async def dismiss(self, tenant_id: str | None) -> None:  # noqa: B027
        """The tenant's instance is gone."""
