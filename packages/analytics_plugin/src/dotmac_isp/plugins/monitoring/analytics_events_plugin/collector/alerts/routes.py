"""Alerts over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from ..._plain import as_mapping
from .._http import COLLECTOR, TENANT, answer, failure, json_of, questions, settled
from ..delivery import redacted
from ._backtest import backtest

if TYPE_CHECKING:
    from ._dispatch import Policy

__all__ = ["alert_routes"]

_UNKNOWN = "there is no such alert"


async def _create(request: web.Request) -> web.Response:
    alert_id = request.app[COLLECTOR].alerts.create(request[TENANT], await json_of(request))
    return answer({"alert_id": alert_id}, 201)


async def _list(request: web.Request) -> web.Response:
    return answer(request.app[COLLECTOR].alerts.list(request[TENANT]))


async def _status(request: web.Request) -> web.Response:
    collector = await settled(request)
    status = await collector.alerts.status(request[TENANT], request.match_info["id"])
    return failure(404, _UNKNOWN) if status is None else answer(status)


async def _change(request: web.Request) -> web.Response:
    alerts, alert_id = request.app[COLLECTOR].alerts, request.match_info["id"]
    changed = alerts.change(request[TENANT], alert_id, await json_of(request))
    return answer({"alert_id": alert_id}) if changed else failure(404, _UNKNOWN)


async def _delete(request: web.Request) -> web.Response:
    gone = request.app[COLLECTOR].alerts.delete(request[TENANT], request.match_info["id"])
    return answer({"deleted": gone}, 200 if gone else 404)


async def _acknowledge(request: web.Request) -> web.Response:
    given = as_mapping(await json_of(request), "acknowledgement")
    alerts, alert_id = request.app[COLLECTOR].alerts, request.match_info["id"]
    count = alerts.acknowledge(request[TENANT], alert_id, given.get("by", ""), given.get("note", ""))
    return failure(404, _UNKNOWN) if count is None else answer({"alert_id": alert_id, "acknowledged": count})


async def _backtest(request: web.Request) -> web.Response:
    wish = await json_of(request)
    await settled(request)
    return answer(await backtest(wish, questions(request)))


async def _silence(request: web.Request) -> web.Response:
    return answer(request.app[COLLECTOR].alerts.silence(request[TENANT], await json_of(request)), 201)


async def _silences(request: web.Request) -> web.Response:
    return answer(request.app[COLLECTOR].alerts.silences(request[TENANT]))


async def _end_silence(request: web.Request) -> web.Response:
    gone = request.app[COLLECTOR].alerts.end_silence(request[TENANT], request.match_info["id"])
    return answer({"deleted": gone}, 200 if gone else 404)


async def _policy(request: web.Request) -> web.Response:
    alerts, tenant = request.app[COLLECTOR].alerts, request[TENANT]
    return answer({**_shown(alerts.policy(tenant)), "undelivered": alerts.troubles(tenant)})


async def _set_policy(request: web.Request) -> web.Response:
    return answer(_shown(request.app[COLLECTOR].alerts.set_policy(request[TENANT], await json_of(request))))


def _shown(policy: Policy) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(policy)
    return {**told, "notify": [redacted(target) for target in policy.notify]}


def alert_routes() -> list[web.RouteDef]:
    return [
        web.post("/v1/alerts", _create),
        web.get("/v1/alerts", _list),
        web.post("/v1/alerts/backtest", _backtest),
        web.get("/v1/alerts/policy", _policy),
        web.put("/v1/alerts/policy", _set_policy),
        web.get("/v1/alerts/{id}", _status),
        web.put("/v1/alerts/{id}", _change),
        web.delete("/v1/alerts/{id}", _delete),
        web.post("/v1/alerts/{id}/acknowledge", _acknowledge),
        web.post("/v1/silences", _silence),
        web.get("/v1/silences", _silences),
        web.delete("/v1/silences/{id}", _end_silence),
    ]
