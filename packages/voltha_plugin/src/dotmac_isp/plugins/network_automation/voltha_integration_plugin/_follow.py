"""Following a command until the state that it should lead to is seen, or saying which step hangs, and in what state."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from ._errors import StateTimeoutError, VolthaUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from dotmac_isp.plugins.core.model import PluginContext

__all__ = ["Follower", "Seen", "time_limit"]

T = TypeVar("T")

_FIRST_WAIT: Final = 0.05
_LONGEST_WAIT: Final = 0.5
_GROWTH: Final = 1.4
#: Kept back of a caller's deadline, so that our own error, which says what hangs, arrives before the host cancels the call.
_MARGIN: Final = 0.5


class Seen(msgspec.Struct, frozen=True):
    """What one look showed: whether it is what was waited for, and the state in words."""

    reached: bool
    state: str


def time_limit(default: float, context: PluginContext | None) -> float:
    """Seconds that an operation may take: until shortly before the call's own deadline, else the setting."""
    remaining = context.remaining if context is not None else None
    if remaining is None:
        return default
    return max(remaining - _MARGIN, remaining / 2, 0.0)


class Follower:
    """Waits for states within one operation's time. `operation` names it in errors."""

    def __init__(self, operation: str, limit: float) -> None:
        self._operation: Final = operation
        self._limit: Final = limit
        self._end: Final = time.monotonic() + limit

    @property
    def remaining(self) -> float:
        """Seconds left, not below 0."""
        return max(self._end - time.monotonic(), 0.0)

    async def until(self, step: str, look: Callable[[], Awaitable[tuple[Seen, T | None]]]) -> T:
        """Look again and again until `look` says reached, and give what it saw; raises `StateTimeoutError`.

        VOLTHA being away for a while is a state like others: it is waited for too.
        """
        wait = _FIRST_WAIT
        while True:
            seen, value = await self._look(look)
            if seen.reached and value is not None:
                return value
            if self.remaining <= 0:
                raise self.timed_out(step, seen.state)
            await asyncio.sleep(min(wait, self.remaining))
            wait = min(wait * _GROWTH, _LONGEST_WAIT)

    async def _look(self, look: Callable[[], Awaitable[tuple[Seen, T | None]]]) -> tuple[Seen, T | None]:
        try:
            return await look()
        except VolthaUnavailableError as error:
            return Seen(reached=False, state=error.message), None

    def timed_out(self, step: str, state: str) -> StateTimeoutError:
        """The error that says which step did not end."""
        return StateTimeoutError(
            f"{self._operation}: after {self._limit:.3g} s still waiting for {step}; last seen: {state}",
            step=step,
            state=state,
            remedy="What was asked for stays asked for; ask again to go on waiting",
        )
