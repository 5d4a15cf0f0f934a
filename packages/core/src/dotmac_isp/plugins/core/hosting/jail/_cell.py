"""The supervisor's side of one jailed process: what is made before the fork, and what is known of it until it is gone."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import sys
import threading
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from ._cgroups import find_hierarchies
from ._ending import Ending, ExitReason, exit_reason
from ._group import CellGroup
from ._identity import CellRecord, ProcessIdentity, write_record
from ._judgement import IsolationReport, judge
from ._removal import remove_folder
from ._users import UserPool, give_to
from ._watchdog import Watchdog, cpu_seconds, disk_usage, family, resident

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ._cgroups import Hierarchy
    from ._plan import ChildReport, JailLimits, JailPlan, Usage

__all__ = ["Cell", "cells_dir", "host_group"]


def cells_dir(home: str | Path) -> Path:
    """The folder with a folder for each cell."""
    return Path(home, "run", "cells")


def host_group(home: str | Path) -> str:
    """The name of the control group that holds all cells of the host with this state folder."""
    return f"dotmac-{zlib.crc32(os.fsencode(os.path.realpath(home))):08x}"


N = TypeVar("N", int, float)


class _Machine:
    """What is found once and used by every cell of this process."""

    hierarchies: list[Hierarchy] | None = None
    lock: Final = threading.Lock()
    users: Final[dict[str, UserPool]] = {}
    watchdog: Final = Watchdog()

    @classmethod
    def groups(cls) -> list[Hierarchy]:
        with cls.lock:
            if cls.hierarchies is None:
                cls.hierarchies = find_hierarchies()
            return cls.hierarchies

    @classmethod
    def pool(cls, home: str) -> UserPool:
        with cls.lock:
            return cls.users.setdefault(home, UserPool(home))


class Cell:
    """One jailed process, from before it is forked until nothing of it is left.

    :param plan: what the caller wants; `cell.plan` is the whole one, for the zygote.
    :param home: the host's state folder.

    Raises `OSError` where its folders cannot be made.
    """

    def __init__(self, plan: JailPlan, home: str | Path) -> None:
        where = os.path.realpath(home)
        self.id: Final = secrets.token_hex(4)
        self.dir: Final = cells_dir(where) / self.id
        self._pool = _Machine.pool(where)
        self._uid: int | None = None
        self._frozen = False
        self._child: ProcessIdentity | None = None
        self._pidfd = -1
        self._verdict: tuple[Ending, str] | None = None
        self._closed = False
        try:
            self._make_folders(plan)
            self._group = CellGroup(_Machine.groups(), host_group(where), self.id)
            held = self._group.limit(plan.limits)
            self.plan: Final = msgspec.structs.replace(
                plan,
                home=where,
                cell_id=self.id,
                cell_dir=str(self.dir),
                uid=self._uid,
                gid=self._uid,
                cgroup=held,
                joins=self._group.joins,
            )
            self.kinds: Final = self._to_watch()
            self._write_record()
        except BaseException:
            self.close()
            raise

    def _make_folders(self, plan: JailPlan) -> None:
        for name in ("relay", "tmp"):
            (self.dir / name).mkdir(mode=0o700, parents=True)
        if plan.data_dir is not None:
            Path(plan.data_dir).mkdir(mode=0o700, parents=True, exist_ok=True)
        self._uid = self._pool.take(plan.label, plan.data_dir)
        if self._uid is not None:
            for path in (self.dir / "relay", self.dir / "tmp", *([plan.data_dir] if plan.data_dir else [])):
                give_to(str(path), self._uid)

    def _write_record(self) -> None:
        write_record(
            self.dir,
            CellRecord(
                label=self.plan.label,
                supervisor=ProcessIdentity.of(os.getpid()),
                child=self._child,
                groups=tuple(str(path) for path in self._group.paths),
                uid=self._uid,
            ),
        )

    def _to_watch(self) -> frozenset[str]:
        """What no control group limits."""
        limits = self.plan.limits
        wanted = {"memory": limits.memory, "cpu": limits.cpu, "disk": limits.disk if self.plan.data_dir else 0}
        watched = {name for name, limit in wanted.items() if limit and name not in self.plan.cgroup}
        return frozenset(watched | ({"kills"} if self._group.version.get("memory") == 1 else set()))

    def memory_kills(self) -> int:
        """How many of its processes the kernel ended because its memory was used up."""
        return self._group.memory_kills() if "memory" in self.plan.cgroup else 0

    @property
    def limits(self) -> JailLimits:
        return self.plan.limits

    @property
    def data_dir(self) -> str | None:
        return self.plan.data_dir

    @property
    def pid(self) -> int | None:
        """The jailed process, once it was adopted."""
        return None if self._child is None else self._child.pid

    def adopt(self, pid: int) -> None:
        """Take a forked process, which waits for its "go", as this cell's. Raises `OSError` where it is gone."""
        self._pidfd = os.pidfd_open(pid)
        self._child = ProcessIdentity.of(pid)
        self._group.adopt(pid)
        _Machine.watchdog.add(self)
        self._write_record()

    def hold(self) -> None:
        """See to it that its process is in all its control groups, once it says that it is locked down and before any code
        of the plugin runs. Raises `OSError` where one does not take it."""
        if self.pid is not None:
            self._group.hold(self.pid)

    def report(self, child: ChildReport) -> IsolationReport:
        """What isolates the instance, from what its process achieved and what was made here."""
        return judge(self.plan, child, self._group.version)

    def exit_reason(self, status: int | None) -> ExitReason:
        """Why it ended; *status* as from `os.waitpid`, `None` where that is lost. To be asked before `close`."""
        return exit_reason(status, self.plan, memory_kills=self.memory_kills(), verdict=self._verdict)

    def usage(self) -> Usage:
        """What it uses now; what no control group counts is read from its process."""
        usage = self._group.usage()
        pids = family(self.pid) if self.pid is not None else []
        throttled = _Machine.watchdog.waited(self)
        return msgspec.structs.replace(
            usage,
            memory=usage.memory if usage.memory is not None else _total(resident, pids),
            cpu_seconds=usage.cpu_seconds if usage.cpu_seconds is not None else _total(cpu_seconds, pids),
            processes=usage.processes if usage.processes is not None else len(pids),
            throttled_seconds=usage.throttled_seconds if throttled is None else throttled,
            disk=None if self.data_dir is None else disk_usage(self.data_dir, sys.maxsize),
        )

    def freeze(self) -> None:
        """Stop it where it stands, all its processes at once where a control group can."""
        self._frozen = True
        if not self._group.freeze(True):
            self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._frozen = False
        if not self._group.freeze(False):
            self._signal(signal.SIGCONT)

    def kill(self, why: str = "stopped by the host", kind: Ending = Ending.STOPPED) -> None:
        """End all its processes now. *why* is what `exit_reason` will say; the first one counts."""
        if self._verdict is None:
            self._verdict = (kind, why)
        self._end()

    def _end(self) -> None:
        self._group.kill()
        self._signal(signal.SIGKILL)
        if self._frozen:  # in version 1 a frozen process dies when it is thawed
            self.thaw()

    def _signal(self, number: signal.Signals) -> None:
        # Through the descriptor: the number may belong to another process by now.
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def close(self) -> None:
        """End what still runs and remove everything that was made for it. Its data folder stays."""
        if self._closed:
            return
        self._closed = True
        gone = True
        _Machine.watchdog.remove(self)
        if hasattr(self, "_group"):
            self._end()
            gone = self._group.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
        if self._uid is not None:
            self._pool.release(self._uid)
        if gone:
            # Otherwise the record stays, and the next sweep finds the group by it.
            remove_folder(self.dir)


def _total(of: Callable[[int], N], pids: Iterable[int]) -> N | None:
    found: list[N] = []
    for pid in pids:
        with contextlib.suppress(OSError, IndexError):
            found.append(of(pid))
    return sum(found) if found else None
