"""Who asks, and which tenants are meant."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from dotmac_isp.plugins.core.model import InstanceRef, tenant_label, validate_tenant_id

__all__ = ["SYSTEM", "Who", "ref_of", "tenant_of"]

#: How the system tenant is written where leaving the tenant out means all of them; no tenant's id.
SYSTEM: Final = tenant_label(None)


async def _silent(_text: str) -> None:
    return None


class Who(msgspec.Struct, frozen=True):
    """The caller of an administrative method: the user the kernel names, and where progress goes."""

    uid: int
    progress: Any = _silent  # Callable[[str], Awaitable[None]]; msgspec needs run-time types

    @property
    def name(self) -> str:
        """How the audit trail calls the user."""
        return f"uid:{self.uid}"


Progress = Callable[[str], Awaitable[None]]


def tenant_of(said: str | None) -> str | None:
    """The tenant that is meant; `-` and nothing are the system tenant. Raises `TenantIdError`."""
    return None if said in {None, SYSTEM} else validate_tenant_id(said)


def ref_of(plugin_id: str, said: str | None) -> InstanceRef:
    """The instance that is meant."""
    return InstanceRef(plugin_id, tenant_of(said))
