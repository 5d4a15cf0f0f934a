"""Alarms on disk: the raised ones by OLT port, so that a storm writes few documents, and a bounded history in chunks."""

from __future__ import annotations

import time
import uuid
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ._alarm import Alarm

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from dotmac_isp.plugins.core.api import Document, Storage

    from ._alarm_book import Transition

__all__ = ["AlarmStore"]

_ACTIVE: Final = "alarm/active/"
_HISTORY: Final = "alarm/history/"
_PAGE: Final = 500
_CHUNK: Final = 200


class AlarmStore:
    """Changes wait in memory until `flush`; one that fails leaves them waiting."""

    def __init__(self, storage: Storage) -> None:
        self._storage: Final = storage
        self._active: dict[str, dict[str, Any]] = {}
        self._place: Final[dict[str, str]] = {}
        self._history: list[Any] = []
        self._chunks: Final[deque[tuple[str, int]]] = deque()

    async def load(self) -> list[Alarm]:
        """The alarms that were raised when this was written last."""
        found: dict[str, Alarm] = {}
        async for document in self._documents(_ACTIVE):
            for alarm in msgspec.convert(list(document.value["alarms"].values()), list[Alarm]):
                self._place[alarm.key] = document.key
                found[alarm.key] = alarm
        self._chunks.clear()
        async for document in self._documents(_HISTORY):
            self._chunks.append((document.key, len(document.value["entries"])))
        return list(found.values())

    def note(self, transition: Transition) -> None:
        """Remember a change until the next flush."""
        alarm = transition.alarm
        over = alarm.cleared_at is not None
        subject = alarm.subject
        place = f"{_ACTIVE}{subject.olt_id or '-'}/{subject.port or '-'}"
        former = self._place.pop(alarm.key, place)
        self._active.setdefault(former, {})[alarm.key] = None
        if over:
            self.note_once(alarm)
        else:
            self._place[alarm.key] = place
            self._active.setdefault(place, {})[alarm.key] = msgspec.to_builtins(alarm)

    def note_once(self, alarm: Alarm) -> None:
        """Remember what is over already."""
        self._history.append(msgspec.to_builtins(alarm))

    async def flush(self, limit: int) -> None:
        """Write what waits, and drop the oldest entries of a history longer than `limit`."""
        while self._active:
            key = next(iter(self._active))
            changes = self._active[key]
            await self._storage.update(key, partial(_merge, changes))
            del self._active[key]
        while self._history:
            entries = self._history[:_CHUNK]
            key = f"{_HISTORY}{time.time_ns() // 1000:020d}-{uuid.uuid4().hex[:8]}"
            await self._storage.put(key, {"entries": entries})
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
            for alarm in msgspec.convert(document.value["entries"], list[Alarm])
        ]

    async def _documents(self, prefix: str) -> AsyncIterator[Document]:
        after: str | None = None
        while page := await self._storage.list(prefix, limit=_PAGE, after=after):
            for document in page:
                yield document
            after = page[-1].key


def _merge(changes: dict[str, Any], value: Any) -> dict[str, Any]:
    alarms = {**({} if value is None else value["alarms"]), **changes}
    return {"alarms": {key: alarm for key, alarm in alarms.items() if alarm is not None}}
