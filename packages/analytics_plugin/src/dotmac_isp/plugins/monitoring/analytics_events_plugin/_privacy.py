"""Taking out of properties what is not to be kept: by path, dropped or made into something else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["changed_at", "dropped"]


def dropped(properties: dict[str, Any], paths: tuple[tuple[str, ...], ...]) -> dict[str, Any]:
    """The properties without what lies at the paths; objects in lists are looked into as well."""
    found: dict[str, Any] = properties
    for path in paths:
        found = _at(found, path, None)
    return found


def changed_at(properties: dict[str, Any], path: tuple[str, ...], change: Callable[[Any], Any]) -> dict[str, Any]:
    """The properties with `change` made to what lies at the path."""
    found: dict[str, Any] = _at(properties, path, change)
    return found


def _at(value: Any, path: tuple[str, ...], change: Callable[[Any], Any] | None) -> Any:
    if isinstance(value, list):
        return [_at(item, path, change) for item in value]
    if not isinstance(value, dict) or path[0] not in value:
        return value
    rest = path[1:]
    if rest:
        return {**value, path[0]: _at(value[path[0]], rest, change)}
    if change is None:
        return {key: item for key, item in value.items() if key != path[0]}
    return {**value, path[0]: change(value[path[0]])}
