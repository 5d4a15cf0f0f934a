"""From a panel's rows to a Vega-Lite specification: plain dictionaries, no library."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from ._custom import with_data
from ._words import number_words

__all__ = ["CHARTS", "Panel", "column_words", "specification"]

#: What a panel can be drawn as.
CHARTS: Final = ("line", "area", "bar", "pie", "number", "table", "funnel", "heatmap", "vega")
_MOST_SERIES: Final = 8
_MOST_POINTS: Final = 500
_OTHER: Final = "other"
_DAY: Final = 86400
#: The order is fixed, so a colour follows its series by rank and never repeats; the page sets the colours themselves.
_HEIGHT: Final = 240
#: How ticks of time are written, by what they fall on.
_CLOCK: Final = {
    "seconds": "%H:%M:%S",
    "minutes": "%H:%M",
    "hours": "%H:%M",
    "date": "%d %b",
    "day": "%d %b",
    "week": "%d %b",
    "month": "%b %Y",
    "quarter": "%b %Y",
    "year": "%Y",
}


class Panel(msgspec.Struct, frozen=True, kw_only=True):
    """Rows and how to draw them. `interval` (seconds) and the times (Unix seconds) are those of the series."""

    title: str
    chart: str
    columns: tuple[str, ...]
    rows: Sequence[dict[str, Any]]
    unit: str = "events"
    since: float = 0.0
    until: float = 0.0
    interval: int = 0
    #: Missing points of a count are zeros; of a measure they are gaps.
    counts: bool = True
    #: A chart of the tenant's own (`vega`).
    spec: dict[str, Any] | None = None
    #: What a number was in the span before.
    before: float | None = None
    #: Why there is nothing to show.
    error: str = ""

    @property
    def number(self) -> float | None:
        """What a panel with one number says."""
        values = [row["value"] for row in self.rows if row.get("value") is not None]
        return sum(values) if values else (0 if self.counts else None)

    @property
    def number_words(self) -> str:
        return number_words(self.number)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to show: no row, no value, or a count of nothing."""
        if self.chart in {"table", "vega"} or "value" not in self.columns:
            return not self.rows
        values = [row.get("value") for row in self.rows]
        return not any(value or (value == 0 and not self.counts) for value in values)


def column_words(panel: Panel, column: str) -> str:
    """How a column is headed."""
    return panel.unit if column == "value" else column.removeprefix("properties.").replace("_", " ")


def specification(panel: Panel) -> dict[str, Any] | None:
    """The chart, or `None` when there is nothing to draw as one (no rows, a number, a table)."""
    if panel.empty or panel.chart in {"number", "table", "funnel"}:
        return None
    if panel.chart == "vega":
        return with_data(panel.spec or {}, list(panel.rows), _HEIGHT)
    if panel.chart == "heatmap":
        return _heatmap(panel)
    if panel.chart in {"line", "area"}:
        return _series(panel)
    return _pie(panel) if panel.chart == "pie" else _bars(panel)


def _group(panel: Panel, row: dict[str, Any]) -> str:
    names = [column for column in panel.columns if column not in {"time", "value"}]
    parts = [str(row[name]) if row[name] not in {None, ""} else "(none)" for name in names]
    return " · ".join(parts) or panel.unit


def _ranked(panel: Panel) -> list[str]:
    totals: dict[str, float] = {}
    for row in panel.rows:
        if row["value"] is None:
            continue
        group = _group(panel, row)
        totals[group] = totals.get(group, 0.0) + abs(float(row["value"] or 0))
    return sorted(totals, key=lambda group: (-totals[group], group))


