"""Which instance a process is: told to it when it is forked, said by it when it is ready, compared on both sides."""

from __future__ import annotations

import hmac
import secrets
from typing import Any

import msgspec

from ...errors import LifecycleError
from ...model import tenant_label

__all__ = ["Identity", "check_same"]


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """One life of one instance."""

    plugin_id: str
    version: str
    tenant_id: str | None
    #: Counts the processes of this host, so that no two lives are the same.
    generation: int
    #: Known to this process and to its supervisor only.
    token: str = msgspec.field(default_factory=lambda: secrets.token_hex(16))

    def __str__(self) -> str:
        return f"{self.plugin_id} {self.version}@{tenant_label(self.tenant_id)}, process {self.generation}"


def check_same(mine: Identity, said: Any) -> None:
    """Raise `LifecycleError` unless the other side means the same life of the same instance."""
    try:
        theirs = msgspec.convert(said, Identity)
    except msgspec.ValidationError as error:
        raise LifecycleError(f"the other side of {mine} says nothing that names an instance: {error}") from None
    if theirs != mine or not hmac.compare_digest(theirs.token.encode(), mine.token.encode()):
        raise LifecycleError(f"a mix-up of processes: {mine} was expected, and {theirs} answered")
