"""Numbers and times as people read them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

__all__ = ["clock", "flat", "number_words"]


#: What a moment is in rows: RFC 3339 in UTC, with more decimals than anybody reads.
_MOMENT: Final = re.compile(r"^(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?Z$")


def clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def number_words(value: object) -> str:
    """`1,234`, `12.50`, `–` for nothing; texts as they are, lists with arrows between."""
    if value is None:
        return "–"
    if isinstance(value, (list, tuple)):
        return " → ".join(str(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{name}={item}" for name, item in value.items())
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return _MOMENT.sub(r"\1 \2", str(value))
    return f"{value:,.2f}" if isinstance(value, float) and not value.is_integer() else f"{int(value):,}"


def flat(totals: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Totals by name; those within a total carry its name before theirs."""
    pairs: list[tuple[str, Any]] = []
    for name, value in totals.items():
        if isinstance(value, Mapping):
            pairs.extend((f"{name} {key}", inner) for key, inner in value.items())
        else:
            pairs.append((name, value))
    return pairs
