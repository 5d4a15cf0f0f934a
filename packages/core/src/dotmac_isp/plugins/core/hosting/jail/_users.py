"""Users of their own for jailed instances: numbers that nobody else on the machine has."""

from __future__ import annotations

import os
import threading
import zlib
from pathlib import Path
from typing import Final

from . import _kernel

__all__ = ["UserPool", "give_to", "uid_block"]

#: Above everything that systemd, containers and directory services hand out (systemd, "Users, Groups, UIDs and GIDs").
FIRST: Final = 1_900_000_000
LAST: Final = 2_147_483_646
#: What systemd sets aside for users that live as long as a service; where fewer numbers are mapped, in containers.
DYNAMIC: Final = range(61184, 65520)
BLOCK: Final = 1 << 16


def uid_block(home: str, uid_map: str) -> range | None:
    """The numbers for the host with this state folder; hosts with other folders have others. `None`: none are to be had.

    *uid_map* is the text of /proc/self/uid_map: in a user namespace only the mapped numbers exist.
    """
    mapped = []
    for line in uid_map.splitlines():
        inside, _, count = (int(word) for word in line.split())
        mapped.append(range(inside, inside + count))
    blocks = (LAST - FIRST) // BLOCK
    start = FIRST + zlib.crc32(os.fsencode(home)) % blocks * BLOCK
    for wanted in (range(start, start + BLOCK), DYNAMIC):
        if any(wanted[0] in one and wanted[-1] in one for one in mapped):
            return wanted
    return None


class UserPool:
    """Hands out the numbers of one host. An instance has one number, also while its successor starts beside it.

    Cells are made in several threads at the same time.
    """

    def __init__(self, home: str) -> None:
        self._home = home
        self._block = self._find(home)
        self._next = 0
        self._lock = threading.Lock()
        #: Number → (instance, how many of its cells).
        self._taken: dict[int, tuple[str, int]] = {}

    @staticmethod
    def _find(home: str) -> range | None:
        if os.geteuid() or not (_kernel.has_capability("setuid") and _kernel.has_capability("chown")):
            return None
        try:
            return uid_block(home, Path("/proc/self/uid_map").read_text())
        except (OSError, ValueError):
            return None

    def take(self, label: str, data_dir: str | None) -> int | None:
        """A number for the instance: the one it has, else the owner of its data folder, else the next."""
        if self._block is None:
            return None
        with self._lock:
            return self._take(label, data_dir)

    def _take(self, label: str, data_dir: str | None) -> int:
        number = next((number for number, (whose, _) in self._taken.items() if whose == label), None)
        if number is None:
            number = self._owner(data_dir)
        if number is None:
            number = self._next_free()
        self._taken[number] = (label, self._taken.get(number, (label, 0))[1] + 1)
        return number

    def _owner(self, data_dir: str | None) -> int | None:
        if data_dir is None or self._block is None:
            return None
        owner = os.stat(data_dir).st_uid  # noqa: PTH116 - strings everywhere here
        return owner if owner in self._block and owner not in self._taken else None

    def _next_free(self) -> int:
        block = self._block or DYNAMIC
        for _ in range(len(block)):
            number = block[self._next % len(block)]
            self._next += 1
            if number not in self._taken:
                return number
        raise RuntimeError(f"all {len(block)} users for jailed instances are taken")

    def release(self, number: int) -> None:
        with self._lock:
            label, cells = self._taken.pop(number, ("", 0))
            if cells > 1:
                self._taken[number] = (label, cells - 1)


def give_to(path: str, uid: int) -> None:
    """Make *uid* the owner of a folder and of everything in it; symbolic links are not followed."""
    if os.lstat(path).st_uid == uid:
        return
    for _, folders, files, fd in os.fwalk(path, topdown=False, follow_symlinks=False):
        for name in (*folders, *files):
            os.chown(name, uid, uid, dir_fd=fd, follow_symlinks=False)
        os.chown(fd, uid, uid)
