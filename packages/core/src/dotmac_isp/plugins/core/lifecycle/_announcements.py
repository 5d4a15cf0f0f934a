"""Lifecycle hooks of one instance, told in order and never while its lock is held.

Who is told may want to do something with the instance (a host's `on_failed` that restarts it), and would wait for itself.
"""

from __future__ import annotations

import asyncio
import collections
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from types import TracebackType

__all__ = ["Announcements", "InstanceLock"]

#: Whether the running code was called to be told something: it must not wait until everything is told.
_TELLING: Final[ContextVar[bool]] = ContextVar("dotmac_telling", default=False)


class Announcements:
    """What is still to be told about one instance. `run` does work in the background."""

    def __init__(self, run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        self._run: Final = run
        self._waiting: Final[collections.deque[Callable[[], Awaitable[Any]]]] = collections.deque()
        self._told: asyncio.Event | None = None

    def add(self, tell: Callable[[], Awaitable[Any]]) -> None:
        """Tell this after what was added before, when the instance's lock is free."""
        self._waiting.append(tell)

    async def deliver(self) -> None:
        """Tell everything. Waits until it is told, but not where this is called by somebody who is just being told."""
        told = self._told
        if told is None:
            if not self._waiting:
                return
            told = self._told = asyncio.Event()
            self._run(self._tell_all(told))  # where tasks are eager, all may be told when this comes back
        if not _TELLING.get():
            await told.wait()

    async def _tell_all(self, told: asyncio.Event) -> None:
        _TELLING.set(True)
        try:
            while self._waiting:
                await self._waiting.popleft()()
        finally:
            self._told = None
            told.set()


class InstanceLock:
    """Keeps two steps of one instance apart. What was announced meanwhile is told when it is released."""

    def __init__(self, announcements: Announcements) -> None:
        self._lock: Final = asyncio.Lock()
        self._announcements: Final = announcements

    def locked(self) -> bool:
        """Whether a step is under way."""
        return self._lock.locked()

    async def __aenter__(self) -> None:
        await self._lock.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()
        await self._announcements.deliver()
