"""From whatever Python value a caller holds to plain JSON data, or to an error that names the place."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import PurePath
from typing import Any, Final
from uuid import UUID

import msgspec

__all__ = ["EventError", "as_mapping", "plain", "shown"]

MAX_DEPTH: Final = 16
_SHOWN: Final = 60
_LONGEST: Final = 300


class EventError(ValueError):
    """An event, query or rule that cannot be taken: which field, what it was, what would be right."""

    def __init__(self, field: str, value: object, expected: str) -> None:
        self.field = _printable(field) or "''"
        self.expected = expected
        super().__init__(f"{self.field}: {shown(value)} given, expected {expected}")


def _printable(text: str) -> str:
    """A path with a stranger's property names in it, as a line may hold it."""
    text = text if text.isprintable() else "".join(sign if sign.isprintable() else "�" for sign in text)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def shown(value: object) -> str:
    """A value as an error shows it: short, and without control characters."""
    if value is None:
        return "nothing"
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a stranger's __repr__ may raise anything
        text = f"a {type(value).__name__}"
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def as_mapping(value: object, field: str = "event") -> Mapping[str, Any]:
    """The fields of a mapping, dataclass, msgspec struct, pydantic model, or object with attributes."""
    if isinstance(value, Mapping):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
    if isinstance(value, msgspec.Struct):
        return {name: getattr(value, name) for name in value.__struct_fields__}
    instance: Any = None if isinstance(value, type) or callable(value) else value
    if hasattr(instance, "model_dump"):
        return dict(instance.model_dump())
    if getattr(instance, "__dict__", None):
        return {key: item for key, item in vars(instance).items() if not key.startswith("_")}
    raise EventError(field, value, "a mapping, or an object with such attributes")


def plain(value: object, path: str, depth: int = 0) -> Any:
    """The value as JSON can say it. Raises `EventError` with the path of what it cannot."""
    if depth > MAX_DEPTH:
        raise EventError(path, "something deeper", f"at most {MAX_DEPTH} levels")
    if isinstance(value, enum.Enum):
        return plain(value.value, path, depth)
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return _sound_text(value, path)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise EventError(path, value, "a finite number")
        return value
    return _plain_container(value, path, depth)


def _sound_text(value: str, path: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise EventError(path, value, "text without lone surrogates") from None
    return str(value)


def _plain_container(value: object, path: str, depth: int) -> Any:
    scalar = _scalar(value)
    if scalar is not None:
        return scalar
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise EventError(path, f"{len(value)} bytes", "text (encode bytes as base64 or hexadecimal first)")
    if isinstance(value, Iterable) and not isinstance(value, Mapping) and not hasattr(value, "model_dump"):
        return [plain(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)]
    return _plain_items(as_mapping(value, path), path, depth)


def _plain_items(value: Mapping[Any, Any], path: str, depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, item in value.items():
        kind = type(item)
        # Most properties are one of these; the path is only put together for the others.
        easy = kind is bool or kind is int or (kind is str and item.isascii())
        found[_key(key, path)] = item if easy else plain(item, f"{path}.{key}", depth + 1)
    return found


def _scalar(value: object) -> Any:
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return str(value)
    return str(value) if isinstance(value, (UUID, PurePath)) else None


def _key(key: object, path: str) -> str:
    if type(key) is str and key.isascii():
        return key
    if isinstance(key, enum.Enum):
        key = key.value
    if isinstance(key, (str, int)) and not isinstance(key, bool):
        return _sound_text(str(key), path)
    raise EventError(path, key, "property names that are text")
