"""What limits a cell where no control group does: a thread that looks, stops and continues, and ends what uses too much.

It is a thread, not a task: it goes on while the event loop is busy. It reads clocks and counters of the kernel, never
anything that the plugin could write.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from ._ending import Ending

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._plan import JailLimits

__all__ = ["Duty", "Watchdog", "Watched", "cpu_seconds", "disk_usage", "family", "resident"]

#: Seconds between two looks. A memory limit of 128 MiB is passed by 5 MiB at 20 ms, by 107 MiB at 50 ms (measured).
TICK: Final = 0.01
TICKS_PER_FAMILY: Final = 10
#: Seconds between two looks at what takes long to look at (the disk), and how many times longer than a look takes.
SLOW_TICK: Final = 2.0
SLOW_SHARE: Final = 20
#: Seconds of its share that an instance may save up.
SAVED: Final = 0.1
BLOCK: Final = 512
#: Bytes that an entry counts at least: an empty file takes an inode and a place in its folder.
LEAST: Final = 4096
KIBIBYTE: Final = 1 << 10
MEBIBYTE: Final = 1 << 20
#: Seconds after which what was not too much, shared memory divided, is divided again.
SPARED: Final = 0.1
#: What is looked at often, and what seldom, by threads of their own.
OFTEN: Final = frozenset({"memory", "cpu"})
SELDOM: Final = frozenset({"disk", "kills"})


class Watched(Protocol):
    """What the watchdog needs of a cell."""

    @property
    def limits(self) -> JailLimits: ...
    @property
    def kinds(self) -> frozenset[str]:
        """Of "memory", "cpu", "disk", "kills": what is to be watched."""

    @property
    def data_dir(self) -> str | None: ...
    @property
    def pid(self) -> int | None: ...
    def memory_kills(self) -> int:
        """How many of its processes the kernel ended because its memory was used up."""

    def kill(self, why: str, kind: Ending) -> None: ...


class Duty:
    """Deals out a share of a processor by stopping and continuing: a pure ledger of credit, in seconds of processor time."""

    def __init__(self, share: float, now: float) -> None:
        self.share: Final = share
        self.stopped = False
        #: Seconds for which it was stopped.
        self.waited = 0.0
        self._credit = share * SAVED
        self._at = now
        self._used = 0.0

    def look(self, now: float, used: float) -> bool:
        """Take note that *used* seconds were used until *now*; returns whether it has to be stopped from here on."""
        passed = now - self._at
        if self.stopped:
            self.waited += passed
        self._credit = min(self.share * SAVED, self._credit + self.share * passed - (used - self._used))
        self._at, self._used = now, used
        self.stopped = self._credit < 0
        return self.stopped


def cpu_seconds(pid: int) -> float:
    """Processor time that a process used, all its threads together. Raises `OSError` where it is gone."""
    # A process's clock: include/linux/posix-timers.h, CPUCLOCK_SCHED of the process with that number.
    return time.clock_gettime((~pid << 3) | 2)


def resident(pid: int) -> int:
    """Bytes of memory that a process has in use. Raises `OSError` where it is gone."""
    return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * mmap.PAGESIZE


def proportional(pid: int) -> int:
    """Bytes of memory that a process has in use, what it shares divided by those that share it; `resident` where that is not told.

    Raises `OSError` where it is gone. Takes about a millisecond for 50 MB.
    """
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except PermissionError:
        return resident(pid)
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) * KIBIBYTE


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for one in found:
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{one}/task"):  # noqa: PTH208 - names only, and often
                with contextlib.suppress(OSError):
                    found.extend(
                        int(child) for child in Path(f"/proc/{one}/task/{thread}/children").read_text().split()
                    )
    return found


def disk_usage(folder: str, enough: int) -> int:
    """Bytes on disk below *folder*; counting ends where *enough* is passed. Links are not followed.

    Folders that are nested too deeply to be looked into count as too much: nothing honest is in them.
    """
    total = 0
    waiting = [folder]
    while waiting and total <= enough:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    with contextlib.suppress(FileNotFoundError):
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append(entry.path)
                        total += max(LEAST, entry.stat(follow_symlinks=False).st_blocks * BLOCK)
                    if total > enough:
                        break
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                return max(total, enough + 1)
    return total


class _Case:
    """One watched cell."""

    def __init__(self, cell: Watched, pid: int, now: float) -> None:
        self.cell = cell
        self.pid = pid
        self.pids = [pid]
        self.ticks = 0
        self.slow_at = now
        self.duty = Duty(cell.limits.cpu, now) if "cpu" in cell.kinds else None
        self._gone = 0.0
        self._last: dict[int, float] = {}
        #: Up to how many bytes, and until when, there is no need to divide shared memory again.
        self._spared = (0, 0.0)

    def look(self, now: float) -> None:
        """What has to be looked at often, and takes microseconds."""
        self.ticks += 1
        if self.ticks % TICKS_PER_FAMILY == 0:
            self.pids = family(self.pid)
        if self.duty is not None:
            self._deal(self.duty, now)
        if "memory" in self.cell.kinds and self.ticks % 2:
            self._weigh(now)

    def _deal(self, duty: Duty, now: float) -> None:
        before = duty.stopped
        stop = duty.look(now, self._cpu_seconds())
        # A process that was forked since the last look is stopped, too.
        if stop or before:
            for pid in self.pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP if stop else signal.SIGCONT)

    def _cpu_seconds(self) -> float:
        """What it used and what those of it that ended had used."""
        now = {}
        for pid in self.pids:
            with contextlib.suppress(OSError):
                now[pid] = cpu_seconds(pid)
        self._gone += sum(used for pid, used in self._last.items() if pid not in now)
        self._last = now
        return self._gone + sum(now.values())

    def _weigh(self, now: float) -> None:
        most, total = self.cell.limits.memory, self._sum(resident)
        spared, until = self._spared
        if total <= most or (total <= spared and now < until):
            return
        # What it shares with the process that it was forked from, and with its own children, is counted once for each up to here.
        used = self._sum(proportional)
        if used > most:
            text = f"out of memory: used {used // MEBIBYTE} MiB of its {most // MEBIBYTE} MiB, ended by the watchdog"
            self.cell.kill(text, Ending.MEMORY)
        self._spared = (total + most - used, now + SPARED)

    def _sum(self, size: Callable[[int], int]) -> int:
        total = 0
        for pid in self.pids:
            with contextlib.suppress(OSError, IndexError):
                total += size(pid)
        return total

    def look_slowly(self, now: float) -> None:
        """What may take long, and is looked at the less often the longer it takes."""
        if now < self.slow_at:
            return
        if "kills" in self.cell.kinds and self.cell.memory_kills():
            # Version 1 of control groups ends one process; a plugin that lost one of its own is no plugin any more.
            most = self.cell.limits.memory // MEBIBYTE
            self.cell.kill(
                f"out of memory: used more than its {most} MiB, one of its processes was ended", Ending.MEMORY
            )
        if "disk" in self.cell.kinds:
            self._measure(self.cell.limits.disk, self.cell.data_dir)
        self.slow_at = now + max(SLOW_TICK, SLOW_SHARE * (time.monotonic() - now))

    def _measure(self, most: int, folder: str | None) -> None:
        used = disk_usage(folder, most) if folder is not None else 0
        if used > most:
            text = f"disk full: its data folder holds more than its {most // MEBIBYTE} MiB, ended by the watchdog"
            self.cell.kill(text, Ending.DISK)


class Watchdog:
    """Watches the cells of this process, from its first one on until its last one is gone."""

    def __init__(self) -> None:
        self._cases: dict[int, _Case] = {}
        self._changed = threading.Condition()
        self._running: set[str] = set()

    def add(self, cell: Watched) -> None:
        if not cell.kinds or cell.pid is None:
            return
        with self._changed:
            self._cases[id(cell)] = _Case(cell, cell.pid, time.monotonic())
            if cell.kinds & OFTEN:
                self._start("jail watchdog", TICK, OFTEN, _Case.look)
            if cell.kinds - OFTEN:
                self._start("jail watchdog of disks", SLOW_TICK / 4, SELDOM, _Case.look_slowly)

    def remove(self, cell: Watched) -> None:
        with self._changed:
            self._cases.pop(id(cell), None)
            self._changed.notify_all()

    def waited(self, cell: Watched) -> float | None:
        """Seconds for which a cell was stopped so that it keeps to its share; `None`: not watched for that."""
        case = self._cases.get(id(cell))
        return None if case is None or case.duty is None else case.duty.waited

    def _start(self, name: str, tick: float, kinds: frozenset[str], look: Callable[[_Case, float], None]) -> None:
        if name not in self._running:
            self._running.add(name)
            threading.Thread(target=self._run, args=(name, tick, kinds, look), name=name, daemon=True).start()

    def _run(self, name: str, tick: float, kinds: frozenset[str], look: Callable[[_Case, float], None]) -> None:
        while True:
            with self._changed:
                cases = [case for case in self._cases.values() if case.cell.kinds & kinds]
                if not cases:
                    self._running.discard(name)
                    return
                self._changed.wait(tick)
            for case in cases:
                if id(case.cell) in self._cases:
                    look(case, time.monotonic())
