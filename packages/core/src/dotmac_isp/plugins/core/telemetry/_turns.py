"""The recorder of one life of an instance, where two lives share the instance's numbers while one takes over from the other.

Counters and histograms add up, whoever counts. A gauge says how something is *now*, so only the life that answers calls may set it.
"""

from __future__ import annotations

import threading
from typing import Final

from ._recorder import MetricKind, Recorder
from ._stats import Histogram

__all__ = ["LifeRecorder"]


class LifeRecorder:
    """`MetricRecorder` of one life. Gauges that it sets before `begin` wait for it; those after `retire` are dropped."""

    __slots__ = ("_lock", "_own", "_retired", "_waiting")

    def __init__(self, own: Recorder, *, begun: bool) -> None:
        self._own: Final = own
        self._waiting: Recorder | None = None if begun else Recorder()
        self._retired = False
        self._lock: Final = threading.Lock()

    def count(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Add to a counter."""
        self._own.count(name, amount, **labels)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Put a value into a histogram."""
        self._own.observe(name, value, **labels)

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        with self._lock:
            if not self._retired:
                (self._own if self._waiting is None else self._waiting).set(name, value, **labels)

    def begin(self) -> None:
        """This life answers calls from now on."""
        with self._lock:
            waiting, self._waiting = self._waiting, None
            for one in waiting.read() if waiting is not None else ():
                if one.kind is MetricKind.GAUGE and not isinstance(one.value, Histogram):
                    self._own.set(one.name, one.value, **dict(one.labels))

    def retire(self) -> None:
        """Another life answers calls from now on."""
        with self._lock:
            self._retired = True
