"""A tenant's SQL as it would have been answered at a moment that is past: its clocks stand still, and what came later is not there yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlglot import exp

__all__ = ["AT", "MOMENT", "stop_clocks"]

#: The parameter with the moment, milliseconds of Unix time.
AT: Final = "dotmac_at"
MOMENT: Final = f"fromUnixTimestamp64Milli({{{AT}: Int64}})"
#: What stands for each clock, and which of its arguments is a time zone.
_CLOCKS: Final = {
    "now": (f"toDateTime({MOMENT})", 0),
    "current_timestamp": (f"toDateTime({MOMENT})", 0),
    "now64": (MOMENT, 1),
    "today": (f"toDate({MOMENT})", None),
    "current_date": (f"toDate({MOMENT})", None),
    "yesterday": (f"(toDate({MOMENT}) - 1)", None),
}
#: How the parser calls clocks that it knows by themselves.
_NODES: Final = {
    "CurrentTimestamp": "current_timestamp",
    "UtcTimestamp": "current_timestamp",
    "CurrentDate": "current_date",
}


def stop_clocks(statement: exp.Expression) -> None:
    """Replace every clock in the statement by the moment."""
    import sqlglot  # noqa: PLC0415 - 0.2 s; only where SQL is asked
    from sqlglot import exp  # noqa: PLC0415

    for node in list(statement.find_all(exp.Func)):
        name = _NODES.get(type(node).__name__, node.name.lower())
        if name not in _CLOCKS:
            continue
        text, place = _CLOCKS[name]
        made = sqlglot.parse_one(text, dialect="clickhouse")
        arguments: Sequence[exp.Expression] = node.expressions if isinstance(node, exp.Anonymous) else ()
        if place is not None and len(arguments) > place:
            made = exp.Anonymous(this="toTimeZone", expressions=[made, arguments[place].copy()])
        node.replace(made)
