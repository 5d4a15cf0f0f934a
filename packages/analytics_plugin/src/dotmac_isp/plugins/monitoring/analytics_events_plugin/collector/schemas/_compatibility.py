"""Whether a version of a schema can follow another.

Backward: what fitted the old one fits the new one. Forward: what fits the new one fitted the old one. Full: both. The comparison is by
structure and careful: where it cannot tell (combinations such as `anyOf` that differ), it says so instead of agreeing. A property that a
version does not name counts as one that its events do not have.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = ["COMPATIBILITIES", "incompatible"]

COMPATIBILITIES: Final = ("none", "backward", "forward", "full")
_ALL: Final = frozenset({"null", "boolean", "integer", "number", "string", "array", "object"})
_LEAST: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_MOST: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_COMPARED: Final = frozenset(
    {"type", "enum", "const", "properties", "required", "additionalProperties", "items", *_LEAST, *_MOST}
)
#: Say something to people, and refuse nothing.
_WORDS: Final = frozenset(
    {"$schema", "$id", "$comment", "$defs", "definitions", "title", "description", "default", "examples", "deprecated"}
)


def incompatible(old: Any, new: Any, rule: str) -> list[str]:
    """What breaks the rule, as sentences; empty: nothing does."""
    found: list[str] = []
    if rule in {"backward", "full"}:
        found += [
            f"{place}: {why} (events of the old version would not fit)"
            for place, why in _refusals(new, old, "properties")
        ]
    if rule in {"forward", "full"}:
        found += [
            f"{place}: {why} (readers of the old version would not understand)"
            for place, why in _refusals(old, new, "properties")
        ]
    return found


def _refusals(reader: Any, writer: Any, place: str) -> list[tuple[str, str]]:
    """Where `reader` may refuse what fits `writer`."""
    if reader == writer or reader is True or writer is False:
        return []
    if reader is False:
        return [(place, "nothing fits any more")]
    given = {} if writer is True else writer
    found = [(place, why) for why in (*_types(reader, given), *_values(reader, given), *_bounds(reader, given))]
    found += [
        (place, f"{key!r} differs")
        for key, value in reader.items()
        if key not in _COMPARED and key not in _WORDS and given.get(key) != value
    ]
    if "$ref" in reader and _definitions(reader) != _definitions(given):
        found.append((place, "what '$ref' refers to differs"))
    if "items" in reader:
        found += _refusals(reader["items"], given.get("items", True), f"{place}[]")
    return found + _members(reader, given, place)


def _definitions(schema: dict[str, Any]) -> Any:
    return schema.get("$defs"), schema.get("definitions")


def _kinds(schema: dict[str, Any]) -> frozenset[str]:
    given = schema.get("type")
    kinds = _ALL if given is None else frozenset([given] if isinstance(given, str) else given)
    return kinds | {"integer"} if "number" in kinds else kinds


def _types(reader: dict[str, Any], writer: dict[str, Any]) -> list[str]:
    lost = _kinds(writer) - _kinds(reader)
    if "type" not in reader or not lost:
        return []
    return [f"the type {' or '.join(sorted(lost))} is not taken any more" if "type" in writer else "a type is demanded"]


def _choices(schema: dict[str, Any]) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _values(reader: dict[str, Any], writer: dict[str, Any]) -> list[str]:
    allowed, used = _choices(reader), _choices(writer)
    if allowed is None:
        return []
    if used is None:
        return ["only some values are taken"]
    lost = [value for value in used if value not in allowed]
    return [f"the value {lost[0]!r} is not taken any more"] if lost else []


def _bounds(reader: dict[str, Any], writer: dict[str, Any]) -> list[str]:
    tighter: list[str] = [key for key in _LEAST if key in reader and (key not in writer or writer[key] < reader[key])]
    tighter += [key for key in _MOST if key in reader and (key not in writer or writer[key] > reader[key])]
    return [f"{key!r} is tighter" for key in tighter]


def _members(reader: dict[str, Any], writer: dict[str, Any], place: str) -> list[tuple[str, str]]:
    known, used = reader.get("properties", {}), writer.get("properties", {})
    demanded = sorted(set(reader.get("required", ())) - set(writer.get("required", ())))
    found = [(f"{place}.{name}", "is required") for name in demanded]
    rest = reader.get("additionalProperties", True)
    for name, schema in used.items():
        if name in known:
            found += _refusals(known[name], schema, f"{place}.{name}")
        elif rest is False:
            found.append((f"{place}.{name}", "is not known"))
        else:
            found += _refusals(rest, schema, f"{place}.{name}")
    if rest is False and writer.get("additionalProperties", True) is not False:
        found.append((place, "other properties are not taken any more"))
    return found
