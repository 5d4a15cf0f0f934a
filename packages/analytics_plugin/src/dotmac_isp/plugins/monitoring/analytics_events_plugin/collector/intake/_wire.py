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
_SECOND_TEXT: Final = 19
_MILLIS_TEXT: Final = _TIME_TEXT - _SECOND_TEXT


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
    #: Money goes the longer way: it is to be a decimal, and to have a currency.
    amount: Literal[""] = ""
    currency: Literal[""] = ""
    properties: msgspec.Raw = _EMPTY


#: Shows the shapes of properties: digits as 0, an exponent as e, what opens a level as {; lines stay lines.
_SHAPES: Final = {
    **dict.fromkeys(b"0123456789", ord("0")),
    **dict.fromkeys(b"eE", ord("e")),
    **dict.fromkeys(b"{[", ord("{")),
    ord("\n"): ord("\n"),
}
_SHAPE: Final = bytes(_SHAPES.get(byte, ord(" ")) for byte in range(256))
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
    if not events:
        return events
    # All events at once, since a look at each would cost as much as their decoding.
    if not (_are_times([event.timestamp for event in events]) and _are_simple([event.properties for event in events])):
        return None
    return events if _is_plain(body) or all(_is_trimmed(event) for event in events) else None


def _is_plain(body: bytes) -> bool:
    """Whether no text in it can be anything but printable, without spaces: JSON has no control characters but escaped ones."""
    return body.isascii() and b"\\" not in body and b" " not in body and b"\x7f" not in body


def _is_trimmed(event: WireEvent) -> bool:
    texts = (
        f"{event.event_id}{event.event_name}{event.event_type}{event.user_id}{event.customer_id}{event.session_id}"
        f"{event.correlation_id}{event.device_id}{event.source}"
    )
    if event.tags:
        texts += "".join(event.tags)
    return texts.isprintable() and (" " not in texts or all(text.strip() == text for text in _texts(event)))


def _texts(event: WireEvent) -> tuple[str, ...]:
    return (
        event.event_id,
        event.event_name,
        event.event_type,
        event.user_id,
        event.customer_id,
        event.session_id,
        event.correlation_id,
        event.device_id,
        event.source,
        *event.tags,
    )


def _are_simple(properties: list[msgspec.Raw]) -> bool:
    """Whether all are objects without anything that has to be looked at: escapes, vast numbers, many levels, or too much of it."""
    lines = b"\n".join(properties)
    if not lines.startswith(b"{") or lines.count(b"\n{") != len(properties) - 1:
        return False
    if len(lines) > MAX_PROPERTIES_BYTES and max(map(len, lines.split(b"\n"))) > MAX_PROPERTIES_BYTES:
        return False
    shapes = lines.translate(_SHAPE, b"+")
    if b"\\u" in lines or _LARGE in shapes:
        return False
    return all(shape.count(b"{") <= _BRACKETS for shape in shapes.split(b"\n"))


def _are_times(texts: list[str]) -> bool:
    """Whether all are as 2026-11-25T21:22:32.123Z."""
    if not all(len(text) == _TIME_TEXT for text in texts):
        return False
    millis = "".join([text[_SECOND_TEXT:] for text in texts])
    digits = millis[1::_MILLIS_TEXT] + millis[2::_MILLIS_TEXT] + millis[3::_MILLIS_TEXT]
    marks = millis[::_MILLIS_TEXT] + millis[4::_MILLIS_TEXT]
    if marks != "." * len(texts) + "Z" * len(texts) or not (digits.isascii() and digits.isdigit()):
        return False
    return all(_is_second(text) for text in {text[:_SECOND_TEXT] for text in texts})


@functools.lru_cache(maxsize=4096)
def _is_second(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).strftime("%Y-%m-%dT%H:%M:%S") == text
    except ValueError:
        return False
