"""Taking events over HTTP: our own form, Segment's, CloudEvents."""

from __future__ import annotations

import asyncio
import base64
import binascii
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiohttp import web

from ..._plain import EventError
from ...events import Event, Rejection, parse_event
from .._http import COLLECTOR, TENANT, answer
from ._forms import CLOUD_EVENT, CLOUD_EVENTS, SEGMENT_CALLS, cloud_event, own_form, segment_call, segment_form
from ._sift import sift

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["event_routes", "given_key"]

#: After so many events of a batch, other requests get their turn.
_BREATH: Final = 500
_SEGMENT_PATHS: Final = {f"/v1/{call}": call for call in ("batch", *SEGMENT_CALLS)}


async def given_key(request: web.Request) -> str:
    """The API key, as a bearer, in `X-API-Key`, or as Segment's clients send it: the user of Basic, or `writeKey` in the body."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        return _user(value)
    key = request.headers.get("X-API-Key", "")
    return key if key or request.path not in _SEGMENT_PATHS else _write_key(await request.read())


def _user(value: str) -> str:
    try:
        return base64.b64decode(value.strip(), validate=True).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return ""


class _WithKey(msgspec.Struct, rename="camel"):
    write_key: str = ""


def _write_key(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=_WithKey).write_key
    except msgspec.DecodeError:
        return ""


async def _events(request: web.Request) -> web.Response:
    body = await request.read()
    if request.content_type in {CLOUD_EVENT, CLOUD_EVENTS}:
        return await _take(request, own_form(body), cloud_event, lambda raw: str(raw.get("id", "")))
    return await _take(request, own_form(body), lambda raw: raw, lambda raw: str(raw.get("event_id", "")))


async def _segment(request: web.Request) -> web.Response:
    calls = segment_form(await request.read(), _SEGMENT_PATHS[request.path])
    return await _take(request, calls, segment_call, lambda raw: str(raw.get("messageId", "")), status=200)


async def _take(
    request: web.Request,
    raws: list[Any],
    understood: Callable[[Any], Any],
    id_of: Callable[[Any], str],
    *,
    status: int = 202,
) -> web.Response:
    collector = request.app[COLLECTOR]
    events: list[tuple[int, Event]] = []
    rejected: list[Rejection] = []
    for index, raw in enumerate(raws):
        if index % _BREATH == _BREATH - 1:
            await asyncio.sleep(0)
        try:
            events.append((index, parse_event(understood(raw), max_age_days=collector.config.max_age_days)))
        except EventError as error:
            event_id = id_of(raw)[:256] if isinstance(raw, dict) else ""
            rejected.append(Rejection(index=index, reason=str(error), event_id=event_id))
    sifted = await sift(collector, request[TENANT], events)
    taken = await collector.intake.take(request[TENANT], [event for _, event in sifted.good])
    rejected = sorted([*rejected, *sifted.rejected], key=lambda one: one.index)
    told = {"accepted": taken.accepted, "duplicates": taken.duplicates, "rejected": rejected}
    told |= {key: value for key, value in (("quarantined", sifted.held), ("warnings", sifted.warnings)) if value}
    return answer({"success": not rejected, **told} if status == 200 else told, status)  # noqa: PLR2004 - as Segment answers


def event_routes() -> list[web.RouteDef]:
    """All ways in."""
    return [web.post("/v1/events", _events), *(web.post(path, _segment) for path in _SEGMENT_PATHS)]
