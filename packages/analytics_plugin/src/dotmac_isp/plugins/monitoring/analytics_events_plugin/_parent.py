"""Parent and child: what a child is given, where it writes, and that it does not outlive its parent."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from typing import TYPE_CHECKING, BinaryIO, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["child_environment", "open_log", "when_parent_is_gone"]

_LOOK_SECONDS: Final = 2.0
_LOG_BYTES: Final = 4 * 1024 * 1024
_KEPT: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "PYTHONPATH")


def child_environment() -> dict[str, str]:
    """What a child needs of the environment; the host's secrets are not among it."""
    return {name: os.environ[name] for name in _KEPT if name in os.environ}


def open_log(path: Path) -> BinaryIO:
    """A log file to append to; a long one is put aside as `….1` first, so that two of them bound what lies on disk."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > _LOG_BYTES:
            path.replace(path.with_name(path.name + ".1"))
    return path.open("ab")


def when_parent_is_gone(callback: Callable[[], object]) -> None:
    """Call back (from another thread, once) when standard input ends or the parent process changes."""
    parent = os.getppid()

    def watch() -> None:
        with contextlib.suppress(OSError):
            while os.getppid() == parent:
                ready, _, _ = select.select([0], [], [], _LOOK_SECONDS)
                if ready and not os.read(0, 4096):
                    break
        callback()

    threading.Thread(target=watch, name="parent watch", daemon=True).start()
