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
_SECONDS: Final = 60


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


#: Shows the shapes of numbers: digits as 0, an exponent as e.
_SHAPE: Final = bytes(
    ord("0") if chr(byte).isascii() and chr(byte).isdigit() else ord("e") if byte in b"eE" else ord(" ")
    for byte in range(256)
)
#: A number of such a shape may be larger than any that there is.
_LARGE: Final = (b"0e000", b"0" * 19)
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
    told = event.properties
    raw = bytes(told)
    if raw[:1] != b"{" or len(raw) > MAX_PROPERTIES_BYTES or raw.count(b"{") + raw.count(b"[") > _BRACKETS:
        return False
    if b"\\u" in raw or any(shape in raw.translate(_SHAPE, b"+") for shape in _LARGE):
        return False
    texts = f"{event.event_id}{event.event_name}{event.event_type}{event.user_id}{event.customer_id}{event.session_id}"
    more = f"{event.correlation_id}{event.device_id}{event.source}{''.join(event.tags)}"
    trimmed = event.event_id.strip() == event.event_id and event.event_name.strip() == event.event_name
    return texts.isprintable() and more.isprintable() and trimmed and not event.amount and _is_time(event.timestamp)


def _is_time(text: str) -> bool:
    if len(text) != _TIME_TEXT or text[16] != ":" or text[19] != "." or text[23] != "Z":
        return False
    seconds, millis = text[17:19], text[20:23]
    digits = seconds.isascii() and seconds.isdigit() and millis.isascii() and millis.isdigit()
    return digits and int(seconds) < _SECONDS and _is_minute(text[:16])


@functools.lru_cache(maxsize=1024)
def _is_minute(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).strftime("%Y-%m-%dT%H:%M") == text
    except ValueError:
        return False
