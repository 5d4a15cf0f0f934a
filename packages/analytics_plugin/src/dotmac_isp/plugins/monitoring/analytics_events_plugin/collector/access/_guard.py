"""Looks at the key of every request before anything else does: whose it is, what it may do, how often."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import web

from ..._wire import TENANT_HEADER
from .._http import COLLECTOR, TENANT, failure
from ..dashboards.routes import LINKS
from ._keys import Access

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ACCESS", "guard", "scope_of"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: What the key of a request may do.
ACCESS: Final = web.RequestKey("access", Access)
_OPEN: Final = frozenset({"/v1/about", "/v1/health"})
_SEGMENT: Final = frozenset(
    f"/v1/{call}" for call in ("batch", "track", "page", "screen", "identify", "group", "alias")
)
_WRITING: Final = _SEGMENT | {"/v1/events"}
#: Requests that ask, although they have a body.
_ASKING: Final = frozenset({"/v1/query", "/v1/flush", "/v1/reports", "/v1/schemas/infer", "/v1/alerts/backtest"})
_ANY: Final = frozenset({"/v1/whoami"})
_SQL: Final = "/v1/sql"
_ADMIN: Final = ("/v1/keys", "/v1/rules", "/v1/customers")


def scope_of(method: str, path: str) -> str:
    """The scope that a request needs; empty: any key. What nobody thought of needs `admin`, unless it only reads."""
    if path in _ANY:
        return ""
    if path in _WRITING:
        return "write"
    if path == _SQL:
        return "sql"
    if path.startswith(_ADMIN):
        return "admin"
    return "read" if path in _ASKING or method in {"GET", "HEAD"} else "admin"


async def _given_key(request: web.Request) -> str:
    """The API key, as a bearer, in `X-API-Key`, or as Segment's clients send it: the user of Basic, or `writeKey` in the body."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        return _user(value)
    key = request.headers.get("X-API-Key", "")
    return key if key or request.path not in _SEGMENT else _write_key(await request.read())


def _user(value: str) -> str:
    try:
        return base64.b64decode(value.strip(), validate=True).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return ""


class _WithKey(msgspec.Struct, rename="camel"):
    write_key: str = ""


def _write_key(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=_WithKey).write_key
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Lets a request through with `TENANT` and `ACCESS`, or answers 400, 401, 403 or 429."""
    if request.path in _OPEN or request.path.startswith(LINKS):
        return await handler(request)
    collector = request.app[COLLECTOR]
    if not collector.sharing.ready.is_set():
        words = "the rules and keys of the other collectors before the same store are not known here yet; try again"
        return failure(503, words, retry_after=2)
    key = await _given_key(request)
    opened = collector.meta.keys.opened_by(key) if key else []
    access, refusal = _chosen(opened, request)
    if access is None:
        return refusal
    wait = collector.limits.take((access.tenant, access.key_id, "requests"), 1, access.requests_per_second)
    if wait:
        return failure(429, f"the API key may make {access.requests_per_second} requests a second", retry_after=wait)
    request[TENANT], request[ACCESS] = access.tenant, access
    return await handler(request)


def _chosen(opened: Sequence[Access], request: web.Request) -> tuple[Access | None, web.Response]:
    wanted = request.headers.get(TENANT_HEADER, "")
    access = next((one for one in opened if one.tenant == wanted or not wanted), None)
    scope = scope_of(request.method, request.path)
    if not opened:
        return None, failure(401, "no valid API key: send the header 'Authorization: Bearer <key>'")
    if access is None:
        return None, failure(403, "the API key does not belong to the tenant that the request names")
    if not wanted and len({one.tenant for one in opened}) > 1:
        words = f"the API key belongs to several tenants; say which one in the header {TENANT_HEADER!r}"
        return None, failure(400, words)
    if scope and not access.allows(scope):
        return None, failure(403, f"the API key may {', '.join(sorted(access.scopes))}; this needs {scope!r}")
    return access, web.Response()
