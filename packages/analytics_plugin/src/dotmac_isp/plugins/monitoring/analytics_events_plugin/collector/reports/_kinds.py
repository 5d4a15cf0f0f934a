"""The kinds of report that need no more than a few questions each."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from ..questions import parse_journey, travel
from ._making import Making, Section, percent

__all__ = ["behaviour", "conversion", "performance", "retention", "security", "summary"]

_DAY: Final = 86400.0


async def summary(make: Making) -> tuple[dict[str, Any], list[Section]]:
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


async def behaviour(make: Making) -> tuple[dict[str, Any], list[Section]]:
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


async def conversion(make: Making) -> tuple[dict[str, Any], list[Section]]:
    """How many people got how far through the steps, in order, within the window."""
    wish = {
        "kind": "funnel",
        "steps": list(make.steps),
        "window": make.window,
        "since": make.since,
        "until": make.until,
    }
    answer = await travel(parse_journey(wish), make.questions)
    people = [row["people"] for row in answer.rows]
    totals = {"entered": people[0], "converted": people[-1], "conversion_percent": percent(people[-1], people[0])}
    return totals, [
        Section(title="Steps", columns=answer.columns, rows=answer.rows, chart="funnel", unit="people"),
        await make.section(
            "Last step over time", "line", interval=make.interval, where={"event_name": [make.steps[-1]]}
        ),
        await make.section(
            "Where it happened",
            "bar",
            "people",
            measure="unique_users",
            group_by=("source",),
            where={"event_name": [make.steps[-1]]},
        ),
    ]


async def performance(make: Making) -> tuple[dict[str, Any], list[Section]]:
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


async def security(make: Making) -> tuple[dict[str, Any], list[Section]]:
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


async def retention(make: Making) -> tuple[dict[str, Any], list[Section]]:
    """Who comes back: people by the day or week that they were first seen in, and how many of them returned after so many."""
    wish = {"kind": "retention", "event": make.event, "period": make.period, "periods": list(make.periods)}
    journey = parse_journey({**wish, "since": make.since, "until": make.until})
    answer = await travel(journey, make.questions)
    whole = sum(row["people"] for row in answer.rows)
    days = 7 if make.period == "week" else 1
    rows = []
    for count in make.periods:
        name = f"{make.period}_{count}"
        # Cohorts that are too young for a period say nothing about it.
        old = [row for row in answer.rows if _day(row["cohort"]) + count * days * _DAY <= make.until]
        came, of = sum(row[name] for row in old), sum(row["people"] for row in old)
        rows.append({"after": f"{make.period} {count}", "people": of, "came_back": came, "percent": percent(came, of)})
    totals = {"people": whole, "cohorts": len(answer.rows), **{f"{row['after']} %": row["percent"] for row in rows}}
    return totals, [
        Section(title="Cohorts", columns=answer.columns, rows=answer.rows, chart="heatmap", unit="people"),
        Section(title="On average", columns=("after", "people", "came_back", "percent"), rows=rows, unit="people"),
        await make.section(
            "People active over time",
            "line",
            "people",
            measure="unique_users",
            interval=max(make.interval, 3600),
            where={"event_name": [make.event]},
        ),
    ]


def _day(cohort: str) -> float:
    return datetime.fromisoformat(cohort).replace(tzinfo=UTC).timestamp()
