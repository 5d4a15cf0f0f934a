"""A bound on how much one instance may log, so that one loop gone wild does not drown the others."""

from __future__ import annotations

import msgspec

__all__ = ["RateLimit"]


class _Bucket(msgspec.Struct):
    tokens: float
    filled_at: float
    dropped: int = 0


class RateLimit:
    """Token buckets by key: `burst` at once, then `rate` in a second. Not locked: the caller does that."""

    def __init__(self, rate: float, burst: float) -> None:
        self.rate = rate
        self.burst = burst
        self._buckets: dict[tuple[str, ...], _Bucket] = {}
        self._dropping: set[tuple[str, ...]] = set()

    def allow(self, key: tuple[str, ...], now: float) -> bool:
        """Take one token; `False`, and counted, when there is none."""
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(self.burst, now)
        bucket.tokens = min(self.burst, bucket.tokens + max(0.0, now - bucket.filled_at) * self.rate)
        bucket.filled_at = now
        if bucket.tokens >= 1:
            bucket.tokens -= 1
            return True
        bucket.dropped += 1
        self._dropping.add(key)
        return False

    def take_dropped(self, now: float, *, everything: bool = False) -> list[tuple[tuple[str, ...], int]]:
        """What was dropped, for the keys that have tokens again (or all of them), and begin to count anew."""
        found = []
        for key in list(self._dropping):
            bucket = self._buckets[key]
            if everything or bucket.tokens + max(0.0, now - bucket.filled_at) * self.rate >= 1:
                self._dropping.discard(key)
                found.append((key, bucket.dropped))
                bucket.dropped = 0
        return found
