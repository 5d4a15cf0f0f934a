"""Keys and values: what may be stored, and how it is written down."""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec

from ..errors import StorageError

__all__ = ["KEY_END", "KEY_LENGTH", "check_key", "decode_value", "encode_key", "encode_value", "prefix_range"]

#: The longest key, in characters.
KEY_LENGTH: Final = 512
#: Greater than every byte of UTF-8: the end of all keys.
KEY_END: Final = b"\xff"

_SHOWN: Final = 60
_DEPTH: Final = 200


def encode_key(key: str, what: str = "key") -> bytes:
    """The key as bytes. Raises `StorageError` for what is no key.

    Bytes of UTF-8, compared as bytes, sort as the texts do in Python, on every engine and in every locale; and
    PostgreSQL's texts could not hold a NUL.
    """
    if not key:
        raise StorageError(f"an empty {what}", remedy=f"A {what} has 1 to {KEY_LENGTH} characters")
    return check_key(key, what)


def check_key(key: str, what: str) -> bytes:
    """As `encode_key`, but it may be empty (a prefix)."""
    if not isinstance(key, str):
        raise StorageError(f"a {what} of type {type(key).__name__}", remedy=f"A {what} is a text")
    if len(key) > KEY_LENGTH:
        raise StorageError(
            f"the {what} {key[:_SHOWN]!r}… has {len(key)} characters", remedy=f"A {what} has at most {KEY_LENGTH}"
        )
    try:
        return key.encode()
    except UnicodeEncodeError as error:
        raise StorageError(
            f"the {what} {key[:_SHOWN]!r} has half a surrogate pair at position {error.start}",
            remedy="Give it as valid Unicode",
        ) from None


def prefix_range(prefix: str) -> tuple[bytes, bytes]:
    """First and end (exclusive) of the keys that begin with `prefix`."""
    start = check_key(prefix, "prefix")
    return start, start + KEY_END


def encode_value(value: Any) -> str:
    """The value as JSON. Raises `StorageError` that names the path of what JSON cannot hold unchanged."""
    try:
        body = msgspec.json.encode(value)
        # What comes back the same is plain JSON; only for the rest is it worth to walk through it in Python.
        if msgspec.json.decode(body) != value:
            _check(value, "$", 0)
    except StorageError:
        raise
    except Exception as error:
        # Whatever msgspec raises: a wrong type, a text that is no Unicode, a value inside itself.
        _check(value, "$", 0)
        raise StorageError(f"the value cannot be stored as JSON: {error}") from error
    return body.decode()


def decode_value(body: str) -> Any:
    """The value of a stored text."""
    return msgspec.json.decode(body)


def _check(value: Any, path: str, depth: int) -> None:
    if depth > _DEPTH:
        raise _refused(path, f"it is nested more than {_DEPTH} levels deep, or contains itself")
    if isinstance(value, dict):
        for key, one in value.items():
            if not isinstance(key, str):
                raise _refused(path, f"the key {key!r} is of type {type(key).__name__}; JSON's keys are texts")
            _check_text(key, path)
            _check(one, f"{path}.{key[:_SHOWN]}", depth + 1)
    elif isinstance(value, list | tuple):
        for index, one in enumerate(value):
            _check(one, f"{path}[{index}]", depth + 1)
    else:
        _check_plain(value, path)


def _check_plain(value: Any, path: str) -> None:
    if value is None or isinstance(value, int):
        return
    if isinstance(value, str):
        _check_text(value, path)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise _refused(path, f"{value!r} is no number of JSON; store None, or leave it out")
    else:
        raise _refused(
            path, f"a {type(value).__name__} is no JSON; turn it into dict, list, str, int, float, bool or None"
        )


def _check_text(text: str, path: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _refused(path, "the text has half a surrogate pair; give it as valid Unicode") from None


def _refused(path: str, why: str) -> StorageError:
    return StorageError(f"the value cannot be stored: at {path}: {why}")
