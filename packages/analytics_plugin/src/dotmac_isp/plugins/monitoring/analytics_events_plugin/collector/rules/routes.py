"""A tenant's rules over HTTP, for keys with the scope `admin`."""

from __future__ import annotations

from aiohttp import web

from .._http import COLLECTOR, TENANT, answer, json_of

__all__ = ["rule_routes"]


async def _show(request: web.Request) -> web.Response:
    return answer(request.app[COLLECTOR].rules.of(request[TENANT]).told())


async def _change(request: web.Request) -> web.Response:
    return answer(request.app[COLLECTOR].rules.change(request[TENANT], await json_of(request)).told())


def rule_routes() -> list[web.RouteDef]:
    return [web.get("/v1/rules", _show), web.post("/v1/rules", _change)]
