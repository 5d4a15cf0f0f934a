"""What the handlers share."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from aiohttp import web

from ._collector import Collector

__all__ = ["COLLECTOR", "TENANT", "answer", "failure"]

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
