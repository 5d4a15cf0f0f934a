"""The audit trail: one record for each thing that somebody may have to answer for.

Lifecycle changes, refusals, failures, configuration changes and administrative calls are recorded; an ordinary successful call
is counted, not audited. Records go to every sink; the log (`dotmac.audit`) always is one.
"""

from __future__ import annotations

import collections
import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from .model import tenant_label

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AuditRecord", "AuditSink", "AuditTrail"]

_LOG: Final = logging.getLogger("dotmac.audit")


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
    """Where records go. Must be quick; one that raises is reported and keeps its place."""

    def write(self, record: AuditRecord) -> None: ...


class AuditTrail:
    """Takes records, keeps the latest in memory and hands each to every sink."""

    def __init__(self, *, redact: Callable[[str], str], keep: int = 1000) -> None:
        self._redact: Final = redact
        self._sinks: list[AuditSink] = []
        self._latest: collections.deque[AuditRecord] = collections.deque(maxlen=keep)

    def add_sink(self, sink: AuditSink) -> None:
        """Hand every further record to `sink`, too."""
        self._sinks.append(sink)

    def record(self, action: str, outcome: str, *, detail: str = "", **fields: Any) -> None:
        """Write one record; `detail` is redacted here, so callers need not."""
        record = AuditRecord(action=action, outcome=outcome, detail=self._redact(detail), **fields)
        self._latest.append(record)
        _LOG.info("%s %s %s@%s %s", action, outcome, record.plugin_id, tenant_label(record.tenant_id), record.detail)
        for sink in self._sinks:
            try:
                sink.write(record)
            except Exception:  # noqa: BLE001 - sinks are plugins; one that fails must not stop the others
                _LOG.exception("an audit sink (%s) failed for %s", type(sink).__name__, action)

    def latest(self, *, tenant_id: str | None = None, everything: bool = False) -> list[AuditRecord]:
        """The latest records of one tenant, or of all, oldest first."""
        return [record for record in self._latest if everything or record.tenant_id == tenant_id]
