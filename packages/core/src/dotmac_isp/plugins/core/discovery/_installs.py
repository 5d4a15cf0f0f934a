"""Noticing that something was installed, upgraded or removed while the process runs: cheap looks, and patience with pip at work."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["InstallWatch"]

_Look = tuple[tuple[str, int, int], ...]


class InstallWatch:
    """Looks at the folders of `sys.path`: what pip and uv do there changes the folder itself.

    A change counts when nothing has changed any more for `settle` seconds and no installer is in the middle of its work: an upgrade
    takes the old version away before it puts the new one there.
    """

    def __init__(
        self,
        *,
        path: Sequence[str] | None = None,
        settle: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path: Final = path
        self._settle: Final = settle
        self._clock: Final = clock
        self._known, _ = self._look()
        self._last = self._known
        self._since = clock()

    def changed(self) -> bool:
        """Whether something was installed or removed since the last time that this said so, and it is finished."""
        seen, busy = self._look()
        if seen != self._last or busy:
            self._last, self._since = seen, self._clock()
            return False
        if seen == self._known or self._clock() - self._since < self._settle:
            return False
        self._known = seen
        return True

    def _look(self) -> tuple[_Look, bool]:
        found: list[tuple[str, int, int]] = []
        busy = False
        for folder in dict.fromkeys(sys.path if self._path is None else self._path):
            try:
                stat = os.stat(folder or ".")  # noqa: PTH116 - texts, as in the rest of discovery
            except OSError:
                continue
            found.append((folder, stat.st_mtime_ns, stat.st_ino))
            if self._last_of(folder) != (stat.st_mtime_ns, stat.st_ino):
                busy = busy or _installer_at_work(folder)
        return tuple(found), busy

    def _last_of(self, folder: str) -> tuple[int, int] | None:
        known: _Look = getattr(self, "_known", ())
        return next(((mtime, inode) for name, mtime, inode in known if name == folder), None)


def _installer_at_work(folder: str) -> bool:
    """pip moves what it replaces to names with a `~` in front, until everything new is there."""
    try:
        with os.scandir(folder or ".") as entries:
            return any(entry.name.startswith("~") for entry in entries)
    except OSError:
        return False
