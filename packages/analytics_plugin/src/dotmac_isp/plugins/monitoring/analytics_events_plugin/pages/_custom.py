"""Charts that a tenant writes itself, as Vega-Lite: data come from the panel's question only, nothing is fetched, no picture is loaded."""

from __future__ import annotations

from typing import Any, Final

from .._plain import EventError, plain

__all__ = ["check_spec", "with_data"]

#: Whatever fetches, links or loads.
_FORBIDDEN: Final = frozenset({"url", "href", "usermeta", "loader", "src", "$schema", "datasets", "actions"})
_MOST: Final = 64 * 1024


def check_spec(value: object, field: str) -> dict[str, Any]:
    """Raises `EventError` unless it is a Vega-Lite specification without data of its own and without addresses."""
    if not isinstance(value, dict):
        raise EventError(field, value, "a Vega-Lite specification")
    spec: dict[str, Any] = plain({key: item for key, item in value.items() if key != "$schema"}, field)
    if len(repr(spec)) > _MOST:
        raise EventError(field, f"{len(repr(spec))} characters", f"at most {_MOST}")
    _look(spec, field)
    spec.pop("data", None)
    return spec


def _look(value: Any, place: str) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            if key in _FORBIDDEN:
                raise EventError(f"{place}.{key}", item, "a specification without addresses and data of its own")
            if key == "data" and not (isinstance(item, dict) and item.keys() <= {"name"}):
                raise EventError(f"{place}.data", item, "no data: the panel's question gives them")
            if key in {"mark", "type"} and item == "image":
                raise EventError(f"{place}.{key}", item, "a mark that is no picture")
            _look(item, f"{place}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _look(item, f"{place}[{index}]")


def with_data(spec: dict[str, Any], rows: list[dict[str, Any]], height: int) -> dict[str, Any]:
    """The specification with a panel's rows in it."""
    sized = {} if {"hconcat", "vconcat", "concat", "repeat", "facet"} & spec.keys() else {"width": "container"}
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "height": height,
        **sized,
        **spec,
        "data": {"values": rows},
    }
