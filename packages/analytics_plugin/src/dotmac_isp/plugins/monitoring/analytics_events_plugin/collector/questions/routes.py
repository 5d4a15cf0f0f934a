"""Asking over HTTP."""

from __future__ import annotations

import time
from typing import Final

from aiohttp import web

from ..._plain import as_mapping
from ..._times import moment
from .._http import COLLECTOR, TENANT, answer, failure, json_of, listening, questions, settled
from ._filters import Wanted, texts, where_of
from ._free import free_sql
from ._journeys import parse_journey, travel
from ._query import parse_query
from ._stream import Streams, live_events, place_of

__all__ = ["question_routes"]


async def _flush(request: web.Request) -> web.Response:
    await settled(request)
    return answer({"stored": True})


async def _query(request: web.Request) -> web.Response:
    given = await json_of(request)
    if isinstance(given, dict) and given.get("kind", "events") != "events":
        journey = parse_journey(given)
        await settled(request)
        return answer(await travel(journey, questions(request)))
    query = parse_query(given)
    await settled(request)
    return web.Response(body=await questions(request).ask_json(query), content_type="application/json")


async def _sql(request: web.Request) -> web.Response:
    given = as_mapping(await json_of(request), "query")
    statement = free_sql(given.get("sql"), given.get("parameters"), request[TENANT])
    await settled(request)
    return answer(await questions(request).free(statement))


_STREAMS: Final = web.AppKey("streams", Streams)


async def _stream(request: web.Request) -> web.StreamResponse:
    """`?since=5m&event=payment&where.plan=gold`; the connection stays open."""
    where = where_of({key.removeprefix("where."): v for key, v in request.query.items() if key.startswith("where.")})
    if "event" in request.query:
        where["event_name"] = texts(request.query.getall("event"), "event")
    since = place_of(request.headers.get("Last-Event-ID", ""))
    if since is None:
        since = moment(request.query["since"], "since") if "since" in request.query else time.time()
    streams, tenant = request.app[_STREAMS], request[TENANT]
    if not streams.take(tenant):
        return failure(429, "this tenant has as many live streams open as it may; close one", retry_after=10)
    try:
        return await _sent(request, where, since)
    finally:
        streams.release(tenant)


async def _sent(request: web.Request, where: dict[str, Wanted], since: float) -> web.StreamResponse:
    collector = request.app[COLLECTOR]
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    await response.prepare(request)
    await response.write(b"retry: 2000\n\n")
    events = live_events(
        questions(request), where, since, stored=collector.changes, listening=lambda: listening(request)
    )
    async for message in events:
        await response.write(message)
    return response


def question_routes(app: web.Application) -> list[web.RouteDef]:
    app[_STREAMS] = Streams()
    return [
        web.post("/v1/flush", _flush),
        web.post("/v1/query", _query),
        web.post("/v1/sql", _sql),
        web.get("/v1/stream", _stream),
    ]
