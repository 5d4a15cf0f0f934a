"""What the owner of the data folder may do, over a Unix socket whose mode is the guard."""

from __future__ import annotations

from pathlib import Path

import msgspec
from aiohttp import web

from ..events import Event
from ._http import COLLECTOR, answer, failure
from .backup import BackupError, back_up
from .intake import sift

__all__ = ["owner_routes"]


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


class _Events(msgspec.Struct):
    tenant: str
    events: list[Event]


async def _track(request: web.Request) -> web.Response:
    """Events of any tenant, from the host itself; the tenant's rules hold for them as for others."""
    wish = msgspec.json.decode(await request.read(), type=_Events)
    collector = request.app[COLLECTOR]
    sifted = await sift(collector, wish.tenant, list(enumerate(wish.events)))
    taken = await collector.intake.take(wish.tenant, [event for _, event in sifted.good])
    return answer({"accepted": taken.accepted, "duplicates": len(taken.duplicates)}, 202)


class _Backup(msgspec.Struct):
    to: str


async def _back_up(request: web.Request) -> web.Response:
    wish = msgspec.json.decode(await request.read(), type=_Backup)
    try:
        manifest = await back_up(request.app[COLLECTOR], Path(wish.to))
    except (BackupError, OSError) as error:
        return failure(409, str(error))
    return answer({"events": manifest.events, "files": len(manifest.parts), "folder": wish.to}, 201)


def owner_routes() -> list[web.RouteDef]:
    return [
        web.post("/admin/keys", _admit),
        web.delete("/admin/keys", _dismiss),
        web.post("/admin/events", _track),
        web.post("/admin/backup", _back_up),
    ]
