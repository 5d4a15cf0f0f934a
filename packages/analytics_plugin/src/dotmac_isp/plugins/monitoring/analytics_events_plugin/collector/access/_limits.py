"""How much a key may ask for: a bucket of tokens that fills at the key's rate, two seconds deep."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Limits"]

_DEPTH_SECONDS: Final = 2.0
_MOST: Final = 100_000


class Limits:
    """In memory: a collector that starts anew starts with full buckets."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._buckets: dict[tuple[str, str, str], tuple[float, float]] = {}

    def take(self, bucket: tuple[str, str, str], amount: int, rate: int) -> int:
        """0: it is yours. Else after how many seconds to ask again; nothing was taken then.

        Whatever is asked for is given while the bucket is not empty, and owed afterwards: a batch that is larger than the bucket passes too.
        """
        if rate <= 0 or amount <= 0:
            return 0
        now = self._clock()
        tokens, at = self._buckets.get(bucket, (rate * _DEPTH_SECONDS, now))
        tokens = min(rate * _DEPTH_SECONDS, tokens + (now - at) * rate)
        if tokens <= 0:
            return max(1, math.ceil((1 - tokens) / rate))
        if len(self._buckets) >= _MOST:
            self._buckets.clear()
        self._buckets[bucket] = (tokens - amount, now)
        return 0
