"""What rules measure, asked in as few statements as can be: all numbers of a tenant's rules over one table in one statement.

A number is an aggregate over a span. Counts by name and category over whole minutes come from the rollup, and end with the current minute;
everything else comes from the events.
"""

from __future__ import annotations

import bisect
import itertools
import math
import statistics
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..._plain import EventError
from ..._times import clock_text, span
from ...store import EVENTS, PER_MINUTE, StoreRefusedError, StoreUnavailableError
from ..questions import (
    Query,
    Sql,
    aggregate,
    expression,
    filters,
    fits_rollup,
    free_sql,
    parse_journey,
    parse_query,
    travel,
)
from ._conditions import ConditionError, decide
from ._rules import KINDS, AlertRule
from ._states import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..questions import Questions

__all__ = ["Found", "batch", "measure", "numbers"]

_AT_ONCE: Final = 100
_MOST_GROUPS: Final = 500
_MOST_SPANS: Final = 40
_MINUTE: Final = 60
#: From so many numbers on, minutes are read and added up here; not when there are more rows than that.
_FEW: Final = 8
_MOST_MINUTES: Final = 20_000
#: What turns a median of absolute deviations into a standard deviation, for a normal distribution.
_MAD: Final = 1.4826
#: Labels of an instance, as one text; "" where the rule has no groups.
Found = dict[str, tuple[dict[str, str], Outcome]]
#: The rule's key, the name of the number, and the question.
_Item = tuple[str, str, Query]


def numbers(rule: AlertRule, now: float) -> dict[str, Query]:
    """The numbers that a rule needs at `now`, by name. Empty for funnels and SQL, which are asked as they are."""
    if rule.kind in {"funnel", "sql"}:
        return {}
    if rule.kind == "ratio":
        return {part: _over(rule, {**rule.query, **rule.more[part]}, now, 0.0) for part in ("numerator", "denominator")}
    found = {"value": _over(rule, rule.query, now, 0.0)}
    if rule.kind == "change":
        found["previous"] = _over(rule, rule.query, now, rule.window)
    if rule.kind == "anomaly":
        season = span(rule.more.get("season", "1w"), "season")
        for number in range(1, rule.more.get("seasons", 4) + 1):
            found[f"season_{number}"] = _over(rule, rule.query, now, number * season)
    return found


def _over(rule: AlertRule, question: Mapping[str, Any], now: float, back: float) -> Query:
    query = parse_query({**question, "since": now - 1, "until": now + 1}, now=now)
    end = now + 0.001
    whole = msgspec.structs.replace(query, since=0.0, until=0.0, interval=0)
    if rule.window % _MINUTE == 0 and back % _MINUTE == 0 and fits_rollup(whole):
        end = math.floor(now / _MINUTE + 1) * _MINUTE
    return msgspec.structs.replace(query, since=end - back - rule.window, until=end - back, interval=0)


def batch(queries: Sequence[Query], tenant: str) -> Sql:
    """One statement for numbers that are all in the rollup, or all not, and have the same groups; columns g0… and v0…."""
    rollup = fits_rollup(queries[0])
    column = "minute" if rollup else "timestamp"
    values: dict[str, Any] = {"tenant": tenant}
    times: dict[float, str] = {}
    columns = [f"{expression(name)} AS g{index}" for index, name in enumerate(queries[0].group_by)]
    for index, query in enumerate(queries):
        when = [_between(query.since, query.until, column, times), *filters(query.where, f"n{index}w", values)]
        columns.append(f"{aggregate(query, ' AND '.join(when), rollup=rollup)} AS v{index}")
    conditions = ["tenant_id = {tenant:String}", _any_span(queries, column, times), *_names(queries, values)]
    values |= {name: clock_text(at) for at, name in times.items()}
    groups = [f"g{index}" for index in range(len(queries[0].group_by))]
    # What was counted and then taken back, as after a deletion, is no group of the rollup any more.
    there = f" HAVING {' OR '.join(f'v{index} != 0' for index in range(len(queries)))}" if rollup else ""
    tail = f" GROUP BY {', '.join(groups)}{there} ORDER BY v0 DESC LIMIT {_MOST_GROUPS}" if groups else ""
    table = PER_MINUTE if rollup else EVENTS
    return Sql(f"SELECT {', '.join(columns)} FROM {table} WHERE {' AND '.join(conditions)}{tail}", values)  # noqa: S608 - bound


