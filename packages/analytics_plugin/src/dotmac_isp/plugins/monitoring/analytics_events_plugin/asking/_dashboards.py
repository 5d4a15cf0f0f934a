"""Dashboards: stored, drawn, shared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dotmac_isp.plugins.core.errors import PluginError

from .._plain import EventError, as_mapping, shown
from ._asker import Asker, is_id, place, written

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Dashboards"]


class Dashboards(Asker):
    """The plugin's methods about dashboards."""

    async def create_dashboard(self, dashboard_config: Mapping[str, Any]) -> dict[str, Any]:
        """Store a dashboard and draw it as one HTML file that opens offline.

        `{"title": …, "time_range": "24h", "panels": [{"title": …, "metric": "page_view", "chart": "line", "group_by": […]}]}`. A panel asks
        anything that `query` takes; `queries` names questions for several panels; charts are line, area, bar, pie, number, table, funnel,
        heatmap, and `vega` with a Vega-Lite `spec` of your own. `{"template": "network_operations"}` (sales, support) takes a ready-made
        one. Gives `dashboard_id`, `title`, `path` of the page and `panels`.
        """
        made = await self._asked("POST", "/v1/dashboards", dict(as_mapping(dashboard_config, "dashboard_config")))
        return await self._drawn(made)

    async def dashboards(self) -> list[dict[str, Any]]:
        """The stored dashboards, each with `id`, `title` and `panels`."""
        return list(await self._asked("GET", "/v1/dashboards"))

    async def dashboard_templates(self) -> list[dict[str, Any]]:
        """The ready-made dashboards: `create_dashboard({"template": "network_operations"})`."""
        return list(await self._asked("GET", "/v1/dashboards/templates"))

    async def refresh_dashboard(self, dashboard_id: str) -> dict[str, Any]:
        """Draw a stored dashboard again with today's numbers. Raises `PluginError` when there is no such dashboard."""
        return await self._drawn(await self._known_dashboard(dashboard_id))

    async def change_dashboard(self, dashboard_id: str, dashboard_config: Mapping[str, Any]) -> dict[str, Any]:
        """Put another dashboard in the place of one; its links go on. Raises `PluginError` when there is no such dashboard."""
        await self._known_dashboard(dashboard_id)
        wish = dict(as_mapping(dashboard_config, "dashboard_config"))
        return await self._drawn(await self._asked("PUT", f"/v1/dashboards/{dashboard_id}", wish))

    async def delete_dashboard(self, dashboard_id: str) -> bool:
        """Forget a dashboard and end its links. `False`: there is no such dashboard."""
        if not is_id(dashboard_id):
            return False
        return (await self._asked("DELETE", f"/v1/dashboards/{dashboard_id}")) is not None

    async def export_dashboard(self, dashboard_id: str, form: str = "png") -> dict[str, Any]:
        """Write a dashboard to a file: png, pdf or html. Gives `path`. Raises `PluginError` when there is no such dashboard."""
        made = await self._known_dashboard(dashboard_id)
        if form not in {"png", "pdf", "html"}:
            raise EventError("form", form, "png, pdf or html")
        body = await self._page(f"/v1/dashboards/{dashboard_id}?format={form}")
        path = place(self.api.data_dir / "dashboards", f"{made['title'][:40]}-{made['id'][:8]}", form)
        return {"dashboard_id": made["id"], "title": made["title"], "path": await written(path, body)}

    async def share_dashboard(self, dashboard_id: str, expires_in: Any = "7d") -> dict[str, Any]:
        """Make a link under which a browser shows the dashboard, live, without a key: `url`, `share_id`, `expires_at`.

        It opens this dashboard only, until it expires or `unshare_dashboard` ends it. Raises `PluginError` when there is no such dashboard.
        """
        await self._known_dashboard(dashboard_id)
        wish = {"expires_in": expires_in}
        return dict(await self._asked("POST", f"/v1/dashboards/{dashboard_id}/shares", wish))

    async def unshare_dashboard(self, dashboard_id: str, share_id: str) -> bool:
        """End a link now. `False`: there is no such link."""
        if not is_id(dashboard_id, share_id):
            return False
        return (await self._asked("DELETE", f"/v1/dashboards/{dashboard_id}/shares/{share_id}")) is not None

    async def _known_dashboard(self, dashboard_id: str) -> dict[str, Any]:
        known: dict[str, dict[str, Any]] = {item["id"]: item for item in await self._asked("GET", "/v1/dashboards")}
        if dashboard_id not in known:
            raise PluginError(
                f"there is no dashboard {shown(dashboard_id)}", remedy=f"Known: {', '.join(known) or 'none'}"
            )
        return known[dashboard_id]

    async def _drawn(self, made: Mapping[str, Any]) -> dict[str, Any]:
        page = await self._page(f"/v1/dashboards/{made['id']}")
        path = place(self.api.data_dir / "dashboards", f"{made['title'][:40]}-{made['id'][:8]}", "html")
        panels = [panel["title"] for panel in made["panels"]]
        told = {"dashboard_id": made["id"], "id": made["id"], "title": made["title"], "panels": panels}
        return {**told, "path": await written(path, page)}
