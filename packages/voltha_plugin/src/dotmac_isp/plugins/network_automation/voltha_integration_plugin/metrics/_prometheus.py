"""One measured value, named as Prometheus wants it: base unit at the end, `_total` for counters. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["Sample"]


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """A value of one thing of a device. `at` is Unix time in seconds."""

    name: str
    value: float
    labels: dict[str, str]
    at: float

    @property
    def key(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        return self.name, tuple(sorted(self.labels.items()))

    def plain(self) -> dict[str, Any]:
        """The sample as `collect_metrics` gives it."""
        return {"name": self.name, "value": self.value, "labels": dict(self.labels), "timestamp": self.at}
