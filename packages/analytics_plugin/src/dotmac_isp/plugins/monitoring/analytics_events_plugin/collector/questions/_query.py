"""Questions about events, and the SQL that answers them.

The tenant is put in here and nowhere else; every value is bound by the engine. What becomes part of the text comes from fixed tables or
is a property path whose parts are letters, digits, `_` and `-`, quoted.
"""

from __future__ import annotations

import math
import re
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..._plain import EventError, as_mapping
from ..._times import clock_text, moment, span
from ...store import EVENTS, PER_MINUTE
from ._filters import COLUMNS, PATH, Wanted, dimension, expression, filters, listed, subcolumn, texts, where_of

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MEASURES", "Query", "Sql", "aggregate", "build", "fits_rollup", "parse_query", "scope"]

_MAX_ROWS: Final = 10_000
_MAX_GROUPS: Final = 10
_DAY: Final = 86400.0
_MINUTE: Final = 60
#: The last that the engine's `DateTime` knows.
_LAST_SECOND: Final = 2**32 - 1
_NUMERIC: Final = ("sum", "avg", "min", "max")
_COUNTING: Final = ("count", "unique_users", "unique_customers", "unique_sessions", "unique_devices")
#: Different values of a column or property: exactly, or to about a percent in bounded memory.
_DISTINCT: Final = {"unique": "uniqExactIf", "approx_unique": "uniqCombined64If"}
MEASURES: Final = (*_COUNTING, *_DISTINCT, *_NUMERIC, "p50", "p90", "p95", "p99")
#: Any percentile: `p99.9`.
_PERCENTILE: Final = re.compile(r"p(\d{1,2}(?:\.\d{1,4})?)")
_MEASURE_ALIASES: Final = {
    "events": "count",
    "total": "count",
    "average": "avg",
    "mean": "avg",
    "median": "p50",
    "revenue": "sum",
}
_QUERY_ALIASES: Final = {
    "metric": "measure",
    "aggregate": "measure",
    "aggregation": "measure",
    "property": "field",
    "event": "event_name",
    "events": "event_name",
    "from": "since",
    "start": "since",
    "start_time": "since",
    "start_date": "since",
    "time_range": "since",
    "period": "since",
    "to": "until",
    "end": "until",
    "end_time": "until",
    "end_date": "until",
    "granularity": "interval",
    "top": "limit",
    "filters": "where",
}


