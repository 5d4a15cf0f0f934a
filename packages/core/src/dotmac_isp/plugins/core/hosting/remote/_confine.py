"""Where the jail comes in: what the zygote prepares once, what each process does before any code of its plugin runs.

Where the machine has nothing to confine a process with, a process of its own is what is left, and the report says so.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from ._child import Confinement
from ._codec import from_plain, to_plain

if TYPE_CHECKING:
    import socket

__all__ = ["Preparation", "can_jail", "prepare"]


def can_jail() -> bool:
    """Whether this system has what the jail is made of."""
    return sys.platform == "linux"


class Preparation:
    """What was prepared for all processes of this host: nothing."""

    readiness: Any = None

    def fork(self) -> int:
        """A new process: 0 in it, its number in this one."""
        return os.fork()

    def lock_down(self, plan: Any, egress: socket.socket) -> Confinement:  # noqa: ARG002 - there is nothing to do it with
        """Give up, for good, what the plan does not leave."""
        return Confinement(None, None)


class JailPreparation(Preparation):
    """The view of the files, the empty network, the compiled filters."""

    def __init__(self, home: str) -> None:
        from ..jail import ChildReport, JailPlan  # noqa: PLC0415 - Linux only
        from ..jail import prepare as prepare_jail  # noqa: PLC0415 - Linux only

        self.readiness = to_plain(prepare_jail(home))
        for _ in range(20):  # as in `_rehearsal`
            from_plain(to_plain(JailPlan(label="part")), JailPlan)
            to_plain(ChildReport())

    def fork(self) -> int:
        from ..jail import fork  # noqa: PLC0415 - Linux only

        return fork()

    def lock_down(self, plan: Any, egress: socket.socket) -> Confinement:
        from ..jail import JailPlan, grpc_target, install_egress, lock_down  # noqa: PLC0415 - Linux only

        wanted = from_plain(plan, JailPlan)
        report = lock_down(wanted)
        install_egress(egress, wanted, report)
        return Confinement(to_plain(report), grpc_target)


def prepare(home: str) -> Preparation:
    """Prepare once, in the zygote."""
    return JailPreparation(home) if can_jail() else Preparation()
