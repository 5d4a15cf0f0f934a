"""Dashboards: panels with a question each, stored by tenant, drawn as one page with today's numbers."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..._plain import EventError, as_mapping, plain
from ..._times import span
from ...pages import CHARTS, Panel, draw_page
from ..questions import Query, parse_query

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._meta import Meta
    from ..questions import Questions

__all__ = ["Dashboard", "Dashboards", "parse_dashboard"]

_KIND: Final = "dashboard"
_DAY: Final = 86400.0
_MAX_PANELS: Final = 24
_MAX_TITLE: Final = 200
_PANEL_FIELDS: Final = frozenset({"title", "chart", "unit", "query", "description"})
_PANEL_ALIASES: Final = {"name": "title", "type": "chart", "chart_type": "chart", "visualization": "chart"}
_CHART_ALIASES: Final = {
    "timeseries": "line",
    "time_series": "line",
    "line_chart": "line",
    "bar_chart": "bar",
    "pie_chart": "pie",
    "donut": "pie",
    "counter": "number",
    "stat": "number",
    "metric": "number",
    "single": "number",
    "list": "table",
}
_DASHBOARD_ALIASES: Final = {
    "name": "title",
    "widgets": "panels",
    "charts": "panels",
    "since": "time_range",
    "period": "time_range",
    "range": "time_range",
}
_OWN: Final[list[dict[str, Any]]] = [
    {"title": "Events", "chart": "number"},
    {"title": "Users", "metric": "unique_users", "chart": "number"},
    {"title": "Events over time", "chart": "area", "group_by": ["category"]},
    {"title": "Most frequent events", "chart": "bar", "group_by": ["event_name"], "limit": 10},
    {"title": "By severity", "chart": "pie", "group_by": ["severity"]},
]


class PanelConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One panel: what is asked, and how it is drawn."""

    title: str
    chart: str
    question: dict[str, Any]
    unit: str = "events"


class Dashboard(msgspec.Struct, frozen=True, kw_only=True):
    """A stored dashboard; `time_range` is the span that its panels show, seconds."""

    id: str
    title: str
    description: str
    time_range: float
    panels: tuple[PanelConfig, ...]
    created_at: float


def parse_dashboard(raw: object) -> Dashboard:
    """Understand a dashboard as a person writes it. Raises `EventError`."""
    given = {_DASHBOARD_ALIASES.get(k, k): v for k, v in as_mapping(raw or {}, "dashboard").items() if v is not None}
    known = {"title", "description", "time_range", "panels"}
    for name in given.keys() - known:
        raise EventError(f"dashboard.{name}", given[name], "one of " + ", ".join(sorted(known)))
    panels = given.get("panels") or _OWN
    if not isinstance(panels, (list, tuple)) or len(panels) > _MAX_PANELS:
        raise EventError("panels", panels, f"a list of at most {_MAX_PANELS} panels")
    return Dashboard(
        id=uuid.uuid4().hex,
        title=_title(given.get("title", "Dashboard"), "title"),
        description=_title(given.get("description", ""), "description"),
        time_range=span(given["time_range"], "time_range") if "time_range" in given else _DAY,
        panels=tuple(_panel(panel, index) for index, panel in enumerate(panels)),
        created_at=time.time(),
    )


def _title(value: object, field: str) -> str:
    text = str(value).strip()
    if len(text) > _MAX_TITLE:
        raise EventError(field, value, f"at most {_MAX_TITLE} characters")
    return str(plain(text, field))


def _panel(raw: object, index: int) -> PanelConfig:
    place = f"panels[{index}]"
    given = {_PANEL_ALIASES.get(k, k): v for k, v in as_mapping(raw, place).items() if v is not None}
    question = {key: value for key, value in given.items() if key not in _PANEL_FIELDS}
    if isinstance(given.get("query"), str):
        question["metric"] = given["query"]
    else:
        question |= as_mapping(given.get("query") or {}, f"{place}.query")
    chart = str(given.get("chart", "line")).lower().replace("-", "_")
    chart = _CHART_ALIASES.get(chart, chart)
    if chart not in CHARTS:
        raise EventError(f"{place}.chart", given["chart"], "one of " + ", ".join(CHARTS))
    query = parse_query(question)
    unit = str(given.get("unit") or _unit(query))
    title = given.get("title") or question.get("event_name") or question.get("metric") or "Events"
    return PanelConfig(title=_title(title, f"{place}.title"), chart=chart, question=plain(question, place), unit=unit)


def _unit(query: Query) -> str:
    if query.measure == "count":
        return "events"
    return query.measure.removeprefix("unique_") if query.measure.startswith("unique_") else query.field


class Dashboards:
    """The dashboards of all tenants."""

    def __init__(self, meta: Meta) -> None:
        self._meta = meta

    def create(self, tenant: str, raw: object) -> Dashboard:
        dashboard = parse_dashboard(raw)
        self._meta.put(_KIND, tenant, dashboard.id, dashboard)
        return dashboard

    def get(self, tenant: str, dashboard_id: str) -> Dashboard | None:
        value = self._meta.get(_KIND, tenant, dashboard_id)
        return None if value is None else msgspec.convert(value, Dashboard)

    def list(self, tenant: str) -> list[Dashboard]:
        return [msgspec.convert(value, Dashboard) for _, _, value in self._meta.list(_KIND, tenant)]

    def delete(self, tenant: str, dashboard_id: str) -> bool:
        return self._meta.delete(_KIND, tenant, dashboard_id)

    async def page(self, dashboard: Dashboard, questions: Questions, *, bundle: str) -> str:
        """The dashboard as one HTML page with everything in it."""
        now = time.time()
        since = now - dashboard.time_range
        panels = [await self._filled(panel, questions, since, now) for panel in dashboard.panels]
        return await asyncio.to_thread(
            draw_page,
            title=dashboard.title,
            description=dashboard.description,
            since=since,
            until=now,
            panels=panels,
            bundle=bundle,
        )

    async def _filled(self, panel: PanelConfig, questions: Questions, since: float, until: float) -> Panel:
        width = int((until - since) / 60)
        series = panel.chart in {"line", "area"}
        defaults: Mapping[str, Any] = {"since": since, "until": until + 1, "limit": 10_000 if series else 20}
        query = parse_query({**defaults, **panel.question})
        if series and not query.interval:
            query = msgspec.structs.replace(query, interval=_step(width))
        if query.measure == "count" and set(query.where) | set(query.group_by) <= {"event_name", "category"}:
            query = msgspec.structs.replace(query, since=query.since // 60 * 60, until=(query.until // 60 + 1) * 60)
        answer = await questions.ask(query)
        return Panel(
            title=panel.title,
            chart=panel.chart,
            unit=panel.unit,
            columns=answer.columns,
            rows=answer.rows,
            since=query.since,
            until=query.until,
            interval=query.interval,
            counts=query.measure == "count",
        )


def _step(width: int) -> int:
    return next((step for step in (60, 300, 900, 3600, 3 * 3600, 6 * 3600) if step >= width), 86400)
