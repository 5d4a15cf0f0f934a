"""Looking at all devices again and again, and telling the tenant's other plugins what changed.

This polls ListDevices, by interval, soon after each command and change event, and more often while things move; the change stream
itself has one consumer only (section 1.2) and may be somebody else's. Events are relayed by one task, so they keep their order.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from dotmac_isp.plugins.core.model import DeviceEvent

from ._changes import changes
from ._errors import VolthaError

if TYPE_CHECKING:
    import logging
    from collections.abc import Awaitable, Callable

    from ._device import DeviceView

__all__ = ["Monitor"]

_SOON: Final = 0.25
_GROWTH: Final = 1.5
#: So many times as long as a look took nothing is looked at.
_REST: Final = 10
#: Events that wait for slow listeners; the oldest are dropped beyond it.
_QUEUE: Final = 10_000


class Monitor:
    """One tenant's view of its devices. `look` lists them, `relay` tells one event, `interval` gives seconds.

    `seen` gets each list after it was compared, `heard` each event before others are told.
    """

    def __init__(
        self,
        *,
        look: Callable[[], Awaitable[list[DeviceView]]],
        relay: Callable[[DeviceEvent], Awaitable[Any]],
        interval: Callable[[], float],
        source: str,
        tenant_id: str | None,
        logger: logging.LoggerAdapter[logging.Logger],
        seen: Callable[[list[DeviceView]], Awaitable[None]],
        heard: Callable[[DeviceEvent], None],
    ) -> None:
        self._heard: Final = heard
        self._seen: Final = seen
        self._look: Final = look
        self._relay: Final = relay
        self._interval: Final = interval
        self._source: Final = source
        self._tenant_id: Final = tenant_id
        self._logger: Final = logger
        self._queue: deque[DeviceEvent] = deque(maxlen=_QUEUE)
        self._wake = asyncio.Event()
        self._news = asyncio.Event()
        self._look_now = False
        self._pause = interval()
        self._trouble: VolthaError | None = None
        #: The devices as they were seen last.
        self.devices: list[DeviceView] = []

    def tell(self, event: DeviceEvent) -> None:
        """Relay an event soon."""
        self._heard(event)
        self._queue.append(event)
        self._news.set()

    def look_soon(self) -> None:
        """Compare soon, and more often for a while: something was changed."""
        self._look_now = True
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled. What is known already does not wait for a list of thousands of devices."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch())
            tasks.create_task(self._relay_all())

    async def _watch(self) -> None:
        rested = 0.0
        while True:
            await self._wait(self._pause)
            # Events come by the thousand; the list is asked for four times a second at most, and long ones less often.
            await asyncio.sleep(max(rested - time.monotonic(), 0))
            began = time.monotonic()
            await self._compare()
            rested = began + max(_SOON, _REST * (time.monotonic() - began))

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        self._wake.clear()

    async def _relay_all(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            while self._queue:
                await self._relay(self._queue.popleft())

    async def _compare(self) -> None:
        asked, self._look_now = self._look_now, False
        try:
            now = await self._look()
        except VolthaError as error:
            self._lost(error)
            return
        self._found()
        found = changes(self.devices, now, source=self._source, tenant_id=self._tenant_id)
        self.devices = now
        for event in found:
            self.tell(event)
        grown = _SOON if asked or found else self._pause * _GROWTH
        self._pause = min(grown, self._interval())
        await self._seen(now)

    def _lost(self, error: VolthaError) -> None:
        self._pause = self._interval()
        if self._trouble is None:
            self._logger.warning("devices cannot be listed: %s", error)
            self.tell(self._own_event("voltha_unreachable", "critical", error.message))
        self._trouble = error

    def _found(self) -> None:
        if self._trouble is not None:
            self._logger.info("devices are listed again")
            self.tell(self._own_event("voltha_reachable", "info", "devices are listed again"))
        self._trouble = None

    def _own_event(self, kind: str, severity: str, message: str) -> DeviceEvent:
        return DeviceEvent(
            event_type=kind,
            device_id="voltha",
            source=self._source,
            tenant_id=self._tenant_id,
            severity=severity,
            message=message,
        )
