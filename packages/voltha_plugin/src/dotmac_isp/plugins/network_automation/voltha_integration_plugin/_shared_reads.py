"""Large lists read once for many who wait: each gets one that was read after it asked.

While 64 subscribers are provisioned on one OLT, each wants to see the OLT's flow lists after its own change. Whoever asks while a
read is under way joins the next one, so that the load on VOLTHA does not grow with the square.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

__all__ = ["SharedReads"]


class _LeaderGoneError(Exception):
    """Who should have read for the others was cancelled; one of them reads instead."""


class SharedReads:
    """Fresh answers of `read(key)`, shared among those who asked before the read began."""

    def __init__(self, read: Callable[[Any], Awaitable[Any]]) -> None:
        self._read: Final = read
        self._next: dict[Hashable, asyncio.Future[Any]] = {}
        self._running: dict[Hashable, asyncio.Lock] = {}

    async def fresh(self, key: Hashable) -> Any:
        """What `read(key)` gives, begun after this call."""
        while True:
            pending = self._next.get(key)
            if pending is None:
                return await self._lead(key)
            try:
                return await asyncio.shield(pending)
            except _LeaderGoneError:
                continue

    async def _lead(self, key: Hashable) -> Any:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._next[key] = future
        try:
            async with self._running.setdefault(key, asyncio.Lock()):
                self._next.pop(key, None)
                answer = await self._read(key)
        except BaseException as error:
            if self._next.get(key) is future:
                del self._next[key]
            future.set_exception(_LeaderGoneError() if isinstance(error, asyncio.CancelledError) else error)
            future.exception()  # seen: nobody may be waiting
            raise
        future.set_result(answer)
        return answer
