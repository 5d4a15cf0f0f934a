"""Dashboards over HTTP."""

from __future__ import annotations

from aiohttp import web

from ...pages import chart_bundle
from .._http import COLLECTOR, TENANT, answer, failure, json_of, questions, settled

__all__ = ["dashboard_routes"]


async def _create_dashboard(request: web.Request) -> web.Response:
    collector = request.app[COLLECTOR]
    dashboard = collector.dashboards.create(request[TENANT], await json_of(request))
    return answer(dashboard, 201)


async def _list_dashboards(request: web.Request) -> web.Response:
    return answer(request.app[COLLECTOR].dashboards.list(request[TENANT]))


async def _dashboard(request: web.Request) -> web.Response:
    collector = await settled(request)
    dashboard = collector.dashboards.get(request[TENANT], request.match_info["id"])
    if dashboard is None:
        return failure(404, "there is no such dashboard")
    bundle = await chart_bundle(collector.config.data_dir / "cache")
    page = await collector.dashboards.page(dashboard, questions(request), bundle=bundle)
    policy = "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data:"
    return web.Response(text=page, content_type="text/html", headers={"Content-Security-Policy": policy})


async def _delete_dashboard(request: web.Request) -> web.Response:
    gone = request.app[COLLECTOR].dashboards.delete(request[TENANT], request.match_info["id"])
    return answer({"deleted": gone}, 200 if gone else 404)


def dashboard_routes() -> list[web.RouteDef]:
    return [
        web.post("/v1/dashboards", _create_dashboard),
        web.get("/v1/dashboards", _list_dashboards),
        web.get("/v1/dashboards/{id}", _dashboard),
        web.delete("/v1/dashboards/{id}", _delete_dashboard),
    ]
