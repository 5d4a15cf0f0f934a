"""Times in which nobody is told: silences, once, and maintenance windows, again and again. States go on meanwhile."""

from __future__ import annotations

import time
import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from ..._plain import EventError, as_mapping
from ..._times import moment, span
from ._rules import AlertRule, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Silence", "check_cron", "next_run", "parse_silence", "silenced_by"]

_FIELDS: Final = ("alert_id", "match", "starts_at", "ends_at", "schedule", "duration", "timezone", "comment", "by")
_MOST_SECONDS: Final = 366 * 86400.0
_DAY: Final = 86400.0


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """From `starts_at` to `ends_at`; with a `schedule` (cron), for `duration` after each of its moments between the two.

    It is about alerts whose labels (with `alert`, the name, and `severity`) all match, or about the one rule.
    """

    id: str
    starts_at: float
    ends_at: float
    alert_id: str = ""
    match: dict[str, str] = msgspec.field(default_factory=dict)
    schedule: str = ""
    duration: float = 0.0
    timezone: str = "UTC"
    comment: str = ""
    by: str = ""


def parse_silence(raw: object, *, now: float | None = None) -> Silence:
    """Understand `{"alert_id": …, "duration": "2h"}` or `{"match": {…}, "schedule": "0 2 * * SUN", "duration": "3h"}`. Raises `EventError`."""
    clock = time.time() if now is None else now
    given = {key: value for key, value in as_mapping(raw, "silence").items() if value is not None}
    for name in given.keys() - set(_FIELDS):
        raise EventError(f"silence.{name}", given[name], "one of " + ", ".join(_FIELDS))
    schedule = text_of(given.get("schedule", ""), "schedule")
    zone = _zone(given.get("timezone", "UTC"))
    if schedule:
        check_cron(schedule)
    duration = span(given.get("duration", 3600), "duration")
    if duration > _MOST_SECONDS or (schedule and duration > 7 * _DAY):
        raise EventError("duration", given.get("duration"), "at most a year, or seven days with a schedule")
    starts = moment(given["starts_at"], "starts_at", now=clock) if "starts_at" in given else clock
    last = starts + 10 * _MOST_SECONDS if schedule else starts + duration
    ends = moment(given["ends_at"], "ends_at", now=clock) if "ends_at" in given else last
    if ends <= max(starts, clock):
        raise EventError("ends_at", given.get("ends_at"), "a moment that is to come, after starts_at")
    match = {
        text_of(str(k), "match"): text_of(str(v), "match")
        for k, v in as_mapping(given.get("match", {}), "match").items()
    }
    alert_id = text_of(given.get("alert_id", ""), "alert_id")
    if not match and not alert_id:
        raise EventError("silence", "everything", "an 'alert_id', or labels to 'match'")
    return Silence(
        id=uuid.uuid4().hex,
        starts_at=starts,
        ends_at=ends,
        alert_id=alert_id,
        match=match,
        schedule=schedule,
        duration=duration,
        timezone=zone,
        comment=text_of(given.get("comment", ""), "comment"),
        by=text_of(given.get("by", ""), "by"),
    )


def _zone(value: object) -> str:
    try:
        return ZoneInfo(str(value)).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise EventError("timezone", value, "a name such as 'Europe/Berlin'") from None


def _croniter() -> Any:
    try:
        from croniter import croniter  # noqa: PLC0415 - only where there is a schedule
    except ImportError:
        raise RuntimeError("schedules need croniter. Run: pip install 'dotmac-plugin-analytics[alerts]'") from None
    return croniter


def check_cron(text: str) -> None:
    """Raises `EventError` unless it is a cron line of five fields that comes to pass."""
    words = "five fields: minute hour day month weekday, such as '0 6 * * MON'"
    if len(text.split()) != 5 or not _croniter().is_valid(text):  # noqa: PLR2004 - minute hour day month weekday
        raise EventError("schedule", text, words)
    try:
        next_run(text, "UTC", time.time())
    except ValueError:
        raise EventError("schedule", text, f"{words}, that come to pass") from None


def next_run(schedule: str, timezone: str, after: float) -> float:
    """The next moment of a schedule, Unix seconds."""
    begin = datetime.fromtimestamp(after, ZoneInfo(timezone))
    return float(_croniter()(schedule, begin).get_next(datetime).timestamp())


def active(silence: Silence, now: float) -> bool:
    """Whether it is in force."""
    if not silence.starts_at <= now < silence.ends_at:
        return False
    if not silence.schedule:
        return True
    return next_run(silence.schedule, silence.timezone, now - silence.duration) <= now


def silenced_by(
    silences: Iterable[Silence], alert_id: str, rule: AlertRule, labels: Mapping[str, str], now: float
) -> Silence | None:
    """The silence that is in force for an alert, if there is one."""
    told = {**rule.labels, **labels, "alert": rule.name, "severity": rule.severity}
    for silence in silences:
        about = silence.alert_id in {"", alert_id} and all(told.get(key) == item for key, item in silence.match.items())
        if about and active(silence, now):
            return silence
    return None