def _between(since: float, until: float, column: str, times: dict[float, str]) -> str:
    kind = "DateTime64(3, 'UTC')"
    first, last = (times.setdefault(at, f"t{len(times)}") for at in (since, until))
    return f"{column} >= {{{first}:{kind}}} AND {column} < {{{last}:{kind}}}"


def _any_span(queries: Sequence[Query], column: str, times: dict[float, str]) -> str:
    """What is read at all: the spans where they are few, else all from the first to the last."""
    merged: list[list[float]] = []
    for since, until in sorted({(query.since, query.until) for query in queries}):
        if merged and since <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], until)
        else:
            merged.append([since, until])
    if len(merged) > _MOST_SPANS:
        merged = [[merged[0][0], merged[-1][1]]]
    return "(" + " OR ".join(_between(since, until, column, times) for since, until in merged) + ")"


def _names(queries: Sequence[Query], values: dict[str, Any]) -> list[str]:
    """Where every number is about named events, the others need not be read: names come early in the order of the tables."""
    wanted = [query.where.get("event_name") for query in queries]
    if not all(isinstance(names, list) for names in wanted):
        return []
    values["names"] = sorted({name for names in wanted if isinstance(names, list) for name in names})
    return ["event_name IN {names:Array(String)}"]


async def measure(
    rules: Mapping[str, tuple[AlertRule, float]], questions: Questions, *, past: bool = False
) -> dict[str, Found]:
    """Evaluate rules, each at its moment; the outcomes by the rules' keys and, in them, by labels.

    :param past: the moments are past, which matters to SQL: it asks the clock itself.
    """
    wanted = {key: numbers(rule, now) for key, (rule, now) in rules.items()}
    found: dict[str, Found] = {}
    flat: dict[bool, list[_Item]] = {True: [], False: []}
    for key, parts in wanted.items():
        rule, now = rules[key]
        if not parts:
            found[key] = await _on_its_own(rule, now, questions, past=past)
        elif next(iter(parts.values())).group_by:
            found[key] = await _grouped(rule, parts, questions)
        else:
            for name, query in parts.items():
                flat[fits_rollup(query)].append((key, name, query))
    plain = await _flat(flat, questions)
    for key, told in plain.items():
        found[key] = {"": ({}, told if isinstance(told, Outcome) else outcome(rules[key][0], told, {}))}
    return found


async def _flat(flat: Mapping[bool, list[_Item]], questions: Questions) -> dict[str, dict[str, float | None] | Outcome]:
    found: dict[str, dict[str, float | None] | Outcome] = {}
    simple, others = _sorted_out(flat[True])
    if not await _from_minutes(simple, questions, found):
        others += simple
    for items in (others, flat[False]):
        ordered = sorted(items, key=lambda item: item[2].since)
        for start in range(0, len(ordered), _AT_ONCE):
            await _ask_some(ordered[start : start + _AT_ONCE], questions, found)
    return found


def _sorted_out(items: Sequence[_Item]) -> tuple[list[_Item], list[_Item]]:
    """Numbers of the rollup that name what they count, and those that compare it."""
    simple = [item for item in items if all(isinstance(wanted, list) for wanted in item[2].where.values())]
    return simple, [item for item in items if item not in simple]


