"""What plugin and collector agree upon beside the events themselves."""

from __future__ import annotations

from typing import Final

__all__ = ["ADMIN_SOCKET", "SYSTEM_TENANT", "TENANT_HEADER", "tenant_key"]

#: Names the tenant where one key belongs to several.
TENANT_HEADER: Final = "X-Dotmac-Tenant"
#: The owner's way in, below the collector's data folder.
ADMIN_SOCKET: Final = "admin.sock"
#: How the system tenant is stored; no tenant id can begin with an underscore.
SYSTEM_TENANT: Final = "_system"


def tenant_key(tenant_id: str | None) -> str:
    """A tenant as the collector stores it."""
    return SYSTEM_TENANT if tenant_id is None else tenant_id
