"""Plain numbers of one operation: what the gate writes at every call, and nothing more."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..model import FailureKind

__all__ = ["BOUNDS", "CallStats", "Histogram"]

#: Upper bounds of the duration buckets, in seconds; from a call that only looks something up to an optical reset.
BOUNDS: Final = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Histogram:
    """Sum and buckets of measured values. The last bucket is for what lies above every bound."""

    __slots__ = ("buckets", "seconds")

    def __init__(self) -> None:
        #: The sum of all values; seconds where durations are measured.
        self.seconds = 0.0
        self.buckets = [0] * (len(BOUNDS) + 1)

    def observe(
        self,
        seconds: float,
        # Bound as defaults: a global look-up for each would cost a third of the call.
        _find: Callable[[Sequence[float], float], int] = bisect_left,
        _bounds: Sequence[float] = BOUNDS,
        _first: float = BOUNDS[0],
    ) -> None:
        """Count one value."""
        self.seconds += seconds
        # Nearly every call that does not wait is in the first bucket.
        self.buckets[0 if seconds <= _first else _find(_bounds, seconds)] += 1

    @property
    def calls(self) -> int:
        """How many values there were."""
        return sum(self.buckets)


class CallStats(Histogram):
    """Calls, failures and durations of one operation of one instance.

    The gate calls `observe` once for every call, however it ended, and `fail` as well when it failed.
    """

    __slots__ = ("failures",)

    def __init__(self) -> None:
        super().__init__()
        #: Failed calls by kind; `None` until the first failure, which most operations never see.
        self.failures: dict[FailureKind, int] | None = None

    def fail(self, kind: FailureKind) -> None:
        """Count one failed call."""
        if self.failures is None:
            self.failures = {}
        self.failures[kind] = self.failures.get(kind, 0) + 1

    @property
    def failed(self) -> int:
        """How many calls failed, of all kinds."""
        return sum(self.failures.values()) if self.failures else 0
