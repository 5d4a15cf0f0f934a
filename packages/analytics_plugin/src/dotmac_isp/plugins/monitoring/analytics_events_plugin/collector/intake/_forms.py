"""The forms in which clients send events, each turned into the fields that `parse_event` understands.

Our own (a list, `{"events": […]}`, one event, JSON lines), Segment's batch, and CloudEvents 1.0 (JSON format, single and batch).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from ..._plain import EventError

__all__ = [
    "CLOUD_EVENT",
    "CLOUD_EVENTS",
    "MAX_BATCH",
    "SEGMENT_CALLS",
    "cloud_event",
    "own_form",
    "segment_call",
    "segment_form",
]

MAX_BATCH: Final = 50_000
#: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md, sections 3 and 4.
CLOUD_EVENT: Final = "application/cloudevents+json"
CLOUD_EVENTS: Final = "application/cloudevents-batch+json"
#: Segment's types of call, which are the last part of its single calls' paths as well.
SEGMENT_CALLS: Final = ("track", "page", "screen", "identify", "group", "alias")
_CORE: Final = frozenset(
    {"specversion", "id", "source", "type", "subject", "time", "data", "data_base64", "datacontenttype"}
)
#: CloudEvents extension attributes have lower-case names without underscores.
_EXTENSIONS: Final = {
    "userid": "user_id",
    "customerid": "customer_id",
    "sessionid": "session_id",
    "deviceid": "device_id",
    "correlationid": "correlation_id",
    "severity": "severity",
    "category": "category",
}


def own_form(body: bytes) -> list[Any]:
    """A list, `{"events": […]}`, `{"batch": […]}`, one event, or JSON lines. Raises `EventError`, `msgspec.DecodeError`."""
    try:
        value = msgspec.json.decode(body)
    except msgspec.DecodeError:
        if b"\n" not in body.strip():
            raise
        value = [msgspec.json.decode(line) for line in body.splitlines() if line.strip()]
    if isinstance(value, dict):
        value = value.get("events", value.get("batch", [value]))
    return _bounded(value, "events")


def segment_form(body: bytes, call: str) -> list[Any]:
    """The calls of a batch, or the single one, each with its `type`. Raises `EventError`, `msgspec.DecodeError`."""
    value = msgspec.json.decode(body)
    if not isinstance(value, dict):
        raise EventError("batch", value, 'an object such as {"batch": [{"type": "track", …}]}')
    if call != "batch":
        return [{**value, "type": call}]
    shared = value.get("context")
    calls = _bounded(value.get("batch"), "batch")
    return [{"context": shared, **one} if shared and isinstance(one, dict) else one for one in calls]


def _bounded(value: object, field: str) -> list[Any]:
    if not isinstance(value, list):
        raise EventError(field, value, "a list of events")
    if len(value) > MAX_BATCH:
        raise EventError(field, f"{len(value)} events", f"at most {MAX_BATCH} in one request")
    return value


def _object(value: object, field: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise EventError(field, value, "an object")
    return value


def segment_call(call: object) -> dict[str, Any]:
    """One of Segment's calls as an event. Raises `EventError`."""
    given = _object(call, "batch")
    kind = given.get("type")
    if kind not in SEGMENT_CALLS:
        raise EventError("type", kind, "one of " + ", ".join(SEGMENT_CALLS))
    context = _object(given.get("context"), "context")
    name, properties = _SEGMENT[str(kind)](given, context)
    fields: dict[str, Any] = {
        "event_id": given.get("messageId"),
        "event_name": name,
        "user_id": given.get("userId") or given.get("anonymousId"),
        "session_id": context.get("sessionId"),
        "timestamp": given.get("timestamp") or given.get("originalTimestamp"),
        "source": "segment",
        "properties": {**properties, **_beside(given, context)},
    }
    if isinstance(properties.get("revenue"), (int, float, str)):
        fields |= {"amount": properties["revenue"], "currency": properties.get("currency")}
    return fields


def _beside(given: Mapping[str, Any], context: Mapping[str, Any]) -> dict[str, Any]:
    told = {"anonymous_id": given.get("anonymousId"), "context": dict(context)}
    return {key: value for key, value in told.items() if value}


def _track(given: Mapping[str, Any], _: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    if not given.get("event"):
        raise EventError("event", given.get("event"), "the name of what is tracked")
    return given["event"], dict(_object(given.get("properties"), "properties"))


def _page(given: Mapping[str, Any], context: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    properties = dict(_object(given.get("properties"), "properties"))
    seen = {**_object(context.get("page"), "context.page"), **properties}
    properties.setdefault("page", seen.get("path") or seen.get("url") or given.get("name"))
    return ("screen_view" if given["type"] == "screen" else "page_view"), properties


def _identity(given: Mapping[str, Any], _: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    told = {"group_id": given.get("groupId"), "previous_id": given.get("previousId")}
    traits = _object(given.get("traits"), "traits")
    return given["type"], {**traits, **{key: value for key, value in told.items() if value}}


_Segment = Callable[[Mapping[str, Any], Mapping[str, Any]], tuple[Any, dict[str, Any]]]
_SEGMENT: Final[dict[str, _Segment]] = {
    "track": _track,
    "page": _page,
    "screen": _page,
    "identify": _identity,
    "group": _identity,
    "alias": _identity,
}


def cloud_event(value: object) -> dict[str, Any]:
    """One CloudEvent as an event; `source` and `id` together are what makes it one. Raises `EventError`."""
    given = _object(value, "event")
    if given.get("specversion") != "1.0":
        raise EventError("specversion", given.get("specversion"), "'1.0'")
    for name in ("id", "source", "type"):
        if not isinstance(given.get(name), str) or not given[name]:
            raise EventError(name, given.get(name), "text that is not empty (CloudEvents 1.0, required attributes)")
    rest = {key: item for key, item in given.items() if key not in _CORE and item is not None}
    fields = {_EXTENSIONS[key]: item for key, item in rest.items() if key in _EXTENSIONS}
    told = {"ce_id": given["id"], "ce_subject": given.get("subject"), "data_base64": given.get("data_base64")}
    told |= {f"ce_{key}": item for key, item in rest.items() if key not in _EXTENSIONS}
    data = given.get("data")
    properties = data if isinstance(data, dict) else {"data": data}
    return {
        **fields,
        "event_id": _cloud_id(given["source"], given["id"]),
        "event_name": given["type"],
        "source": given["source"],
        "timestamp": given.get("time"),
        "properties": {key: item for key, item in {**properties, **told}.items() if item is not None},
    }


def _cloud_id(source: str, number: str) -> str:
    """Both have any length and any characters, so their hash is the identifier."""
    text = msgspec.json.encode([source, number])
    return "ce-" + hashlib.blake2b(text, digest_size=20).hexdigest()
