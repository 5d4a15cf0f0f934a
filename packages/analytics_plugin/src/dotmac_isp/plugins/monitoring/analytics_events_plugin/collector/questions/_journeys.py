"""Questions about people rather than numbers: funnels, retention, sessions; and the events themselves, the latest first.

A person is the user, else the customer, else the session. As everywhere, the tenant is put in by `scope`, and every value is bound.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..._plain import EventError, as_mapping, plain
from ..._times import moment, span
from ...store import EVENTS
from ._ask import Answer
from ._filters import Wanted, dimension, expression, filters, where_of
from ._query import Sql, scope

if TYPE_CHECKING:
    from ._ask import Questions

__all__ = ["KINDS", "Journey", "as_events", "build_journey", "parse_journey", "timeline_columns", "travel"]

PERSON: Final = "multiIf(user_id != '', user_id, customer_id != '', customer_id, session_id)"
KINDS: Final = ("funnel", "retention", "sessions", "paths", "timeline")
_SPAN: Final = 7 * 86400.0
_MOST_LINES: Final = 1000
_MOST_STEPS: Final = 10
_MOST_PERIODS: Final = 31
_MOST_DAYS: Final = 366
_MOST_NAME: Final = 4000
_FIELDS: Final = {
    "funnel": frozenset({"steps", "window"}),
    "retention": frozenset({"event", "return_event", "periods", "period"}),
    "sessions": frozenset({"gap", "interval"}),
    "paths": frozenset({"start", "end", "by", "depth", "gap", "limit"}),
    "timeline": frozenset({"limit"}),
}
_COMMON: Final = frozenset({"kind", "since", "until", "where"})
_PERIODS: Final = {"day": ("toDate({t}, 'UTC')", 1), "week": ("toMonday({t}, 'UTC')", 7)}


class Step(msgspec.Struct, frozen=True):
    """An event, by name or type, with conditions of its own."""

    event: str
    where: dict[str, Wanted] = msgspec.field(default_factory=dict)


class Journey(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked. Times are Unix seconds; `window` and `gap` are seconds."""

    kind: str
    since: float
    until: float
    where: dict[str, Wanted]
    steps: tuple[Step, ...] = ()
    window: float = 86400.0
    periods: tuple[int, ...] = ()
    period: str = "day"
    gap: float = 1800.0
    interval: int = 0
    limit: int = 100
    #: Paths: from the first of these in a session, or up to it; what a step is called by; how many steps.
    start: str = ""
    end: str = ""
    by: str = "event_name"
    depth: int = 5


def parse_journey(raw: object, *, now: float | None = None) -> Journey:
    """Understand `{"kind": "funnel", "steps": ["page_view", {"event": "signup", "where": {…}}], "window": "24h"}` and its like."""
    given = {key: value for key, value in as_mapping(raw, "query").items() if value is not None}
    kind = given.get("kind")
    if kind not in KINDS:
        raise EventError("kind", kind, "one of events, " + ", ".join(KINDS))
    unknown = sorted(map(str, given.keys() - _COMMON - _FIELDS[str(kind)]))
    if unknown:
        raise EventError(unknown[0], given.get(unknown[0]), "one of " + ", ".join(sorted(_COMMON | _FIELDS[str(kind)])))
    clock = time.time() if now is None else now
    until = moment(given["until"], "until", now=clock) if "until" in given else clock + 1
    since = moment(given["since"], "since", now=clock) if "since" in given else until - _SPAN
    if since >= until:
        raise EventError("since", given.get("since"), "a moment before 'until'")
    interval = int(span(given["interval"], "interval")) if "interval" in given else 0
    return Journey(
        kind=str(kind),
        since=since,
        until=until,
        where=where_of(given.get("where")),
        steps=_steps(given),
        window=span(given.get("window", 86400), "window"),
        periods=_periods(given.get("periods", [1, 7, 14, 30])),
        period=_period(given.get("period", "day")),
        gap=span(given.get("gap", 1800), "gap"),
        limit=_timeline_limit(given.get("limit", 100)),
        interval=max(interval, int((until - since) / 1000)) if interval else 0,
        start=_end_of_path(given, "start"),
        end=_end_of_path(given, "end"),
        by=dimension(given.get("by", "event_name"), "by"),
        depth=_depth(given.get("depth", 5)),
    )


def _end_of_path(given: Mapping[str, Any], field: str) -> str:
    if field not in given:
        return ""
    if field == "end" and "start" in given:
        raise EventError("end", given["end"], "either 'start' or 'end', not both")
    return _name(given[field], field)


