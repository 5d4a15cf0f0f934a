"""On whose behalf the code that runs right now runs: set at the gate, read by logs, the task fence and the blocking watch."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Final

import msgspec

__all__ = ["CallScope", "current_scope"]


class CallScope(msgspec.Struct, frozen=True, gc=False):
    """One call or lifecycle step of one instance."""

    plugin_id: str
    tenant_id: str | None
    operation: str
    request_id: str = ""
    #: To whom the tasks count that are made meanwhile (`hosting.TaskOwner`); `None`: nobody.
    owner: Any = None


#: The scope of the running plugin code; `None` in the host's own code.
current_scope: Final[ContextVar[CallScope | None]] = ContextVar("dotmac_call_scope", default=None)
