"""What an event is, and how what a caller gives becomes one.

Lenient in spelling (`event_type` or `name`, a dict or an object, any common form of time), strict in content: what cannot be
understood is an `EventError` that names the field, the value and what would be right.
"""

from __future__ import annotations

import difflib
import functools
import math
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import msgspec

from ._plain import EventError, as_mapping, plain, shown

__all__ = [
    "CATEGORIES",
    "SEVERITIES",
    "BatchResult",
    "Event",
    "EventError",
    "Rejection",
    "parse_event",
]

#: Specification, "Multi-category event support"; issue 6, section 2.
CATEGORIES: Final = (
    "business",
    "technical",
    "security",
    "performance",
    "user_behavior",
    "financial",
    "compliance",
)
#: From least to worst; `minor` and `major` are what network devices say.
SEVERITIES: Final = ("debug", "info", "warning", "minor", "error", "major", "critical")

#: An event may be this far ahead of the clock, seconds.
MAX_AHEAD: Final = 24 * 3600.0
#: Default for how old an event may be, days. Identifiers are remembered for longer, so an old event never counts twice.
MAX_AGE_DAYS: Final = 30
MAX_NAME: Final = 200
MAX_ID: Final = 256
MAX_PROPERTIES_BYTES: Final = 32 * 1024

_ALIASES: Final[dict[str, str]] = {
    "id": "event_id",
    "message_id": "event_id",
    "messageId": "event_id",
    "name": "event_name",
    "event": "event_name",
    "type": "event_type",
    "level": "severity",
    "time": "timestamp",
    "occurred_at": "timestamp",
    "created_at": "timestamp",
    "userId": "user_id",
    "user": "user_id",
    "customerId": "customer_id",
    "customer": "customer_id",
    "subscriber_id": "customer_id",
    "sessionId": "session_id",
    "session": "session_id",
    "request_id": "correlation_id",
    "props": "properties",
    "data": "properties",
    "metadata": "properties",
    "attributes": "properties",
}
_CATEGORY_ALIASES: Final = {
    "user_behaviour": "user_behavior",
    "behavior": "user_behavior",
    "behaviour": "user_behavior",
}
_SEVERITY_ALIASES: Final = {"warn": "warning", "err": "error", "fatal": "critical", "information": "info"}
_CATEGORY_OF: Final = {
    "page_view": "user_behavior",
    "click": "user_behavior",
    "user_action": "user_behavior",
    "session_start": "user_behavior",
    "login": "security",
    "login_failed": "security",
    "transaction": "financial",
    "payment": "financial",
    "refund": "financial",
    "error": "technical",
    "device_event": "technical",
    "performance": "performance",
}


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One validated event, as it lies in the spool and travels to the collector; empty fields are left out there."""

    event_id: str
    event_name: str
    event_type: str
    #: RFC 3339 in UTC with milliseconds. Never a bare number: the engine would read that as seconds.
    timestamp: str
    category: str
    severity: str
    user_id: str = ""
    customer_id: str = ""
    session_id: str = ""
    correlation_id: str = ""
    device_id: str = ""
    source: str = ""
    tags: tuple[str, ...] = ()
    #: Money as a decimal number in text; empty: none.
    amount: str = ""
    #: ISO 4217, three capitals; empty: none.
    currency: str = ""
    properties: dict[str, Any] = msgspec.field(default_factory=dict)


class Rejection(msgspec.Struct, frozen=True, kw_only=True):
    """Why one event of a batch was not taken. `index` counts from 0 in the batch as it was given."""

    index: int
    reason: str
    event_id: str = ""


class BatchResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a batch. Accepted events are on disk; `duplicates` are identifiers that had been taken before."""

    accepted: int
    rejected: list[Rejection] = msgspec.field(default_factory=list)
    duplicates: list[str] = msgspec.field(default_factory=list)
    event_ids: list[str] = msgspec.field(default_factory=list)


_FIELDS: Final = frozenset(Event.__struct_fields__)
#: How each known spelling is called here.
_PLACES: Final = {**_ALIASES, **{field: field for field in _FIELDS}}
_ENCODER: Final = msgspec.json.Encoder()
_SHORT: Final = ("user_id", "customer_id", "session_id", "correlation_id", "device_id", "source")


_UUID_VERSION: Final = (7 << 76) | (0b10 << 62)
_UUID_RANDOM: Final = ~((0xF << 76) | (0b11 << 62))


def new_event_id() -> str:
    """A UUID of version 7: unique, and in the order of time, so that neighbours lie together in indexes."""
    number = (int(time.time() * 1000) << 80) | int.from_bytes(os.urandom(10), "big")
    text = f"{number & _UUID_RANDOM | _UUID_VERSION:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def parse_event(
    raw: object, *, now: float | None = None, max_age_days: float = MAX_AGE_DAYS, max_ahead: float = MAX_AHEAD
) -> Event:
    """Make an `Event` of a mapping, dataclass, msgspec struct, pydantic model or any object with such attributes.

    `now` is Unix time in seconds. Raises `EventError`.
    """
    fields = _known_fields(as_mapping(raw))
    clock = time.time() if now is None else now
    name, kind = _names(fields)
    amount, currency = _money(fields)
    return Event(
        event_id=_short(fields, "event_id") or new_event_id(),
        event_name=name,
        event_type=kind,
        timestamp=_timestamp(fields.get("timestamp"), clock, max_age_days, max_ahead),
        category=_choice(fields, "category", CATEGORIES, _CATEGORY_ALIASES) or _category_of(name, kind),
        severity=_choice(fields, "severity", SEVERITIES, _SEVERITY_ALIASES) or "info",
        tags=_tags(fields.get("tags")),
        amount=amount,
        currency=currency,
        properties=_properties(fields.get("properties")),
        **{field: _short(fields, field) for field in _SHORT if field in fields},
    )


