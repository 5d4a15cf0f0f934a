"""The object that stands for a jailed plugin in the supervisor: a class with the same methods, made from their description.

pluggy reads a method's arguments from its code, so each is a function of its own; a `__getattr__` would register nothing.
The description comes from a process that may be hostile: a name goes into code only after it was seen to be one.
"""

from __future__ import annotations

import functools
import inspect
import keyword
from typing import TYPE_CHECKING, Any, Final

from ..._scope import current_scope
from ...base import BasePlugin
from ...errors import DiscoveryError
from ...hookspecs import PROJECT
from ._describe import MethodShape, Parameter, is_name

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from ...api import PluginAPI
    from ._peer import Peer, RemoteStream

__all__ = ["RemotePlugin", "plugin_class"]

_MOST_METHODS: Final = 500
_MOST_PARAMETERS: Final = 50
#: Stands for an argument that the caller left out.
_LEFT_OUT: Final = object()
_TAKEN: Final = frozenset({"self", "_LEFT_OUT", "_given"})
_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class RemotePlugin(BasePlugin):
    """A plugin whose object is in another process. Its methods are made by `plugin_class`."""

    def __init__(self, api: PluginAPI, peer: Peer) -> None:
        super().__init__(api)
        self._peer: Final = peer

    def _ask(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Awaitable[Any]:
        scope = current_scope.get()
        return self._peer.call(name, args, kwargs, "" if scope is None else scope.request_id)

    def _open(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> RemoteStream:
        scope = current_scope.get()
        return self._peer.stream(name, args, kwargs, "" if scope is None else scope.request_id)


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not _LEFT_OUT}


def plugin_class(plugin_id: str, class_name: str, shapes: tuple[MethodShape, ...]) -> type[RemotePlugin]:
    """A class with these methods. Raises `DiscoveryError` for a description that cannot be one of a class."""
    if len(shapes) > _MOST_METHODS or not is_name(class_name):
        raise DiscoveryError(f"{plugin_id}: its process describes a class that cannot be", plugin_id=plugin_id)
    made: dict[str, Any] = {"__module__": __name__, "__slots__": ()}
    for shape in shapes:
        try:
            made[shape.name] = _method(shape)
        except ValueError as error:
            raise DiscoveryError(
                f"{plugin_id}: its process describes a method that cannot be: {error}", plugin_id=plugin_id
            ) from None
    return type(class_name, (RemotePlugin,), made)


@functools.lru_cache(maxsize=4096)
def _compiled(shape: tuple[str, tuple[Parameter, ...], bool]) -> Any:
    name, parameters, stream = shape
    how = "_open" if stream else "_ask"
    body = f"def {name}({_signature(parameters)}):\n    return self.{how}('plugin.{name}', {_arguments(parameters)})\n"
    return compile(body, f"<{name} of a jailed plugin>", "exec")


def _method(shape: MethodShape) -> Any:
    _check(shape)
    place: dict[str, Any] = {"_LEFT_OUT": _LEFT_OUT, "_given": _given}
    exec(_compiled((shape.name, shape.parameters, shape.stream)), place)  # noqa: S102 - made of checked names only
    function = place[shape.name]
    if shape.stream:
        function.dotmac_stream = True
    if shape.marks is not None:
        marks = {"wrapper": False, "hookwrapper": False, "optionalhook": False, "tryfirst": False, "trylast": False}
        setattr(function, f"{PROJECT}_impl", {**marks, "specname": None, **shape.marks})
    return function


def _check(shape: MethodShape) -> None:
    names = [one.name for one in shape.parameters]
    if not is_name(shape.name) or shape.name in {"api", "plugin_info"}:
        raise ValueError(f"{shape.name!r:.60} is no name of a method")
    if len(names) > _MOST_PARAMETERS or len(set(names)) != len(names):
        raise ValueError(f"{shape.name} takes {len(names)} parameters")
    wrong = [name for name in names if name in _TAKEN or not _is_parameter(name)]
    if wrong or any(one.kind not in range(5) for one in shape.parameters):
        raise ValueError(f"{shape.name} takes {wrong!r:.60}")


def _is_parameter(name: str) -> bool:
    return name.isascii() and name.isidentifier() and not keyword.iskeyword(name)


def _signature(parameters: tuple[Parameter, ...]) -> str:
    parts = ["self"]
    only = [one for one in parameters if one.kind == inspect.Parameter.POSITIONAL_ONLY]
    starred = False
    for one in parameters:
        if one.kind == inspect.Parameter.VAR_POSITIONAL:
            parts.append(f"*{one.name}")
            starred = True
        elif one.kind == inspect.Parameter.VAR_KEYWORD:
            parts.append(f"**{one.name}")
        else:
            if one.kind == inspect.Parameter.KEYWORD_ONLY and not starred:
                parts.append("*")
                starred = True
            parts.append(f"{one.name}=_LEFT_OUT" if one.has_default else one.name)
        if only and one is only[-1]:
            parts.append("/")
    return ", ".join(parts)


def _arguments(parameters: tuple[Parameter, ...]) -> str:
    """Two expressions: the positional arguments, and those by name."""
    spread = [one.name for one in parameters if one.kind == inspect.Parameter.VAR_POSITIONAL]
    by_place = [
        one
        for one in parameters
        if one.kind == inspect.Parameter.POSITIONAL_ONLY or (spread and one.kind in _POSITIONAL)
    ]
    places = "".join(f"*(() if {one.name} is _LEFT_OUT else ({one.name},)), " for one in by_place)
    places += "".join(f"*{name}, " for name in spread)
    by_name = [one for one in parameters if one not in by_place and one.kind not in {2, 4}]
    named = "{" + ", ".join(f"'{one.name}': {one.name}" for one in by_name) + "}"
    if any(one.has_default for one in by_name):
        named = f"_given({named})"
    keywords = "".join(f", **{one.name}" for one in parameters if one.kind == inspect.Parameter.VAR_KEYWORD)
    return f"({places}), " + (f"{{**{named}{keywords}}}" if keywords else named)
