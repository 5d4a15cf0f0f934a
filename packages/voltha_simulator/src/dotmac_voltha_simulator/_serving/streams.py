"""The two streams of VOLTHA that have room for one reader only (section 1.2)."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

QUEUE_SIZE = 100


class SingleConsumerStream:
    """A queue with one reader: the second one ends the first one's stream.

    The core's queue holds 100 messages; who wants to send more waits. Here the waiting ones stand in the same line, and
    ``has_room`` says whether somebody would have to wait.
    """

    def __init__(self) -> None:
        self._waiting: deque[Any] = deque()
        self._changed = asyncio.Event()
        self._reader = 0

    @property
    def backlog(self) -> int:
        """How many messages nobody has read yet."""
        return len(self._waiting)

    @property
    def has_room(self) -> bool:
        """False when the next sender would block."""
        return len(self._waiting) <= QUEUE_SIZE

    def publish(self, message: Any) -> None:
        """Put a message into the line."""
        self._waiting.append(message)
        self._notify()

    async def room(self) -> None:
        """Wait until nobody has to wait with a message."""
        while not self.has_room:
            await self._changed.wait()

    async def read(self) -> AsyncIterator[Any]:
        """The messages, until another reader comes."""
        self._reader += 1
        mine = self._reader
        self._notify()
        while True:
            while self._waiting and self._reader == mine:
                message = self._waiting.popleft()
                self._notify()
                yield message
            if self._reader != mine:
                return
            await self._changed.wait()

    def close(self) -> None:
        """End the reader's stream, if there is one."""
        self._reader += 1
        self._notify()

    def _notify(self) -> None:
        # One event for each change: whoever waited on the old one wakes up and looks.
        self._changed.set()
        self._changed = asyncio.Event()
