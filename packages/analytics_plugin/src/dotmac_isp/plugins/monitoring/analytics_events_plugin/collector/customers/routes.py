"""A customer's events over HTTP, for keys with the scope `admin`."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, Final

import msgspec
from aiohttp import web

from ..._plain import EventError, as_mapping
from ...store import EVENTS
from .._http import COLLECTOR, TENANT, answer, json_of, settled
from ._person import Person, parse_person

__all__ = ["customer_routes"]

_FORMATS: Final = {
    "json": ("JSONEachRow", "application/x-ndjson"),
    "csv": ("CSVWithNames", "text/csv"),
    "parquet": ("Parquet", "application/vnd.apache.parquet"),
}


def _person(request: web.Request, given: dict[str, Any]) -> Person:
    return parse_person(given, partial(request.app[COLLECTOR].rules.names_of, request[TENANT]))


async def _delete(request: web.Request) -> web.Response:
    person = _person(request, dict(as_mapping(await json_of(request), "customer")))
    collector = await settled(request)
    return answer((await collector.deletions.delete(request[TENANT], person)).told())


async def _deletions(request: web.Request) -> web.Response:
    return answer([one.told() for one in request.app[COLLECTOR].deletions.list(request[TENANT])])


async def _export(request: web.Request) -> web.Response:
    """All columns but the tenant, oldest first; as JSON lines, what waits in quarantine too."""
    given = dict(as_mapping(await json_of(request), "customer"))
    name = given.pop("format", "json")
    if name not in _FORMATS:
        raise EventError("format", name, "one of " + ", ".join(_FORMATS))
    person = _person(request, given)
    collector, tenant = await settled(request), request[TENANT]
    form, kind = _FORMATS[name]
    condition, values = person.condition()
    text = (
        f"SELECT * EXCEPT (tenant_id) FROM {EVENTS} WHERE tenant_id = {{tenant:String}} AND {condition} "  # noqa: S608 - bound
        "ORDER BY timestamp, event_id"
    )
    data = await collector.store.read_raw(text, form, {**values, "tenant": tenant})
    if name == "json":
        held = await asyncio.to_thread(collector.quarantine.of_people, tenant, person.names)
        data += b"".join(
            msgspec.json.encode({**msgspec.to_builtins(one.event), "quarantined": one.reasons}) + b"\n" for one in held
        )
    return web.Response(body=data, content_type=kind)


def customer_routes() -> list[web.RouteDef]:
    return [
        web.post("/v1/customers/delete", _delete),
        web.post("/v1/customers/export", _export),
        web.get("/v1/customers/deletions", _deletions),
    ]
