"""A schema proposed from what came: types, what is always there, nested objects and lists."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["infer"]

_MAX_NAMES: Final = 200
_MAX_DEPTH: Final = 6
_KINDS: Final = (
    (bool, "boolean"),
    (int, "integer"),
    (float, "number"),
    (str, "string"),
    (dict, "object"),
    (list, "array"),
)


def infer(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The narrowest plain schema that all samples fit; other properties stay allowed."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_object(samples, 0)}


def _object(samples: Sequence[dict[str, Any]], depth: int) -> dict[str, Any]:
    counts = Counter(name for sample in samples for name in sample)
    names = [name for name, _ in counts.most_common(_MAX_NAMES)]
    required = sorted(name for name in names if counts[name] == len(samples))
    members = {name: _any([s[name] for s in samples if name in s], depth + 1) for name in sorted(names)}
    return {"type": "object", "properties": members, **({"required": required} if required else {})}


def _any(values: Sequence[Any], depth: int) -> dict[str, Any]:
    kinds = sorted({_kind(value) for value in values})
    if "number" in kinds and "integer" in kinds:
        kinds.remove("integer")
    schema: dict[str, Any] = {"type": kinds[0] if len(kinds) == 1 else kinds}
    if depth >= _MAX_DEPTH:
        return schema
    if objects := [value for value in values if isinstance(value, dict)]:
        schema |= {key: item for key, item in _object(objects, depth).items() if key != "type"}
    if items := [item for value in values if isinstance(value, list) for item in value]:
        schema["items"] = _any(items, depth + 1)
    return schema


def _kind(value: object) -> str:
    return next((name for kind, name in _KINDS if isinstance(value, kind)), "null")