def _depth(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 < value <= _MOST_STEPS:
        raise EventError("depth", value, f"a whole number from 2 to {_MOST_STEPS}")
    return value


def _steps(given: Mapping[str, Any]) -> tuple[Step, ...]:
    if given["kind"] == "retention":
        first = _step(given.get("event"), "event")
        return first, _step(given["return_event"], "return_event") if "return_event" in given else first
    if given["kind"] != "funnel":
        return ()
    steps = given.get("steps")
    if not isinstance(steps, (list, tuple)) or not 1 < len(steps) <= _MOST_STEPS:
        raise EventError("steps", steps, f"a list of 2 to {_MOST_STEPS} events")
    return tuple(_step(step, "steps") for step in steps)


def _step(value: object, field: str) -> Step:
    if isinstance(value, Mapping):
        return Step(_name(value.get("event"), field), where_of(value.get("where")))
    return Step(_name(value, field))


def _name(value: object, field: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _MOST_NAME:
        raise EventError(field, value, 'the name of an event, or {"event": name, "where": {…}}')
    return str(plain(value, field))


def _periods(value: object) -> tuple[int, ...]:
    items = value if isinstance(value, (list, tuple)) else [value]
    good = all(isinstance(item, int) and not isinstance(item, bool) and 0 < item <= _MOST_DAYS for item in items)
    if not good or not 0 < len(items) <= _MOST_PERIODS:
        raise EventError("periods", value, f"at most {_MOST_PERIODS} whole numbers from 1 to {_MOST_DAYS}")
    return tuple(dict.fromkeys(items))


def _timeline_limit(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST_LINES:
        raise EventError("limit", value, f"a whole number from 1 to {_MOST_LINES}")
    return value


def _period(value: object) -> str:
    if not isinstance(value, str) or value not in _PERIODS:
        raise EventError("period", value, "'day' or 'week'")
    return str(value)


def build_journey(journey: Journey, tenant: str) -> Sql:
    """The statement; everything of the asker's is in its parameters."""
    condition, values = scope(tenant, journey.since, journey.until)
    conditions = [condition, *filters(journey.where, "f", values)]
    if journey.kind != "timeline":
        conditions.append(f"{PERSON} != ''")
    return _BUILDERS[journey.kind](journey, " AND ".join(conditions), values)


def _matches(step: Step, number: int, values: dict[str, Any]) -> str:
    values[f"s{number}"] = step.event
    name = f"(event_name = {{s{number}:String}} OR event_type = {{s{number}:String}})"
    return " AND ".join([name, *filters(step.where, f"s{number}w", values)])


def _funnel(journey: Journey, condition: str, values: dict[str, Any]) -> Sql:
    steps = [_matches(step, number, values) for number, step in enumerate(journey.steps)]
    values["names"] = [step.event for step in journey.steps]
    level = (
        f"windowFunnel({int(journey.window * 1000)})(toUInt64(toUnixTimestamp64Milli(timestamp)), {', '.join(steps)})"
    )
    return Sql(
        f"SELECT level, count() AS people FROM (SELECT {PERSON} AS person, {level} AS level FROM {EVENTS} "  # noqa: S608 - bound
        f"WHERE {condition} AND (event_name IN {{names:Array(String)}} OR event_type IN {{names:Array(String)}}) "
        "GROUP BY person) WHERE level > 0 GROUP BY level",
        values,
    )


def _retention(journey: Journey, condition: str, values: dict[str, Any]) -> Sql:
    start, back = (_matches(step, number, values) for number, step in enumerate(journey.steps))
    values["names"] = [step.event for step in journey.steps]
    text, days = _PERIODS[journey.period]
    when = text.format(t="timestamp")
    columns = []
    for number, count in enumerate(journey.periods):
        values[f"p{number}"] = count * days
        columns.append(f"countIf(has(returned, cohort + {{p{number}:UInt32}})) AS period_{number}")
    return Sql(
        f"SELECT toString(cohort) AS cohort_day, count() AS people, {', '.join(columns)} FROM ("  # noqa: S608 - bound
        f"SELECT {PERSON} AS person, minIf({when}, {start}) AS cohort, groupUniqArrayIf({when}, {back}) AS returned, "
        f"countIf({start}) AS starts FROM {EVENTS} WHERE {condition} "
        "AND (event_name IN {names:Array(String)} OR event_type IN {names:Array(String)}) GROUP BY person) "
        "WHERE starts > 0 GROUP BY cohort ORDER BY cohort LIMIT 1000",
        values,
    )


def _sessions(journey: Journey, condition: str, values: dict[str, Any]) -> Sql:
    values["gap"] = int(journey.gap * 1000)
    begin = f"toStartOfInterval(fromUnixTimestamp64Milli(part[1], 'UTC'), INTERVAL {journey.interval} SECOND, 'UTC') AS time, "
    return Sql(
        f"SELECT {begin if journey.interval else ''}count() AS sessions, uniqExact(person) AS people, "  # noqa: S608 - bound
        "avg(seconds) AS average_seconds, quantileExact(0.5)(seconds) AS median_seconds, avg(steps) AS events_each, "
        "countIf(steps = 1) AS single_event FROM (SELECT person, part, length(part) AS steps, (part[-1] - part[1]) / 1000 AS seconds "
        "FROM (SELECT person, arrayJoin(arraySplit((at, pause) -> pause > {gap:Int64}, times, arrayDifference(times))) AS part "
        f"FROM (SELECT {PERSON} AS person, arraySort(groupArray(100000)(toUnixTimestamp64Milli(timestamp))) AS times "
        f"FROM {EVENTS} WHERE {condition} GROUP BY person)))"
        f"{' GROUP BY time ORDER BY time LIMIT 10000' if journey.interval else ''}",
        values,
    )


def _paths(journey: Journey, condition: str, values: dict[str, Any]) -> Sql:
    """The ways that people go within a session: the same step twice in a row is one."""
    values["gap"] = int(journey.gap * 1000)
    name = expression(journey.by)
    cut = "steps"
    if journey.start:
        values["start"] = journey.start
        cut = "arraySlice(steps, indexOf(steps, {start:String}))"
    elif journey.end:
        values["end"] = journey.end
        cut = f"arraySlice(arraySlice(steps, 1, indexOf(steps, {{end:String}})), -{journey.depth})"
    known = {"start": "has(steps, {start:String})", "end": "has(steps, {end:String})"}
    only = next((known[key] for key in known if key in values), "1")
    return Sql(
        f"SELECT arraySlice({cut}, 1, {journey.depth}) AS path, count() AS sessions, uniqExact(person) AS people FROM ("  # noqa: S608 - bound
        "SELECT person, arrayCompact(arrayMap(x -> x.2, part)) AS steps FROM ("
        "SELECT person, arrayJoin(arraySplit((x, pause) -> pause > {gap:Int64}, seen, arrayDifference(seen.1))) AS part FROM ("
        f"SELECT {PERSON} AS person, arraySort(groupArray(100000)((toUnixTimestamp64Milli(timestamp), ifNull({name}, '')))) AS seen "
        f"FROM {EVENTS} WHERE {condition} AND ifNull({name}, '') != '' GROUP BY person))) "
        f"WHERE {only} GROUP BY path ORDER BY sessions DESC, path LIMIT {journey.limit}",
        values,
    )


def timeline_columns() -> str:
    """Everything of an event; amounts as exact text."""
    return (
        "event_id, event_name, event_type, category, severity, timestamp, user_id, customer_id, session_id, device_id, "
        "source, toString(amount) AS money, currency, tags, toJSONString(properties) AS told"
    )


def _timeline(journey: Journey, condition: str, values: dict[str, Any]) -> Sql:
    return Sql(
        f"SELECT {timeline_columns()} FROM {EVENTS} "  # noqa: S608 - bound
        f"WHERE {condition} ORDER BY timestamp DESC, event_id DESC LIMIT {journey.limit}",
        values,
    )


_BUILDERS: Final[dict[str, Callable[[Journey, str, dict[str, Any]], Sql]]] = {
    "funnel": _funnel,
    "retention": _retention,
    "sessions": _sessions,
    "paths": _paths,
    "timeline": _timeline,
}


async def travel(journey: Journey, questions: Questions) -> Answer:
    """Ask, and give the answer as rows a person understands."""
    answer = await questions.table(build_journey(journey, questions.tenant))
    if journey.kind == "funnel":
        return _as_steps(journey, answer)
    if journey.kind == "retention":
        names = {f"period_{n}": f"{journey.period}_{count}" for n, count in enumerate(journey.periods)}
        names["cohort_day"] = "cohort"
        return Answer(
            columns=tuple(names.get(column, column) for column in answer.columns),
            rows=[{names.get(key, key): value for key, value in row.items()} for row in answer.rows],
        )
    return as_events(answer) if journey.kind == "timeline" else answer


def as_events(answer: Answer) -> Answer:
    """Amounts stay text, exact; properties are what they were."""
    names = {"money": "amount", "told": "properties"}
    rows = [
        {names.get(key, key): msgspec.json.decode(item) if key == "told" else item for key, item in row.items()}
        for row in answer.rows
    ]
    return Answer(columns=tuple(names.get(column, column) for column in answer.columns), rows=rows)


def _as_steps(journey: Journey, answer: Answer) -> Answer:
    reached = [
        sum(row["people"] for row in answer.rows if row["level"] > number) for number in range(len(journey.steps))
    ]
    before = [reached[0], *reached]
    rows = [
        {
            "step": step.event,
            "people": count,
            "of_first_percent": _percent(count, reached[0]),
            "of_previous_percent": _percent(count, previous),
        }
        for step, count, previous in zip(journey.steps, reached, before, strict=False)
    ]
    return Answer(columns=tuple(rows[0]), rows=rows)


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 2) if whole else 0.0
