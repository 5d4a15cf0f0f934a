"""Where the jail comes in: what the zygote prepares once, what each process does before any code of its plugin runs, and the
supervisor's hold on it.

Where the machine has nothing to confine a process with, a process of its own is what is left, and the report says so.
"""

from __future__ import annotations

import os
import signal
import socket
from typing import TYPE_CHECKING, Any, Final

from ._child import Confinement

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from ...model import InstanceRef

__all__ = ["Preparation", "new_cell", "prepare"]

GUARANTEES: Final = ("memory", "cpu", "processes", "files", "network", "syscalls")


class Preparation:
    """What was prepared for all processes of this host."""

    readiness: Any = None

    def lock_down(self, plan: Any, egress: socket.socket) -> Confinement:  # noqa: ARG002
        """Lock this process down. Raises what cannot be done and must not be left out."""
        return Confinement(None, None)


def prepare(home: str) -> Preparation:  # noqa: ARG001
    """Prepare once, in the zygote."""
    return Preparation()


class PlainCell:
    """A process of its own, and nothing around it."""

    plan: Any = None

    def __init__(self, judged: Callable[[dict[str, Any]], None]) -> None:
        self._judged: Final = judged

    def egress(self) -> tuple[socket.socket | None, socket.socket]:
        """This side's and the process's end of the line to the broker."""
        ours, theirs = socket.socketpair()
        ours.close()
        return None, theirs

    async def adopt(self, pid: int, egress: socket.socket | None) -> None:
        """The process is there, and waits."""

    def judge(self, report: Any) -> None:  # noqa: ARG002
        """The process said what it achieved. Raises what speaks against going on."""
        self._judged(self.isolation()["guarantees"])

    def allow(self, ways_out: Sequence[tuple[str, int, str]]) -> None:
        """Where it may connect to from now on."""

    def isolation(self) -> dict[str, Any]:
        """What keeps it apart."""
        none = {
            "strength": "none",
            "how": "a process of its own, and nothing around it",
            "missing": "what Linux has for it",
            "remedy": "run the host on Linux",
        }
        return {"guarantees": dict.fromkeys(GUARANTEES, none)}

    async def exit_reason(self, status: int | None) -> str:
        """Why the process ended, by its wait status."""
        if status is None:
            return "the process that forked it is gone"
        if os.WIFSIGNALED(status):
            return f"ended by {signal.Signals(os.WTERMSIG(status)).name}"
        return f"ended by itself with exit code {os.WEXITSTATUS(status)}"

    async def close(self) -> None:
        """Nothing is left of it."""


def new_cell(
    ref: InstanceRef,  # noqa: ARG001
    *,
    level: str,  # noqa: ARG001
    home: Path,  # noqa: ARG001
    data_dir: Path,
    limits: Mapping[str, float],  # noqa: ARG001
    endpoints: Sequence[tuple[str, int, str]],  # noqa: ARG001
    networks: Sequence[str],  # noqa: ARG001
    kafka_hosts: Sequence[str],  # noqa: ARG001
    readable: Sequence[str],  # noqa: ARG001
    judged: Callable[[dict[str, Any]], None],
    decided: Callable[[Any], None],  # noqa: ARG001
) -> PlainCell:
    """The best hold that this machine has on a process."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    return PlainCell(judged)
