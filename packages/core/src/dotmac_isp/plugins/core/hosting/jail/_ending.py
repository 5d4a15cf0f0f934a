"""Why a jailed process ended, from what the kernel says."""

from __future__ import annotations

import enum
import os
import signal
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from ._plan import JailPlan

__all__ = ["Ending", "ExitReason", "exit_reason"]


class Ending(enum.Enum):
    """The kinds of end."""

    #: It ended by itself, with a code.
    EXIT = "exit"
    #: A signal ended it: a crash, or somebody sent it.
    SIGNAL = "signal"
    MEMORY = "out of memory"
    CPU = "cpu exhausted"
    DISK = "disk full"
    FILE_SIZE = "file too large"
    SYSCALL = "forbidden system call"
    #: The host ended it.
    STOPPED = "stopped by the host"
    UNKNOWN = "unknown"


class ExitReason(msgspec.Struct, frozen=True, kw_only=True):
    """Why a process ended: `kind`, and a sentence in `text` for status, events and the audit trail."""

    kind: Ending
    text: str
    code: int | None = None
    #: The signal's name, as SIGSEGV.
    signal: str = ""

    def __str__(self) -> str:
        return self.text


def exit_reason(
    status: int | None, plan: JailPlan, *, memory_kills: int = 0, verdict: tuple[Ending, str] | None = None
) -> ExitReason:
    """Name the reason. *status* as from `os.waitpid`; *verdict*: whoever in the host ended it, and why."""
    if status is None:
        return _told(verdict) or ExitReason(kind=Ending.UNKNOWN, text="ended; its exit status was lost with its parent")
    if os.WIFEXITED(status):
        return _of_exit(os.WEXITSTATUS(status), verdict)
    number = os.WTERMSIG(status)
    return _of_signal(_signal_name(number), plan, memory_kills, verdict)


def _told(verdict: tuple[Ending, str] | None) -> ExitReason | None:
    return None if verdict is None else ExitReason(kind=verdict[0], text=verdict[1])


def _of_exit(code: int, verdict: tuple[Ending, str] | None) -> ExitReason:
    if verdict is not None and verdict[0] is Ending.STOPPED:
        return ExitReason(kind=Ending.STOPPED, text=verdict[1], code=code)
    return ExitReason(kind=Ending.EXIT, text=f"ended by itself with exit code {code}", code=code)


def _of_signal(name: str, plan: JailPlan, memory_kills: int, verdict: tuple[Ending, str] | None) -> ExitReason:
    limits = plan.limits
    if name == "SIGKILL":
        # The watchdog's or the host's verdict came before the kernel's: it was given before the process was ended.
        if told := _told(verdict):
            return msgspec.structs.replace(told, signal=name)
        if memory_kills:
            text = f"out of memory: used more than its {limits.memory >> 20} MiB, ended by the kernel"
            return ExitReason(kind=Ending.MEMORY, text=text, signal=name)
        return ExitReason(kind=Ending.SIGNAL, text="killed by SIGKILL from outside of the host", signal=name)
    known = {
        "SIGXCPU": (Ending.CPU, "used up its processor time (SIGXCPU)"),
        "SIGXFSZ": (Ending.FILE_SIZE, f"wrote a file larger than {limits.file_size} bytes (SIGXFSZ)"),
        "SIGSYS": (Ending.SYSCALL, "made a system call that is forbidden on this architecture (SIGSYS)"),
    }
    kind, text = known.get(name, (Ending.SIGNAL, f"ended by {name}" + (" (crashed)" if name in CRASHES else "")))
    return ExitReason(kind=kind, text=text, signal=name)


CRASHES: Final = frozenset({"SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGABRT", "SIGTRAP"})


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