async def _from_minutes(
    items: Sequence[_Item], questions: Questions, found: dict[str, dict[str, float | None] | Outcome]
) -> bool:
    """Read the minutes once and add them up here: for many numbers that costs less than a condition for each in the engine.

    `False` where there are too many rows for that, or the engine does not answer; nothing is found then.
    """
    if len(items) < _FEW:
        return False
    values: dict[str, Any] = {"tenant": questions.tenant}
    times: dict[float, str] = {}
    queries = [query for _, _, query in items]
    conditions = ["tenant_id = {tenant:String}", _any_span(queries, "minute", times), *_names(queries, values)]
    values |= {name: clock_text(at) for at, name in times.items()}
    text = (
        f"SELECT toUnixTimestamp(minute) AS at, category, event_name, sum(events) FROM {PER_MINUTE} "  # noqa: S608 - bound
        f"WHERE {' AND '.join(conditions)} GROUP BY at, category, event_name LIMIT {_MOST_MINUTES + 1}"
    )
    try:
        rows = (await questions.run(Sql(text, values))).rows
    except (StoreRefusedError, StoreUnavailableError):
        return False
    if len(rows) > _MOST_MINUTES:
        return False
    sums = _by_name(rows)
    for key, name, query in items:
        told = found.setdefault(key, {})
        if isinstance(told, dict):
            told[name] = float(_added(sums, query))
    return True


_Minutes = dict[tuple[str, str], tuple[list[int], list[int]]]


def _by_name(rows: Iterable[Sequence[Any]]) -> _Minutes:
    """By category and name: the minutes in order, and the sums up to before each of them (and the whole at the end)."""
    found: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for at, category, name, events in rows:
        found.setdefault((category, name), []).append((at, events))
    ready: _Minutes = {}
    for key, points in found.items():
        points.sort()
        ready[key] = ([at for at, _ in points], [0, *itertools.accumulate(events for _, events in points)])
    return ready


def _added(sums: _Minutes, query: Query) -> int:
    categories, names = query.where.get("category"), query.where.get("event_name")
    total = 0
    for (category, name), (minutes, before) in sums.items():
        if (names is None or name in names) and (categories is None or category in categories):
            first, last = bisect.bisect_left(minutes, query.since), bisect.bisect_left(minutes, query.until)
            total += before[last] - before[first]
    return total


async def _ask_some(
    items: Sequence[_Item], questions: Questions, found: dict[str, dict[str, float | None] | Outcome]
) -> None:
    """Ask for some numbers at once. Where the engine refuses, each alone, so that one bad rule spoils no other."""
    try:
        rows = (await questions.run(batch([query for _, _, query in items], questions.tenant))).rows
    except StoreRefusedError as error:
        if len(items) > 1:
            for item in items:
                await _ask_some([item], questions, found)
            return
        found[items[0][0]] = Outcome(breached=None, error=str(error))
        return
    except StoreUnavailableError as error:
        found |= {key: Outcome(breached=None, error=str(error)) for key, _, _ in items}
        return
    for (key, name, _), value in zip(items, rows[0], strict=True):
        told = found.setdefault(key, {})
        if isinstance(told, dict):
            told[name] = _number(value)


def _number(value: Any) -> float | None:
    number = None if value is None else float(value)
    return number if number is not None and math.isfinite(number) else None


async def _grouped(rule: AlertRule, parts: Mapping[str, Query], questions: Questions) -> Found:
    names = list(parts)
    queries = list(parts.values())
    if len({fits_rollup(query) for query in queries}) > 1:
        return _failed("numerator and denominator of a grouped ratio must both be counts by name, or both not")
    try:
        rows = (await questions.run(batch(queries, questions.tenant))).rows
    except (StoreRefusedError, StoreUnavailableError) as error:
        return _failed(str(error))
    groups = queries[0].group_by
    found: Found = {}
    for row in rows:
        labels = {name: str(value or "") for name, value in zip(groups, row, strict=False)}
        told = {name: _number(value) for name, value in zip(names, row[len(groups) :], strict=True)}
        found[label_key(labels)] = (labels, outcome(rule, told, labels))
    return found


def label_key(labels: Mapping[str, str]) -> str:
    return msgspec.json.encode(dict(sorted(labels.items()))).decode() if labels else ""


def _failed(reason: str) -> Found:
    return {"": ({}, Outcome(breached=None, error=reason[:400]))}


