"""The collector's HTTP interface: `/v1/…` for tenants with a key, and the owner's `/admin/…` on a Unix socket.

A key says which tenant asks. A key that several tenants share needs the header `X-Dotmac-Tenant` beside it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiohttp import web

from .._plain import EventError
from .._spool import SpoolFullError
from .._version import PRODUCT, version
from .._wire import TENANT_HEADER
from ..pages import ChartsMissingError, Panel, chart_bundle, draw_report
from ..store import StoreRefusedError, StoreUnavailableError
from ._ask import Questions
from ._event_routes import event_routes, given_key
from ._forms import MAX_BATCH
from ._http import COLLECTOR, TENANT, answer, failure
from ._journeys import parse_journey, travel
from ._query import parse_query
from ._reports import REPORTS, Report, make_report
from ._schema_routes import schema_routes
from ._schema_rules import SchemasMissingError

if TYPE_CHECKING:
    from ._collector import Collector

__all__ = ["admin_app", "public_app"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_MAX_BODY: Final = 16 * 1024 * 1024
_OPEN_PATHS: Final = frozenset({"/v1/about", "/v1/health"})


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every failure as JSON with a sentence; nothing of the inside but what the caller can act upon."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        return failure(error.status, error.text or error.reason)
    except EventError as error:
        return failure(422, str(error), field=error.field)
    except _KNOWN_FAILURES as error:
        status, words, retry_after = next(known for kind, known in _FAILURES.items() if isinstance(error, kind))
        return failure(status, words.format(error=error), retry_after=retry_after)


#: Status, sentence, and after how many seconds to try again.
_FAILURES: Final[dict[type[Exception], tuple[int, str, int]]] = {
    msgspec.DecodeError: (400, "the body is not the JSON that is expected: {error}", 0),
    SpoolFullError: (429, "the collector's disk space for waiting events is used up; send again later", 30),
    StoreUnavailableError: (503, "the engine is not available now: {error}; accepted events are safe on disk", 2),
    StoreRefusedError: (422, "the engine refuses this: {error}", 0),
    ChartsMissingError: (501, "{error}", 0),
    SchemasMissingError: (501, "{error}", 0),
}
_KNOWN_FAILURES: Final = tuple(_FAILURES)


@web.middleware
async def _keys(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.path in _OPEN_PATHS:
        return await handler(request)
    key = await given_key(request)
    tenants = request.app[COLLECTOR].meta.tenants_of(key) if key else []
    if not tenants:
        return failure(401, "no valid API key: send the header 'Authorization: Bearer <key>'")
    wanted = request.headers.get(TENANT_HEADER, "")
    if wanted and wanted not in tenants:
        return failure(403, "the API key does not belong to the tenant that the request names")
    if not wanted and len(tenants) > 1:
        return failure(400, f"the API key belongs to several tenants; say which one in the header {TENANT_HEADER!r}")
    request[TENANT] = wanted or tenants[0]
    return await handler(request)


def _questions(request: web.Request) -> Questions:
    return Questions(request.app[COLLECTOR].store, request[TENANT])


async def _json(request: web.Request) -> Any:
    body = await request.read()
    return msgspec.json.decode(body) if body.strip() else {}


async def _settled(request: web.Request) -> Collector:
    """Queries see what was acknowledged before them."""
    collector = request.app[COLLECTOR]
    if not await collector.settled():
        raise StoreUnavailableError(collector.writer.last_error or "it is behind with storing what was accepted")
    return collector


async def _about(_: web.Request) -> web.Response:
    return answer({"product": PRODUCT, "version": version(), "api": 1})


async def _health(request: web.Request) -> web.Response:
    collector = request.app[COLLECTOR]
    try:
        await collector.store.ping()
    except StoreUnavailableError as error:
        return answer({"status": "degraded", "reason": f"the engine does not answer: {error}", **collector.describe()})
    return answer({"status": "healthy", "reason": "", **collector.describe()})


async def _whoami(request: web.Request) -> web.Response:
    config = request.app[COLLECTOR].config
    return answer({"tenant": request[TENANT], "max_age_days": config.max_age_days, "max_batch": MAX_BATCH})


async def _flush(request: web.Request) -> web.Response:
    await _settled(request)
    return answer({"stored": True})


async def _query(request: web.Request) -> web.Response:
    given = await _json(request)
    if isinstance(given, dict) and given.get("kind", "events") != "events":
        journey = parse_journey(given)
        await _settled(request)
        return answer(await travel(journey, _questions(request)))
    query = parse_query(given)
    await _settled(request)
    return answer(await _questions(request).ask(query))


async def _report(request: web.Request) -> web.Response:
    given = await _json(request)
    collector = await _settled(request)
    parameters = dict(given.get("parameters") or {})
    form = str(parameters.pop("format", "json")).lower()
    if form not in {"json", "dict", "html"}:
        raise EventError("parameters.format", form, "'json' or 'html'")
    report = await make_report(_questions(request), given.get("report_type"), parameters)
    made: dict[str, Any] = msgspec.to_builtins(report)
    if form == "html":
        made["html"] = await _drawn(report, collector)
    return answer(made)


async def _drawn(report: Report, collector: Collector) -> str:
    since, until = (datetime.fromisoformat(text).timestamp() for text in (report.since, report.until))
    panels = [
        Panel(
            title=item.title,
            chart=item.chart,
            columns=item.columns,
            rows=item.rows,
            unit=item.unit,
            since=since,
            until=until,
            interval=item.interval,
            counts=item.unit == "events",
        )
        for item in report.sections
    ]
    return draw_report(
        title=report.title,
        since=report.since,
        until=report.until,
        totals=report.totals,
        panels=panels,
        bundle=await chart_bundle(collector.config.data_dir / "cache"),
    )


async def _report_types(_: web.Request) -> web.Response:
    return answer({name: title for name, (title, _) in REPORTS.items()})


async def _create_dashboard(request: web.Request) -> web.Response:
    collector = request.app[COLLECTOR]
    dashboard = collector.dashboards.create(request[TENANT], await _json(request))
    return answer(dashboard, 201)


async def _list_dashboards(request: web.Request) -> web.Response:
    return answer(request.app[COLLECTOR].dashboards.list(request[TENANT]))


async def _dashboard(request: web.Request) -> web.Response:
    collector = await _settled(request)
    dashboard = collector.dashboards.get(request[TENANT], request.match_info["id"])
    if dashboard is None:
        return failure(404, "there is no such dashboard")
    bundle = await chart_bundle(collector.config.data_dir / "cache")
    page = await collector.dashboards.page(dashboard, _questions(request), bundle=bundle)
    policy = "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data:"
    return web.Response(text=page, content_type="text/html", headers={"Content-Security-Policy": policy})


async def _delete_dashboard(request: web.Request) -> web.Response:
    gone = request.app[COLLECTOR].dashboards.delete(request[TENANT], request.match_info["id"])
    return answer({"deleted": gone}, 200 if gone else 404)


async def _create_alert(request: web.Request) -> web.Response:
    alert_id = request.app[COLLECTOR].alerts.create(request[TENANT], await _json(request))
    return answer({"alert_id": alert_id}, 201)


async def _list_alerts(request: web.Request) -> web.Response:
    return answer(request.app[COLLECTOR].alerts.list(request[TENANT]))


async def _alert(request: web.Request) -> web.Response:
    collector = await _settled(request)
    status = await collector.alerts.status(request[TENANT], request.match_info["id"])
    return failure(404, "there is no such alert") if status is None else answer(status)


async def _delete_alert(request: web.Request) -> web.Response:
    gone = request.app[COLLECTOR].alerts.delete(request[TENANT], request.match_info["id"])
    return answer({"deleted": gone}, 200 if gone else 404)


def public_app(collector: Collector) -> web.Application:
    """What tenants see."""
    app = web.Application(middlewares=[_errors, _keys], client_max_size=_MAX_BODY)
    app[COLLECTOR] = collector
    app.add_routes(
        [
            web.get("/v1/about", _about),
            web.get("/v1/health", _health),
            web.get("/v1/whoami", _whoami),
            *event_routes(),
            *schema_routes(),
            web.post("/v1/flush", _flush),
            web.post("/v1/query", _query),
            web.get("/v1/reports", _report_types),
            web.post("/v1/reports", _report),
            web.post("/v1/dashboards", _create_dashboard),
            web.get("/v1/dashboards", _list_dashboards),
            web.get("/v1/dashboards/{id}", _dashboard),
            web.delete("/v1/dashboards/{id}", _delete_dashboard),
            web.post("/v1/alerts", _create_alert),
            web.get("/v1/alerts", _list_alerts),
            web.get("/v1/alerts/{id}", _alert),
            web.delete("/v1/alerts/{id}", _delete_alert),
        ]
    )
    return app


class _Admission(msgspec.Struct):
    tenant: str
    owner: str = "operator"
    key: str = ""


async def _admit(request: web.Request) -> web.Response:
    wish = msgspec.json.decode(await request.read(), type=_Admission)
    if not wish.key or not wish.tenant:
        return failure(422, "a tenant and a key are needed")
    request.app[COLLECTOR].meta.admit(wish.tenant, wish.key, wish.owner)
    return answer({"admitted": wish.tenant})


async def _dismiss(request: web.Request) -> web.Response:
    wish = msgspec.json.decode(await request.read(), type=_Admission)
    request.app[COLLECTOR].meta.dismiss(wish.tenant, wish.owner)
    return answer({"dismissed": wish.tenant})


def admin_app(collector: Collector) -> web.Application:
    """What the owner of the data folder may do; the socket's mode is the guard."""
    app = web.Application(middlewares=[_errors])
    app[COLLECTOR] = collector
    app.add_routes(
        [
            web.get("/v1/about", _about),
            web.get("/v1/health", _health),
            web.post("/admin/keys", _admit),
            web.delete("/admin/keys", _dismiss),
        ]
    )
    return app
