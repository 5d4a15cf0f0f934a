"""A tenant's API keys over HTTP, for keys with the scope `admin`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from ..._plain import as_mapping
from ..._times import span
from .._http import COLLECTOR, TENANT, answer, failure, json_of
from ._guard import ACCESS, guard

if TYPE_CHECKING:
    from ._keys import Access

__all__ = ["ACCESS", "guard", "key_routes"]


def _told(access: Access, **more: Any) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(access)
    return {**plain, "scopes": sorted(access.scopes), **more}


async def _list(request: web.Request) -> web.Response:
    return answer([_told(one) for one in request.app[COLLECTOR].meta.keys.list(request[TENANT])])


async def _make(request: web.Request) -> web.Response:
    wish = as_mapping(await json_of(request), "key")
    access, key = request.app[COLLECTOR].meta.keys.make(request[TENANT], wish)
    return answer(_told(access, key=key), 201)


async def _rotate(request: web.Request) -> web.Response:
    wish = as_mapping(await json_of(request), "key")
    overlap = span(wish["overlap"], "overlap") if wish.get("overlap") else 0.0
    made = request.app[COLLECTOR].meta.keys.rotate(request[TENANT], request.match_info["id"], overlap)
    if made is None:
        return failure(
            404, "there is no such key of this tenant; the host's and the operator's are changed where they are kept"
        )
    return answer(_told(made[0], key=made[1]), 201)


async def _revoke(request: web.Request) -> web.Response:
    gone = request.app[COLLECTOR].meta.keys.revoke(request[TENANT], request.match_info["id"])
    return answer({"revoked": gone}, 200 if gone else 404)


def key_routes() -> list[web.RouteDef]:
    return [
        web.get("/v1/keys", _list),
        web.post("/v1/keys", _make),
        web.post("/v1/keys/{id}/rotate", _rotate),
        web.delete("/v1/keys/{id}", _revoke),
    ]
