"""A dashboard with the numbers of now."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ...pages import Panel, panel_updates
from ...store import StoreRefusedError
from ..questions import Query, parse_journey, parse_query, travel

if TYPE_CHECKING:
    from ..questions import Questions
    from ._config import Dashboard, PanelConfig

__all__ = ["Board", "Boards", "filled"]

_AT_ONCE: Final = 4
_SERIES: Final = frozenset({"line", "area"})
_TIMELINE: Final = ("timestamp", "event_name", "severity", "device_id", "customer_id", "user_id", "source")
_MOST_CACHED: Final = 200


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """The panels of a dashboard with their rows; times are Unix seconds."""

    panels: list[Panel]
    since: float
    until: float

    def update(self) -> dict[str, Any]:
        """What an open page needs."""
        clock = time.strftime("%H:%M:%S UTC", time.gmtime(self.until))
        stamps = [time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at)) for at in (self.since, self.until)]
        return {"panels": panel_updates(self.panels), "period": " – ".join(stamps), "made": clock}


async def filled(dashboard: Dashboard, questions: Questions, now: float | None = None) -> Board:
    """Ask all panels' questions, a few at once."""
    until = time.time() if now is None else now
    since = until - dashboard.time_range
    room = asyncio.Semaphore(_AT_ONCE)

    async def one(config: PanelConfig) -> Panel:
        async with room:
            try:
                return await _panel(config, questions, since, until)
            except StoreRefusedError as error:
                # One question that the engine refuses leaves the other panels as they are.
                return Panel(title=config.title, chart="table", columns=(), rows=[], error=str(error))

    done = await asyncio.gather(*(one(config) for config in dashboard.panels), return_exceptions=True)
    for result in done:
        if isinstance(result, BaseException):
            raise result
    return Board(panels=[panel for panel in done if isinstance(panel, Panel)], since=since, until=until)


async def _panel(config: PanelConfig, questions: Questions, since: float, until: float) -> Panel:
    if config.question.get("kind", "events") != "events":
        return await _journey_panel(config, questions, since, until)
    query = _query(config, since, until)
    answer = await questions.ask(query)
    return Panel(
        title=config.title,
        chart=config.chart,
        unit=config.unit,
        columns=answer.columns,
        rows=answer.rows,
        since=query.since,
        until=query.until,
        interval=query.interval,
        counts=query.measure == "count",
        spec=config.spec,
        before=await _before(config, query, questions),
    )


def _query(config: PanelConfig, since: float, until: float) -> Query:
    series = config.chart in _SERIES
    defaults = {"since": since, "until": until + 1, "limit": 10_000 if series or config.chart == "vega" else 20}
    query = parse_query({**defaults, **config.question}, now=until)
    if series and not query.interval:
        query = msgspec.structs.replace(query, interval=_step(int((query.until - query.since) / 60)))
    if query.measure == "count" and set(query.where) | set(query.group_by) <= {"event_name", "category"}:
        query = msgspec.structs.replace(query, since=query.since // 60 * 60, until=(query.until // 60 + 1) * 60)
    return query


async def _before(config: PanelConfig, query: Query, questions: Questions) -> float | None:
    if config.chart != "number" or query.group_by or query.interval:
        return None
    width = query.until - query.since
    return await questions.number(msgspec.structs.replace(query, since=query.since - width, until=query.since))


async def _journey_panel(config: PanelConfig, questions: Questions, since: float, until: float) -> Panel:
    journey = parse_journey({"since": since, "until": until + 1, **config.question}, now=until)
    answer = await travel(journey, questions)
    columns = answer.columns
    if journey.kind == "timeline" and config.chart == "table":
        columns = tuple(name for name in _TIMELINE if any(row[name] for row in answer.rows) or name == "event_name")
    return Panel(
        title=config.title,
        chart=config.chart,
        unit=config.unit,
        columns=columns,
        rows=answer.rows,
        since=journey.since,
        until=journey.until,
        spec=config.spec,
    )


def _step(width: int) -> int:
    return next((step for step in (60, 300, 900, 3600, 3 * 3600, 6 * 3600) if step >= width), 86400)


class Boards:
    """Boards that live pages look at: asked once for all who look, not for each."""

    def __init__(self) -> None:
        self._made: dict[str, Board] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def get(self, dashboard: Dashboard, questions: Questions) -> Board:
        """The board, not older than the dashboard's refresh."""
        async with self._locks.setdefault(dashboard.id, asyncio.Lock()):
            board = self._made.get(dashboard.id)
            if board is None or time.time() - board.until > dashboard.refresh * 0.9:
                board = self._made[dashboard.id] = await filled(dashboard, questions)
                while len(self._made) > _MOST_CACHED:
                    self._made.pop(next(iter(self._made)))
        return board

    def forget(self, dashboard_id: str) -> None:
        self._made.pop(dashboard_id, None)
        self._locks.pop(dashboard_id, None)
