"""What the kinds of report are made with: their parameters, and sections out of questions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..._plain import EventError, as_mapping
from ..._times import moment, span
from ..questions import Query, Questions

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Making", "Report", "Section", "percent", "prepared", "understood"]

_WEEK: Final = 7 * 86400.0
_MINUTE: Final = 60
_MOST_STEPS: Final = 10
_MOST_LIMIT: Final = 1000
_MOST_NAMES: Final = 50
_NAMES: Final = ("revenue_events", "signup_events", "churn_events", "down_events", "up_events")
_KNOWN: Final = frozenset(
    {
        "since",
        "until",
        "format",
        "steps",
        "window",
        "limit",
        "title",
        "field",
        "event",
        "period",
        "periods",
        "subscribers",
    }
    | set(_NAMES)
)
_ALIASES: Final = {
    "from": "since",
    "start": "since",
    "start_date": "since",
    "start_time": "since",
    "time_range": "since",
    "to": "until",
    "end": "until",
    "end_date": "until",
    "end_time": "until",
    "funnel": "steps",
}


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """One table of a report. `chart` is line, bar, table, funnel or heatmap; `unit` belongs to the values."""

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


class Making(msgspec.Struct):
    """What the parts of a report need."""

    questions: Questions
    since: float
    until: float
    limit: int
    steps: tuple[str, ...]
    window: float
    field: str
    event: str
    period: str
    periods: tuple[int, ...]
    names: dict[str, list[str]]
    subscribers: dict[str, int]

    @property
    def interval(self) -> int:
        """A round step that gives about 60 points."""
        width = (self.until - self.since) / 60
        return next((s for s in (60, 300, 900, 3600, 3 * 3600, 6 * 3600) if s >= width), 86400)

    @property
    def before(self) -> Making:
        """The span of the same length ahead of this one."""
        return msgspec.structs.replace(self, since=2 * self.since - self.until, until=self.since)

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

    async def by(self, column: str, **values: Any) -> dict[str, float]:
        """Values by a column; what has none is left out."""
        answer = await self.questions.ask(self.query(group_by=(column,), **values))
        return {row[column] or "": row["value"] for row in answer.rows if row["value"] is not None}


def understood(parameters: object) -> dict[str, Any]:
    """The parameters under their own names. Raises `EventError`."""
    given = {_ALIASES.get(k, k): v for k, v in as_mapping(parameters or {}, "parameters").items() if v is not None}
    if isinstance(given.get("period"), str) and given["period"] not in {"day", "week"}:
        given["since"] = given.pop("period")
    for name in given.keys() - _KNOWN:
        raise EventError(f"parameters.{name}", given[name], "one of " + ", ".join(sorted(_KNOWN)))
    return given


def prepared(questions: Questions, given: Mapping[str, Any]) -> Making:
    """Raises `EventError`."""
    until = moment(given.get("until", "now"), "until")
    since = moment(given["since"], "since") if "since" in given else until - _WEEK
    if since >= until:
        raise EventError("since", given.get("since"), "a moment before 'until'")
    since, until = math.floor(since / _MINUTE) * _MINUTE, math.ceil(until / _MINUTE) * _MINUTE
    return Making(
        questions=questions,
        since=since,
        until=until,
        limit=_limit(given.get("limit", 50)),
        steps=_steps(given.get("steps", ("page_view", "conversion"))),
        window=span(given.get("window", "7d"), "window"),
        field=str(given.get("field", "duration_ms")),
        event=str(given.get("event", "page_view")),
        period=str(given.get("period", "day")),
        periods=tuple(given.get("periods", (1, 7, 14, 30) if given.get("period", "day") == "day" else (1, 2, 3, 4))),
        names={name: _named(given[name], name) for name in _NAMES if name in given},
        subscribers=_counts(given.get("subscribers", {})),
    )


def _limit(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST_LIMIT:
        raise EventError("limit", value, f"a whole number from 1 to {_MOST_LIMIT}")
    return value


def _steps(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or len(value) not in range(2, _MOST_STEPS + 1):
        raise EventError("steps", value, f"a list of 2 to {_MOST_STEPS} event names")
    return tuple(str(step) for step in value)


def _named(value: object, field: str) -> list[str]:
    items = [value] if isinstance(value, str) else value
    good = isinstance(items, (list, tuple)) and 0 < len(items) <= _MOST_NAMES
    if not good or not isinstance(items, (list, tuple)) or not all(isinstance(item, str) for item in items):
        raise EventError(field, value, f"a list of at most {_MOST_NAMES} event names")
    return [str(item) for item in items]


def _counts(value: object) -> dict[str, int]:
    given = as_mapping(value or {}, "subscribers")
    for name, count in given.items():
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise EventError(f"subscribers.{name}", count, "how many subscribers are behind the device")
    return {str(name): int(count) for name, count in given.items()}


def percent(part: float, whole: float) -> float:
    return round(100 * part / whole, 2) if whole else 0.0
