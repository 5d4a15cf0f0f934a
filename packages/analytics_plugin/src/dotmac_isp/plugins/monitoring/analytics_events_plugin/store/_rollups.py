"""Counts and sums that the engine keeps beside the events, filled by materialised views.

Every one is a sum over keys, so that it can be put right from the events by adding what is missing, also a negative number.
"""

from __future__ import annotations

from typing import Final

import msgspec

__all__ = ["AMOUNTS_PER_HOUR", "DEVICES_PER_HOUR", "PER_MINUTE", "ROLLUPS", "Rollup"]

PER_MINUTE: Final = "events_per_minute"
AMOUNTS_PER_HOUR: Final = "amounts_per_hour"
DEVICES_PER_HOUR: Final = "devices_per_hour"


class Rollup(msgspec.Struct, frozen=True, kw_only=True):
    """One rollup: the bucket of time, the keys beside tenant and bucket, the sums, and which events count."""

    name: str
    bucket: str
    #: The function of the engine that gives the bucket of a timestamp.
    start: str
    #: Name and type.
    keys: dict[str, str]
    #: Name, type and expression over the events of a group.
    sums: dict[str, tuple[str, str]]
    only: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        return ("tenant_id", self.bucket, *self.keys, *self.sums)

    @property
    def grouping(self) -> str:
        return ", ".join(("tenant_id", self.bucket, *self.keys))

    @property
    def sums_in_order(self) -> str:
        return ", ".join(self.sums)

    def select(self, source: str, condition: str = "", *, once: bool = False) -> str:
        """The statement that makes the rollup's rows of the events in `source`."""
        sums = ", ".join(f"{expression} AS {name}" for name, (_, expression) in self.sums.items())
        keys = "".join(f"{key}, " for key in self.keys)
        where = " AND ".join(part for part in (self.only, condition) if part)
        return (
            f"SELECT tenant_id, {self.start}(timestamp) AS {self.bucket}, {keys}{sums} FROM {source} AS e{' FINAL' if once else ''}"  # noqa: S608 - our own names
            f"{f' WHERE {where}' if where else ''} GROUP BY {self.grouping}"
        )


ROLLUPS: Final = (
    Rollup(
        name=PER_MINUTE,
        bucket="minute",
        start="toStartOfMinute",
        keys={"category": "LowCardinality(String)", "event_name": "LowCardinality(String)"},
        sums={"events": ("Int64", "toInt64(count())")},
    ),
    Rollup(
        name=AMOUNTS_PER_HOUR,
        bucket="hour",
        start="toStartOfHour",
        keys={
            "category": "LowCardinality(String)",
            "event_name": "LowCardinality(String)",
            "currency": "LowCardinality(String)",
        },
        sums={"events": ("Int64", "toInt64(count())"), "amount": ("Decimal(38, 6)", "sum(assumeNotNull(e.amount))")},
        only="isNotNull(e.amount)",
    ),
    Rollup(
        name=DEVICES_PER_HOUR,
        bucket="hour",
        start="toStartOfHour",
        keys={
            "device_id": "String",
            "category": "LowCardinality(String)",
            "event_name": "LowCardinality(String)",
            "severity": "LowCardinality(String)",
        },
        sums={"events": ("Int64", "toInt64(count())")},
        only="e.device_id != ''",
    ),
)
