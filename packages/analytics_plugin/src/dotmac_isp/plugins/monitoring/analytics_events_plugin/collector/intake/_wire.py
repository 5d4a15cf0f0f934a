"""Events in the form in which the plugin sends them: checked as they are, without being taken apart.

Properties stay the bytes that they are when nothing can be wrong with them; what is not exactly of the form is `None` here and
goes the longer way, which understands more and says what is wrong.
"""

from __future__ import annotations

import functools
from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec

from ...events import MAX_ID, MAX_NAME, MAX_PROPERTIES_BYTES

__all__ = ["WireEvent", "wire_events"]

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME)]
_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID)]
_Short = Annotated[str, msgspec.Meta(max_length=MAX_ID)]
_Tag = Annotated[str, msgspec.Meta(max_length=MAX_NAME)]
_Category = Literal["business", "technical", "security", "performance", "user_behavior", "financial", "compliance"]
_Severity = Literal["debug", "info", "warning", "minor", "error", "major", "critical"]
_EMPTY: Final = msgspec.Raw(b"{}")
#: So many brackets at the most cannot be nested too deep.
_BRACKETS: Final = 15
_TIME_TEXT: Final = 24


class WireEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """As `Event`, field by field."""

    event_id: _Id
    event_name: _Name
    event_type: _Name
    timestamp: str
    category: _Category
    severity: _Severity
    user_id: _Short = ""
    customer_id: _Short = ""
    session_id: _Short = ""
    correlation_id: _Short = ""
    device_id: _Short = ""
    source: _Short = ""
    tags: tuple[_Tag, ...] = ()
    amount: str = ""
    currency: str = ""
    properties: msgspec.Raw = _EMPTY


#: Shows the shapes of properties: digits as 0, an exponent as e, what opens a level as {.
_SHAPE: Final = bytes(
    ord("0") if byte in b"0123456789" else ord("e") if byte in b"eE" else ord("{") if byte in b"{[" else ord(" ")
    for byte in range(256)
)
#: A number of such a shape may be larger than any that there is.
_LARGE: Final = b"0e000"
_DECODER: Final = msgspec.json.Decoder(list[WireEvent])


def wire_events(body: bytes) -> list[WireEvent] | None:
    """The events of a body, when all of them are exactly of the form."""
    if b"\n" in body or b"\r" in body:
        return None
    try:
        if not body.isascii():
            body.decode()
        events = _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return events if all(_sound(event) for event in events) else None


def _sound(event: WireEvent) -> bool:
    raw = bytes(event.properties)
    shape = raw.translate(_SHAPE, b"+")
    if raw[:1] != b"{" or len(raw) > MAX_PROPERTIES_BYTES or shape.count(b"{") > _BRACKETS:
        return False
    if b"\\u" in raw or _LARGE in shape or event.amount or event.currency:
        return False
    texts = (
        f"{event.event_id}{event.event_name}{event.event_type}{event.user_id}{event.customer_id}{event.session_id}"
        f"{event.correlation_id}{event.device_id}{event.source}"
    )
    if event.tags:
        texts += "".join(event.tags)
    if not texts.isprintable() or " " in texts:
        return texts.isprintable() and _trimmed(event) and _is_time(event.timestamp)
    return _is_time(event.timestamp)


def _trimmed(event: WireEvent) -> bool:
    return all(
        text.strip() == text for text in (event.event_id, event.event_name, event.event_type, *event.tags)
    ) and all(
        text.strip() == text
        for text in (
            event.user_id,
            event.customer_id,
            event.session_id,
            event.correlation_id,
            event.device_id,
            event.source,
        )
    )


def _is_time(text: str) -> bool:
    if len(text) != _TIME_TEXT or text[19] != "." or text[23] != "Z":
        return False
    millis = text[20:23]
    return millis.isascii() and millis.isdigit() and _is_second(text[:19])


@functools.lru_cache(maxsize=4096)
def _is_second(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).strftime("%Y-%m-%dT%H:%M:%S") == text
    except ValueError:
        return False
