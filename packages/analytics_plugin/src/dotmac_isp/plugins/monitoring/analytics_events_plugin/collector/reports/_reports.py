"""Reports: named sets of questions over a span of time, as data (rows and totals), with a hint how each is best drawn."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from ..._plain import EventError, as_mapping
from ..._times import moment, span
from ...store import EVENTS
from ..questions import Query, Questions, Sql, scope

__all__ = ["REPORTS", "Report", "Section", "make_report"]

_WEEK: Final = 7 * 86400.0
_MINUTE: Final = 60
_MOST_STEPS: Final = 10
_KNOWN_PARAMETERS: Final = frozenset({"since", "until", "format", "steps", "window", "limit", "title", "field"})
_ALIASES: Final = {
    "from": "since",
    "start": "since",
    "start_date": "since",
    "start_time": "since",
    "period": "since",
    "time_range": "since",
    "to": "until",
    "end": "until",
    "end_date": "until",
    "end_time": "until",
    "funnel": "steps",
}


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """One table of a report. `chart` is line, bar or table; `unit` belongs to the values."""

    title: str
    columns: tuple[str, ...]
    rows: list[dict[str, Any]]
    chart: str = "table"
    unit: str = "events"
    #: Seconds between the points of a line.
    interval: int = 0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A finished report; times are RFC 3339 in UTC."""

    report_type: str
    title: str
    generated_at: str
    since: str
    until: str
    totals: dict[str, Any]
    sections: list[Section]


class _Making(msgspec.Struct):
    """What the parts of a report need."""

    questions: Questions
    since: float
    until: float
    limit: int
    steps: tuple[str, ...]
    window: float
    field: str

    @property
    def interval(self) -> int:
        """A round step that gives about 60 points."""
        width = (self.until - self.since) / 60
        return next((s for s in (60, 300, 900, 3600, 3 * 3600, 6 * 3600) if s >= width), 86400)

    def query(self, **values: Any) -> Query:
        return Query(since=self.since, until=self.until, **{"limit": self.limit, **values})

    async def section(self, title: str, chart: str, unit: str = "events", **values: Any) -> Section:
        limit = 10_000 if "interval" in values else self.limit
        answer = await self.questions.ask(self.query(limit=limit, **values))
        return Section(
            title=title,
            columns=answer.columns,
            rows=answer.rows,
            chart=chart,
            unit=unit,
            interval=int(values.get("interval", 0)),
        )

    async def total(self, **values: Any) -> float | None:
        value = await self.questions.number(self.query(**values))
        return int(value) if value is not None and value.is_integer() else value


def _rounded(since: float, until: float) -> tuple[float, float]:
    """Whole minutes, so that the counts per minute can answer."""
    return math.floor(since / _MINUTE) * _MINUTE, math.ceil(until / _MINUTE) * _MINUTE


def _understood(parameters: object) -> dict[str, Any]:
    given = {_ALIASES.get(k, k): v for k, v in as_mapping(parameters or {}, "parameters").items() if v is not None}
    for name in given.keys() - _KNOWN_PARAMETERS:
        raise EventError(f"parameters.{name}", given[name], "one of " + ", ".join(sorted(_KNOWN_PARAMETERS)))
    return given


def _making(questions: Questions, given: Mapping[str, Any]) -> _Making:
    until = moment(given.get("until", "now"), "until")
    since = moment(given["since"], "since") if "since" in given else until - _WEEK
    if since >= until:
        raise EventError("since", given.get("since"), "a moment before 'until'")
    steps = given.get("steps", ("page_view", "conversion"))
    if isinstance(steps, str) or len(steps) not in range(2, _MOST_STEPS + 1):
        raise EventError("steps", steps, f"a list of 2 to {_MOST_STEPS} event names")
    since, until = _rounded(since, until)
    return _Making(
        questions=questions,
        since=since,
        until=until,
        limit=int(given.get("limit", 50)),
        steps=tuple(str(step) for step in steps),
        window=span(given.get("window", "7d"), "window"),
        field=str(given.get("field", "duration_ms")),
    )


