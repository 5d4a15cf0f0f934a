"""Large lists read once for many who wait: each gets one that was read after it asked.

While 64 subscribers are provisioned on one OLT, each wants to see the OLT's flow lists after its own change. Whoever asks while a
read is under way joins the next one, so that the load on VOLTHA does not grow with the square.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

__all__ = ["SharedReads"]

#: With so many who share a read, the next one begins this many seconds after it began, at the earliest; and reading takes no more
#: than one part in so many of the time.
_CROWD: Final = 3
_PACE: Final = 0.1
_SHARE: Final = 6


class _LeaderGoneError(Exception):
    """Who should have read for the others was cancelled; one of them reads instead."""


class SharedReads:
    """Fresh answers of `read(key)`, shared among those who asked before the read began."""

    def __init__(self, read: Callable[[Any], Awaitable[Any]]) -> None:
        self._read: Final = read
        self._next: dict[Hashable, asyncio.Future[Any]] = {}
        self._running: dict[Hashable, asyncio.Lock] = {}
        self._joined: dict[Hashable, int] = {}
        self._took: dict[Hashable, float] = {}
        self._last: dict[Hashable, tuple[float, Any]] = {}

    async def recent(self, key: Hashable, age: float) -> Any:
        """What `read(key)` gave at most `age` seconds ago, else gives now."""
        last = self._last.get(key)
        if last is not None and time.monotonic() - last[0] <= age:
            return last[1]
        return await self.fresh(key)

    async def _pace(self, key: Hashable) -> None:
        """Where several shared the last read, wait a little for more who want the next: reads must not follow without end."""
        last = self._last.get(key)
        if last is None or self._joined.pop(key, 0) < _CROWD:
            return
        pause = last[0] + max(_PACE, _SHARE * self._took.get(key, 0.0)) - time.monotonic()
        if pause > 0:
            await asyncio.sleep(pause)

    def forget(self, key: Hashable) -> None:
        """Do not give what was read before."""
        self._last.pop(key, None)

    async def fresh(self, key: Hashable) -> Any:
        """What `read(key)` gives, begun after this call."""
        while True:
            pending = self._next.get(key)
            if pending is None:
                return await self._lead(key)
            self._joined[key] = self._joined.get(key, 0) + 1
            try:
                return await asyncio.shield(pending)
            except _LeaderGoneError:
                continue

    async def _lead(self, key: Hashable) -> Any:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._next[key] = future
        try:
            async with self._running.setdefault(key, asyncio.Lock()):
                await self._pace(key)
                self._next.pop(key, None)
                began = time.monotonic()
                answer = await self._read(key)
                self._last[key] = began, answer
                self._took[key] = time.monotonic() - began
        except BaseException as error:
            if self._next.get(key) is future:
                del self._next[key]
            future.set_exception(_LeaderGoneError() if isinstance(error, asyncio.CancelledError) else error)
            future.exception()  # seen: nobody may be waiting
            raise
        future.set_result(answer)
        return answer
