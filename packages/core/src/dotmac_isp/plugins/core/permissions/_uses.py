"""Who used which permission: ordinary successful calls leave no record of their own, but their sums do."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..model import tenant_label

if TYPE_CHECKING:
    from ..model import InstanceRef, PluginContext

__all__ = ["PERMISSION_USED", "PermissionUses"]

#: Action and outcome of the records.
PERMISSION_USED: Final = ("permission", "used")
#: So many different uses are counted at most before they are told.
_MOST: Final = 10_000

_Key = tuple[str, str | None, str, str | None, tuple[str, ...]]


class _Record(Protocol):
    def __call__(self, action: str, outcome: str, **fields: Any) -> None: ...


class PermissionUses:
    """Counts, by plugin, tenant, permission, user and roles. `tell` writes a record for each of them to the audit trail."""

    __slots__ = ("_counts", "_record", "_since")

    def __init__(self, record: _Record) -> None:
        self._record: Final = record
        self._counts: dict[_Key, int] = {}
        self._since = time.time()

    def count(self, instance: InstanceRef, permission: str, context: PluginContext) -> None:
        """A caller was let through with this permission."""
        key = (instance.plugin_id, instance.tenant_id, permission, context.user_id, tuple(context.roles))
        counts = self._counts
        if key in counts:
            counts[key] += 1
            return
        if len(counts) >= _MOST:
            self.tell()
        self._counts[key] = 1

    def tell(self) -> None:
        """Record the sums since the last time, and begin anew."""
        counts, self._counts = self._counts, {}
        since, self._since = self._since, time.time()
        for (plugin_id, tenant_id, permission, user_id, roles), calls in counts.items():
            who = f" by roles {', '.join(roles)}" if roles else ""
            self._record(
                *PERMISSION_USED,
                detail=f"{permission} in {calls} {'call' if calls == 1 else 'calls'} of tenant {tenant_label(tenant_id)}{who}",
                values={"permission": permission, "roles": list(roles), "calls": calls, "since": since},
                plugin_id=plugin_id,
                tenant_id=tenant_id,
                # An empty name: nobody, also where the host itself happens to tell on somebody's behalf.
                user_id=user_id or "",
            )
