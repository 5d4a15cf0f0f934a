"""Values on the wire: MessagePack, in which everything arrives as the type that it was.

What MessagePack has (`None`, bool, int, float, str, bytes, list, dict) goes as it is, at the speed of msgspec. Anything else is an
extension: a number that says the type, and a packed content. Only the types below cross, whoever sends: no class is ever
looked up by a name out of a message. Anything else is refused with its type's name, by the side that would send it.
"""

from __future__ import annotations

import datetime as dt
import enum
import time
import uuid
import zoneinfo
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path, PurePath
from typing import Any, Final, TypeVar

import msgspec

from ... import model
from ...model import HookResults, PluginContext, Secret
from ...storage import StoredChange, StoredDocument

__all__ = ["CannotCrossError", "decode", "encode", "encode_packed", "from_plain", "pack", "to_plain"]


T = TypeVar("T")


class CannotCrossError(TypeError):
    """A value of a type that does not cross the boundary of a jailed instance."""


#: What needs no look inside.
_PLAIN: Final = frozenset({type(None), bool, int, float, str, bytes})
_LONGEST_INT: Final = 64
_KEPT: Final = (bytes, bytearray, Decimal, dt.datetime, dt.date, dt.time, dt.timedelta, uuid.UUID)

_STRUCTS: Final[tuple[type[msgspec.Struct], ...]] = (
    model.DeviceEvent,
    model.Failure,
    model.HealthReport,
    model.InstanceRef,
    model.MetricSample,
    model.PluginInfo,
    model.SettingChange,
    StoredDocument,
    StoredChange,
)
_ENUMS: Final[tuple[type[enum.Enum], ...]] = (
    model.FailureKind,
    model.HealthStatus,
    model.PluginState,
    model.SecurityLevel,
)
_STRUCT_NUMBERS: Final = {kind: number for number, kind in enumerate(_STRUCTS)}
_ENUM_NUMBERS: Final = {kind: number for number, kind in enumerate(_ENUMS)}

_TUPLE, _SET, _FROZENSET, _MAP, _INT, _DECIMAL, _DATETIME, _DATE, _TIME, _DELTA = range(1, 11)
_UUID, _PATH, _BYTEARRAY, _STRUCT, _ENUM, _CONTEXT, _SECRET, _RESULTS = range(11, 19)


def encode(value: Any) -> bytes:
    """The value as bytes. Raises `CannotCrossError` with the name of a type that does not cross."""
    return encode_packed(pack(value))


def encode_packed(packed: Any) -> bytes:
    """What `pack` gave, or a list that it is in, as bytes. Raises as `encode`."""
    try:
        return _ENCODER.encode(packed)
    except OverflowError:
        return _ENCODER.encode(_with_long_integers(packed))
    except UnicodeEncodeError:
        raise CannotCrossError("a text with lone surrogates cannot cross the boundary of a jailed instance") from None


def decode(data: bytes | memoryview) -> Any:
    """What `encode` was given. Raises `ValueError` for anything else."""
    try:
        return _DECODER.decode(data)
    except (msgspec.MsgspecError, LookupError, TypeError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"{len(data)} bytes are no values: {type(error).__name__}: {error}") from error


def to_plain(struct: msgspec.Struct) -> Any:
    """A struct of ours in values that cross; `from_plain` makes it again."""
    return msgspec.to_builtins(struct, builtin_types=_KEPT, enc_hook=str)


def from_plain(plain: Any, kind: type[T]) -> T:
    """The struct again. Raises `msgspec.ValidationError`."""
    return msgspec.convert(plain, kind, dec_hook=lambda wanted, value: wanted(value))


def pack(value: Any) -> Any:
    """The value in what msgspec encodes as it is meant; unchanged where nothing needs a change."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    packer = _PACKERS.get(kind)
    return packer(value) if packer is not None else _unusual(value, kind)


def _pack_list(value: list[Any]) -> list[Any]:
    return value if _PLAIN.issuperset(map(type, value)) else [pack(item) for item in value]


def _pack_dict(value: dict[Any, Any]) -> Any:
    # Texts as keys, nearly always; msgspec takes other plain ones, but a bool or a float would come back as an int.
    if not _TEXT.issuperset(map(type, value)):
        return _extension(_MAP, [[pack(key), pack(item)] for key, item in value.items()])
    if _PLAIN.issuperset(map(type, value.values())):
        return value
    return {key: pack(item) for key, item in value.items()}


def _extension(number: int, content: Any) -> msgspec.msgpack.Ext:
    try:
        return msgspec.msgpack.Ext(number, _ENCODER.encode(content))
    except OverflowError:
        return msgspec.msgpack.Ext(number, _ENCODER.encode(_with_long_integers(content)))


def _items(number: int) -> Callable[[Any], msgspec.msgpack.Ext]:
    return lambda value: _extension(number, [pack(item) for item in value])


def _text(number: int, form: Callable[[Any], str]) -> Callable[[Any], msgspec.msgpack.Ext]:
    return lambda value: _extension(number, form(value))


def _pack_time(value: dt.datetime | dt.time) -> list[Any]:
    zone = value.tzinfo.key if isinstance(value.tzinfo, zoneinfo.ZoneInfo) else None
    return [value.isoformat() if zone is None else value.replace(tzinfo=None).isoformat(), zone, value.fold]


def _pack_struct(value: Any) -> msgspec.msgpack.Ext:
    fields = [pack(getattr(value, name)) for name in value.__struct_fields__]
    return _extension(_STRUCT, [_STRUCT_NUMBERS[type(value)], fields])


def _pack_context(value: PluginContext) -> msgspec.msgpack.Ext:
    roles, attributes = [pack(role) for role in value.roles], pack(dict(value.attributes))
    # The other side has a clock of its own: what crosses is the time that is left.
    content = [value.tenant_id, value.user_id, roles, value.request_id, value.remaining, attributes]
    return _extension(_CONTEXT, content)


def _pack_results(value: HookResults[Any]) -> msgspec.msgpack.Ext:
    answers = [[plugin_id, pack(answer)] for plugin_id, answer in value._answers]  # noqa: SLF001 - `by_plugin` keeps one of each
    return _extension(_RESULTS, [answers, [pack(failure) for failure in value.failures]])


def _unusual(value: Any, kind: type) -> Any:
    """Kinds that are told by their base: paths, subclasses of plain types, mappings."""
    if isinstance(value, enum.Enum):
        return _refuse(kind)
    for base, packer in _BASES:
        if isinstance(value, base):
            return packer(value)
    if isinstance(value, Mapping) and kind.__module__ in {"builtins", "types"}:
        return _pack_dict(dict(value))
    return _refuse(kind)


def _refuse(kind: type) -> Any:
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    raise CannotCrossError(
        f"a value of type {name} cannot cross the boundary of a jailed instance. Plain values, dates, decimals, sets, "
        "paths and the types of dotmac_isp.plugins.core.model can"
    )


def _with_long_integers(value: Any) -> Any:
    """MessagePack's integers have 64 bits; longer ones go as text."""
    if type(value) is int and value.bit_length() >= _LONGEST_INT:
        return _extension(_INT, hex(value))
    if type(value) is list:
        return [_with_long_integers(item) for item in value]
    if type(value) is dict:
        return {key: _with_long_integers(item) for key, item in value.items()}
    return value


