"""What keeps a failing plugin from being called for ever: the breaker of an instance, and the rule of giving up."""

from __future__ import annotations

import collections
import random
import time
from typing import TYPE_CHECKING, Final

import msgspec

from .model import HealthReport, HealthStatus

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Breaker", "GiveUpRule", "Limits", "backoff", "worst"]

_FIRST_RETRY: Final = 5.0
_LONGEST_RETRY: Final = 600.0
_LONGEST_ASKED: Final = 86_400.0
_ORDER: Final = (HealthStatus.HEALTHY, HealthStatus.UNKNOWN, HealthStatus.DEGRADED, HealthStatus.UNHEALTHY)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """When the host loses patience. Times in seconds."""

    #: A call without a deadline of its own.
    call: float = 30.0
    #: A lifecycle step is reported as slow after this time…
    step_warning: float = 10.0
    #: … and given up after this.
    initialize: float = 60.0
    activate: float = 120.0
    #: The first wait before an instance that was not ready, or failed, is tried again; each further one is twice as long.
    retry_first: float = _FIRST_RETRY
    deactivate: float = 30.0
    cleanup: float = 30.0
    health_check: float = 10.0
    #: How long cancelled plugin code may take to end before it is reported as ignoring cancellation.
    cancellation: float = 5.0
    #: How long plugin code may hold the event loop before it is reported with its stack.
    blocking: float = 1.0
    #: Consecutive failures that open the breaker, and how long it stays open.
    breaker_failures: int = 5
    breaker_pause: float = 30.0
    #: So many failures of the instance within so many seconds, and it is disabled.
    give_up_failures: int = 3
    give_up_window: float = 3600.0


def backoff(
    attempt: int,
    *,
    asked: float | None = None,
    first: float = _FIRST_RETRY,
    jitter: Callable[[], float] = random.random,
) -> float:
    """Seconds until the next try: first·2ⁿ up to 600 s, at least what was asked (up to a day), and up to a tenth more at random."""
    delay = min(first * 2.0 ** min(attempt, 10), _LONGEST_RETRY)
    if asked is not None:
        delay = max(delay, min(asked, _LONGEST_ASKED))
    return delay * (1.0 + jitter() / 10.0)


class Breaker:
    """Opens after consecutive failures, lets one trial through after a pause, and closes when that succeeds."""

    __slots__ = ("_clock", "_limit", "_pause", "_trial", "failures", "open_until", "opened")

    def __init__(self, limit: int, pause: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit: Final = limit
        self._pause: Final = pause
        self._clock: Final = clock
        self._trial = False
        #: Failures since the last success.
        self.failures = 0
        #: How often it opened.
        self.opened = 0
        #: Monotonic time until which calls are refused; 0 while it is closed.
        self.open_until = 0.0

    def refuses(self) -> bool:
        """Whether a call must not pass now. After the pause exactly one call passes as a trial."""
        if not self.open_until:
            return False
        if self._trial or self._clock() < self.open_until:
            return True
        self._trial = True
        return False

    def succeeded(self) -> None:
        """A call gave a result."""
        self.failures = 0
        self.open_until = 0.0
        self._trial = False

    def failed(self) -> bool:
        """A call failed; `True` when that opened the breaker (again)."""
        self.failures += 1
        if self._trial or self.failures >= self._limit:
            newly = self._trial or not self.open_until
            self._trial = False
            self.open_until = self._clock() + self._pause
            self.opened += newly
            return newly
        return False

    def abandoned(self) -> None:
        """The trial ended without a verdict (its caller gave up); let another one through."""
        self._trial = False

    @property
    def state(self) -> str:
        """`closed`, `open` or `half-open`, for status."""
        if not self.open_until:
            return "closed"
        return "half-open" if self._trial or self._clock() >= self.open_until else "open"


class GiveUpRule:
    """Counts an instance's failures and says when it is enough."""

    __slots__ = ("_clock", "_limit", "_times", "_window")

    def __init__(self, limit: int, window: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit: Final = limit
        self._window: Final = window
        self._clock: Final = clock
        self._times: collections.deque[float] = collections.deque(maxlen=limit)

    def enough(self) -> bool:
        """Count one failure; `True` when there were too many within the window."""
        now = self._clock()
        self._times.append(now)
        return len(self._times) == self._limit and now - self._times[0] <= self._window

    def forget(self) -> None:
        """The operator starts the instance anew: old failures count no more."""
        self._times.clear()


def worst(reports: list[HealthReport]) -> HealthStatus:
    """The worst status among the reports; `UNKNOWN` when there are none."""
    return max((report.status for report in reports), key=_ORDER.index, default=HealthStatus.UNKNOWN)
