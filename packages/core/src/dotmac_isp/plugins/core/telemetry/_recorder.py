"""The numbers that a plugin counts about itself (`api.metrics`)."""

from __future__ import annotations

import enum
import math
import re
import threading
from typing import Final

import msgspec

from ._stats import Histogram

__all__ = ["LABEL_SETS", "MetricKind", "OwnMetric", "Recorder"]

#: How many different (name, labels) one instance may have; what comes after is dropped and counted.
LABEL_SETS: Final = 1000

_NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_RESERVED_LABELS: Final = frozenset({"plugin", "tenant", "le", "quantile"})
_RESERVED_PREFIX: Final = "dotmac_plugin_"
_SHOWN: Final = 80

LabelSet = tuple[tuple[str, str], ...]


class MetricKind(enum.Enum):
    """How a metric behaves, in Prometheus terms."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class OwnMetric(msgspec.Struct, frozen=True):
    """One of a plugin's own numbers, as it is at the moment of reading."""

    name: str
    kind: MetricKind
    labels: LabelSet
    value: float | Histogram


class Recorder:
    """`MetricRecorder` for one instance. Safe to use from a plugin's threads."""

    __slots__ = ("_histograms", "_kinds", "_lock", "_numbers", "dropped")

    def __init__(self) -> None:
        self._kinds: dict[str, MetricKind] = {}
        self._numbers: dict[tuple[str, LabelSet], float] = {}
        self._histograms: dict[tuple[str, LabelSet], Histogram] = {}
        self._lock = threading.Lock()
        #: How many values were dropped because the instance has its 1,000 label sets already.
        self.dropped = 0

    def count(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Add to a counter. `amount` must not be negative; `_total` at the end of the name may be left out."""
        name = name.removesuffix("_total")
        if not (amount >= 0 and math.isfinite(amount)):
            raise ValueError(f"the counter {name!r} was given {amount!r}: a counter only grows; use set() for a gauge")
        key = (name, _label_set(labels))
        with self._lock:
            if key in self._numbers and self._kinds[name] is MetricKind.COUNTER:
                self._numbers[key] += amount
            elif self._admit(key, MetricKind.COUNTER):
                self._numbers[key] = float(amount)

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        key = (name, _label_set(labels))
        with self._lock:
            if (key in self._numbers and self._kinds[name] is MetricKind.GAUGE) or self._admit(key, MetricKind.GAUGE):
                self._numbers[key] = float(value)

    def keep(self, name: str, value: float) -> None:
        """What a plugin counted or measured itself: a counter's present value where the name ends in `_total`, else a gauge."""
        kind = MetricKind.COUNTER if name.endswith("_total") else MetricKind.GAUGE
        if kind is MetricKind.COUNTER and not (value >= 0 and math.isfinite(value)):
            raise ValueError(
                f"the counter {name!r} stands at {value!r}: a counter only grows; use another name for a gauge"
            )
        key = (name.removesuffix("_total") if kind is MetricKind.COUNTER else name, ())
        with self._lock:
            if (key in self._numbers and self._kinds[key[0]] is kind) or self._admit(key, kind):
                self._numbers[key] = float(value)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Put a value, as a rule seconds, into a histogram."""
        if math.isnan(value):
            raise ValueError(f"the histogram {name!r} was given NaN; leave out what was not measured")
        key = (name, _label_set(labels))
        with self._lock:
            histogram = self._histograms.get(key)
            if histogram is None:
                if not self._admit(key, MetricKind.HISTOGRAM):
                    return
                histogram = self._histograms[key] = Histogram()
            histogram.observe(value)

    def read(self) -> list[OwnMetric]:
        """Everything counted so far."""
        with self._lock:
            numbers = list(self._numbers.items())
            histograms = [(key, _copy(value)) for key, value in self._histograms.items()]
        both: list[tuple[tuple[str, LabelSet], float | Histogram]] = [*numbers, *histograms]
        return [OwnMetric(name, self._kinds[name], labels, value) for (name, labels), value in both]

    def _admit(self, key: tuple[str, LabelSet], kind: MetricKind) -> bool:
        """Check what is new: the name, the labels, the kind, the bound. Called with the lock held."""
        name, labels = key
        known = self._kinds.get(name)
        if known is None:
            _check_name(name, kind)
        elif known is not kind:
            raise ValueError(
                f"{name!r} is a {known.value} already and cannot be a {kind.value} as well; use another name"
            )
        for label, _ in labels:
            _check_label(name, label)
        if len(self._numbers) + len(self._histograms) >= LABEL_SETS:
            self.dropped += 1
            return False
        self._kinds[name] = kind
        return True


def _label_set(labels: dict[str, str]) -> LabelSet:
    if not labels:
        return ()
    return tuple(sorted((label, str(value)) for label, value in labels.items()))


def _copy(histogram: Histogram) -> Histogram:
    copy = Histogram()
    copy.seconds = histogram.seconds
    copy.buckets = list(histogram.buckets)
    return copy


def _check_name(name: str, kind: MetricKind) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name[:_SHOWN]!r} is no metric name: letters, digits, '_' and ':' only, not starting with a digit "
            "(for example 'onu_receive_power_dbm')"
        )
    if name.startswith(_RESERVED_PREFIX):
        raise ValueError(
            f"{name!r}: names that start with {_RESERVED_PREFIX!r} are the host's own; use your plugin's name"
        )
    if kind is not MetricKind.COUNTER and name.endswith("_total"):
        raise ValueError(f"{name!r}: only counters end in '_total'; use count(), or another name for a {kind.value}")


def _check_label(name: str, label: str) -> None:
    if label in _RESERVED_LABELS:
        raise ValueError(f"the label {label!r} of {name!r} is set by the host; use another name for yours")
    if not _LABEL.fullmatch(label) or label.startswith("__"):
        raise ValueError(
            f"{label[:_SHOWN]!r} is no label name for {name!r}: letters, digits and '_' only, "
            "not starting with a digit or '__'"
        )
