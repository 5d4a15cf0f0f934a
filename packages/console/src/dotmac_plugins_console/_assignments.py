"""`key=value` on the command line, as settings."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["parse_assignment", "put", "value_of"]


def parse_assignment(text: str) -> tuple[tuple[str, ...], str]:
    """The path of keys and the value's text. Raises `ValueError` that says how it must look."""
    key, equals, value = text.partition("=")
    path = tuple(key.strip().split("."))
    if not equals or not all(path):
        raise ValueError(f"{text!r} is no key=value, such as voltha_port=50057 or limits.calls=10")
    return path, value


def value_of(text: str) -> Any:
    """What the text says as JSON (`5`, `true`, `["a"]`), else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def put(settings: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Set a value under a path of keys."""
    for key in path[:-1]:
        settings = settings.setdefault(key, {})
    settings[path[-1]] = value
