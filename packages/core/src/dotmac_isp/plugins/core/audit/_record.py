"""The audit record, its canonical bytes, and on whose behalf things are done."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, Final, Protocol

import msgspec

from ..errors import PluginError

__all__ = ["AuditError", "AuditRecord", "AuditSink", "acting", "actor", "canonical", "decode", "plain"]

_MASK: Final = "********"
#: JSON has numbers of 64 bits here.
_LARGEST: Final = 1 << 63
#: Deeper values are shown as text.
_DEEPEST: Final = 8

_actor: Final[ContextVar[str | None]] = ContextVar("dotmac_audit_actor", default=None)


class AuditError(PluginError):
    """The trail cannot be written, read or trusted."""


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Who did what to which instance, with what outcome. Times are Unix time in seconds; values are redacted."""

    action: str
    outcome: str
    plugin_id: str = ""
    tenant_id: str | None = None
    user_id: str | None = None
    request_id: str = ""
    detail: str = ""
    values: Mapping[str, Any] = msgspec.field(default_factory=dict)
    at: float = msgspec.field(default_factory=time.time)


class AuditSink(Protocol):
    """Where records go besides the chain. It is called on a thread of its own; one that raises is reported and keeps its place."""

    def write(self, record: AuditRecord) -> None: ...


@contextlib.contextmanager
def acting(user_id: str | None) -> Iterator[None]:
    """Say who asks for what is done inside: records that name no user get this one."""
    token = _actor.set(user_id)
    try:
        yield
    finally:
        _actor.reset(token)


def actor() -> str | None:
    """On whose behalf the running code acts, as `acting` said."""
    return _actor.get()


_ENCODER: Final = msgspec.json.Encoder(order="deterministic")
_DECODER: Final = msgspec.json.Decoder(AuditRecord)


def canonical(record: AuditRecord) -> bytes:
    """The bytes that the chain is made of: JSON, keys in one order, always the same for the same record."""
    try:
        return _ENCODER.encode(record)
    except (ValueError, TypeError, OverflowError):  # a sign that is no character, or values that nobody made plain
        fields = {name: plain(getattr(record, name), str) for name in record.__struct_fields__}
        return _ENCODER.encode(AuditRecord(**fields))


def decode(data: bytes) -> AuditRecord:
    """The record that the bytes say. Raises `msgspec.DecodeError`."""
    return _DECODER.decode(data)


def plain(value: Any, redact: Callable[[str], str], depth: int = 0) -> Any:  # noqa: PLR0911 - one for each kind of value
    """The value as JSON can have it, without secrets; a copy, so that nobody changes it afterwards."""
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, int):
        return value if -_LARGEST <= value < _LARGEST else str(value)
    if isinstance(value, str):
        return redact(value).encode("utf-8", "replace").decode()
    if hasattr(value, "reveal") or hasattr(value, "get_secret_value"):
        return _MASK
    if depth < _DEEPEST:
        if isinstance(value, msgspec.Struct):
            value = msgspec.structs.asdict(value)
        if isinstance(value, Mapping):
            return {str(plain(str(key), redact)): plain(item, redact, depth + 1) for key, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [plain(item, redact, depth + 1) for item in value]
    return plain(_told(value), redact)


def _told(value: Any) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - a value that cannot be shown must not undo its record
        return f"a {type(value).__name__}"
