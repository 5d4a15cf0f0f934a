"""What the handlers share."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from aiohttp import web

from ..store import StoreUnavailableError
from ._collector import Collector
from .questions import Questions

__all__ = ["COLLECTOR", "TENANT", "answer", "failure", "json_of", "listening", "questions", "settled"]

COLLECTOR: Final = web.AppKey("collector", Collector)
#: The tenant that the key of a request opens.
TENANT: Final = web.RequestKey("tenant", str)


def answer(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")


def failure(status: int, message: str, *, retry_after: int = 0, **more: Any) -> web.Response:
    response = answer({"error": message, **more}, status)
    if retry_after:
        response.headers["Retry-After"] = str(retry_after)
    return response


def questions(request: web.Request) -> Questions:
    return Questions(request.app[COLLECTOR].store, request[TENANT])


async def json_of(request: web.Request) -> Any:
    body = await request.read()
    return msgspec.json.decode(body) if body.strip() else {}


async def settled(request: web.Request) -> Collector:
    """Queries see what was acknowledged before them."""
    collector = request.app[COLLECTOR]
    if not await collector.settled():
        raise StoreUnavailableError(collector.writer.last_error or "it is behind with storing what was accepted")
    return collector


def listening(request: web.Request) -> bool:
    """Whether the asker is still there: a stream that nobody reads would go on until it is written to again."""
    return request.transport is not None and not request.transport.is_closing()
