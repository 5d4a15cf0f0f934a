"""Spans and moments as people write them: `"15m"`, `300`, `"24h"`, `"2026-11-22T10:00:00Z"`."""

from __future__ import annotations

import math
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Final

from ._plain import EventError

__all__ = ["clock_text", "moment", "span"]

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_WORDS: Final = {
    "second": 1,
    "minute": 60,
    "hour": 3600,
    "day": 86400,
    "week": 604800,
    "month": 30 * 86400,
    "quarter": 91 * 86400,
    "year": 365 * 86400,
}
_SPAN: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
#: `7 days`, `last_24_hours`, `last week`.
_LONG_SPAN: Final = re.compile(rf"(?:last[ _])?(\d*)[ _]?({'|'.join(_WORDS)})s?")
_MOST: Final = 3660 * 86400


def span(value: object, field: str) -> float:
    """Seconds from a number of seconds, a text such as `15m`, a word such as `hour`, or a timedelta. Raises `EventError`."""
    seconds = _span(value)
    if seconds is None or not math.isfinite(seconds) or not 0 < seconds <= _MOST:
        raise EventError(field, value, "a span such as '15m', '24h', '7d', or seconds")
    return seconds


def _span(value: object) -> float | None:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, str):
        return None
    text = value.strip().lower()
    if found := _SPAN.fullmatch(text):
        return float(found.group(1)) * _UNITS[found.group(2)]
    if found := _LONG_SPAN.fullmatch(text):
        return float(found.group(1) or 1) * _WORDS[found.group(2)]
    return None


def moment(value: object, field: str, *, now: float | None = None) -> float:
    """Unix time from a datetime, RFC 3339 text, Unix time, `now`, or a span meaning that long ago. Raises `EventError`."""
    clock = time.time() if now is None else now
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value) if value >= _MOST else clock - float(value)
    if isinstance(value, str):
        text = value.strip()
        if text.lower() == "now":
            return clock
        ago = _span(text.removeprefix("-"))
        if ago is not None:
            return clock - ago
        try:
            return moment(datetime.fromisoformat(text), field)
        except ValueError:
            pass
    raise EventError(
        field, value, "a moment such as '2026-11-22T10:00:00Z', 'now', or a span such as '24h' (that long ago)"
    )


def clock_text(seconds: float) -> str:
    """Unix time as the engine takes it as a bound parameter, in UTC with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
