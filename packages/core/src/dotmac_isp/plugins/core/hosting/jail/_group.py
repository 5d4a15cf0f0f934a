"""The control groups of one cell: limits, counters, freezing, and the end of everything in them."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING, Final

from ._cgroups import CONTROLLERS, CPU_PERIOD
from ._plan import Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from ._cgroups import Hierarchy
    from ._plan import JailLimits

__all__ = ["CellGroup", "end_group", "kill_group"]

SECOND: Final = 1_000_000
NANOSECONDS: Final = 1_000_000_000
#: Seconds to wait for the processes of a group to be gone.
PATIENCE: Final = 0.5
#: Without `cgroup.kill` a process may fork while the others are ended; each round leaves fewer.
ROUNDS: Final = 8


class CellGroup:
    """One group in each tree that can do something for a cell."""

    def __init__(self, hierarchies: Iterable[Hierarchy], host: str, cell: str) -> None:
        self._of: dict[str, Path] = {}
        self._versions: dict[str, int] = {}
        self.paths: list[Path] = []
        trees = list(hierarchies)
        freezes = any("freezer" in tree.controllers for tree in trees)
        for tree in trees:
            # Beside a whole version 1, a version 2 without controllers has nothing to add.
            if tree.version == 1 or tree.controllers or not freezes:
                with contextlib.suppress(OSError):
                    self._make(tree, host, cell)

    def _make(self, hierarchy: Hierarchy, host: str, cell: str) -> None:
        wanted = hierarchy.controllers & {*CONTROLLERS, "freezer", "cpuacct"}
        if not wanted and hierarchy.version == 1:
            return
        place = hierarchy.base / host / cell
        try:
            self._add(hierarchy, place, wanted)
        except FileNotFoundError:  # another host's sweep took the empty group away in between
            self._add(hierarchy, place, wanted)
        wanted |= {"unified"} if hierarchy.version != 1 else set()
        self.paths.append(place)
        for name in wanted:
            self._of.setdefault(name, place)
            self._versions.setdefault(name, hierarchy.version)

    @staticmethod
    def _add(hierarchy: Hierarchy, place: Path, wanted: Iterable[str]) -> None:
        place.parent.mkdir(exist_ok=True)
        if hierarchy.version != 1:
            for name in wanted:
                (place.parent / "cgroup.subtree_control").write_text(f"+{CONTROLLERS[name]}")
        place.mkdir()

    @property
    def version(self) -> dict[str, int]:
        """The version of control groups behind each controller."""
        return self._versions

    def limit(self, limits: JailLimits) -> tuple[str, ...]:
        """Set the limits; returns what of "memory", "cpu", "processes" is limited from now on."""
        held = []
        for name, wanted, set_one in (
            ("memory", bool(limits.memory), self._limit_memory),
            ("cpu", bool(limits.cpu), self._limit_cpu),
            ("processes", bool(limits.processes), self._limit_processes),
        ):
            if wanted and name in self._of:
                with contextlib.suppress(OSError):
                    set_one(limits)
                    held.append(name)
        return tuple(held)

    def _limit_memory(self, limits: JailLimits) -> None:
        place, text = self._of["memory"], str(limits.memory)
        if self._versions["memory"] == 1:
            (place / "memory.limit_in_bytes").write_text(text)
            self._try(place / "memory.memsw.limit_in_bytes", text)  # absent where swap is not counted
            self._try(place / "memory.swappiness", "0")
            return
        (place / "memory.max").write_text(text)
        self._try(place / "memory.swap.max", "0")
        self._try(place / "memory.oom.group", "1")

    def _limit_cpu(self, limits: JailLimits) -> None:
        place, quota = self._of["cpu"], max(1000, round(limits.cpu * CPU_PERIOD))
        if self._versions["cpu"] == 1:
            (place / "cpu.cfs_period_us").write_text(str(CPU_PERIOD))
            (place / "cpu.cfs_quota_us").write_text(str(quota))
        else:
            (place / "cpu.max").write_text(f"{quota} {CPU_PERIOD}")

    def _limit_processes(self, limits: JailLimits) -> None:
        (self._of["processes"] / "pids.max").write_text(str(limits.processes))

    @staticmethod
    def _try(path: Path, text: str) -> None:
        if path.exists():
            with contextlib.suppress(OSError):
                path.write_text(text)

    @property
    def joins(self) -> tuple[str, ...]:
        """The groups that a process can enter by itself."""
        return tuple(str(place) for place in self.paths if _joinable(place))

    def adopt(self, pid: int) -> None:
        """Move a process into the groups that it cannot enter by itself. Raises `OSError` where one does not take it."""
        for place in self.paths:
            if not _joinable(place):
                (place / "cgroup.procs").write_text(str(pid))

    def hold(self, pid: int) -> None:
        """See to it that a process, unless it has ended, is in all groups. Raises `OSError` where one does not take it."""
        with contextlib.suppress(ProcessLookupError):
            for place in self.paths:
                if str(pid) not in (place / "cgroup.procs").read_text().split():
                    (place / "cgroup.procs").write_text(str(pid))

    def processes(self) -> list[int]:
        found: set[int] = set()
        for place in self.paths:
            with contextlib.suppress(OSError):
                found.update(int(pid) for pid in (place / "cgroup.procs").read_text().split())
        return sorted(found)

    def freeze(self, frozen: bool) -> bool:
        """Stop or continue all processes at once; `False` where no tree can."""
        if "freezer" in self._of:
            (self._of["freezer"] / "freezer.state").write_text("FROZEN" if frozen else "THAWED")
            return True
        if "unified" in self._of and (self._of["unified"] / "cgroup.freeze").exists():
            (self._of["unified"] / "cgroup.freeze").write_text("1" if frozen else "0")
            return True
        return False

    def kill(self) -> None:
        """End every process in the groups, also those that fork as fast as they can."""
        for place in sorted(self.paths, key=lambda place: not (_kill(place).exists() or _freezer(place).exists())):
            kill_group(place)

    def close(self) -> bool:
        """Remove the groups once they are empty; `False`: some process is still ending."""
        until = time.monotonic() + PATIENCE
        while self._remove() and time.monotonic() < until:
            time.sleep(0.002)
        return not self.paths

    def _remove(self) -> bool:
        left = []
        for place in self.paths:
            try:
                place.rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                left.append(place)
        self.paths = left
        return bool(left)

    def usage(self) -> Usage:
        memory, processes = self._of.get("memory"), self._of.get("processes")
        first = self._versions.get("memory") == 1
        return Usage(
            memory=_number(memory, "memory.usage_in_bytes" if first else "memory.current"),
            memory_peak=_number(memory, "memory.max_usage_in_bytes" if first else "memory.peak"),
            processes=_number(processes, "pids.current"),
            cpu_seconds=self._cpu_seconds(),
            throttled_seconds=self._throttled_seconds(),
        )

    def _cpu_seconds(self) -> float | None:
        if (used := _number(self._of.get("cpuacct"), "cpuacct.usage")) is not None:
            return used / NANOSECONDS
        used = _field(self._of.get("unified"), "cpu.stat", "usage_usec")
        return None if used is None else used / SECOND

    def _throttled_seconds(self) -> float | None:
        if (waited := _field(self._of.get("cpu"), "cpu.stat", "throttled_time")) is not None:
            return waited / NANOSECONDS
        waited = _field(self._of.get("cpu"), "cpu.stat", "throttled_usec")
        return None if waited is None else waited / SECOND

    def memory_kills(self) -> int:
        """How often the kernel ended a process because the memory was used up."""
        place = self._of.get("memory")
        events = "memory.oom_control" if self._versions.get("memory") == 1 else "memory.events"
        return _field(place, events, "oom_kill") or 0

    def forks_refused(self) -> int:
        return _field(self._of.get("processes"), "pids.events", "max") or 0


def _kill(place: Path) -> Path:
    return place / "cgroup.kill"


def _freezer(place: Path) -> Path:
    return place / "freezer.state"


def _joinable(place: Path) -> bool:
    """Whether a process may put its only thread into the group: version 1."""
    return (place / "tasks").exists()


def kill_group(place: Path) -> None:
    """End every process in one group."""
    with contextlib.suppress(OSError):
        if _kill(place).exists():
            _kill(place).write_text("1")
            return
    with contextlib.suppress(OSError):
        _freezer(place).write_text("FROZEN")  # so that none is born meanwhile
    _kill_each(place)
    with contextlib.suppress(OSError):
        _freezer(place).write_text("THAWED")  # a frozen one dies when it is thawed


def _kill_each(place: Path) -> None:
    for _ in range(ROUNDS):
        try:
            left = (place / "cgroup.procs").read_text().split()
        except OSError:
            return
        if not left:
            return
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


def end_group(place: Path) -> bool:
    """End what is in a group that a former host left, and remove it."""
    kill_group(place)
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        with contextlib.suppress(FileNotFoundError):
            try:
                place.rmdir()
            except OSError:
                time.sleep(0.005)
                continue
        return True
    return False


def _number(place: Path | None, name: str) -> int | None:
    try:
        return None if place is None else int((place / name).read_text())
    except (OSError, ValueError):
        return None


def _fields(place: Path, name: str) -> Iterator[list[str]]:
    for line in (place / name).read_text().splitlines():
        yield line.split()


def _field(place: Path | None, name: str, field: str) -> int | None:
    if place is None:
        return None
    with contextlib.suppress(OSError, ValueError):
        for words in _fields(place, name):
            if words[0] == field:
                return int(words[1])
    return None
