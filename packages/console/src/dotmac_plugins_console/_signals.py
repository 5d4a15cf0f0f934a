"""The signals of the reference host: stop, hurry, reload."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["Signals"]

#: After a second signal the process ends within so many seconds, whatever plugin code does.
_LAST_CALL: Final = 5.0


class Signals:
    """SIGINT and SIGTERM ask to stop, a second one to hurry; SIGHUP asks to reload.

    Handlers of `signal.signal`, not of the event loop: they run also while plugin code blocks the loop.
    """

    def __init__(self, *, reload: Callable[[], None]) -> None:
        self.stop: Final = asyncio.Event()
        self.hurry: Final = asyncio.Event()
        self._reload: Final = reload
        self._loop: Final = asyncio.get_running_loop()
        self._before: dict[int, Any] = {}
        self._asked = False
        self._last_call: threading.Timer | None = None

    def __enter__(self) -> Signals:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._stop)
        self._before[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._hangup)
        return self

    def __exit__(self, *_: object) -> None:
        if self._last_call is not None:
            self._last_call.cancel()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        if not self._asked:
            self._asked = True
            self._loop.call_soon_threadsafe(self.stop.set)
        elif self._last_call is None:
            self._last_call = threading.Timer(_LAST_CALL, _end)
            self._last_call.daemon = True
            self._last_call.start()
            self._loop.call_soon_threadsafe(self.hurry.set)

    def _hangup(self, _number: int, _frame: FrameType | None) -> None:
        self._loop.call_soon_threadsafe(self._reload)


def _end() -> None:
    sys.stderr.write("dotmac-plugins: ended without waiting for plugins\n")
    sys.stderr.flush()
    os._exit(0)
