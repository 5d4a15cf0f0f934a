"""A child that must not outlive its parent: watches the pipe that the parent holds, and who the parent is."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["when_parent_is_gone"]

_LOOK_SECONDS: Final = 2.0


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
