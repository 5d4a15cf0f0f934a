"""Reading VOLTHA's change events, so that its queue of 100 never fills: with a full queue deleting an OLT hangs (surprise 4).

The stream has one reader (section 1.2): whoever opens it ends the former reader's. So this one stands back with growing pauses
when somebody else takes it, and opens it again only while an OLT is being deleted.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import msgspec

from .._errors import VolthaError

if TYPE_CHECKING:
    import logging
    from collections.abc import AsyncIterator, Callable

    from .._session import Session

__all__ = ["ChangeStream", "FlowFailure"]

_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 300.0
#: A stream that ends sooner than this was taken by somebody else, who will take it again.
_TAKEN: Final = 60.0
_KEPT: Final = 1_000


class FlowFailure(msgspec.Struct, frozen=True):
    """A flow that VOLTHA took back: the `xid` of the request that added it, and its cookie (section 12.3)."""

    logical_device_id: str
    xid: int
    cookie: int
    at: float


class ChangeStream:
    """One reader of the stream. `session` gives the connection; `wanted` says whether it should read at all times."""

    def __init__(
        self,
        *,
        session: Callable[[], Session],
        wanted: Callable[[], bool],
        changed: Callable[[], None],
        logger: logging.LoggerAdapter[logging.Logger],
    ) -> None:
        self._session: Final = session
        self._wanted: Final = wanted
        self._changed: Final = changed
        self._logger: Final = logger
        self._needed = 0
        self._wake = asyncio.Event()
        self._open = asyncio.Event()
        #: How many events were read, and the flows that failed, newest last.
        self.received = 0
        self.failures: Final[deque[FlowFailure]] = deque(maxlen=_KEPT)
        self.state = "waiting"

    @contextlib.asynccontextmanager
    async def needed(self, limit: float = 2.0) -> AsyncIterator[None]:
        """While this lasts the stream is read, whoever else wants it; begins when it is open, or after `limit` seconds."""
        self._needed += 1
        self._wake.set()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limit):
                    await self._open.wait()
            yield
        finally:
            self._needed -= 1

    async def run(self) -> None:
        """Read until cancelled."""
        pause = _FIRST_PAUSE
        while True:
            if not (self._needed or self._wanted()):
                self.state = "not wanted"
                await self._sleep(_LONGEST_PAUSE)
                continue
            began = time.monotonic()
            await self._read()
            if self._needed or time.monotonic() - began > _TAKEN:
                pause = _FIRST_PAUSE
            else:
                pause = min(pause * 4, _LONGEST_PAUSE)
            await self._sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - spreads two readers apart

    async def _sleep(self, seconds: float) -> None:
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def _read(self) -> None:
        try:
            async for event in self._session().client.stream("ReceiveChangeEvents", opened=self._opened):
                self._take(event)
            self.state = "taken by another reader"
        except VolthaError as error:
            self.state = "away"
            self._logger.debug("change events cannot be read: %s", error)
        finally:
            self._open.clear()

    def _opened(self) -> None:
        self.state = "reading"
        self._open.set()

    def _take(self, event: Any) -> None:
        self.received += 1
        if event.WhichOneof("event") != "error":
            self._changed()
            return
        # The cookie stands behind the eight bytes of the header that the core makes up (section 12.3).
        data = bytes(event.error.data)
        cookie = int.from_bytes(data[8:16], "big") if len(data) >= 16 else 0  # noqa: PLR2004
        self.failures.append(FlowFailure(event.id, event.error.header.xid, cookie, time.time()))
