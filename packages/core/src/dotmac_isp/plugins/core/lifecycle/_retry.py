"""The next try of an instance that was not ready, or failed."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from typing import Any

    from ..model import InstanceRef

__all__ = ["Retry"]

_LOG: Final = logging.getLogger("dotmac.lifecycle")


class Retry:
    """At most one try ahead. `again` makes it, in the background that `run` gives."""

    def __init__(
        self,
        ref: InstanceRef,
        again: Callable[[], Awaitable[None]],
        run: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._ref: Final = ref
        self._again: Final = again
        self._run: Final = run
        self._timer: asyncio.TimerHandle | None = None
        #: Tries since the last success.
        self.attempts = 0
        #: When the next one is due: Unix time, seconds.
        self.at: float | None = None

    def schedule(self, delay: float, reason: str) -> None:
        """Try again in so many seconds."""
        self.cancel()
        self.attempts += 1
        self.at = time.time() + delay
        self._timer = asyncio.get_running_loop().call_later(delay, self._now)
        _LOG.info("%s: next try in %.0f s (%s)", self._ref, delay, reason)

    def cancel(self) -> None:
        """No try is ahead any more."""
        if self._timer is not None:
            self._timer.cancel()
        self.at = self._timer = None

    def forget(self) -> None:
        """It works, or the operator begins anew."""
        self.attempts = 0
        self.cancel()

    def _now(self) -> None:
        self.at = self._timer = None
        self._run(self._try())

    async def _try(self) -> None:
        try:
            await self._again()
        except Exception as error:  # noqa: BLE001 - the instance's state says it
            _LOG.info("%s: the try failed: %s", self._ref, error)
