"""The watch over the event loop: plugin code that holds it too long is reported with its stack, while it still does.

Asynchronous code cannot interrupt what does not await; a thread can at least look. The loop shows that it is alive by a timer;
when the timer is late, the thread takes the stack of the loop's thread and says whose code it is.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._scope import CallScope
    from ._fence import Fence
    from ._tasks import TaskKeeper

__all__ = ["BlockingWatch"]

_STACK_LINES: Final = 25


class BlockingWatch:
    """Watches one event loop from a thread of its own. `report` is called on that thread."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        fence: Fence,
        tasks: TaskKeeper,
        *,
        limit: float,
        report: Callable[[CallScope | None, float, str], None],
    ) -> None:
        self._loop: Final = loop
        self._fence: Final = fence
        self._tasks: Final = tasks
        self._limit: Final = limit
        self._report: Final = report
        self._ended: Final = threading.Event()
        self._alive_at = time.monotonic()
        self._loop_thread = threading.get_ident()
        self._thread: Final = threading.Thread(target=self._look, name="dotmac-blocking-watch", daemon=True)
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin; must be called on the loop's thread."""
        self._loop_thread = threading.get_ident()
        self._beat()
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._ended.set()
        if self._timer is not None:
            self._timer.cancel()
        self._thread.join(timeout=1.0)

    def _beat(self) -> None:
        self._alive_at = time.monotonic()
        self._timer = self._loop.call_later(self._limit / 2, self._beat)

    def _look(self) -> None:
        reported = 0.0
        while not self._ended.wait(self._limit / 2):
            beat = self._alive_at
            silent = time.monotonic() - beat - self._limit / 2
            if silent < self._limit or reported == beat:
                continue
            reported = beat
            frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001 - the documented way to see another thread's stack
            if frame is not None:
                stack = "".join(traceback.format_stack(frame)[-_STACK_LINES:])
                self._report(self._whose(), silent, stack)

    def _whose(self) -> CallScope | None:
        return self._fence.at_work or self._tasks.scope_of(asyncio.current_task(self._loop))
