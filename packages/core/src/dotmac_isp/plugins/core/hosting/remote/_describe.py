"""What a plugin's class has, as data: so that the supervisor can make an object with the same methods without importing it."""

from __future__ import annotations

import inspect
import keyword
from typing import Any, Final

import msgspec

from ...errors import DiscoveryError
from ...hookspecs import PROJECT

__all__ = ["MethodShape", "Parameter", "describe", "is_name"]

_MARK: Final = f"{PROJECT}_impl"
_WRAPPERS: Final = ("wrapper", "hookwrapper")


class Parameter(msgspec.Struct, frozen=True, array_like=True):
    """One parameter of a method; `kind` as `inspect.Parameter` counts."""

    name: str
    kind: int
    has_default: bool


class MethodShape(msgspec.Struct, frozen=True, array_like=True):
    """One method that can be called over the boundary."""

    name: str
    parameters: tuple[Parameter, ...]
    #: It gives an asynchronous iterator.
    stream: bool = False
    #: A hook implementation's marks (`tryfirst`, `trylast`, `optionalhook`, `specname`), where it has a marker.
    marks: dict[str, bool | str | None] | None = None


def describe(plugin: Any, plugin_id: str) -> list[MethodShape]:
    """The plugin's methods that have no private names. Raises `DiscoveryError` for what cannot be called over a boundary."""
    kind = type(plugin)
    shapes = []
    for name in sorted(set(dir(kind))):
        if not is_name(name):
            continue
        static = inspect.getattr_static(kind, name)
        function = getattr(static, "__func__", static)
        if inspect.isroutine(function):
            shapes.append(_shape(plugin, name, function, plugin_id))
    return shapes


def is_name(name: str) -> bool:
    """Whether it may be a public method's name."""
    return name.isascii() and name.isidentifier() and not name.startswith("_") and not keyword.iskeyword(name)


def _shape(plugin: Any, name: str, function: Any, plugin_id: str) -> MethodShape:
    marks = getattr(function, _MARK, None)
    if marks and any(marks.get(mark) for mark in _WRAPPERS):
        raise DiscoveryError(
            f"{plugin_id}: the hook wrapper {type(plugin).__qualname__}.{name} cannot run in a process of its own",
            plugin_id=plugin_id,
            remedy='Wrappers run around what others answer: let the plugin run inline ([hosting] mode = "inline")',
        )
    parameters = tuple(
        Parameter(one.name, int(one.kind), one.default is not one.empty)
        for one in inspect.signature(getattr(plugin, name)).parameters.values()
    )
    plain = (
        None if marks is None else {key: marks.get(key) for key in ("tryfirst", "trylast", "optionalhook", "specname")}
    )
    return MethodShape(name, parameters, inspect.isasyncgenfunction(inspect.unwrap(function)), plain)