def _known_fields(raw: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    free: dict[str, Any] = {}
    for key, value in raw.items():
        if not isinstance(key, str):
            raise EventError("event", key, "field names that are text")
        name = _PLACES.get(key)
        if name is None:
            free[key] = value
        elif value is None:
            continue
        elif name in fields:
            raise EventError(key, value, f"{name!r} given once, not under two spellings")
        else:
            fields[name] = value
    if free:
        fields["properties"] = _with_free_fields(fields.get("properties"), free)
    return fields


def _with_free_fields(properties: object, free: Mapping[str, Any]) -> dict[str, Any]:
    """Keep fields that the envelope does not know as properties; a near miss of a known one is a mistake instead."""
    merged = dict(as_mapping(properties)) if properties is not None else {}
    for key, value in free.items():
        near = difflib.get_close_matches(key, _FIELDS, n=1, cutoff=0.85)
        if near:
            raise EventError(key, value, f"the field {near[0]!r}; fields of your own go into 'properties'")
        if key in merged:
            raise EventError(key, value, "given once: it is a property already")
        merged[key] = value
    return merged


def _text(value: object, field: str, limit: int) -> str:
    if type(value) is str and len(value) <= limit and value.isprintable():
        return value.strip()
    value = getattr(value, "value", value) if not isinstance(value, str) else value
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        if value.__class__.__name__ != "UUID":
            raise EventError(field, value, "text")
        value = str(value)
    text = str(value).strip()
    if len(text) > limit:
        raise EventError(field, value, f"at most {limit} characters (it has {len(text)})")
    if not text.isprintable():
        raise EventError(field, value, "printable characters only")
    return text


def _short(fields: Mapping[str, Any], field: str) -> str:
    value = fields.get(field)
    return "" if value is None else _text(value, field, MAX_ID)


def _names(fields: Mapping[str, Any]) -> tuple[str, str]:
    name = _text(fields["event_name"], "event_name", MAX_NAME) if "event_name" in fields else ""
    kind = _text(fields["event_type"], "event_type", MAX_NAME) if "event_type" in fields else ""
    if not name and not kind:
        raise EventError("event_name", None, "a name such as 'page_view', as 'event_name' or 'event_type'")
    return name or kind, kind or name


def _choice(fields: Mapping[str, Any], field: str, known: tuple[str, ...], aliases: Mapping[str, str]) -> str:
    value = fields.get(field)
    if value is None:
        return ""
    text = _text(value, field, MAX_NAME).lower().replace("-", "_").replace(" ", "_")
    text = aliases.get(text, text)
    if text and text not in known:
        raise EventError(field, value, "one of " + ", ".join(known))
    return text


def _category_of(name: str, kind: str) -> str:
    return _CATEGORY_OF.get(kind) or _CATEGORY_OF.get(name) or "business"


def _tags(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, Mapping):
        return tuple(f"{_text(k, 'tags', 100)}={_text(v, 'tags', 100)}" for k, v in value.items())
    if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
        raise EventError("tags", value, "a list of short texts")
    return tuple(_text(tag, "tags", MAX_NAME) for tag in value)


def _properties(value: object) -> dict[str, Any]:
    if value is None:
        return {}
    properties: dict[str, Any] = plain(as_mapping(value, "properties"), "properties")
    size = len(_ENCODER.encode(properties))
    if size > MAX_PROPERTIES_BYTES:
        raise EventError("properties", f"{size} bytes", f"at most {MAX_PROPERTIES_BYTES} bytes as JSON")
    return properties


def _money(fields: Mapping[str, Any]) -> tuple[str, str]:
    if "amount" not in fields and "currency" not in fields:
        return "", ""
    currency = _short(fields, "currency").upper()
    if currency and not (len(currency) == 3 and currency.isascii() and currency.isalpha()):  # noqa: PLR2004 - ISO 4217
        raise EventError("currency", fields.get("currency"), "an ISO 4217 code such as 'EUR'")
    value = fields.get("amount")
    if value is None or value == "":
        return "", currency
    return _decimal(value), currency


def _decimal(value: object) -> str:
    try:
        number = Decimal(str(value)) if not isinstance(value, bool) else Decimal("NaN")
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or abs(number) >= Decimal(10) ** 12:
        raise EventError("amount", value, "a decimal number below 10¹², such as 12.50 or '12.50'")
    if number != round(number, 6):
        raise EventError("amount", value, "at most six decimal places")
    return f"{number:f}"


def _timestamp(value: object, now: float, max_age_days: float, max_ahead: float) -> str:
    seconds = now if value is None or value == "" else _seconds(value)
    if seconds > now + max_ahead:
        raise EventError("timestamp", value, f"not more than {max_ahead / 3600:g} hours ahead of the clock")
    if seconds < now - max_age_days * 86400:
        raise EventError("timestamp", value, f"not older than {max_age_days:g} days")
    whole = math.floor(seconds)
    millis = min(999, int((seconds - whole) * 1000 + 0.5))
    return f"{_second(whole)}.{millis:03d}Z"


@functools.lru_cache(maxsize=16)
def _second(whole: int) -> str:
    return datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _seconds(value: object) -> float:
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    number: float | None = None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        number = float(value)
    elif isinstance(value, str):
        try:
            return _seconds(datetime.fromisoformat(value.strip()))
        except ValueError:
            number = _number(value)
    if number is None or not math.isfinite(number) or number <= 0:
        raise EventError("timestamp", shown(value), "RFC 3339 text, a datetime, or Unix time")
    while number >= 1e11:  # noqa: PLR2004 - milli-, micro- and nanoseconds come down to seconds; 1e11 s is the year 5138
        number /= 1000
    return number


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
