"""The live stream: a tenant's events as they become visible, as server-sent events.

Read from the store, so that it shows what any collector before the same engine took. An event's place in the stream is when it was
received; a client that comes back says the last place it saw (`Last-Event-ID`), and goes on there.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..._plain import EventError
from ..._times import clock_text
from ...store import EVENTS
from ._filters import Wanted, filters
from ._journeys import as_events, timeline_columns
from ._query import Sql

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from ._ask import Questions

__all__ = ["Streams", "live_events", "live_sql"]

#: Blocks of several writers may become visible in another order than they were received; so far back is looked again.
_OVERLAP: Final = 5.0
#: Events that happened longer ago are stored, and are not live.
_NEWEST: Final = 86400.0
_MOST_AT_ONCE: Final = 1000
_PAUSE: Final = 0.4
_HEARTBEAT: Final = 15.0
_MOST_STREAMS: Final = 16


class Streams:
    """How many streams each tenant has open."""

    def __init__(self) -> None:
        self._open: dict[str, int] = {}

    def take(self, tenant: str) -> bool:
        """Whether the tenant may have another one; give it back with `release`."""
        if self._open.get(tenant, 0) >= _MOST_STREAMS:
            return False
        self._open[tenant] = self._open.get(tenant, 0) + 1
        return True

    def release(self, tenant: str) -> None:
        self._open[tenant] -= 1
        if not self._open[tenant]:
            del self._open[tenant]


def live_sql(tenant: str, where: dict[str, Wanted], since: float, now: float) -> Sql:
    """What was received from `since` on, the oldest first."""
    values: dict[str, Any] = {
        "tenant": tenant,
        "received": clock_text(since),
        "oldest": clock_text(min(since, now) - _NEWEST),
    }
    conditions = [
        "tenant_id = {tenant:String}",
        "timestamp >= {oldest:DateTime64(3, 'UTC')}",
        "received_at >= {received:DateTime64(3, 'UTC')}",
        *filters(where, "w", values),
    ]
    return Sql(
        f"SELECT {timeline_columns()}, toUnixTimestamp64Milli(received_at) AS received FROM {EVENTS} "  # noqa: S608 - bound
        f"WHERE {' AND '.join(conditions)} ORDER BY received_at, event_id LIMIT {_MOST_AT_ONCE}",
        values,
    )


def place_of(last_event_id: str) -> float | None:
    """The time in a stream's identifier; `None` when there is none. Raises `EventError`."""
    if not last_event_id:
        return None
    number = last_event_id.partition("-")[0]
    if not number.isdecimal() or len(number) > 15:  # noqa: PLR2004 - milliseconds until the year 33658
        raise EventError("Last-Event-ID", last_event_id, "an identifier that this stream has sent")
    return int(number) / 1000


async def live_events(
    questions: Questions,
    where: dict[str, Wanted],
    since: float,
    *,
    stored: Callable[[], object],
    listening: Callable[[], bool],
) -> AsyncIterator[bytes]:
    """Server-sent events, and a comment when nothing came for a while. `stored` changes when there may be something new."""
    seen: dict[str, float] = {}
    place, spoken, state = since, time.monotonic(), object()
    while listening():
        if state == (new := stored()):
            await asyncio.sleep(_PAUSE)
        else:
            state = new
            answer = as_events(await questions.table(live_sql(questions.tenant, where, place - _OVERLAP, time.time())))
            for row in answer.rows:
                at = row.pop("received") / 1000
                if row["event_id"] not in seen and at >= since:
                    yield _message(row, at)
                    spoken = time.monotonic()
                seen[row["event_id"]] = at
                place = max(place, at)
            seen = {key: at for key, at in seen.items() if at >= place - _OVERLAP}
            await asyncio.sleep(0 if len(answer.rows) == _MOST_AT_ONCE else _PAUSE)
        if time.monotonic() - spoken > _HEARTBEAT:
            spoken = time.monotonic()
            yield b": nothing new\n\n"


def _message(row: dict[str, Any], at: float) -> bytes:
    return b"id: %d-%s\nevent: event\ndata: %s\n\n" % (
        int(at * 1000),
        "".join(c for c in row["event_id"] if c.isprintable()).encode(),
        msgspec.json.encode(row),
    )
