"""Alerts over HTTP."""

from __future__ import annotations

from aiohttp import web

from .._http import COLLECTOR, TENANT, answer, failure, json_of, settled

__all__ = ["alert_routes"]


async def _create_alert(request: web.Request) -> web.Response:
    alert_id = request.app[COLLECTOR].alerts.create(request[TENANT], await json_of(request))
    return answer({"alert_id": alert_id}, 201)


async def _list_alerts(request: web.Request) -> web.Response:
    return answer(request.app[COLLECTOR].alerts.list(request[TENANT]))


async def _alert(request: web.Request) -> web.Response:
    collector = await settled(request)
    status = await collector.alerts.status(request[TENANT], request.match_info["id"])
    return failure(404, "there is no such alert") if status is None else answer(status)


async def _delete_alert(request: web.Request) -> web.Response:
    gone = request.app[COLLECTOR].alerts.delete(request[TENANT], request.match_info["id"])
    return answer({"deleted": gone}, 200 if gone else 404)


def alert_routes() -> list[web.RouteDef]:
    return [
        web.post("/v1/alerts", _create_alert),
        web.get("/v1/alerts", _list_alerts),
        web.get("/v1/alerts/{id}", _alert),
        web.delete("/v1/alerts/{id}", _delete_alert),
    ]
