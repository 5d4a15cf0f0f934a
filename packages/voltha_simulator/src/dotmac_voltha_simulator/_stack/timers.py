"""Delays, scaled by one factor, on the event loop's own timers: nothing polls."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Timers:
    """A clock that runs faster or slower than the real one; closing it cancels whatever is pending."""

    def __init__(self, factor: float) -> None:
        if not factor > 0:
            raise ValueError(f"the time factor must be above 0, not {factor!r}; 0.05 is twenty times faster")
        self.factor = factor
        self._groups: set[TimerGroup] = set()

    def group(self) -> TimerGroup:
        """A set of timers that can be cancelled together, such as those of one device."""
        group = TimerGroup(self.factor)
        self._groups.add(group)
        return group

    def drop(self, group: TimerGroup) -> None:
        """Cancel a group for good."""
        group.cancel()
        self._groups.discard(group)

    async def sleep(self, seconds: float) -> None:
        """Wait for ``seconds`` of simulated time."""
        await asyncio.sleep(seconds * self.factor)

    def close(self) -> None:
        """Cancel all timers of all groups."""
        for group in self._groups:
            group.cancel()
        self._groups.clear()


class TimerGroup:
    """Timers that belong together."""

    def __init__(self, factor: float) -> None:
        self._factor = factor
        self._handles: set[asyncio.TimerHandle] = set()

    def later(self, seconds: float, callback: Callable[..., object], *args: Any) -> None:
        """Call ``callback`` after ``seconds`` of simulated time, unless the group is cancelled before."""

        def run() -> None:
            self._handles.discard(handle)
            callback(*args)

        handle = asyncio.get_running_loop().call_later(seconds * self._factor, run)
        self._handles.add(handle)

    def cancel(self) -> None:
        """Forget everything that was pending."""
        for handle in self._handles:
            handle.cancel()
        self._handles.clear()