async def _summary(make: _Making) -> tuple[dict[str, Any], list[Section]]:
    totals = {
        "events": await make.total(),
        "users": await make.total(measure="unique_users"),
        "customers": await make.total(measure="unique_customers"),
        "sessions": await make.total(measure="unique_sessions"),
        "devices": await make.total(measure="unique_devices"),
    }
    return totals, [
        await make.section("Events over time", "line", interval=make.interval, group_by=("category",)),
        await make.section("Events by category", "bar", group_by=("category",)),
        await make.section("Most frequent events", "bar", group_by=("event_name",)),
        await make.section("Events by severity", "bar", group_by=("severity",)),
    ]


_MONEY: Final = {"measure": "sum", "field": "amount"}


async def _business(make: _Making) -> tuple[dict[str, Any], list[Section]]:
    revenue = await make.section("Amounts by currency", "bar", "amount", group_by=("currency",), **_MONEY)
    money = [row for row in revenue.rows if row["value"] is not None]
    totals = {
        "events": await make.total(where={"category": ["business", "financial"]}),
        "amounts": {row["currency"] or "without currency": row["value"] for row in money},
        "customers": await make.total(measure="unique_customers"),
    }
    return totals, [
        msgspec.structs.replace(revenue, rows=money),
        await make.section(
            "Amounts over time", "line", "amount", interval=max(make.interval, 3600), group_by=("currency",), **_MONEY
        ),
        await make.section(
            "Business events", "bar", group_by=("event_name",), where={"category": ["business", "financial"]}
        ),
    ]


async def _behaviour(make: _Making) -> tuple[dict[str, Any], list[Section]]:
    where = {"category": ["user_behavior"]}
    totals = {
        "events": await make.total(where=where),
        "users": await make.total(measure="unique_users", where=where),
        "sessions": await make.total(measure="unique_sessions", where=where),
    }
    return totals, [
        await make.section("Activity over time", "line", interval=make.interval, where=where),
        await make.section("What people do", "bar", group_by=("event_name",), where=where),
        await make.section("Pages", "bar", group_by=("properties.page",), where={"event_name": ["page_view"]}),
        await make.section("Most active users", "table", group_by=("user_id",), where=where),
    ]


async def _conversion(make: _Making) -> tuple[dict[str, Any], list[Section]]:
    """How many people got how far through the steps, in order, within the window."""
    condition, values = scope(make.questions.tenant, make.since, make.until)
    steps = []
    for index, step in enumerate(make.steps):
        values[f"s{index}"] = step
        steps.append(f"event_name = {{s{index}:String}} OR event_type = {{s{index}:String}}")
    values["names"] = list(make.steps)
    funnel = f"windowFunnel({int(make.window)})(toDateTime(timestamp, 'UTC'), {', '.join(f'({s})' for s in steps)})"
    person = "multiIf(user_id != '', user_id, customer_id != '', customer_id, session_id)"
    text = (
        f"SELECT level, count() AS people FROM (SELECT {person} AS person, {funnel} AS level FROM {EVENTS} "  # noqa: S608 - bound values
        f"WHERE {condition} AND (event_name IN {{names:Array(String)}} OR event_type IN {{names:Array(String)}}) "
        "AND person != '' GROUP BY person) WHERE level > 0 GROUP BY level"
    )
    answer = await make.questions.table(Sql(text, values))
    reached = [sum(row["people"] for row in answer.rows if row["level"] > i) for i in range(len(make.steps))]
    rows = [
        {"step": step, "people": count, "of_first_percent": _percent(count, reached[0])}
        for step, count in zip(make.steps, reached, strict=True)
    ]
    totals = {"entered": reached[0], "converted": reached[-1], "conversion_percent": _percent(reached[-1], reached[0])}
    return totals, [
        Section(
            title="Steps", columns=("step", "people", "of_first_percent"), rows=rows, chart="funnel", unit="people"
        ),
        await make.section(
            "Last step over time", "line", interval=make.interval, where={"event_name": [make.steps[-1]]}
        ),
    ]


