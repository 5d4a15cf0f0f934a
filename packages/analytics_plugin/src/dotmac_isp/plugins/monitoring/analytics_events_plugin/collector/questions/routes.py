"""Asking over HTTP."""

from __future__ import annotations

from aiohttp import web

from .._http import answer, json_of, questions, settled
from ._journeys import parse_journey, travel
from ._query import parse_query

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
    return answer(await questions(request).ask(query))


def question_routes() -> list[web.RouteDef]:
    return [
        web.post("/v1/flush", _flush),
        web.post("/v1/query", _query),
    ]
