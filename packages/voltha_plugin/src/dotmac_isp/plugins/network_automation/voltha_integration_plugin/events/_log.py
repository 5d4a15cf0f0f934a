"""The latest events in memory, numbered, so that anybody can follow them without losing one: the asynchronous stream."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Collection

    from dotmac_isp.plugins.core.model import DeviceEvent

__all__ = ["EventLog"]

_KEPT: Final = 10_000


class EventLog:
    """Keeps the last 10,000 events. A cursor names the last one that somebody has read; it holds for this run of the instance."""

    def __init__(self) -> None:
        self._run: Final = secrets.token_hex(4)
        self._events: Final[deque[DeviceEvent]] = deque(maxlen=_KEPT)
        self._last = 0
        self._changed = asyncio.Event()

    def put(self, event: DeviceEvent) -> None:
        """Add an event, and wake whoever waits for it."""
        self._events.append(event)
        self._last += 1
        self._changed.set()

    async def after(
        self, cursor: str | None, *, wait: float, limit: int, kinds: Collection[str], device: str
    ) -> dict[str, Any]:
        """The events after a cursor; without any, those that come within `wait` seconds. No cursor: from now on.

        `missed` says how many were too long ago to be kept; -1: the instance was started anew meanwhile.
        """
        place, missed = self._place(cursor)
        end = asyncio.get_running_loop().time() + wait
        found: list[DeviceEvent] = []
        while True:
            new = self._last - place
            lost = max(new - len(self._events), 0)
            missed = missed if missed < 0 else missed + lost
            fresh = list(self._events)[len(self._events) - new + lost :] if new else []
            place += lost
            for event in fresh:
                if len(found) == limit:
                    break
                place += 1
                if _wanted(event, kinds, device):
                    found.append(event)
            if found or not await self._wait(end):
                break
        return {
            "cursor": f"{self._run}-{place}",
            "missed": missed,
            "events": [msgspec.to_builtins(event) for event in found],
        }

    def _place(self, cursor: str | None) -> tuple[int, int]:
        if cursor is None:
            return self._last, 0
        run, _, number = cursor.partition("-")
        if run != self._run or not number.isdecimal():
            return self._last - len(self._events), -1
        return min(int(number), self._last), 0

    async def _wait(self, end: float) -> bool:
        self._changed.clear()
        try:
            async with asyncio.timeout_at(end):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True


def _wanted(event: DeviceEvent, kinds: Collection[str], device: str) -> bool:
    if kinds and event.event_type not in kinds:
        return False
    return not device or device in (event.device_id, event.serial_number)
