"""Where events go: to subscribers in this process, and to Kafka when it is wanted."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from .messages import PublishedEvent


class EventSink(Protocol):
    """Takes events; ``publish`` must not block."""

    def publish(self, event: PublishedEvent) -> None:
        """Take one event."""

    async def close(self) -> None:
        """Deliver what is still on its way and let go of everything."""


class Subscription:
    """The events from now on, for one listener in this process."""

    def __init__(self, leave: Callable[[Subscription], None]) -> None:
        self._queue: asyncio.Queue[PublishedEvent] = asyncio.Queue()
        self._leave = leave

    def put(self, event: PublishedEvent) -> None:
        """Called by the sink."""
        self._queue.put_nowait(event)

    async def get(self) -> PublishedEvent:
        """The next event."""
        return await self._queue.get()

    async def wait_for(self, name: str, **context: str) -> PublishedEvent:
        """The next event of that name whose context has these values; ``_`` in a key stands for ``-``."""
        wanted = {key.replace("_", "-"): value for key, value in context.items()}
        while True:
            event = await self.get()
            if event.name == name and wanted.items() <= event.context.items():
                return event

    def __aiter__(self) -> AsyncIterator[PublishedEvent]:
        return self._events()

    async def _events(self) -> AsyncIterator[PublishedEvent]:
        while True:
            yield await self.get()

    def close(self) -> None:
        """Receive no more."""
        self._leave(self)


class MemorySink:
    """Keeps the last events and hands new ones to subscribers."""

    def __init__(self, keep: int = 10_000) -> None:
        self.events: deque[PublishedEvent] = deque(maxlen=keep)
        self._subscribers: set[Subscription] = set()

    def publish(self, event: PublishedEvent) -> None:
        """Take one event."""
        self.events.append(event)
        for subscriber in self._subscribers:
            subscriber.put(event)

    def subscribe(self) -> Subscription:
        """Listen from now on."""
        subscription = Subscription(self._subscribers.discard)
        self._subscribers.add(subscription)
        return subscription

    async def close(self) -> None:
        """Nothing is on its way."""
        self._subscribers.clear()
