"""Dashboards as people write them: named questions, panels over them, or one of those that are ready-made."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..._plain import EventError, as_mapping, plain
from ..._times import span
from ...pages import CHARTS, check_spec
from ..questions import parse_journey, parse_query
from ._templates import TEMPLATES

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Dashboard", "PanelConfig", "parse_dashboard"]

_DAY: Final = 86400.0
_MAX_PANELS: Final = 24
_MAX_TITLE: Final = 200
_LEAST_REFRESH: Final = 2.0
_PANEL_FIELDS: Final = frozenset({"title", "chart", "unit", "query", "description", "spec"})
_PANEL_ALIASES: Final = {
    "name": "title",
    "type": "chart",
    "chart_type": "chart",
    "visualization": "chart",
    "vega": "spec",
}
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
    "vega_lite": "vega",
    "custom": "vega",
}
_DASHBOARD_ALIASES: Final = {
    "name": "title",
    "widgets": "panels",
    "charts": "panels",
    "since": "time_range",
    "period": "time_range",
    "range": "time_range",
}
_KNOWN: Final = frozenset({"title", "description", "time_range", "panels", "queries", "refresh", "template"})
#: How the answer to a question about people is best drawn.
_JOURNEY_CHARTS: Final = {"funnel": "funnel", "retention": "heatmap"}
_NEEDS: Final = {"funnel": "funnel", "heatmap": "retention"}
_OWN: Final[list[dict[str, Any]]] = [
    {"title": "Events", "chart": "number"},
    {"title": "Users", "metric": "unique_users", "chart": "number"},
    {"title": "Customers", "metric": "unique_customers", "chart": "number"},
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
    spec: dict[str, Any] | None = None


class Dashboard(msgspec.Struct, frozen=True, kw_only=True):
    """A stored dashboard; `time_range` is the span that its panels show, `refresh` how often a live page is renewed, seconds."""

    id: str
    title: str
    description: str
    time_range: float
    panels: tuple[PanelConfig, ...]
    created_at: float
    refresh: float = 10.0


def parse_dashboard(raw: object) -> Dashboard:
    """Understand a dashboard as a person writes it. Raises `EventError`."""
    given = {_DASHBOARD_ALIASES.get(k, k): v for k, v in as_mapping(raw or {}, "dashboard").items() if v is not None}
    for name in given.keys() - _KNOWN:
        raise EventError(f"dashboard.{name}", given[name], "one of " + ", ".join(sorted(_KNOWN)))
    given = {**_template(given.get("template")), **given}
    panels = given.get("panels") or _OWN
    if not isinstance(panels, (list, tuple)) or len(panels) > _MAX_PANELS:
        raise EventError("panels", panels, f"a list of at most {_MAX_PANELS} panels")
    queries = as_mapping(given.get("queries") or {}, "queries")
    refresh = span(given.get("refresh", 10), "refresh")
    return Dashboard(
        id=uuid.uuid4().hex,
        title=_title(given.get("title", "Dashboard"), "title"),
        description=_title(given.get("description", ""), "description"),
        time_range=span(given["time_range"], "time_range") if "time_range" in given else _DAY,
        panels=tuple(_panel(panel, index, queries) for index, panel in enumerate(panels)),
        created_at=time.time(),
        refresh=max(refresh, _LEAST_REFRESH),
    )


def _template(name: object) -> dict[str, Any]:
    if name is None:
        return {}
    if not isinstance(name, str) or name not in TEMPLATES:
        raise EventError("template", name, "one of " + ", ".join(TEMPLATES))
    return TEMPLATES[name]


def _title(value: object, field: str) -> str:
    text = str(value).strip()
    if len(text) > _MAX_TITLE:
        raise EventError(field, value, f"at most {_MAX_TITLE} characters")
    return str(plain(text, field))


def _panel(raw: object, index: int, queries: Mapping[str, Any]) -> PanelConfig:
    place = f"panels[{index}]"
    given = {_PANEL_ALIASES.get(k, k): v for k, v in as_mapping(raw, place).items() if v is not None}
    question = _question(given, place, queries)
    spec = check_spec(given["spec"], f"{place}.spec") if "spec" in given else None
    kind = str(question.get("kind", "events"))
    chart = _chart(given, kind, spec, place)
    unit = _checked(question, kind)
    title = given.get("title") or question.get("event_name") or question.get("metric") or kind
    return PanelConfig(
        title=_title(title, f"{place}.title"),
        chart=chart,
        question=question,
        unit=_title(given.get("unit") or unit, f"{place}.unit"),
        spec=spec,
    )


def _question(given: Mapping[str, Any], place: str, queries: Mapping[str, Any]) -> dict[str, Any]:
    question = {key: value for key, value in given.items() if key not in _PANEL_FIELDS}
    named = given.get("query")
    if isinstance(named, str) and named in queries:
        question = {**as_mapping(queries[named], f"queries.{named}"), **question}
    elif isinstance(named, str):
        question["metric"] = named
    else:
        question |= as_mapping(named or {}, f"{place}.query")
    found: dict[str, Any] = plain(question, place)
    return found


def _chart(given: Mapping[str, Any], kind: str, spec: dict[str, Any] | None, place: str) -> str:
    default = "vega" if spec else "line" if kind == "events" else _JOURNEY_CHARTS.get(kind, "table")
    chart = str(given.get("chart", default)).lower().replace("-", "_")
    chart = _CHART_ALIASES.get(chart, chart)
    if chart not in CHARTS:
        raise EventError(f"{place}.chart", given["chart"], "one of " + ", ".join(CHARTS))
    fits = chart in {"table", "vega"} or (_NEEDS.get(chart, "events") == kind)
    if not fits:
        raise EventError(f"{place}.chart", chart, f"a chart for a question of kind {kind}, such as 'table'")
    if chart == "vega" and spec is None:
        raise EventError(f"{place}.spec", None, "a Vega-Lite specification")
    return chart


def _checked(question: dict[str, Any], kind: str) -> str:
    """Raises `EventError` for what cannot be asked; gives the unit."""
    if kind != "events":
        parse_journey(question)
        return {"funnel": "people", "retention": "people"}.get(kind, kind)
    query = parse_query(question)
    if query.measure == "count":
        return "events"
    return query.measure.removeprefix("unique_") if query.measure.startswith("unique_") else query.field
