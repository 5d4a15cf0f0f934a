"""The host's audit trail as events: every record becomes an event of category security or compliance, once."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ._plain import EventError, plain
from .events import MAX_ID, Event, parse_event

if TYPE_CHECKING:
    from dotmac_isp.plugins.core.audit import AuditRecord

__all__ = ["AUDIT", "AuditEvents", "audit_event"]

#: The type of these events.
AUDIT: Final = "audit"
#: Outcomes that somebody should look at.
_REFUSALS: Final = frozenset({"permission", "licence", "refused", "missing", "tampering found", "lost", "not taken"})
_TROUBLE: Final = frozenset({"failed", "error", "deadline", "slow", "unhealthy", "quarantined"})
_ANY_AGE: Final = 36_500.0
_MAX_TEXT: Final = 4000
_ENCODER: Final = msgspec.json.Encoder(order="deterministic")

Send = Callable[[Mapping[str | None, Sequence[Event]]], Awaitable[None]]


class AuditEvents:
    """A sink (`await sink.write(records)`) that tracks what it is given, by tenant. Raises what `send` raises: the records come again then."""

    def __init__(self, send: Send) -> None:
        self._send = send

    async def write(self, records: Sequence[AuditRecord]) -> None:
        by_tenant: dict[str | None, list[Event]] = {}
        for record in records:
            by_tenant.setdefault(record.tenant_id, []).append(audit_event(record))
        if by_tenant:
            await self._send(by_tenant)


def audit_event(record: AuditRecord) -> Event:
    """The event for a record. The same record is the same event: a group that comes again counts once."""
    kind, _, operation = record.action.partition(" ")
    told: dict[str, Any] = {"action": record.action, "outcome": record.outcome, "plugin_id": record.plugin_id}
    told |= {"operation": operation, "detail": record.detail[:_MAX_TEXT], "values": record.values}
    fields: dict[str, Any] = {
        "event_id": "audit-" + hashlib.blake2b(_bytes(record), digest_size=20).hexdigest(),
        "event_name": f"audit_{kind}",
        "event_type": AUDIT,
        "category": "security" if kind in {"secret", "audit"} or record.outcome in _REFUSALS else "compliance",
        "severity": _severity(record.outcome),
        "timestamp": record.at,
        "user_id": _line(record.user_id or ""),
        "correlation_id": _line(record.request_id),
        "source": _line(record.plugin_id),
        "properties": {key: value for key, value in told.items() if value not in ("", {}, None)},
    }
    try:
        return parse_event(fields, max_age_days=_ANY_AGE)
    except EventError:
        shorter = {**told, "values": repr(record.values)[:_MAX_TEXT], "detail": _line(record.detail)}
        return parse_event(
            {**fields, "properties": {key: _line(str(item)) for key, item in shorter.items()}}, max_age_days=_ANY_AGE
        )


def _severity(outcome: str) -> str:
    word = outcome.partition(":")[0]
    if word in _REFUSALS:
        return "warning"
    return "error" if word in _TROUBLE else "info"


def _bytes(record: AuditRecord) -> bytes:
    fields = {name: getattr(record, name) for name in record.__struct_fields__}
    try:
        return _ENCODER.encode(plain(fields, "record"))
    except EventError:
        return repr(sorted(fields.items())).encode("utf-8", "backslashreplace")


def _line(text: str) -> str:
    """What an identifier may look like."""
    return "".join(character if character.isprintable() else "�" for character in text)[:MAX_ID]
