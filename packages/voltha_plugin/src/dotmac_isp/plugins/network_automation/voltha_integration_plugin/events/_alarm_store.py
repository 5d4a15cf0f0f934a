"""Alarms on disk: the raised ones by OLT port, so that a storm writes few documents, and a bounded history in chunks.

A document holds its alarms as one JSON text: in a storm thousands of them are written a second, and looking through their every value
would cost more than all the rest.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import defaultdict, deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ._alarm import Alarm

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from dotmac_isp.plugins.core.api import Document, Storage

    from ._alarm_book import Transition

__all__ = ["AlarmStore"]

_ACTIVE: Final = "alarm/active/"
_HISTORY: Final = "alarm/history/"
_PAGE: Final = 500
_CHUNK: Final = 500


class AlarmStore:
    """Changes wait in memory until `flush`; one that fails leaves them waiting."""

    def __init__(self, storage: Storage) -> None:
        self._storage: Final = storage
        #: What changed of the alarms of each place (an OLT's port).
        self._active: Final[defaultdict[str, dict[str, Alarm | None]]] = defaultdict(dict)
        self._history: list[Alarm] = []
        # Two at once would write the same entries, and take others out unwritten.
        self._flushing: Final = asyncio.Lock()
        self._chunks: Final[deque[tuple[str, int]]] = deque()

    async def load(self) -> list[Alarm]:
        """The alarms that were raised when this was written last."""
        found: dict[str, Alarm] = {}
        async for document in self._documents(_ACTIVE):
            for alarm in msgspec.json.decode(document.value["alarms"], type=dict[str, Alarm]).values():
                found[alarm.key] = alarm
        self._chunks.clear()
        async for document in self._documents(_HISTORY):
            self._chunks.append((document.key, document.value["count"]))
        return list(found.values())

    def note(self, transition: Transition) -> None:
        """Remember a change until the next flush."""
        alarm = transition.alarm
        over = alarm.cleared_at is not None
        # An alarm stays at its place as long as it is raised.
        self._active[alarm.subject.place][alarm.key] = None if over else alarm
        if over:
            self._history.append(alarm)

    def note_once(self, alarm: Alarm) -> None:
        """Remember what is over already."""
        self._history.append(alarm)

    async def flush(self, limit: int) -> None:
        """Write what waits, and drop the oldest entries of a history longer than `limit`. Changes may be noted meanwhile."""
        async with self._flushing:
            await self._flush(limit)

    async def _flush(self, limit: int) -> None:
        while self._active:
            place, changes = self._active.popitem()
            try:
                await self._storage.update(f"{_ACTIVE}{place}", partial(_merge, changes))
            except BaseException:
                self._active[place] = {**changes, **self._active[place]}
                raise
        while self._history:
            entries = self._history[:_CHUNK]
            key = f"{_HISTORY}{time.time_ns() // 1000:020d}-{uuid.uuid4().hex[:8]}"
            await self._storage.put(key, {"count": len(entries), "entries": msgspec.json.encode(entries).decode()})
            del self._history[: len(entries)]
            self._chunks.append((key, len(entries)))
        total = sum(count for _, count in self._chunks)
        while self._chunks and total > limit:
            key, count = self._chunks[0]
            await self._storage.delete(key)
            self._chunks.popleft()
            total -= count

    async def history(self) -> list[Alarm]:
        """Everything that is kept, in the order in which it was written."""
        return [
            alarm
            async for document in self._documents(_HISTORY)
            for alarm in msgspec.json.decode(document.value["entries"], type=list[Alarm])
        ]

    async def _documents(self, prefix: str) -> AsyncIterator[Document]:
        after: str | None = None
        while page := await self._storage.list(prefix, limit=_PAGE, after=after):
            for document in page:
                yield document
            after = page[-1].key


def _merge(changes: Mapping[str, Alarm | None], value: Any) -> dict[str, Any]:
    alarms: dict[str, Any] = {}
    if value is not None:
        alarms = msgspec.json.decode(value["alarms"], type=dict[str, msgspec.Raw])
    merged = {key: alarm for key, alarm in {**alarms, **changes}.items() if alarm is not None}
    return {"alarms": msgspec.json.encode(merged).decode()}
