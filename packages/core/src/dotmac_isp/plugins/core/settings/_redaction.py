"""What must not be shown of settings."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["MASK", "is_secretive", "redacted"]

MASK: Final = "********"
_WORDS: Final = frozenset(
    "password passwd passphrase pwd token key apikey secret secrets credential credentials".split()  # noqa: SIM905
)
_IN_URL: Final = re.compile(r"(?<=://)([^/\s@:]*):([^/\s@]+)@")
_IN_TEXT: Final = re.compile(r"(?i)\b(password|passwd|pwd|token|secret|api_?key)=[^&;\s]+")


def is_secretive(path: Iterable[str | int]) -> bool:
    """Whether the name of a setting, or of a table around it, says that its value is confidential."""
    parts = (re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", str(part)).lower() for part in path)
    return any(word in _WORDS for part in parts for word in re.split(r"[^a-z0-9]+", part))


def redacted(path: Iterable[str | int], value: Any) -> Any:
    """The value as it may be shown: masked by its name, its type (pydantic's secrets), or what is inside a URL."""
    keys = tuple(path)
    if value is None or isinstance(value, bool):
        return value
    if is_secretive(keys) or hasattr(value, "get_secret_value") or hasattr(value, "reveal"):
        return MASK
    if isinstance(value, str):
        return _IN_TEXT.sub(rf"\1={MASK}", _IN_URL.sub(rf"\1:{MASK}@", value))
    if isinstance(value, dict):
        return {key: redacted((*keys, str(key)), item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [redacted(keys, item) for item in value]
    return value
