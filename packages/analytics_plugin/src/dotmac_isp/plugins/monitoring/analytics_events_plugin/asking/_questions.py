"""Asking about events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._asker import Asker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dotmac_isp.plugins.core.model import PluginContext

__all__ = ["Questions"]


class Questions(Asker):
    """The plugin's methods that ask."""

    async def query(self, query: Mapping[str, Any]) -> dict[str, Any]:
        """Ask: `{"metric": "count", "event_name": …, "since": "24h", "group_by": […], "interval": "1h"}` gives columns and rows.

        Metrics: count, unique_users and the like, unique and approx_unique (of `field`), sum, avg, min, max, percentiles (p95, p99.9);
        `top` is how many rows. `{"kind": "funnel", "steps": […], "window": "24h"}`, `{"kind": "retention", "event": …, "periods": [1, 7]}`
        and `{"kind": "sessions", "gap": "30m"}` ask about people; `{"kind": "timeline", "limit": 20}` gives the latest events. Raises `EventError` for what cannot be asked.
        """
        return dict(await self._asked("POST", "/v1/query", query))

    async def sql(self, text: str, parameters: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Ask in ClickHouse's SQL: one SELECT over `events` and `events_per_minute`, which show this tenant's rows only.

        `{name:Type}` in the text takes its value from `parameters`. At most 10,000 rows, 10 seconds, 1 GB of memory. A permission of its
        own (`analytics.sql.query`). Raises `EventError` for what is not on the list of what is allowed.
        """
        return dict(await self._asked("POST", "/v1/sql", {"sql": text, "parameters": dict(parameters or {})}))

    async def collect_metrics(
        self, resource_ids: Sequence[str] = (), context: PluginContext | None = None
    ) -> Mapping[str, Any]:
        """Counts of the last 24 hours: of the tenant, and by device for the resources that are asked for."""
        del context
        where = {"device_id": list(resource_ids)} if resource_ids else {}
        by_category = await self._asked("POST", "/v1/query", {"group_by": ["category"], "where": where})
        users = await self._asked("POST", "/v1/query", {"metric": "unique_users", "where": where})
        categories = {row["category"]: row["value"] for row in by_category["rows"]}
        metrics: dict[str, Any] = {
            "events_24h": sum(categories.values()),
            "unique_users_24h": users["rows"][0]["value"] if users["rows"] else 0,
            "events_by_category_24h": categories,
            "events_buffered": self._waiting(),
        }
        if resource_ids:
            metrics["resources"] = await self._by_resource(resource_ids)
        return metrics

    async def _by_resource(self, resource_ids: Sequence[str]) -> dict[str, Any]:
        wish = {"group_by": ["device_id", "event_name"], "where": {"device_id": list(resource_ids)}, "limit": 10_000}
        answer = await self._asked("POST", "/v1/query", wish)
        resources: dict[str, dict[str, Any]] = {name: {"events_24h": 0, "by_event": {}} for name in resource_ids}
        for row in answer["rows"]:
            entry = resources[row["device_id"]]
            entry["events_24h"] += row["value"]
            entry["by_event"][row["event_name"]] = row["value"]
        return resources
