"""The time that licences are judged by: it never goes back, whatever is done to the machine's clock."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LicenceClock"]

#: What a clock may be put right by without anybody being told, seconds.
_TOLERANCE: Final = 300.0


class LicenceClock:
    """Wall time, but at least what was seen before, and what has gone by since on the monotonic clock. Unix time, seconds."""

    def __init__(
        self, *, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._wall: Final = wall
        self._monotonic: Final = monotonic
        self._floor = wall()
        self._floor_at = monotonic()

    def at_least(self, seen: float) -> None:
        """The time was `seen` already: by an earlier run, or by a vendor who signed then."""
        if seen > self.now():
            self._floor, self._floor_at = seen, self._monotonic()

    def now(self) -> float:
        """The time that counts."""
        wall, at = self._wall(), self._monotonic()
        lasted = self._floor + (at - self._floor_at)
        if wall >= lasted:
            self._floor, self._floor_at = wall, at
            return wall
        return lasted

    @property
    def behind(self) -> float:
        """Seconds by which the machine's clock has been set back; 0 for what is only put right."""
        late = self.now() - self._wall()
        return late if late > _TOLERANCE else 0.0
