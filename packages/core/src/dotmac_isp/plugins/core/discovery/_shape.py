"""Where plain data differs from the shape that it should have: the exact key, the value, and what would be right.

msgspec says that something is wrong and roughly where (the keys of a mapping are `[...]` in its paths); a person needs the exact place.
This walk runs only after a conversion failed.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec

__all__ = ["Fault", "Path", "dotted", "find_fault", "nearest", "shown"]

Path = tuple[str | int, ...]
_SHOWN = 80
_SECRETIVE = ("password", "passwd", "passphrase", "token", "secret", "credential", "apikey", "api_key", "private_key")
#: Keys whose values are names of secrets, which may be shown.
_NAMES_OF_SECRETS = ("secrets", "secrets_required")


class Fault(msgspec.Struct, frozen=True):
    """One thing that is wrong. `unknown` is set when it is a key that nobody knows."""

    path: Path
    problem: str
    remedy: str | None = None
    unknown: bool = False


def dotted(path: Iterable[str | int]) -> str:
    """`("features", "olt", "methods", 0)` as `features.olt.methods[0]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def nearest(key: str, known: Iterable[str]) -> str:
    """The sentence that tells which key was probably meant."""
    import difflib  # noqa: PLC0415 - only for errors

    names = sorted(known)
    close = difflib.get_close_matches(key, names, n=1, cutoff=0.6)
    if close:
        return f"Did you mean {close[0]!r}?"
    return f"Known keys: {', '.join(names)}" if names else "No keys are known here"


def shown(value: object, path: Iterable[str | int] = ()) -> str:
    """A value for an error message: short, and masked when a key on the way to it says that it is confidential."""
    keys = (str(part).lower() for part in path if part not in _NAMES_OF_SECRETS)
    if any(word in key for key in keys for word in _SECRETIVE):
        return "'********'"
    if isinstance(value, Mapping):
        return f"a table with {len(value)} keys"
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def find_fault(value: Any, kind: Any, path: Path = ()) -> Fault | None:
    """The first fault of `value` as a `kind` (a msgspec struct, `dict[str, …]`, a sequence or a plain type)."""
    kind = _fitting(kind, value)
    fault: Fault | None = None
    if isinstance(value, Mapping):
        fault = _fault_in_mapping(value, kind, path)
    elif isinstance(value, (list, tuple)) and get_origin(kind) in {list, tuple}:
        inner = get_args(kind)[0]
        found = (find_fault(item, inner, (*path, index)) for index, item in enumerate(value))
        fault = next((one for one in found if one), None)
    return fault or _fault_of_conversion(value, kind, path)


def _fitting(kind: Any, value: object) -> Any:
    """The member of a union that the value was probably meant for."""
    if get_origin(kind) not in {Union, types.UnionType}:
        return kind
    members = [one for one in get_args(kind) if one not in {type(None), msgspec.UnsetType}]
    if isinstance(value, Mapping):
        members.sort(key=lambda one: not _takes_mapping(one))
    return members[0] if len(members) == 1 or isinstance(value, Mapping) else kind


def _takes_mapping(kind: Any) -> bool:
    return _is_struct(kind) or get_origin(kind) is dict


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _fault_in_mapping(value: Mapping[str, Any], kind: Any, path: Path) -> Fault | None:
    if _is_struct(kind):
        fields = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
        for key in value:
            if key not in fields:
                return Fault((*path, key), "is not known", nearest(key, fields), unknown=True)
        found = (find_fault(item, fields[key], (*path, key)) for key, item in value.items())
    elif get_origin(kind) is dict:
        inner = get_args(kind)[1]
        found = (find_fault(item, inner, (*path, key)) for key, item in value.items())
    else:
        return None
    return next((one for one in found if one), None)


def _fault_of_conversion(value: Any, kind: Any, path: Path) -> Fault | None:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        return Fault(path, *_in_words(error, value, kind, path))
    return None


def _in_words(error: msgspec.ValidationError, value: Any, kind: Any, path: Path) -> tuple[str, str | None]:
    text = str(error).partition(" - at `")[0].replace("Object missing", "is missing").replace("`", "'")
    if text.startswith("is missing"):
        return text, None
    hint = _hint(kind)
    return f"is {shown(value, path)}", hint or text


def _hint(kind: Any) -> str | None:
    """What the author of the shape wrote about the right value (`Meta(description=…)`)."""
    if get_origin(kind) is Annotated:
        for meta in get_args(kind)[1:]:
            if isinstance(meta, msgspec.Meta) and meta.description:
                return meta.description
    if get_origin(kind) in {Union, types.UnionType}:
        return next((hint for one in get_args(kind) if (hint := _hint(one))), None)
    return None
