"""What plugin and collector agree upon beside the events themselves."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ADMIN_SOCKET", "HOST_OWNER", "SYSTEM_TENANT", "TENANT_HEADER", "short_path", "tenant_key"]

#: Names the tenant where one key belongs to several.
TENANT_HEADER: Final = "X-Dotmac-Tenant"
#: The owner's way in, below the collector's data folder.
ADMIN_SOCKET: Final = "admin.sock"
#: Whose key it is that a host lets in at the collector that it has started.
HOST_OWNER: Final = "host"
#: How the system tenant is stored; no tenant id can begin with an underscore.
SYSTEM_TENANT: Final = "_system"
#: What a Unix socket's address holds at the least, on all systems.
_ADDRESS_BYTES: Final = 100


def tenant_key(tenant_id: str | None) -> str:
    """A tenant as the collector stores it."""
    return SYSTEM_TENANT if tenant_id is None else tenant_id


@contextlib.contextmanager
def short_path(path: Path) -> Iterator[str]:
    """A name for a socket's path that fits into a socket address, as long as the context lasts."""
    if len(os.fsencode(path)) < _ADDRESS_BYTES or not Path("/proc/self/fd").is_dir():
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