async def _on_its_own(rule: AlertRule, now: float, questions: Questions, *, past: bool) -> Found:
    try:
        if rule.kind == "funnel":
            return {"": ({}, outcome(rule, {"value": await _funnel(rule, now, questions)}, {}))}
        return await _sql(rule, questions, now if past else None)
    except (StoreRefusedError, StoreUnavailableError, EventError, RuntimeError) as error:
        return _failed(str(error))


async def _funnel(rule: AlertRule, now: float, questions: Questions) -> float | None:
    """Percent of the people at the step before (or the first) who come to the step."""
    more = rule.more
    asked = {"kind": "funnel", "steps": more["steps"], "window": rule.window, "where": more.get("where")}
    journey = parse_journey({**asked, "since": now - rule.window, "until": now + 0.001}, now=now)
    people = [row["people"] for row in (await travel(journey, questions)).rows]
    step = more.get("step", len(people))
    whole = people[0] if more.get("of", "previous") == "first" else people[step - 2]
    return 100 * people[step - 1] / whole if whole else None


async def _sql(rule: AlertRule, questions: Questions, at: float | None) -> Found:
    """The column `value` (or the last) of each row is the number; the others are labels."""
    answer = await questions.free(free_sql(rule.more["sql"], rule.more.get("parameters"), questions.tenant, at=at))
    name = "value" if "value" in answer.columns else answer.columns[-1]
    found: Found = {}
    for row in answer.rows[:_MOST_GROUPS]:
        value = row[name]
        if value is not None and not isinstance(value, (int, float)):
            return _failed(f"the column {name!r} is {value!r:.40}, not a number")
        labels = {key: str(item) for key, item in row.items() if key != name}
        found[label_key(labels)] = (labels, outcome(rule, {"value": None if value is None else float(value)}, labels))
    return found or {"": ({}, Outcome(breached=None))}


def outcome(rule: AlertRule, told: Mapping[str, float | None], labels: Mapping[str, str]) -> Outcome:
    """What the numbers mean for the rule."""
    values = _derived(rule, told)
    try:
        breached = decide(KINDS[rule.kind], rule.operator, rule.threshold, rule.condition, values, labels)
    except ConditionError as error:
        return Outcome(breached=None, value=values.get("value"), values=values, error=f"condition: {error}")
    return Outcome(breached=breached, value=values.get("value"), values=values if len(values) > 1 else {})


def _derived(rule: AlertRule, told: Mapping[str, float | None]) -> dict[str, float | None]:
    if rule.kind == "change":
        return _change(told.get("value"), told.get("previous"))
    if rule.kind == "ratio":
        above, below = told.get("numerator"), told.get("denominator")
        return {
            "value": above / below if above is not None and below else None,
            "numerator": above,
            "denominator": below,
        }
    if rule.kind == "anomaly":
        past = [value for name, value in told.items() if name != "value"]
        return _anomaly(told.get("value"), past, str(rule.more.get("direction", "both")))
    return dict(told)


def _change(value: float | None, previous: float | None) -> dict[str, float | None]:
    change = percent = None
    if value is not None and previous is not None:
        change = value - previous
        percent = 100 * change / abs(previous) if previous else math.inf * change if change else 0.0
    return {"value": value, "previous": previous, "change": change, "change_percent": percent}


def _anomaly(value: float | None, past: Iterable[float | None], direction: str) -> dict[str, float | None]:
    """How far the value lies from the same span of earlier seasons, in robust standard deviations."""
    known = [number for number in past if number is not None]
    empty = {"value": value, "expected": None, "spread": None, "score": None, "distance": None}
    if value is None or len(known) < 3 or not any(known):  # noqa: PLR2004 - a median of less says nothing
        return empty
    expected = statistics.median(known)
    spread = _MAD * statistics.median(abs(number - expected) for number in known)
    # Seasons that were all alike: counts scatter by their root at least.
    spread = max(spread, math.sqrt(abs(expected)), 1e-9)
    score = (value - expected) / spread
    distance = {"both": abs(score), "up": score, "down": -score}[direction]
    return {"value": value, "expected": expected, "spread": spread, "score": score, "distance": distance}
