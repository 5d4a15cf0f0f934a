"""Reports over HTTP."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
from aiohttp import web

from ..._plain import as_mapping
from .._http import COLLECTOR, TENANT, answer, failure, json_of, questions, settled
from ._forms import FORMS, check_form, file_name, formed
from ._reports import REPORTS, make_report

__all__ = ["report_routes"]

_UNKNOWN = "there is no such schedule"


async def _report(request: web.Request) -> web.Response:
    """JSON (with a page in it, for html), or a file of the form that is asked for (in the JSON, with `embed`)."""
    given = as_mapping(await json_of(request), "report")
    collector = await settled(request)
    parameters = dict(as_mapping(given.get("parameters") or {}, "parameters"))
    form = check_form(parameters.pop("format", None))
    report = await make_report(questions(request), given.get("report_type"), parameters)
    body = await formed(report, form, cache=collector.config.data_dir / "cache", drawing=collector.drawing)
    made: dict[str, Any] = msgspec.to_builtins(report)
    if form == "html":
        return answer({**made, "html": body.decode()})
    if form == "json":
        return web.Response(body=body, content_type="application/json")
    if given.get("embed"):
        return answer({**made, "format": form, "file": base64.b64encode(body).decode()})
    shown = {"Content-Disposition": f'attachment; filename="{file_name(report, form)}"'}
    return web.Response(body=body, content_type=FORMS[form], headers=shown)


async def _types(_: web.Request) -> web.Response:
    return answer({name: title for name, (title, _) in REPORTS.items()})


async def _schedule(request: web.Request) -> web.Response:
    return answer(request.app[COLLECTOR].schedules.create(request[TENANT], await json_of(request)), 201)


async def _schedules(request: web.Request) -> web.Response:
    return answer(request.app[COLLECTOR].schedules.list(request[TENANT]))


async def _run(request: web.Request) -> web.Response:
    collector = await settled(request)
    done = await collector.schedules.run_now(request[TENANT], request.match_info["id"])
    return failure(404, _UNKNOWN) if done is None else answer(done)


async def _unschedule(request: web.Request) -> web.Response:
    gone = request.app[COLLECTOR].schedules.delete(request[TENANT], request.match_info["id"])
    return answer({"deleted": gone}, 200 if gone else 404)


def report_routes() -> list[web.RouteDef]:
    return [
        web.get("/v1/reports", _types),
        web.post("/v1/reports", _report),
        web.post("/v1/reports/schedules", _schedule),
        web.get("/v1/reports/schedules", _schedules),
        web.post("/v1/reports/schedules/{id}/run", _run),
        web.delete("/v1/reports/schedules/{id}", _unschedule),
    ]
