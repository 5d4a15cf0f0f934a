"""How the trail is kept: what the operator may choose."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Self

import msgspec

__all__ = ["AuditOptions"]

_YES: Final = frozenset({"1", "true", "yes", "on"})


class AuditOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How the trail is kept.

    `durable`: a call whose outcome is audited, and every administrative call, returns only when its records are on the disk.
    `group`: seconds that a record waits for others to share a transaction with; a kill of the process loses no more than that.
    `keep`: records in memory for `latest`. `file`: a file of JSON lines that gets every record. `syslog`: a socket's path
    (`/dev/log`) or `host:port` (UDP) that gets them.
    """

    durable: bool = False
    group: float = 0.02
    keep: int = 1000
    file: Path | None = None
    syslog: str | None = None

    @classmethod
    def from_environment(cls) -> Self:
        """`DOTMAC_AUDIT_DURABLE`, `DOTMAC_AUDIT_FILE`, `DOTMAC_AUDIT_SYSLOG`."""
        file = os.environ.get("DOTMAC_AUDIT_FILE")
        return cls(
            durable=os.environ.get("DOTMAC_AUDIT_DURABLE", "").strip().lower() in _YES,
            file=Path(file) if file else None,
            syslog=os.environ.get("DOTMAC_AUDIT_SYSLOG") or None,
        )
