"""Layers and their merge: pure, and the only place that decides which layer wins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

__all__ = ["Explained", "Layer", "Leaf", "Merged", "Origin", "PathOfKeys", "merge"]

PathOfKeys = tuple[str, ...]
DEFAULT_LAYER = "plugin default"


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """Values from one place. `name`: plugin default, file, scenario, environment, tenant or override.

    `source` says where for people (a path, "environment variable VOLTHA_HOST"); `sources` where it differs from key to key;
    `locate` gives the line of a key in the source.
    """

    name: str
    source: str
    values: Mapping[str, Any]
    sources: Mapping[str, str] = {}
    locate: Callable[[PathOfKeys], int | None] | None = None

    def source_of(self, path: Sequence[str | int]) -> str:
        return self.sources.get(str(path[0]), self.source) if path else self.source

    def line_of(self, path: Sequence[str | int]) -> int | None:
        return self.locate(tuple(str(part) for part in path)) if self.locate is not None else None


class Origin(msgspec.Struct, frozen=True):
    """One layer's say about one setting."""

    layer: Layer
    path: PathOfKeys
    value: Any


class Leaf(msgspec.Struct, frozen=True):
    """The value that counts, and what it overrode (the lowest layer first)."""

    origin: Origin
    overrode: tuple[Origin, ...] = ()


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """One setting for people. Values of confidential settings are masked. `overrode`: (layer, source, value), lowest first."""

    key: str
    value: Any
    layer: str
    source: str
    overrode: tuple[tuple[str, str, Any], ...] = ()


class Merged(msgspec.Struct, frozen=True):
    """All layers as one: nested values, and where each leaf comes from."""

    values: dict[str, Any]
    leaves: dict[PathOfKeys, Leaf]


def merge(layers: Sequence[Layer]) -> Merged:
    """Merge, lowest first. Tables merge key by key at every depth; anything else, lists too, is replaced as a whole."""
    leaves: dict[PathOfKeys, Leaf] = {}
    for layer in layers:
        for path, value in _flat(layer.values, ()):
            _lay(leaves, Origin(layer, path, value))
    values: dict[str, Any] = {}
    for path, leaf in leaves.items():
        table = values
        for key in path[:-1]:
            table = table.setdefault(key, {})
        table[path[-1]] = leaf.origin.value
    return Merged(values, leaves)


def _flat(values: Mapping[str, Any], path: PathOfKeys) -> list[tuple[PathOfKeys, Any]]:
    """The leaves of a table. An empty table is a leaf, so that it is not lost."""
    found: list[tuple[PathOfKeys, Any]] = []
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            found += _flat(value, (*path, key))
        else:
            found.append(((*path, key), dict(value) if isinstance(value, Mapping) else value))
    return found


def _lay(leaves: dict[PathOfKeys, Leaf], origin: Origin) -> None:
    """Put one leaf over what is there: the same key, a value where now a table is, or a table where now a value is."""
    path = origin.path
    below = [one for one in leaves if len(one) > len(path) and one[: len(path)] == path]
    if below and origin.value == {}:
        return
    replaced = below + [path[:end] for end in range(1, len(path) + 1) if path[:end] in leaves]
    overrode: list[Origin] = []
    for one in replaced:
        leaf = leaves.pop(one)
        overrode += (*leaf.overrode, leaf.origin)
    leaves[path] = Leaf(origin, tuple(overrode))