class Sql(msgspec.Struct, frozen=True):
    """A statement with its bound values."""

    text: str
    parameters: dict[str, Any]


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked. Times are Unix seconds, `interval` is seconds (0: no series)."""

    since: float
    until: float
    measure: str = "count"
    #: `amount`, or the path of a number in the properties.
    field: str = ""
    #: Column, or `properties.path`, to the values that are wanted.
    where: dict[str, Wanted] = msgspec.field(default_factory=dict)
    group_by: tuple[str, ...] = ()
    interval: int = 0
    limit: int = 1000


def parse_query(raw: object, *, now: float | None = None, default_span: float = _DAY) -> Query:
    """Understand a question as a person writes it. Raises `EventError`."""
    clock = time.time() if now is None else now
    given = {
        _QUERY_ALIASES.get(key, key): value for key, value in as_mapping(raw, "query").items() if value is not None
    }
    given.pop("kind", None)
    unknown = given.keys() - COLUMNS - set(Query.__struct_fields__)
    if unknown:
        raise EventError(sorted(unknown)[0], given[sorted(unknown)[0]], "one of " + ", ".join(_known_fields()))
    until = moment(given["until"], "until", now=clock) if "until" in given else clock + 1
    since = moment(given["since"], "since", now=clock) if "since" in given else until - default_span
    if since >= until:
        raise EventError("since", given.get("since"), "a moment before 'until'")
    measure, where = _measure(given)
    interval = int(span(given["interval"], "interval")) if given.get("interval") else 0
    return Query(
        since=since,
        until=until,
        measure=measure,
        field=_field(given, measure),
        where=where,
        group_by=_groups(given.get("group_by")),
        interval=_bounded_interval(interval, until - since),
        limit=_limit(given.get("limit")),
    )


def _groups(value: object) -> tuple[str, ...]:
    items = listed(value)
    if len(items) > _MAX_GROUPS:
        raise EventError("group_by", f"{len(items)} groups", f"at most {_MAX_GROUPS}")
    return tuple(dimension(item, "group_by") for item in items)


def _known_fields() -> list[str]:
    return sorted(COLUMNS | set(Query.__struct_fields__))


def _measure(given: Mapping[str, Any]) -> tuple[str, dict[str, Wanted]]:
    """The measure and the filters. A measure that is none is taken as the name of an event to count."""
    where = where_of(given.get("where"))
    where |= {key: texts(value, key) for key, value in given.items() if key in COLUMNS}
    measure = str(given.get("measure", "count"))
    known = _MEASURE_ALIASES.get(measure.lower(), measure.lower())
    if known in MEASURES or _PERCENTILE.fullmatch(known):
        return known, where
    if "event_name" in where:
        raise EventError("measure", measure, "one of " + ", ".join(MEASURES))
    return "count", {**where, "event_name": texts(measure, "measure")}


def _field(given: Mapping[str, Any], measure: str) -> str:
    if measure in _COUNTING:
        return ""
    if measure in _DISTINCT:
        return dimension(given.get("field") or "user_id", "field")
    field = str(given.get("field") or "amount").removeprefix("properties.")
    if not PATH.fullmatch(field):
        raise EventError("field", field, "'amount' or the path of a number in the properties")
    return field


def _bounded_interval(interval: int, width: float) -> int:
    return 0 if interval <= 0 else max(interval, math.ceil(width / _MAX_ROWS))


def _limit(value: object) -> int:
    if value is None:
        return 1000
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MAX_ROWS:
        raise EventError("limit", value, f"a whole number from 1 to {_MAX_ROWS}")
    return value


def scope(tenant: str, since: float, until: float) -> tuple[str, dict[str, Any]]:
    """The condition that every statement carries: this tenant, this time."""
    times = {"since": clock_text(since), "until": clock_text(until)}
    return _within("timestamp", "DateTime64(3, 'UTC')"), {"tenant": tenant, **times}


def _scope_of_minutes(tenant: str, since: float, until: float) -> tuple[str, dict[str, Any]]:
    """The same for the rollup. Its times are whole seconds, and are compared quickest as what they are."""
    times = {"since": _second_text(since), "until": _second_text(until)}
    return _within("minute", "DateTime('UTC')"), {"tenant": tenant, **times}


def _within(column: str, kind: str) -> str:
    return f"tenant_id = {{tenant:String}} AND {column} >= {{since:{kind}}} AND {column} < {{until:{kind}}}"


def _second_text(at: float) -> str:
    return clock_text(min(max(at, 0), _LAST_SECOND)).partition(".")[0]


def build(query: Query, tenant: str) -> Sql:
    """The statement for a query. Columns: `time` (with an interval), the groups by their names, `value`."""
    rollup = fits_rollup(query)
    condition, values = (_scope_of_minutes if rollup else scope)(tenant, query.since, query.until)
    conditions = [condition, *filters(query.where, "w", values)]
    columns, groups = _columns(query, rollup)
    order = ", ".join([*(["time ASC"] if query.interval else []), *(["value DESC"] if query.group_by else [])])
    group = f" GROUP BY {', '.join(groups)}" if groups else ""
    if rollup and groups:
        # What was counted and then taken back, as after a deletion, is there as zero until the engine merges: such a group is gone.
        group += " HAVING value != 0"
    return Sql(
        f"SELECT {', '.join(columns)} FROM {PER_MINUTE if rollup else EVENTS} WHERE {' AND '.join(conditions)}"  # noqa: S608
        f"{group}{f' ORDER BY {order}' if order else ''} LIMIT {query.limit}",
        values,
    )


def _columns(query: Query, rollup: bool) -> tuple[list[str], list[str]]:
    columns: list[str] = []
    groups: list[str] = []
    if query.interval:
        column = "minute" if rollup else "timestamp"
        whole = rollup and query.interval == _MINUTE  # it has these already
        columns.append(f"{column if whole else _bucket(column, query.interval)} AS time")
        groups.append("time")
    for index, name in enumerate(query.group_by):
        columns.append(f"{expression(name)} AS group_{index}")
        groups.append(f"group_{index}")
    columns.append(f"{aggregate(query, '', rollup=rollup)} AS value")
    return columns, groups


def _bucket(column: str, interval: int) -> str:
    return f"toStartOfInterval({column}, INTERVAL {interval} SECOND, 'UTC')"


def aggregate(query: Query, condition: str, *, rollup: bool) -> str:
    """The SQL of the measure over the rows that fulfil `condition` (empty: all)."""
    when = condition or "1"
    if query.measure == "count":
        column = "sumIf(events, {when})" if rollup else "countIf({when})"
        return column.format(when=when) if condition else ("sum(events)" if rollup else "count()")
    if query.measure in _COUNTING:
        column = f"{query.measure.removeprefix('unique_').removesuffix('s')}_id"
        return f"uniqExactIf({column}, {column} != '' AND {when})"
    if query.measure in _DISTINCT:
        text = expression(query.field)
        return f"{_DISTINCT[query.measure]}({text}, {text} != '' AND {when})"
    number = _number(query)
    return f"{_numeric(query, 'If')}({number}, {condition})" if condition else f"{_numeric(query, '')}({number})"


def _numeric(query: Query, combinator: str) -> str:
    percentile = _PERCENTILE.fullmatch(query.measure)
    name = "quantile" if percentile else query.measure
    return f"{name}{combinator}" + (f"({float(percentile.group(1)) / 100:.6f})" if percentile else "")


def _number(query: Query) -> str:
    if query.field == "amount":
        # Sums of money stay decimal in the engine; a quantile needs a float.
        return "amount" if query.measure in {"sum", "min", "max"} else "toFloat64(amount)"
    return f"toFloat64OrNull({subcolumn(query.field)})"


def fits_rollup(query: Query) -> bool:
    """Whether the counts per minute can answer: nothing but names and categories, and whole minutes."""
    dimensions = {*query.where, *query.group_by}
    whole = query.since % 60 == 0 and query.until % 60 == 0 and query.interval % 60 == 0
    return query.measure == "count" and dimensions <= {"event_name", "category"} and whole
