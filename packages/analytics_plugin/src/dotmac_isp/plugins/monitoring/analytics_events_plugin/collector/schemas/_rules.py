"""JSON Schemas as strangers give them: bounded before they are compiled, and then compiled so that nothing is fetched.

Bounds: size, depth, and the number of subschemas after references are followed (a chain of doubling references is exponential otherwise).
References go into the schema itself only and never in a circle. Patterns run on an engine without backtracking.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..._plain import EventError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SchemasMissingError", "Validator", "bounded"]

_MAX_BYTES: Final = 64 * 1024
_MAX_DEPTH: Final = 32
_MAX_PARTS: Final = 1000
_MAX_PATTERN: Final = 500
_PATTERN_BYTES: Final = 1024 * 1024
_REASONS: Final = 3
_SHOWN: Final = 300
#: Keywords whose value is data, not schemas.
_DATA: Final = frozenset({"enum", "const", "default", "examples", "required"})
#: Keywords that make references mean something else elsewhere.
_REFUSED: Final = frozenset(
    {"$dynamicRef", "$recursiveRef", "$dynamicAnchor", "$recursiveAnchor", "$anchor", "$vocabulary"}
)
_DIALECTS: Final = ("2020-12", "2019-09", "draft-07")


class SchemasMissingError(Exception):
    """The library for JSON Schema is not installed."""

    def __init__(self) -> None:
        super().__init__("schemas need jsonschema-rs. Run: pip install 'dotmac-plugin-analytics[schemas]'")


def bounded(schema: object) -> dict[str, Any]:
    """The schema, if it is within the bounds. Raises `EventError`."""
    if not isinstance(schema, dict):
        raise EventError("schema", schema, "a JSON Schema, an object such as {'type': 'object', 'properties': {…}}")
    size = len(msgspec.json.encode(schema))
    if size > _MAX_BYTES:
        raise EventError("schema", f"{size} bytes", f"at most {_MAX_BYTES} bytes as JSON")
    dialect = schema.get("$schema", "2020-12")
    if not isinstance(dialect, str) or not any(known in dialect for known in _DIALECTS):
        raise EventError("schema.$schema", dialect, "one of JSON Schema " + ", ".join(_DIALECTS))
    _Parts(schema).count(schema, "schema", 0, ())
    return schema


class _Parts:
    """Counts subschemas, following references."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._left = _MAX_PARTS

    def count(self, node: Any, path: str, depth: int, following: tuple[str, ...]) -> None:
        self._left -= 1
        if self._left < 0:
            raise EventError("schema", "a larger one", f"at most {_MAX_PARTS} parts, references followed")
        if depth > _MAX_DEPTH:
            raise EventError(path[:100], "something deeper", f"at most {_MAX_DEPTH} levels")
        if isinstance(node, list):
            for index, item in enumerate(node):
                self.count(item, f"{path}[{index}]", depth + 1, following)
        elif isinstance(node, dict):
            self._keywords(node, path, depth, following)

    def _keywords(self, node: dict[str, Any], path: str, depth: int, following: tuple[str, ...]) -> None:
        for key, item in node.items():
            if key in _REFUSED or (key == "$id" and depth):
                raise EventError(f"{path}.{key}"[:100], item, "no such keyword; references into '#/$defs/…' are taken")
            if key == "pattern" and isinstance(item, str) and len(item) > _MAX_PATTERN:
                raise EventError(f"{path}.pattern"[:100], item, f"a pattern of at most {_MAX_PATTERN} characters")
            if key == "$ref" and isinstance(item, str):
                self._follow(item, path, depth, following)
            elif key not in _DATA:
                self.count(item, f"{path}.{key}", depth + 1, following)

    def _follow(self, reference: str, path: str, depth: int, following: tuple[str, ...]) -> None:
        if not reference.startswith("#/"):
            raise EventError(
                f"{path}.$ref"[:100], reference, "a reference into this schema ('#/$defs/…'); nothing is fetched"
            )
        if reference in following:
            raise EventError(f"{path}.$ref"[:100], reference, "no reference that leads back to itself")
        self.count(self._target(reference, path), path, depth + 1, (*following, reference))

    def _target(self, reference: str, path: str) -> Any:
        node: Any = self._root
        for part in reference[2:].split("/"):
            name = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(node, dict) or name not in node:
                raise EventError(f"{path}.$ref"[:100], reference, "a place that is in the schema")
            node = node[name]
        return node


class Validator:
    """A compiled schema. Raises `EventError` when it is none, `SchemasMissingError` without the library."""

    def __init__(self, schema: dict[str, Any]) -> None:
        try:
            import jsonschema_rs  # noqa: PLC0415 - an extra
        except ImportError:
            raise SchemasMissingError from None
        try:
            jsonschema_rs.meta.validate(schema)
            self._compiled: Any = jsonschema_rs.validator_for(
                schema,
                retriever=_refuse,
                pattern_options=jsonschema_rs.RegexOptions(size_limit=_PATTERN_BYTES, dfa_size_limit=_PATTERN_BYTES),
            )
        except (ValueError, jsonschema_rs.ReferencingError) as error:
            raise EventError("schema", _first_line(error), "a valid JSON Schema") from None

    def reasons(self, properties: dict[str, Any]) -> list[str]:
        """Why the properties do not fit, at most three; empty: they do."""
        if self._compiled.is_valid(properties):
            return []
        return list(_some(self._compiled.iter_errors(properties)))


def _refuse(address: str) -> Any:
    raise ValueError(f"{address} is not fetched")


def _some(errors: Any) -> Iterator[str]:
    for _, error in zip(range(_REASONS), errors, strict=False):
        place = ".".join(str(part) for part in error.instance_path)
        yield f"properties{'.' if place else ''}{place}: {_first_line(error)}"[:_SHOWN]


def _first_line(error: Exception) -> str:
    return str(getattr(error, "message", error)).strip().splitlines()[0][:_SHOWN]