_TEXT: Final = frozenset({str})
_PACKERS: Final[dict[type, Callable[[Any], Any]]] = {
    list: _pack_list,
    dict: _pack_dict,
    tuple: _items(_TUPLE),
    set: _items(_SET),
    frozenset: _items(_FROZENSET),
    Decimal: _text(_DECIMAL, str),
    dt.datetime: lambda value: _extension(_DATETIME, _pack_time(value)),
    dt.date: _text(_DATE, dt.date.isoformat),
    dt.time: lambda value: _extension(_TIME, _pack_time(value)),
    dt.timedelta: lambda value: _extension(_DELTA, [value.days, value.seconds, value.microseconds]),
    uuid.UUID: _text(_UUID, str),
    bytearray: lambda value: _extension(_BYTEARRAY, bytes(value)),
    PluginContext: _pack_context,
    Secret: lambda value: _extension(_SECRET, [value.name, value.reveal()]),
    HookResults: _pack_results,
    **dict.fromkeys(_STRUCTS, _pack_struct),
    **{kind: (lambda value: _extension(_ENUM, [_ENUM_NUMBERS[type(value)], value.name])) for kind in _ENUMS},
}

#: How values of subclasses go: as their base.
_BASES: Final[tuple[tuple[type, Callable[[Any], Any]], ...]] = (
    (PurePath, lambda value: _extension(_PATH, str(value))),
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
    (bytes, lambda value: bytes(memoryview(value))),
    (dict, lambda value: _pack_dict(dict(value))),
    (list, lambda value: _pack_list(list(value))),
    (tuple, _PACKERS[tuple]),
)


# the way back


def _unpack_time(kind: Any) -> Callable[[Any], Any]:
    def unpack(content: Any) -> Any:
        text, zone, fold = content
        value = kind.fromisoformat(text).replace(fold=fold)
        return value if zone is None else value.replace(tzinfo=zoneinfo.ZoneInfo(zone))

    return unpack


def _unpack_struct(content: Any) -> Any:
    number, fields = content
    kind = _STRUCTS[number]
    # Converted, not just called: who sends may be hostile, and others read the fields as what they are declared to be.
    return msgspec.convert(dict(zip(kind.__struct_fields__, fields, strict=True)), kind)


def _unpack_context(content: Any) -> PluginContext:
    tenant_id, user_id, roles, request_id, remaining, attributes = content
    given = {
        "tenant_id": tenant_id,
        "user_id": user_id,
        "roles": tuple(roles),
        "request_id": request_id,
        "deadline": None if remaining is None else time.monotonic() + remaining,
        "attributes": attributes,
    }
    return msgspec.convert(given, PluginContext)


def _unpack_results(content: Any) -> HookResults[Any]:
    answers, failures = content
    return HookResults([(plugin_id, answer) for plugin_id, answer in answers], failures)


def _hook(number: int, data: memoryview) -> Any:
    return _UNPACKERS[number](_DECODER.decode(data))


_UNPACKERS: Final[dict[int, Callable[[Any], Any]]] = {
    _TUPLE: tuple,
    _SET: set,
    _FROZENSET: frozenset,
    _MAP: dict,
    _INT: lambda text: int(text, 16),
    _DECIMAL: Decimal,
    _DATETIME: _unpack_time(dt.datetime),
    _DATE: dt.date.fromisoformat,
    _TIME: _unpack_time(dt.time),
    _DELTA: lambda parts: dt.timedelta(*parts),
    _UUID: uuid.UUID,
    _PATH: Path,
    _BYTEARRAY: bytearray,
    _STRUCT: _unpack_struct,
    _ENUM: lambda parts: _ENUMS[parts[0]][parts[1]],
    _CONTEXT: _unpack_context,
    _SECRET: lambda parts: Secret(*parts),
    _RESULTS: _unpack_results,
}
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(ext_hook=_hook)
