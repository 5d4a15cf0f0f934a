"""The front itself: every call goes to the plugin's handle, through the host's gate."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["AnalyticsEventsSDK"]


class AnalyticsEventsSDK:
    """Deprecated front for the analytics events plugin of one tenant.

    `plugin_manager` is a started `PluginManager` in which `analytics_events` is active for the tenant. Every method of the plugin's
    features is a method here, by its own name.
    """

    def __init__(self, plugin_manager: Any, tenant_id: str | None = None) -> None:
        warnings.warn(
            "AnalyticsEventsSDK is deprecated; load the plugin instead: "
            "await load_analytics_events(plugin_manager, environment, tenant_id), then "
            "plugin_manager.get('analytics_events', tenant_id=tenant_id)",
            DeprecationWarning,
            stacklevel=2,
        )
        self._plugins = plugin_manager
        self.tenant_id = tenant_id

    @property
    def _plugin(self) -> Any:
        return self._plugins.get("analytics_events", tenant_id=self.tenant_id)

    async def track_event(self, event: Any, context: Any = None) -> str:
        """Take one event; see `AnalyticsEventsPlugin.track_event`."""
        return str(await self._plugin.track_event(event, context))

    async def track_events_batch(self, events: Iterable[Any], context: Any = None) -> dict[str, Any]:
        """Take many events; see `AnalyticsEventsPlugin.track_events_batch`."""
        return dict(await self._plugin.track_events_batch(events, context))

    async def generate_report(self, report_type: str, parameters: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Make a report; see `AnalyticsEventsPlugin.generate_report`."""
        return dict(await self._plugin.generate_report(report_type, parameters))

    async def create_dashboard(self, dashboard_config: Mapping[str, Any]) -> dict[str, Any]:
        """Draw a dashboard; see `AnalyticsEventsPlugin.create_dashboard`."""
        return dict(await self._plugin.create_dashboard(dashboard_config))

    async def create_alert(self, alert_data: Mapping[str, Any], context: Any = None) -> str:
        """Store an alert rule; see `AnalyticsEventsPlugin.create_alert`."""
        return str(await self._plugin.create_alert(alert_data, context))

    async def get_alert_status(self, alert_id: str, context: Any = None) -> dict[str, Any] | None:
        """Say how an alert is; see `AnalyticsEventsPlugin.get_alert_status`."""
        status: dict[str, Any] | None = await self._plugin.get_alert_status(alert_id, context)
        return status

    async def collect_metrics(self, resource_ids: Sequence[str] = (), context: Any = None) -> Mapping[str, Any]:
        """Counts of the last 24 hours; see `AnalyticsEventsPlugin.collect_metrics`."""
        return dict(await self._plugin.collect_metrics(resource_ids, context))

    async def flush(self) -> dict[str, Any]:
        """Deliver what is buffered now; see `AnalyticsEventsPlugin.flush`."""
        return dict(await self._plugin.flush())

    def __getattr__(self, name: str) -> Any:
        """The plugin's other methods: `query`, `sql`, `share_dashboard`, `schedule_report`, `silence_alerts`, `delete_customer`, …"""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._plugin, name)
