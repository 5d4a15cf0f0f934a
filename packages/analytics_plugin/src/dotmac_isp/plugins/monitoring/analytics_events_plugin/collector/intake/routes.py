"""Taking events over HTTP: our own form, Segment's, CloudEvents."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from ..._plain import EventError
from ...events import Event, Rejection, parse_event
from .._http import COLLECTOR, TENANT, answer, failure
from ..access.routes import ACCESS
from ._forms import (
    CLOUD_EVENT,
    CLOUD_EVENTS,
    MAX_BATCH,
    SEGMENT_CALLS,
    cloud_event,
    own_form,
    segment_call,
    segment_form,
)
from ._sift import fits_at_once, sift
from ._wire import WireEvent, wire_events

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["event_routes"]

#: When an event may have been is for the tenant's rules to say; here only what can be a time at all.
_ANY_AGE: Final = 366 * 100.0
_ANY_AHEAD: Final = 366 * 86400 * 100.0
#: After so many events of a batch, other requests get their turn.
_BREATH: Final = 500
_SEGMENT_PATHS: Final = {f"/v1/{call}": call for call in ("batch", *SEGMENT_CALLS)}


async def _events(request: web.Request) -> web.Response:
    body = await request.read()
    if request.content_type in {CLOUD_EVENT, CLOUD_EVENTS}:
        return await _take(request, own_form(body), cloud_event, lambda raw: str(raw.get("id", "")))
    wire = wire_events(body) if body[:1] == b"[" else None
    if wire and fits_at_once(request.app[COLLECTOR], request[TENANT], wire):
        return await _take_wire(request, wire)
    return await _take(request, own_form(body), lambda raw: raw, lambda raw: str(raw.get("event_id", "")))


async def _take_wire(request: web.Request, events: list[WireEvent]) -> web.Response:
    if len(events) > MAX_BATCH:
        raise EventError("events", f"{len(events)} events", f"at most {MAX_BATCH} in one request")
    if refusal := _too_fast(request, len(events)):
        return refusal
    taken = await request.app[COLLECTOR].intake.take(request[TENANT], events)
    return answer({"accepted": taken.accepted, "duplicates": taken.duplicates, "rejected": ()}, 202)


def _too_fast(request: web.Request, events: int) -> web.Response | None:
    access = request[ACCESS]
    wait = request.app[COLLECTOR].limits.take(
        (access.tenant, access.key_id, "events"), events, access.events_per_second
    )
    if not wait:
        return None
    return failure(429, f"the API key may send {access.events_per_second} events a second", retry_after=wait)


async def _segment(request: web.Request) -> web.Response:
    calls = segment_form(await request.read(), _SEGMENT_PATHS[request.path])
    return await _take(request, calls, segment_call, lambda raw: str(raw.get("messageId", "")), status=200)


async def _take(
    request: web.Request,
    raws: list[Any],
    understood: Callable[[Any], Any],
    id_of: Callable[[Any], str],
    *,
    status: int = 202,
) -> web.Response:
    collector = request.app[COLLECTOR]
    if refusal := _too_fast(request, len(raws)):
        return refusal
    events: list[tuple[int, Event]] = []
    rejected: list[Rejection] = []
    for index, raw in enumerate(raws):
        if index % _BREATH == _BREATH - 1:
            await asyncio.sleep(0)
        try:
            events.append((index, parse_event(understood(raw), max_age_days=_ANY_AGE, max_ahead=_ANY_AHEAD)))
        except EventError as error:
            event_id = id_of(raw)[:256] if isinstance(raw, dict) else ""
            rejected.append(Rejection(index=index, reason=str(error), event_id=event_id))
    sifted = await sift(collector, request[TENANT], events)
    taken = await collector.intake.take(request[TENANT], [event for _, event in sifted.good])
    rejected = sorted([*rejected, *sifted.rejected], key=lambda one: one.index)
    told = {"accepted": taken.accepted, "duplicates": taken.duplicates, "rejected": rejected}
    told |= {key: value for key, value in (("quarantined", sifted.held), ("warnings", sifted.warnings)) if value}
    return answer({"success": not rejected, **told} if status == 200 else told, status)  # noqa: PLR2004 - as Segment answers


def event_routes() -> list[web.RouteDef]:
    """All ways in."""
    return [web.post("/v1/events", _events), *(web.post(path, _segment) for path in _SEGMENT_PATHS)]