def _series(panel: Panel) -> dict[str, Any]:
    ranked = _ranked(panel)
    shown = ranked[:_MOST_SERIES]
    values = _points(panel, shown)
    several = len(shown) > 1
    title = panel.unit + (f" in {_interval_words(panel.interval)}" if panel.counts else "")
    encoding: dict[str, Any] = {
        "x": {
            "field": "time",
            "type": "temporal",
            "title": "time (UTC)",
            "scale": {"type": "utc"},
            "axis": {
                "format": _CLOCK,
                "labelOverlap": True,
                **({"tickCount": "day"} if panel.interval >= _DAY else {}),
            },
        },
        "y": {
            "field": "value",
            "type": "quantitative",
            "title": title,
            "stack": None if panel.chart == "line" else "zero",
        },
        "tooltip": [
            {
                "field": "time",
                "type": "temporal",
                "title": "time (UTC)",
                "format": "%Y-%m-%d %H:%M",
                "formatType": "utc",
            },
            {"field": "group", "type": "nominal", "title": "series"},
            {"field": "value", "type": "quantitative", "title": panel.unit, "format": ","},
        ],
    }
    if several:
        encoding["color"] = {
            "field": "group",
            "type": "nominal",
            "title": None,
            "sort": shown,
            "legend": {"orient": "bottom", "columns": 4},
        }
    mark: dict[str, Any] = {"type": "line", "strokeWidth": 2, "point": len(values) <= len(shown) * 40}
    if panel.chart == "area":
        mark = {"type": "area", "opacity": 0.75, "line": not several}
    return _framed(values, mark, encoding)


