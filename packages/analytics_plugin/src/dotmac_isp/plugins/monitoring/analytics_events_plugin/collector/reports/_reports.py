"""Every kind of report by name, and making one: rows and totals, with a hint how each part is best drawn."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from ..._plain import EventError, plain
from ._business import business
from ._kinds import behaviour, conversion, performance, retention, security, summary
from ._making import Making, Report, Section, prepared, understood
from ._network import network

if TYPE_CHECKING:
    from ..questions import Questions

__all__ = ["REPORTS", "make_report", "report_name"]

_Maker = Callable[[Making], Awaitable[tuple[dict[str, Any], list[Section]]]]
#: Every report by name, with its title.
REPORTS: Final[dict[str, tuple[str, _Maker]]] = {
    "summary": ("Summary", summary),
    "business": ("Business", business),
    "user_behavior": ("User behaviour", behaviour),
    "conversion": ("Conversion", conversion),
    "retention": ("Retention", retention),
    "performance": ("Performance", performance),
    "security": ("Security", security),
    "network": ("Network quality", network),
}
_ALIASES: Final = {
    "user_behaviour": "user_behavior",
    "behavior": "user_behavior",
    "behaviour": "user_behavior",
    "overview": "summary",
    "network_quality": "network",
    "revenue": "business",
}


def report_name(value: object) -> str:
    """The name of a kind. Raises `EventError`."""
    name = str(value).strip().lower().replace("-", "_").replace(" ", "_").removesuffix("_report")
    name = _ALIASES.get(name, name)
    if name not in REPORTS:
        raise EventError("report_type", value, "one of " + ", ".join(REPORTS))
    return name


async def make_report(questions: Questions, report_type: object, parameters: object) -> Report:
    """Make a report. Raises `EventError` for an unknown type or parameter."""
    name = report_name(report_type)
    given = understood(parameters)
    make = prepared(questions, given)
    title, maker = REPORTS[name]
    totals, sections = await maker(make)
    return Report(
        report_type=name,
        title=str(plain(str(given.get("title") or title)[:200], "title")),
        generated_at=_iso(time.time()),
        since=_iso(make.since),
        until=_iso(make.until),
        totals=totals,
        sections=sections,
    )


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
