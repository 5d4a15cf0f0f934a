"""The collector's HTTP interface: `/v1/…` for tenants with a key, and the owner's `/admin/…` on a Unix socket.

A key says which tenant asks. A key that several tenants share needs the header `X-Dotmac-Tenant` beside it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import web

from .._plain import EventError
from .._version import PRODUCT, version
from ..pages import ChartsMissingError, DrawingError
from ..spool import SpoolFullError
from ..store import StoreRefusedError, StoreUnavailableError
from ._http import COLLECTOR, TENANT, answer, failure
from ._owner_routes import owner_routes
from .access.routes import ACCESS, guard, key_routes
from .alerts import CelMissingError
from .alerts.routes import alert_routes
from .customers.routes import customer_routes
from .dashboards.routes import dashboard_routes, link_routes
from .intake import MAX_BATCH
from .intake.routes import event_routes
from .questions import SqlMissingError
from .questions.routes import question_routes
from .reports.routes import report_routes
from .rules.routes import rule_routes
from .schemas import SchemasMissingError
from .schemas.routes import schema_routes

if TYPE_CHECKING:
    from ._collector import Collector

__all__ = ["admin_app", "public_app"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_MAX_BODY: Final = 16 * 1024 * 1024


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
        told = failure(status, words.format(error=error), retry_after=retry_after)
        if isinstance(error, web.RequestPayloadError):
            told.force_close()  # what follows on this connection cannot be told from the broken body
        return told


#: Status, sentence, and after how many seconds to try again.
_FAILURES: Final[dict[type[Exception], tuple[int, str, int]]] = {
    msgspec.DecodeError: (400, "the body is not the JSON that is expected: {error}", 0),
    RecursionError: (422, "the body has more levels than can be read", 0),
    UnicodeError: (422, "the body has text that is no text: {error}", 0),
    web.RequestPayloadError: (400, "the body ends too early, or is not what its Content-Encoding says", 0),
    SpoolFullError: (429, "the collector's disk space for waiting events is used up; send again later", 30),
    StoreUnavailableError: (503, "the engine is not available now: {error}; accepted events are safe on disk", 2),
    StoreRefusedError: (422, "the engine refuses this: {error}", 0),
    ChartsMissingError: (501, "{error}", 0),
    DrawingError: (422, "{error}", 0),
    SchemasMissingError: (501, "{error}", 0),
    SqlMissingError: (501, "{error}", 0),
    CelMissingError: (501, "{error}", 0),
}
_KNOWN_FAILURES: Final = tuple(_FAILURES)


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
    told = {"tenant": request[TENANT], "scopes": sorted(request[ACCESS].scopes)}
    return answer({**told, "max_age_days": config.max_age_days, "max_batch": MAX_BATCH})


def public_app(collector: Collector) -> web.Application:
    """What tenants see."""
    app = web.Application(middlewares=[_errors, guard], client_max_size=_MAX_BODY)
    app[COLLECTOR] = collector
    app.add_routes(
        [
            web.get("/v1/about", _about),
            web.get("/v1/health", _health),
            web.get("/v1/whoami", _whoami),
            *key_routes(),
            *rule_routes(),
            *customer_routes(),
            *event_routes(),
            *schema_routes(),
            *question_routes(app),
            *report_routes(),
            *dashboard_routes(),
            *link_routes(app),
            *alert_routes(),
        ]
    )
    return app


def admin_app(collector: Collector) -> web.Application:
    """What the owner of the data folder may do; the socket's mode is the guard."""
    app = web.Application(middlewares=[_errors], client_max_size=_MAX_BODY)
    app[COLLECTOR] = collector
    app.add_routes(
        [
            web.get("/v1/about", _about),
            web.get("/v1/health", _health),
            *owner_routes(),
        ]
    )
    return app
