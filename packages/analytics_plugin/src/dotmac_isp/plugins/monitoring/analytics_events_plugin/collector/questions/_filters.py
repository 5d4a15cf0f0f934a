"""Conditions on events: what may be asked of a column or property, and its SQL.

A condition is `{"plan": "gold"}`, `{"plan": ["gold", "basic"]}` or `{"duration_ms": {">": 100, "<=": 500}}`. Every wanted value is bound by the
engine; what becomes part of the text comes from the tables in this module, and from paths into the properties, whose parts are letters, digits, `_`
and `-` and are quoted. (A path that is bound as a value makes the engine read more: it does not know beforehand which.)
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final

from ..._plain import EventError, as_mapping, plain

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "COLUMNS",
    "PATH",
    "Wanted",
    "dimension",
    "expression",
    "filters",
    "listed",
    "subcolumn",
    "texts",
    "where_of",
]

#: One of these values, or comparisons by their signs.
Wanted = list[str] | dict[str, Any]

COLUMNS: Final = frozenset(
    [
        "event_name",
        "event_type",
        "category",
        "severity",
        "user_id",
        "customer_id",
        "session_id",
        "device_id",
        "source",
        "currency",
    ]
)
PATH: Final = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
_MOST_PATH: Final = 200
_MOST_CONDITIONS: Final = 50
_MOST_VALUES: Final = 1000
_MOST_TEXT: Final = 4000
_MOST_ALL: Final = 200_000
_NUMBERS: Final = frozenset({">", ">=", "<", "<="})
_TEXTS: Final = {
    "contains": "positionCaseInsensitiveUTF8({x}, {v}) > 0",
    "starts_with": "startsWith({x}, {v})",
    # RE2: in time linear in the text, whatever the pattern.
    "matches": "match({x}, {v})",
}
_LISTS: Final = {"in": "{x} IN {v}", "not_in": "ifNull({x}, '') NOT IN {v}"}
_SIGNS: Final = {"=": "in", "==": "in", "eq": "in", "!=": "not_in", "ne": "not_in", "gt": ">", "ge": ">=", "gte": ">="}
_SIGNS.update({"lt": "<", "le": "<=", "lte": "<=", "regex": "matches", "prefix": "starts_with"})
_ALL_SIGNS: Final = (*sorted(_NUMBERS), *_TEXTS, *_LISTS, "exists")


def listed(value: object) -> list[Any]:
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, (list, tuple, set, frozenset)) else [value]


def texts(value: object, field: str) -> list[str]:
    """A text or several, as the engine compares them. Raises `EventError`."""
    items = listed(value)
    if not items or not all(isinstance(item, (str, int, float, bool)) for item in items):
        raise EventError(field, value, "a text or a list of texts")
    if len(items) > _MOST_VALUES:
        raise EventError(field, f"{len(items)} values", f"at most {_MOST_VALUES}")
    return [_text(item, field) for item in items]


def _text(value: object, field: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(plain(value, field))
    if len(text) > _MOST_TEXT:
        raise EventError(field, text, f"at most {_MOST_TEXT} characters")
    return text


def where_of(value: object) -> dict[str, Wanted]:
    """Understand conditions: a column or property path, to what is wanted of it. Raises `EventError`."""
    given = as_mapping(value or {}, "where")
    if len(given) > _MOST_CONDITIONS:
        raise EventError("where", f"{len(given)} conditions", f"at most {_MOST_CONDITIONS}")
    found: dict[str, Wanted] = {}
    for key, item in given.items():
        name = _measured(key)
        found[name] = _comparisons(item, str(key)) if isinstance(item, dict) else texts(item, str(key))
    size = sum(len(str(item)) for item in found.values())
    if size > _MOST_ALL:
        raise EventError("where", f"{size} characters", f"at most {_MOST_ALL} in all")
    return found


def _measured(key: object) -> str:
    return "amount" if key == "amount" else dimension(key, "where")


def _comparisons(given: Mapping[Any, Any], field: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for sign, value in given.items():
        known = _SIGNS.get(str(sign), str(sign))
        if known not in _ALL_SIGNS:
            raise EventError(f"where.{field}", sign, "one of " + ", ".join(_ALL_SIGNS))
        found[known] = _wanted(known, value, f"{field} {known}")
    if not found:
        raise EventError(f"where.{field}", given, "at least one comparison, such as {'>': 100}")
    return found


def _wanted(sign: str, value: object, field: str) -> Any:
    if sign in _NUMBERS:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise EventError(field, value, "a finite number")
        return float(value)
    if sign == "exists":
        if not isinstance(value, bool):
            raise EventError(field, value, "true or false")
        return value
    if sign in _LISTS:
        return texts(value, field)
    if not isinstance(value, str) or not value:
        raise EventError(field, value, "a text")
    return _text(value, field)


def dimension(value: object, field: str) -> str:
    """A column, or `properties.<path>`. Raises `EventError`."""
    name = str(value)
    if name in COLUMNS:
        return name
    path = name.removeprefix("properties.")
    if len(path) > _MOST_PATH or not PATH.fullmatch(path):
        raise EventError(field, value, "a column (" + ", ".join(sorted(COLUMNS)) + ") or 'properties.<path>'")
    return f"properties.{path}"


def expression(name: str) -> str:
    """The SQL of a dimension as text."""
    return f"toString({name})" if name in COLUMNS or name == "amount" else subcolumn(name.removeprefix("properties."))


def subcolumn(path: str) -> str:
    """The SQL of a property as text. Raises `EventError` for what is no path: it becomes part of the statement."""
    if not PATH.fullmatch(path):
        raise EventError("properties", path, "a path of letters, digits, '_' and '-', with '.' between its parts")
    return "toString(properties." + ".".join(f"`{part}`" for part in path.split(".")) + ")"


def filters(where: Mapping[str, Wanted], prefix: str, values: dict[str, Any]) -> list[str]:
    """A condition for each entry; wanted values go into `values`, under names that begin with `prefix`."""
    conditions: list[str] = []
    for index, (name, wanted) in enumerate(where.items()):
        parameter = f"{prefix}{index}"
        text = expression(name)
        if isinstance(wanted, list):
            wanted = {"in": wanted}  # noqa: PLW2901 - one form from here on
        for number, (sign, value) in enumerate(wanted.items()):
            conditions.append(_condition(text, sign, value, f"{parameter}v{number or ''}", values))
    return conditions


def _condition(text: str, sign: str, value: Any, parameter: str, values: dict[str, Any]) -> str:
    if sign == "exists":
        return f"ifNull({text}, '') {'!=' if value else '='} ''"
    values[parameter] = value
    if sign in _NUMBERS:
        return f"toFloat64OrNull({text}) {sign} {{{parameter}:Float64}}"
    kind = "Array(String)" if sign in _LISTS else "String"
    return {**_TEXTS, **_LISTS}[sign].format(x=text, v=f"{{{parameter}:{kind}}}")