def _percent(part: float, whole: float) -> float:
    return round(100 * part / whole, 2) if whole else 0.0


async def _performance(make: _Making) -> tuple[dict[str, Any], list[Section]]:
    measured = {name: await make.total(measure=name, field=make.field) for name in ("p50", "p95", "p99", "max")}
    totals: dict[str, Any] = {"events": await make.total(where={"category": ["performance"]}), **measured}
    return totals, [
        await make.section(
            f"{make.field}, 95th percentile over time",
            "line",
            make.field,
            measure="p95",
            field=make.field,
            interval=make.interval,
        ),
        await make.section(
            f"{make.field} by event, 95th percentile",
            "bar",
            make.field,
            measure="p95",
            field=make.field,
            group_by=("event_name",),
        ),
    ]


async def _security(make: _Making) -> tuple[dict[str, Any], list[Section]]:
    where = {"category": ["security", "compliance"]}
    worst = {**where, "severity": ["error", "major", "critical"]}
    totals = {
        "events": await make.total(where=where),
        "serious": await make.total(where=worst),
        "users": await make.total(measure="unique_users", where=where),
    }
    return totals, [
        await make.section("Security events over time", "line", interval=make.interval, where=where),
        await make.section("Security events by name", "bar", group_by=("event_name",), where=where),
        await make.section("Security events by severity", "bar", group_by=("severity",), where=where),
        await make.section("Users concerned", "table", group_by=("user_id", "event_name"), where=where),
    ]


async def _network(make: _Making) -> tuple[dict[str, Any], list[Section]]:
    """What devices reported: events of the type `device_event`, which the plugin makes of every `on_device_event`."""
    where = {"event_type": ["device_event"]}
    alarms = {**where, "severity": ["minor", "major", "critical", "error"]}
    totals = {
        "events": await make.total(where=where),
        "alarms": await make.total(where=alarms),
        "devices": await make.total(measure="unique_devices", where=where),
        "devices_with_alarms": await make.total(measure="unique_devices", where=alarms),
    }
    return totals, [
        await make.section(
            "Device events over time", "line", interval=make.interval, where=where, group_by=("severity",)
        ),
        await make.section("Device events by name", "bar", group_by=("event_name",), where=where),
        await make.section("Devices with most alarms", "bar", group_by=("device_id",), where=alarms),
        await make.section("By severity", "bar", group_by=("severity",), where=where),
    ]


_Maker = Callable[[_Making], Awaitable[tuple[dict[str, Any], list[Section]]]]
#: Every report by name, with its title.
REPORTS: Final[dict[str, tuple[str, _Maker]]] = {
    "summary": ("Summary", _summary),
    "business": ("Business", _business),
    "user_behavior": ("User behaviour", _behaviour),
    "conversion": ("Conversion", _conversion),
    "performance": ("Performance", _performance),
    "security": ("Security", _security),
    "network": ("Network", _network),
}
_TYPE_ALIASES: Final = {"user_behaviour": "user_behavior", "behavior": "user_behavior", "overview": "summary"}


async def make_report(questions: Questions, report_type: object, parameters: object) -> Report:
    """Make a report. Raises `EventError` for an unknown type or parameter."""
    name = str(report_type).strip().lower().replace("-", "_").replace(" ", "_").removesuffix("_report")
    name = _TYPE_ALIASES.get(name, name)
    if name not in REPORTS:
        raise EventError("report_type", report_type, "one of " + ", ".join(REPORTS))
    given = _understood(parameters)
    make = _making(questions, given)
    title, maker = REPORTS[name]
    totals, sections = await maker(make)
    return Report(
        report_type=name,
        title=str(given.get("title") or title),
        generated_at=_iso(time.time()),
        since=_iso(make.since),
        until=_iso(make.until),
        totals=totals,
        sections=sections,
    )


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