def _points(panel: Panel, shown: Sequence[str]) -> list[dict[str, Any]]:
    found: dict[tuple[int, str], float] = {}
    for row in panel.rows:
        if row["value"] is None:
            continue
        at = int(datetime.fromisoformat(row["time"]).timestamp())
        group = _group(panel, row)
        key = (at, group if group in shown else _OTHER)
        found[key] = found.get(key, 0.0) + float(row["value"])
    step = max(1, panel.interval)
    steps = range(int(panel.since // step * step), int(panel.until), step)
    if panel.counts and panel.interval and len(steps) * len(shown) <= _MOST_POINTS * _MOST_SERIES:
        groups = [*shown, _OTHER] if any(group == _OTHER for _, group in found) else list(shown)
        found = {(at, group): found.get((at, group), 0.0) for at in steps for group in groups}
    return [{"time": at * 1000, "group": group, "value": value} for (at, group), value in sorted(found.items())]


def _interval_words(seconds: int) -> str:
    for size, word in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds and seconds % size == 0:
            count = seconds // size
            return f"a {word}".replace("a hour", "an hour") if count == 1 else f"{count} {word}s"
    return f"{seconds} seconds"


def _bars(panel: Panel) -> dict[str, Any]:
    ranked = _ranked(panel)[:20]
    values = _totals(panel, ranked)
    if "time" in panel.columns:
        form = "%Y-%m-%d" if panel.interval >= _DAY else "%Y-%m-%d %H:%M"
        values = [{"group": _clock(row["time"], form), "value": row["value"]} for row in panel.rows]
        ranked = [item["group"] for item in values]
    encoding = {
        "y": {"field": "group", "type": "nominal", "title": None, "sort": ranked, "axis": {"labelLimit": 220}},
        "x": {"field": "value", "type": "quantitative", "title": panel.unit},
        "tooltip": [
            {"field": "group", "type": "nominal", "title": "what"},
            {"field": "value", "type": "quantitative", "title": panel.unit, "format": ","},
        ],
    }
    mark = {"type": "bar", "cornerRadiusEnd": 3, "height": {"band": 0.7}}
    spec = _framed(values, mark, encoding)
    return {**spec, "height": max(90, 28 * len(values))}


def _totals(panel: Panel, groups: Sequence[str]) -> list[dict[str, Any]]:
    sums = dict.fromkeys(groups, 0.0)
    for row in panel.rows:
        group = _group(panel, row)
        if group in sums:
            sums[group] += float(row["value"] or 0)
    return [{"group": group, "value": value} for group, value in sums.items()]


def _pie(panel: Panel) -> dict[str, Any]:
    ranked = _ranked(panel)
    values = _totals(panel, ranked[:_MOST_SERIES])
    rest = sum(item["value"] for item in _totals(panel, ranked[_MOST_SERIES:]))
    if rest:
        values.append({"group": _OTHER, "value": rest})
    order = [item["group"] for item in values]
    encoding = {
        "theta": {"field": "value", "type": "quantitative", "stack": True},
        "order": {"field": "value", "type": "quantitative", "sort": "descending"},
        "color": {
            "field": "group",
            "type": "nominal",
            "title": None,
            "sort": order,
            "legend": {"orient": "right", "columns": 1},
        },
        "tooltip": [
            {"field": "group", "type": "nominal", "title": "what"},
            {"field": "value", "type": "quantitative", "title": panel.unit, "format": ","},
        ],
    }
    return _framed(values, {"type": "arc", "innerRadius": 58, "padAngle": 0.015, "cornerRadius": 2}, encoding)


def _come(cohort: object, period: str, until: float) -> bool:
    """Whether a cohort's period (`week_2`) has begun; before that nobody can have come back."""
    unit, _, count = period.partition("_")
    begin = datetime.fromisoformat(str(cohort)).replace(tzinfo=UTC).timestamp()
    return not until or begin + int(count) * _DAY * (7 if unit == "week" else 1) <= until


def _heatmap(panel: Panel) -> dict[str, Any] | None:
    """Cohorts against what became of them: a row for each cohort, a column for each period, in percent of the cohort."""
    periods = [column for column in panel.columns if column not in {"cohort", "people"}]
    values = [
        {
            "cohort": str(row["cohort"]),
            "people": row["people"],
            "period": period.replace("_", " "),
            "came": row[period],
            "percent": 100 * row[period] / row["people"] if row["people"] else 0,
        }
        for row in panel.rows
        for period in periods
        if _come(row["cohort"], period, panel.until)
    ]
    sides = {
        "x": {
            "field": "period",
            "type": "ordinal",
            "title": None,
            "sort": [period.replace("_", " ") for period in periods],
            "axis": {"orient": "top", "labelAngle": 0, "domain": False, "ticks": False},
        },
        "y": {"field": "cohort", "type": "ordinal", "title": None, "axis": {"domain": False, "ticks": False}},
    }
    tooltip = [
        {"field": "cohort", "title": "cohort"},
        {"field": "people", "title": "people", "type": "quantitative", "format": ","},
        {"field": "came", "title": "came back", "type": "quantitative", "format": ","},
        {"field": "percent", "title": "percent", "type": "quantitative", "format": ".1f"},
    ]
    colour = {
        "field": "percent",
        "type": "quantitative",
        "legend": None,
        "scale": {"domain": [0, 100], "scheme": "blues"},
    }
    words = {"field": "percent", "type": "quantitative", "format": ".0f"}
    dark = {"condition": {"test": "datum.percent > 55", "value": "#ffffff"}, "value": "#14304f"}
    spec = _framed(values, {"type": "rect", "cornerRadius": 3}, {})
    del spec["mark"], spec["encoding"]
    return {
        **spec,
        "height": max(90, 26 * len(panel.rows)),
        "encoding": {**sides, "tooltip": tooltip},
        "layer": [
            {"mark": {"type": "rect", "cornerRadius": 3}, "encoding": {"color": colour}},
            {"mark": {"type": "text", "fontSize": 12}, "encoding": {"text": words, "color": dark}},
        ],
    }


def _framed(values: list[dict[str, Any]], mark: dict[str, Any], encoding: dict[str, Any]) -> dict[str, Any]:
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "width": "container",
        "height": _HEIGHT,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "data": {"values": values},
        "mark": mark,
        "encoding": encoding,
    }


def _clock(text: str, form: str) -> str:
    return datetime.fromisoformat(text).astimezone(UTC).strftime(form)
