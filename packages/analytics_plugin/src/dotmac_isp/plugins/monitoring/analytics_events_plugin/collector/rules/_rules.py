"""What rules say, and what they make of an event. Values and functions; nothing is stored here."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..._plain import EventError, as_mapping
from ..._privacy import changed_at, dropped
from ...events import CATEGORIES, Event

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ANY_CATEGORY", "FUTURE", "LATE", "Applied", "Clock", "Rules", "parse_rules", "pseudonym"]

ANY_CATEGORY: Final = "*"
#: Tags of events that are taken at another time than they told.
LATE: Final = "late"
FUTURE: Final = "future"
_UNTIMELY: Final = ("reject", "stamp", "quarantine")
_PEOPLE: Final = frozenset({"user_id", "customer_id", "session_id", "device_id", "correlation_id"})
_MOST: Final = 200
_MAX_PATH: Final = 200
_MAX_DAYS: Final = 36_500.0
_KNOWN: Final = frozenset({"privacy", "retention", "late", "future"})


class Rules(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Paths are of properties (`address.street`); `hash` takes the columns `user_id`, `customer_id`, … too. Retention in days by category."""

    hash: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    retention: dict[str, float] = msgspec.field(default_factory=dict)
    late: str = "reject"
    future: str = "reject"

    def told(self) -> dict[str, Any]:
        """As they are given and shown."""
        privacy = {"hash": list(self.hash), "drop": list(self.drop)}
        return {"privacy": privacy, "retention": dict(self.retention), "late": self.late, "future": self.future}

    def days(self, category: str, most: float) -> float:
        """How old an event of the category may be."""
        kept = self.retention.get(category, self.retention.get(ANY_CATEGORY, most))
        return min(kept, most)


class Clock(msgspec.Struct, frozen=True):
    """Between which times events are taken as they are: RFC 3339 in UTC with milliseconds, which compare as text."""

    now: str
    oldest: str
    newest: str
    days: float


class Applied(msgspec.Struct, frozen=True):
    """The event as it is to be stored; or, with a `reason`, what is to be done instead: `reject` or `quarantine`."""

    event: Event
    reason: str = ""
    mode: str = ""


def parse_rules(given: object, before: Rules) -> Rules:
    """Change the rules that are there by what is given; what is left out stays. Raises `EventError`."""
    wish = as_mapping(given, "rules")
    unknown = sorted(str(key) for key in wish.keys() - _KNOWN)
    if unknown:
        raise EventError(f"rules.{unknown[0]}", wish[unknown[0]], "privacy, retention, late and future")
    privacy = as_mapping(wish.get("privacy") or {}, "privacy")
    return Rules(
        hash=_paths(privacy, "hash", before.hash),
        drop=_paths(privacy, "drop", before.drop),
        retention=_retention(wish["retention"]) if "retention" in wish else before.retention,
        late=_one_of(wish, "late", before.late),
        future=_one_of(wish, "future", before.future),
    )


def _paths(privacy: Mapping[str, Any], field: str, before: tuple[str, ...]) -> tuple[str, ...]:
    value = privacy.get(field, before)
    if not isinstance(value, (list, tuple)) or len(value) > _MOST:
        raise EventError(
            f"privacy.{field}", value, f"a list of at most {_MOST} properties, such as ['email', 'address.street']"
        )
    for path in value:
        sound = isinstance(path, str) and 0 < len(path) <= _MAX_PATH and path.isprintable() and all(path.split("."))
        if not sound:
            raise EventError(f"privacy.{field}", path, "a property's path, such as 'address.street'")
    return tuple(dict.fromkeys(path.removeprefix("properties.") for path in value))


def _retention(value: object) -> dict[str, float]:
    found: dict[str, float] = {}
    for category, days in as_mapping(value or {}, "retention").items():
        if category not in CATEGORIES and category != ANY_CATEGORY:
            raise EventError("retention", category, f"'{ANY_CATEGORY}' or one of " + ", ".join(CATEGORIES))
        if isinstance(days, bool) or not isinstance(days, (int, float)) or not 1 <= days <= _MAX_DAYS:
            raise EventError(f"retention.{category}", days, f"days from 1 to {_MAX_DAYS:g}")
        found[category] = float(days)
    return found


def _one_of(wish: Mapping[str, Any], field: str, before: str) -> str:
    value = wish.get(field, before)
    if value not in _UNTIMELY:
        raise EventError(field, value, "one of " + ", ".join(_UNTIMELY))
    return str(value)


def pseudonym(secret: bytes, value: object) -> str:
    """The same for the same value, and nothing to be read from it without the collector's secret."""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return "h-" + hashlib.blake2b(text.encode(), key=secret, digest_size=16).hexdigest()


def without_private(event: Event, rules: Rules, secret: bytes) -> Event:
    """The event as the rules for privacy want it."""
    if not rules.hash and not rules.drop:
        return event
    properties = dropped(event.properties, tuple(tuple(path.split(".")) for path in rules.drop))
    columns: dict[str, str] = {}
    for path in rules.hash:
        if path in _PEOPLE:
            value = getattr(event, path)
            columns |= {path: pseudonym(secret, value)} if value else {}
        else:
            properties = changed_at(properties, tuple(path.split(".")), lambda value: pseudonym(secret, value))
    return msgspec.structs.replace(event, properties=properties, **columns)


def timely(event: Event, rules: Rules, clock: Clock) -> Applied:
    """Judge the event's time."""
    if clock.oldest <= event.timestamp <= clock.newest:
        return Applied(event)
    tag, mode = (LATE, rules.late) if event.timestamp < clock.oldest else (FUTURE, rules.future)
    if mode == "stamp":
        told = {**event.properties, "told_timestamp": event.timestamp}
        return Applied(msgspec.structs.replace(event, timestamp=clock.now, tags=(*event.tags, tag), properties=told))
    bound = f"not older than {clock.days:g} days" if tag == LATE else "not more than 24 hours ahead of the clock"
    return Applied(event, f"timestamp: {event.timestamp!r} given, expected {bound}", mode)
