"""One host per home: a lock that the kernel lets go of when its holder dies, however it dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING, Final

from ._errors import HostUnavailableError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

__all__ = ["HostLock", "holder"]

_NAME: Final = "host.lock"
#: Clients look at the lock for a moment (`holder`), so a busy one is tried again for so long, in seconds.
_PATIENCE: Final = 1.0


class HostLock:
    """Held while a host runs. Entering raises `HostUnavailableError` with the pid of the host that has it."""

    def __init__(self, home: Path) -> None:
        self._home: Final = home
        self._descriptor = -1

    def __enter__(self) -> HostLock:
        descriptor = os.open(self._home / _NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        ends = time.monotonic() + _PATIENCE
        while not _take(descriptor, fcntl.LOCK_EX):
            if time.monotonic() > ends:
                pid = _written(descriptor)
                os.close(descriptor)
                raise _refusal(self._home, pid)
            time.sleep(_PATIENCE / 10)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor
        # A forked child would keep the lock after this host is gone.
        os.register_at_fork(after_in_child=self._forget)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor >= 0:
            os.ftruncate(self._descriptor, 0)
        self._forget()

    def _forget(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(descriptor)


def holder(home: Path) -> int | None:
    """The pid of the host that holds the lock; `None` when none does (0: it did not say)."""
    try:
        descriptor = os.open(home / _NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return None if _take(descriptor, fcntl.LOCK_SH) else _written(descriptor)
    finally:
        os.close(descriptor)


def _take(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _written(descriptor: int) -> int:
    text = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
    return int(text) if text.isdigit() else 0


def _refusal(home: Path, pid: int) -> HostUnavailableError:
    who = f"with pid {pid} " if pid else ""
    return HostUnavailableError(
        f"a host {who}runs for {home} already",
        remedy=f"Stop it first (kill {pid}), or give this one a folder of its own with --home"
        if pid
        else "Wait until it is up, or give this one a folder of its own with --home",
    )
