"""Schemas and quarantine over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec
from aiohttp import web

from ..._plain import EventError, as_mapping
from ..._times import moment
from ...store import EVENTS, StoreUnavailableError
from .._http import COLLECTOR, TENANT, answer, failure
from ..questions import Questions, Sql, scope
from ._infer import infer
from ._quarantine import mended

__all__ = ["schema_routes"]

_MOST: Final = 1000
_SAMPLES: Final = 1000
_WEEK: Final = 7 * 86400.0


async def _given(request: web.Request) -> dict[str, Any]:
    body = await request.read()
    return dict(as_mapping(msgspec.json.decode(body) if body.strip() else {}, "body"))


async def _register(request: web.Request) -> web.Response:
    entry = request.app[COLLECTOR].schemas.register(request[TENANT], await _given(request))
    return answer(entry, 201)


async def _list(request: web.Request) -> web.Response:
    return answer(request.app[COLLECTOR].schemas.list(request[TENANT]))


async def _infer(request: web.Request) -> web.Response:
    given = await _given(request)
    name = given.get("event_name")
    if not isinstance(name, str) or not name:
        raise EventError("event_name", name, "the name of the events to look at")
    collector = request.app[COLLECTOR]
    if not await collector.settled():
        raise StoreUnavailableError(collector.writer.last_error or "it is behind with storing what was accepted")
    until = moment("now", "until") + 1
    since = moment(given["since"], "since") if given.get("since") else until - _WEEK
    condition, values = scope(request[TENANT], since, until)
    text = (
        f"SELECT toJSONString(properties) AS properties FROM {EVENTS} WHERE {condition} "  # noqa: S608 - bound values
        f"AND event_name = {{name:String}} ORDER BY timestamp DESC LIMIT {_SAMPLES}"
    )
    rows = (await Questions(collector.store, request[TENANT]).run(Sql(text, {**values, "name": name}))).rows
    if not rows:
        return failure(404, f"no event {name!r} came in that time")
    return answer(
        {"event_name": name, "samples": len(rows), "schema": infer([msgspec.json.decode(row[0]) for row in rows])}
    )


async def _quarantine(request: web.Request) -> web.Response:
    name = request.query.get("event_name", "")
    text = request.query.get("limit", "100")
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= _MOST:
        raise EventError("limit", text, f"a whole number from 1 to {_MOST}")
    quarantine = request.app[COLLECTOR].quarantine
    return answer(await asyncio.to_thread(quarantine.list, request[TENANT], event_name=name, limit=int(text)))


async def _replay(request: web.Request) -> web.Response:
    """Mended, judged again, and taken like any other; what still does not fit stays where it is."""
    given = await _given(request)
    collector, tenant = request.app[COLLECTOR], request[TENANT]
    event_ids = given.get("event_ids") or []
    if not isinstance(event_ids, list) or len(event_ids) > _MOST or not all(isinstance(one, str) for one in event_ids):
        raise EventError("event_ids", event_ids, f"a list of at most {_MOST} identifiers")
    changes = as_mapping(given.get("changes") or {}, "changes")
    name = str(given.get("event_name") or "")
    held = await asyncio.to_thread(collector.quarantine.list, tenant, event_name=name, event_ids=event_ids, limit=_MOST)
    judged = [(event, collector.schemas.judge(tenant, event)) for event in (mended(one.event, changes) for one in held)]
    good = [event for event, verdict in judged if not verdict.reasons or verdict.mode in {"accept", "warn"}]
    taken = await collector.intake.take(tenant, good)
    await asyncio.to_thread(collector.quarantine.drop, tenant, [event.event_id for event in good])
    still = [
        {"event_id": event.event_id, "reasons": verdict.reasons}
        for event, verdict in judged
        if verdict.reasons and verdict.mode not in {"accept", "warn"}
    ]
    return answer({"replayed": taken.accepted, "duplicates": taken.duplicates, "still_held": still})


def schema_routes() -> list[web.RouteDef]:
    return [
        web.post("/v1/schemas", _register),
        web.get("/v1/schemas", _list),
        web.post("/v1/schemas/infer", _infer),
        web.get("/v1/quarantine", _quarantine),
        web.post("/v1/quarantine/replay", _replay),
    ]
