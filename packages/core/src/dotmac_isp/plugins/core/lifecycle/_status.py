"""What status shows of an instance."""

from __future__ import annotations

from typing import Any

import msgspec

from ..model import HealthReport, PluginState, SecurityLevel
from ._parts import HealthParts
from ._states import StateRecord

__all__ = ["InstanceStatus"]


class InstanceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """An instance at one moment. Times are Unix times in seconds."""

    plugin_id: str
    tenant_id: str | None
    version: str
    state: PluginState
    reason: str
    since: float
    health: HealthReport
    #: The same of process, plugin and vendor, each for itself.
    parts: HealthParts
    breaker: str
    attempts: int
    retry_at: float | None
    policy: str
    #: How its licence stands; `None`: it needs none.
    licence: str | None
    security_level: SecurityLevel
    #: Features that are off for want of optional secrets, with the names of these.
    switched_off: dict[str, tuple[str, ...]]
    #: What an operator should know beside the state: a reload that was not taken, a version that waits for a restart of the host.
    notes: tuple[str, ...] = ()
    tasks: int
    #: Where it runs (`mode`), and what keeps it apart: each guarantee, how far it holds, by what, and what is missing.
    isolation: dict[str, Any]
    history: tuple[StateRecord, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain
