"""Exceptions on the wire: they arrive with their class, their text, their fields, and the traceback of where they came from.

Classes of `core.errors` and Python's own arrive as what they are. So do those of the plugin's own modules that the receiver has
imported itself, since a caller who imported them may want to catch them. Any other arrives as the nearest classes of
these that it inherits from, under its own name. What the plugin's code defines is never run to make one.
"""

from __future__ import annotations

import asyncio
import builtins
import functools
import traceback
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ... import errors
from .._fence import Running
from .._told import told
from ._codec import CannotCrossError, pack

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["PluginCrash", "WireError", "from_wire", "is_call_mismatch", "to_wire"]

_LONGEST_TEXT: Final = 64 * 1024
_DEEPEST_GROUP: Final = 4


class PluginCrash(BaseException):
    """What stands in for a `SystemExit` and its like that plugin code raised in its own process."""


class WireError(msgspec.Struct, array_like=True):
    """An exception as it crosses."""

    #: `module:qualname` of its class and of those that it inherits from, the nearest first.
    classes: list[str]
    text: str
    arguments: list[Any]
    fields: dict[str, Any]
    trace: str
    #: The call itself was wrong: no code of the plugin had a part in it.
    mismatch: bool = False
    parts: list[WireError] = []


def to_wire(error: BaseException, *, depth: int = 0) -> WireError:
    """The exception, ready to cross. Fields that cannot cross are left behind."""
    group = isinstance(error, BaseExceptionGroup) and depth < _DEEPEST_GROUP
    trace = "".join(traceback.format_exception(error)) if not depth else ""
    return WireError(
        classes=[f"{kind.__module__}:{kind.__qualname__}" for kind in type(error).__mro__[:-1]],
        text=told(error)[:_LONGEST_TEXT],
        arguments=[] if group else _crossing(_arguments(error), []),
        fields=dict(_fields(error)),
        trace=trace[-_LONGEST_TEXT:],
        mismatch=is_call_mismatch(error),
        parts=[to_wire(part, depth=depth + 1) for part in error.exceptions] if group else [],  # type: ignore[attr-defined]
    )


def _arguments(error: BaseException) -> list[Any]:
    if isinstance(error, OSError) and error.filename is not None:
        # `args` of one that names a file leaves the file out.
        return [error.errno, error.strerror, error.filename, None, error.filename2]
    return list(error.args)


def _fields(error: BaseException) -> list[tuple[str, Any]]:
    found = []
    for name, value in vars(error).items():
        if name != "__notes__":
            packed = _crossing(value, msgspec.UNSET)
            if packed is not msgspec.UNSET:
                found.append((name, packed))
    return found


def _crossing(value: Any, otherwise: Any) -> Any:
    try:
        return pack(value)
    except CannotCrossError:
        return otherwise


def is_call_mismatch(error: BaseException) -> bool:
    """Whether a `TypeError` came from the call itself: no frame of the called code is in its traceback."""
    if not isinstance(error, TypeError):
        return False
    if getattr(error, "dotmac_mismatch", False):
        return True
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals.get("__name__") == Running.__module__


def from_wire(wire: WireError, find: Callable[[str, str], type[BaseException] | None] | None = None) -> BaseException:
    """The exception, made without running any code of its class; `find` knows the plugin's own classes."""
    error = _made(wire, find)
    if wire.trace:
        error.add_note(f"In the plugin's own process:\n{wire.trace.rstrip()}")
    if wire.mismatch and isinstance(error, TypeError):
        error.dotmac_mismatch = True  # type: ignore[attr-defined]
    return error


def _made(wire: WireError, find: Callable[[str, str], type[BaseException] | None] | None) -> BaseException:
    known = [_known(name, find) for name in wire.classes]
    exact = known[0] if known else None
    if wire.parts and exact in {ExceptionGroup, BaseExceptionGroup}:
        parts = [from_wire(part, find) for part in wire.parts]
        return BaseExceptionGroup(wire.text.rpartition(" (")[0] or wire.text, parts)
    if exact is not None:
        error = _instance(exact, wire)
        if told(error) == wire.text:
            return error
    bases = _nearest([kind for kind in known if kind is not None])
    module, _, name = wire.classes[0].partition(":") if wire.classes else ("", "", "Exception")
    return _instance(_stand_in(module, name.rpartition(".")[2], bases), wire, told=True)


def _instance(kind: type[BaseException], wire: WireError, *, told: bool = False) -> BaseException:
    native = next(base for base in kind.__mro__ if base.__module__ == "builtins")
    arguments = tuple(wire.arguments)
    try:
        error: BaseException = native.__new__(kind, *arguments)
    except TypeError:
        error = native.__new__(kind)  # type: ignore[call-overload]
    if not isinstance(error, OSError) or not arguments:
        error.args = arguments or ((wire.text,) if wire.text else ())
    if told:
        error.dotmac_text = wire.text  # type: ignore[attr-defined]
    for name, value in wire.fields.items():
        if not name.startswith("__"):
            vars(error)[name] = value
    return error


def _known(name: str, find: Callable[[str, str], type[BaseException] | None] | None) -> type[BaseException] | None:
    module, _, qualname = name.partition(":")
    if module == "builtins":
        kind = getattr(builtins, qualname, None)
        if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, UnicodeError | SyntaxError):
            return kind
        return ExceptionGroup if qualname in {"ExceptionGroup", "BaseExceptionGroup"} else None
    if module == errors.__name__:
        kind = getattr(errors, qualname, None)
        return kind if isinstance(kind, type) and issubclass(kind, Exception) else None
    if name == f"{asyncio.CancelledError.__module__}:CancelledError":
        return asyncio.CancelledError
    found = None if find is None else find(module, qualname)
    return found if found is not None and issubclass(found, Exception) else None


def _nearest(known: Sequence[type[BaseException]]) -> tuple[type[BaseException], ...]:
    """Those of the classes that no other one of them inherits from."""
    found: list[type[BaseException]] = []
    for kind in known:
        if not any(issubclass(other, kind) for other in found):
            found.append(kind)
    return tuple(found) or (PluginCrash,)


def _text_of(error: Any) -> str:
    return str(vars(error).get("dotmac_text", ""))


@functools.lru_cache(maxsize=256)
def _stand_in(module: str, name: str, bases: tuple[type[BaseException], ...]) -> type[BaseException]:
    """A class of that name which inherits from what is known; the last ones of the cache are forgotten, who sends may be hostile."""
    body = {"__module__": module, "__str__": _text_of}
    try:
        return type(name, bases, body)
    except TypeError:  # Python's own classes cannot always be combined
        return type(name, bases[:1], body)
