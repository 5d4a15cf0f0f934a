"""Dashboards over HTTP: for whoever has the tenant's key, and for whoever has a link."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiohttp import web

from ..._plain import EventError, as_mapping
from ...pages import Live, chart_bundle, draw_page, sheet_job
from ...store import StoreUnavailableError
from .._http import COLLECTOR, TENANT, answer, failure, json_of, listening, questions, settled
from ..questions import Questions
from ._board import Board, filled
from ._templates import TEMPLATES

if TYPE_CHECKING:
    from ._config import Dashboard

__all__ = ["LINKS", "dashboard_routes", "link_routes"]

#: What begins so needs no key: the link is one.
LINKS: Final = "/d/"
_UNKNOWN: Final = "there is no such dashboard"
_GONE: Final = "this link shows nothing (any more); ask who gave it for a new one"
_KINDS: Final = {"png": "image/png", "pdf": "application/pdf"}
_FILE_POLICY: Final = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data:"
)
_HEARTBEAT: Final = 15.0
_MOST_VIEWERS: Final = 200


async def _create(request: web.Request) -> web.Response:
    return answer(request.app[COLLECTOR].dashboards.create(request[TENANT], await json_of(request)), 201)


async def _change(request: web.Request) -> web.Response:
    dashboards = request.app[COLLECTOR].dashboards
    made = dashboards.change(request[TENANT], request.match_info["id"], await json_of(request))
    return failure(404, _UNKNOWN) if made is None else answer(made)


async def _list(request: web.Request) -> web.Response:
    return answer(request.app[COLLECTOR].dashboards.list(request[TENANT]))


async def _templates(_: web.Request) -> web.Response:
    return answer(
        [
            {"template": name, "title": item["title"], "description": item["description"]}
            for name, item in TEMPLATES.items()
        ]
    )


async def _show(request: web.Request) -> web.Response:
    """`?format=html` (the default, one file), png, pdf, json."""
    collector = await settled(request)
    dashboard = collector.dashboards.get(request[TENANT], request.match_info["id"])
    if dashboard is None:
        return failure(404, _UNKNOWN)
    form = request.query.get("format", "html").lower()
    board = await filled(dashboard, questions(request))
    if form != "html":
        return await _file(request, dashboard, board, form)
    bundle = await chart_bundle(collector.config.data_dir / "cache")
    page = await asyncio.to_thread(
        draw_page,
        title=dashboard.title,
        description=dashboard.description,
        since=board.since,
        until=board.until,
        panels=board.panels,
        bundle=bundle,
    )
    return web.Response(text=page, content_type="text/html", headers={"Content-Security-Policy": _FILE_POLICY})


async def _file(request: web.Request, dashboard: Dashboard, board: Board, form: str) -> web.Response:
    if form == "json":
        panels = [{"title": panel.title, "columns": panel.columns, "rows": panel.rows} for panel in board.panels]
        return answer({"title": dashboard.title, "since": board.since, "until": board.until, "panels": panels})
    if form not in _KINDS:
        raise EventError("format", form, "html, png, pdf or json")
    job = sheet_job(
        form,
        title=dashboard.title,
        since=board.since,
        until=board.until,
        made=time.time(),
        panels=board.panels,
        totals={},
    )
    body = await request.app[COLLECTOR].drawing.draw(job)
    name = "".join(c if c.isascii() and c.isalnum() else "-" for c in dashboard.title.lower()).strip("-") or "dashboard"
    shown = {"Content-Disposition": f'inline; filename="{name}.{form}"', "Cache-Control": "no-store"}
    return web.Response(body=body, content_type=_KINDS[form], headers=shown)


async def _delete(request: web.Request) -> web.Response:
    gone = request.app[COLLECTOR].dashboards.delete(request[TENANT], request.match_info["id"])
    return answer({"deleted": gone}, 200 if gone else 404)


async def _share(request: web.Request) -> web.Response:
    dashboards = request.app[COLLECTOR].dashboards
    if dashboards.get(request[TENANT], request.match_info["id"]) is None:
        return failure(404, _UNKNOWN)
    given = as_mapping(await json_of(request), "share")
    share, token = dashboards.share(request[TENANT], request.match_info["id"], given.get("expires_in"))
    told = {"share_id": share.id, "path": f"{LINKS}{token}", "url": f"{request.url.origin()}{LINKS}{token}"}
    return answer({**told, "expires_at": share.expires_at}, 201)


async def _shares(request: web.Request) -> web.Response:
    dashboards = request.app[COLLECTOR].dashboards
    if dashboards.get(request[TENANT], request.match_info["id"]) is None:
        return failure(404, _UNKNOWN)
    found = dashboards.shares(request[TENANT], request.match_info["id"])
    return answer([{"share_id": one.id, "created_at": one.created_at, "expires_at": one.expires_at} for one in found])


async def _unshare(request: web.Request) -> web.Response:
    gone = request.app[COLLECTOR].dashboards.unshare(request[TENANT], request.match_info["share"])
    return answer({"deleted": gone}, 200 if gone else 404)


# -- links ---------------------------------------------------------------------------------------------------------------


def _opened(request: web.Request) -> tuple[Dashboard, Questions] | None:
    collector = request.app[COLLECTOR]
    found = collector.dashboards.opened(request.match_info["token"])
    return None if found is None else (found[1], Questions(collector.store, found[0]))


def _gone() -> web.Response:
    return web.Response(text=_GONE, status=404, headers={"Cache-Control": "no-store"})


async def _page(request: web.Request) -> web.Response:
    found = _opened(request)
    if found is None:
        return _gone()
    dashboard, asked = found
    collector = request.app[COLLECTOR]
    board = await collector.dashboards.boards.get(dashboard, asked)
    form = request.query.get("format", "html").lower()
    if form != "html":
        return await _file(request, dashboard, board, form)
    own = f"{LINKS}{request.match_info['token']}"
    code = await chart_bundle(collector.config.data_dir / "cache")
    nonce = secrets.token_urlsafe(16)
    live = Live(
        bundle=f"{LINKS}code/{_version(code)}.js",
        stream=f"{own}/live",
        files={"PNG": f"{own}?format=png", "PDF": f"{own}?format=pdf"},
        nonce=nonce,
    )
    page = draw_page(
        title=dashboard.title,
        description=dashboard.description,
        since=board.since,
        until=board.until,
        panels=board.panels,
        live=live,
    )
    policy = (
        f"default-src 'none'; script-src 'nonce-{nonce}' 'unsafe-eval'; style-src 'unsafe-inline'; "
        "img-src data: blob:; connect-src 'self'; frame-ancestors *; base-uri 'none'; form-action 'none'"
    )
    kept = {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
    return web.Response(text=page, content_type="text/html", headers={**kept, "X-Content-Type-Options": "nosniff"})


def _version(code: str) -> str:
    return hashlib.blake2b(code[:10_000].encode() + str(len(code)).encode(), digest_size=8).hexdigest()


async def _code(request: web.Request) -> web.Response:
    """The code that draws, the same for everybody, kept by browsers."""
    code = await chart_bundle(request.app[COLLECTOR].config.data_dir / "cache")
    if request.match_info["version"] != _version(code):
        return _gone()
    response = web.Response(text=code, content_type="text/javascript")
    response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    response.enable_compression()
    return response


async def _live(request: web.Request) -> web.StreamResponse:
    if _opened(request) is None:
        return _gone()
    viewers = request.app[_VIEWERS]
    if len(viewers) >= _MOST_VIEWERS:
        return failure(429, "too many pages are open", retry_after=30)
    place = object()
    viewers.add(place)
    try:
        return await _updates(request)
    finally:
        viewers.discard(place)


_VIEWERS: Final = web.AppKey("viewers", set[object])


async def _updates(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    await response.prepare(request)
    await response.write(b"retry: 3000\n\n")
    last = b""
    while listening(request) and (found := _opened(request)):
        dashboard, asked = found
        try:
            board = await request.app[COLLECTOR].dashboards.boards.get(dashboard, asked)
            told = _event("panels", board.update())
        except StoreUnavailableError:
            told = _event("trouble", "the numbers are not available now")
        await response.write(told if told != last else b": as before\n\n")
        last = told
        await _pause(request, response, dashboard.refresh)
    await response.write(_event("gone", None))
    return response


async def _pause(request: web.Request, response: web.StreamResponse, seconds: float) -> None:
    """Wait, and say now and then that the connection is there."""
    spoken = 0.0
    while seconds > 0 and listening(request):
        await asyncio.sleep(min(seconds, 1.0))
        seconds -= 1.0
        spoken += 1.0
        if spoken >= _HEARTBEAT:
            spoken = 0.0
            await response.write(b": waiting\n\n")


def _event(kind: str, value: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), msgspec.json.encode(value))


def dashboard_routes() -> list[web.RouteDef]:
    """For the tenant's key."""
    return [
        web.post("/v1/dashboards", _create),
        web.get("/v1/dashboards", _list),
        web.get("/v1/dashboards/templates", _templates),
        web.get("/v1/dashboards/{id}", _show),
        web.put("/v1/dashboards/{id}", _change),
        web.delete("/v1/dashboards/{id}", _delete),
        web.post("/v1/dashboards/{id}/shares", _share),
        web.get("/v1/dashboards/{id}/shares", _shares),
        web.delete("/v1/dashboards/{id}/shares/{share}", _unshare),
    ]


def link_routes(app: web.Application) -> list[web.RouteDef]:
    """For whoever has a link."""
    app[_VIEWERS] = set()
    return [
        web.get(f"{LINKS}code/{{version}}.js", _code),
        web.get(f"{LINKS}{{token}}", _page),
        web.get(f"{LINKS}{{token}}/live", _live),
    ]
