"""Putting rollups right from the events: what is missing is added, also a negative number. Once right, doing it again adds nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._schema import EVENTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._rollups import Rollup

__all__ = ["difference_sql", "reconcile_sql"]


def reconcile_sql(
    rollup: Rollup, tenant: str, hours: Sequence[int], *, once: bool = False
) -> tuple[str, dict[str, Any]]:
    """The statement that makes a rollup of a tenant agree with its events in these hours (Unix time). Nothing may be inserted meanwhile.

    :param once: count an event once that the table has twice, until it merges (which happens where several collectors store).
    """
    text, values = difference_sql(rollup, tenant, hours, once=once)
    return f"INSERT INTO {rollup.name} ({', '.join(rollup.columns)}) {text}", values


def difference_sql(
    rollup: Rollup, tenant: str, hours: Sequence[int], *, once: bool = False
) -> tuple[str, dict[str, Any]]:
    """The rows that a rollup lacks, with negative sums where it has too much."""
    listed = ", ".join(str(int(hour)) for hour in hours)
    values = {"tenant": tenant, "first": min(hours), "after": max(hours) + 3600}

    def within(column: str) -> str:
        return (
            f"tenant_id = {{tenant:String}} AND {column} >= toDateTime({{first:UInt32}}, 'UTC') "
            f"AND {column} < toDateTime({{after:UInt32}}, 'UTC') AND toUnixTimestamp(toStartOfHour({column})) IN ({listed})"
        )

    sums = ", ".join(f"sum(s.{name}) AS {name}" for name in rollup.sums)
    less = ", ".join(f"-r.{name} AS {name}" for name in rollup.sums)
    keys = "".join(f"{key}, " for key in rollup.keys)
    wrong = " OR ".join(f"{name} != 0" for name in rollup.sums)
    text = (
        f"SELECT {rollup.grouping}, {sums} FROM ("  # noqa: S608 - our own names, numbers and bound values
        f"{rollup.select(EVENTS, within('e.timestamp'), once=once)} UNION ALL "
        f"SELECT tenant_id, {rollup.bucket}, {keys}{less} FROM {rollup.name} AS r WHERE {within(f'r.{rollup.bucket}')}"
        f") AS s GROUP BY {rollup.grouping} HAVING {wrong}"
    )
    return text, values
