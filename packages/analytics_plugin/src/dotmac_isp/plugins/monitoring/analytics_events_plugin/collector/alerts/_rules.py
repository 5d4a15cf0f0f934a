"""Alert rules as people write them, understood or refused with the reason."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..._plain import EventError, as_mapping, plain
from ..._times import span
from ..delivery import check_target
from ..questions import free_sql, parse_journey, parse_query
from ._conditions import check_condition

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["KINDS", "AlertRule", "parse_rule", "text_of"]

#: What a rule compares when it has no condition of its own.
KINDS: Final = {
    "threshold": "value",
    "change": "change_percent",
    "absence": "value",
    "ratio": "value",
    "funnel": "value",
    "sql": "value",
    "anomaly": "distance",
}
_OPERATORS: Final = (">", ">=", "<", "<=", "==", "!=")
_OPERATOR_ALIASES: Final = {
    "gt": ">",
    "above": ">",
    "greater_than": ">",
    "gte": ">=",
    "ge": ">=",
    "at_least": ">=",
    "lt": "<",
    "below": "<",
    "less_than": "<",
    "lte": "<=",
    "le": "<=",
    "at_most": "<=",
    "eq": "==",
    "equals": "==",
    "=": "==",
    "ne": "!=",
}
_ALIASES: Final = {
    "title": "name",
    "alert_name": "name",
    "type": "kind",
    "comparison": "operator",
    "value": "threshold",
    "time_window": "window",
    "window_seconds": "window",
    "for": "for_seconds",
    "duration": "for_seconds",
    "alert_severity": "severity",
    "message": "description",
    "expression": "condition",
    "notifications": "notify",
    "no_data_state": "on_no_data",
    "error_state": "on_error",
    "interval": "every",
}
_KIND_ALIASES: Final = {
    "rate_of_change": "change",
    "rate": "change",
    "missing": "absence",
    "seasonal": "anomaly",
    "query": "sql",
}
_OWN_FIELDS: Final = {
    "ratio": ("numerator", "denominator"),
    "funnel": ("steps", "step", "of", "where"),
    "sql": ("sql", "parameters"),
    "anomaly": ("season", "seasons", "direction"),
}
_MOST_NAME: Final = 200
_MOST_TEXT: Final = 2000
_MOST_LABELS: Final = 20
_MOST_TARGETS: Final = 20
_DEFAULT_THRESHOLD: Final = {"absence": ("<", 1.0), "anomaly": (">", 3.5)}
_LONGEST: Final = 31 * 86400.0


class AlertRule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """What is watched, over the last `window` seconds, and when that is an alert.

    `for_seconds`: so long it must hold before the alert fires; `keep_firing_for`: so long it goes on after it no longer holds.
    """

    name: str
    kind: str = "threshold"
    #: The question, as the caller wrote it (without times). With `group_by`, each group is an alert of its own.
    query: dict[str, Any] = msgspec.field(default_factory=dict)
    #: What only some kinds have: numerator and denominator, steps, sql, season …
    more: dict[str, Any] = msgspec.field(default_factory=dict)
    operator: str = ">"
    threshold: float = 0.0
    #: In CEL, over `value` and what else the kind measures; wins over operator and threshold.
    condition: str = ""
    window: float = 300.0
    for_seconds: float = 0.0
    keep_firing_for: float = 0.0
    #: Seconds between evaluations; 0: as often as the collector evaluates.
    every: float = 0.0
    #: What nothing to measure means: no_data, ok, firing, keep.
    on_no_data: str = "no_data"
    #: What a question that fails means: error, ok, firing, keep.
    on_error: str = "error"
    severity: str = "warning"
    description: str = ""
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    notify: tuple[str, ...] = ()
    notify_on: tuple[str, ...] = ("firing", "resolved")


def parse_rule(raw: object) -> AlertRule:
    """Understand a rule. Raises `EventError`."""
    given = {_ALIASES.get(key, key): value for key, value in as_mapping(raw, "alert").items() if value is not None}
    kind = _kind(given)
    _condition_or_operator(given)
    own = {name: plain(given.pop(name), name) for name in _OWN_FIELDS.get(kind, ()) if name in given}
    question = {key: value for key, value in given.items() if key not in _RULE_FIELDS}
    question = {**question, **as_mapping(question.pop("query", None) or {}, "query")}
    question = plain(question, "query")
    operator, threshold = _compared(given, kind)
    rule = AlertRule(
        name=_name(given, question),
        kind=kind,
        query=question,
        more=own,
        operator=operator,
        threshold=threshold,
        condition=text_of(given.get("condition", ""), "condition"),
        window=_bounded(given.get("window", 300), "window"),
        for_seconds=_seconds(given, "for_seconds"),
        keep_firing_for=_seconds(given, "keep_firing_for"),
        every=_seconds(given, "every"),
        on_no_data=_choice(given, "on_no_data", ("no_data", "ok", "firing", "keep")),
        on_error=_choice(given, "on_error", ("error", "ok", "firing", "keep")),
        severity=text_of(given.get("severity", "warning"), "severity"),
        description=text_of(given.get("description", ""), "description"),
        labels=_labels(given.get("labels", {})),
        notify=_targets(given.get("notify", ())),
        notify_on=_notify_on(given.get("notify_on", ("firing", "resolved"))),
    )
    _check_questions(rule)
    if rule.condition:
        check_condition(rule.condition, rule.kind)
    return rule


_RULE_FIELDS: Final = frozenset(AlertRule.__struct_fields__) - {"query", "more"}


def _kind(given: dict[str, Any]) -> str:
    kind = str(given.get("kind", "")).strip().lower()
    kind = _KIND_ALIASES.get(kind, kind)
    if not kind:
        marks = {"numerator": "ratio", "steps": "funnel", "sql": "sql", "season": "anomaly"}
        kind = next((name for mark, name in marks.items() if mark in given), "threshold")
    if kind not in KINDS:
        raise EventError("kind", given.get("kind"), "one of " + ", ".join(KINDS))
    return kind


def _condition_or_operator(given: dict[str, Any]) -> None:
    """`condition` is CEL, or (as older rules have it) the name of a comparison."""
    word = str(given.get("condition", "")).strip().lower()
    if word and _OPERATOR_ALIASES.get(word, word) in _OPERATORS:
        given["operator"] = given.pop("condition")


def _compared(given: Mapping[str, Any], kind: str) -> tuple[str, float]:
    default_operator, default = _DEFAULT_THRESHOLD.get(kind, (">", None))
    text = str(given.get("operator", default_operator)).strip().lower()
    text = _OPERATOR_ALIASES.get(text, text)
    if text not in _OPERATORS:
        raise EventError("operator", given.get("operator"), "one of " + ", ".join(_OPERATORS))
    value = given.get("threshold", default)
    if given.get("condition") and value is None:
        return text, 0.0
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise EventError("threshold", value, "a finite number, or a 'condition'")
    return text, float(value)


def _name(given: Mapping[str, Any], question: Mapping[str, Any]) -> str:
    name = str(given.get("name") or question.get("event_name") or question.get("metric") or "alert").strip()
    if len(name) > _MOST_NAME or not name.isprintable():
        raise EventError("name", name, f"at most {_MOST_NAME} printable characters")
    return name


def text_of(value: object, field: str) -> str:
    if not isinstance(value, str) or len(value) > _MOST_TEXT:
        raise EventError(field, value, f"a text of at most {_MOST_TEXT} characters")
    return str(plain(value, field))


def _seconds(given: Mapping[str, Any], field: str) -> float:
    return _bounded(given[field], field) if given.get(field) else 0.0


def _bounded(value: object, field: str) -> float:
    seconds = span(value, field)
    if not 1 <= seconds <= _LONGEST:
        raise EventError(field, value, "a span from one second to 31 days")
    return seconds


def _choice(given: Mapping[str, Any], field: str, allowed: tuple[str, ...]) -> str:
    value = str(given.get(field, allowed[0])).strip().lower()
    if value not in allowed:
        raise EventError(field, given[field], "one of " + ", ".join(allowed))
    return value


def _labels(value: object) -> dict[str, str]:
    given = as_mapping(value or {}, "labels")
    if len(given) > _MOST_LABELS:
        raise EventError("labels", f"{len(given)} labels", f"at most {_MOST_LABELS}")
    return {text_of(str(key), "labels"): text_of(str(item), "labels") for key, item in given.items()}


def _targets(value: object) -> tuple[str, ...]:
    items = [value] if isinstance(value, str) else list(value) if isinstance(value, (list, tuple)) else [value]
    if len(items) > _MOST_TARGETS:
        raise EventError("notify", f"{len(items)} targets", f"at most {_MOST_TARGETS}")
    return tuple(check_target(item, "notify") for item in items)


def _notify_on(value: object) -> tuple[str, ...]:
    known = ("firing", "resolved", "no_data", "error")
    items = [value] if isinstance(value, str) else list(value) if isinstance(value, (list, tuple)) else [value]
    for item in items:
        if item not in known:
            raise EventError("notify_on", item, "some of " + ", ".join(known))
    return tuple(items)


def _check_questions(rule: AlertRule) -> None:
    checks = {"ratio": _check_ratio, "funnel": _check_funnel, "sql": _check_sql, "anomaly": _check_anomaly}
    checks.get(rule.kind, _check_query)(rule)


def _check_query(rule: AlertRule) -> None:
    parse_query({**rule.query, "since": "1h"})


def _check_ratio(rule: AlertRule) -> None:
    for part in ("numerator", "denominator"):
        if part not in rule.more:
            raise EventError(part, None, "a question, such as {'event_name': 'login_failed'}")
        parse_query({**rule.query, **as_mapping(rule.more[part], part), "since": "1h"})


def _check_funnel(rule: AlertRule) -> None:
    journey = parse_journey({"kind": "funnel", "steps": rule.more.get("steps"), "where": rule.more.get("where")})
    step = rule.more.get("step", len(journey.steps))
    if isinstance(step, bool) or not isinstance(step, int) or not 1 < step <= len(journey.steps):
        raise EventError("step", step, f"the number of a step, from 2 to {len(journey.steps)}")
    if rule.more.get("of", "previous") not in {"first", "previous"}:
        raise EventError("of", rule.more.get("of"), "'first' or 'previous'")
    if rule.query:
        raise EventError(next(iter(rule.query)), next(iter(rule.query.values())), "nothing but the funnel's fields")


def _check_sql(rule: AlertRule) -> None:
    free_sql(rule.more.get("sql"), rule.more.get("parameters"), "")


def _check_anomaly(rule: AlertRule) -> None:
    _check_query(rule)
    season = span(rule.more.get("season", "1w"), "season")
    seasons = rule.more.get("seasons", 4)
    if isinstance(seasons, bool) or not isinstance(seasons, int) or not 3 <= seasons <= 30:  # noqa: PLR2004
        raise EventError("seasons", seasons, "a whole number from 3 to 30")
    if season < rule.window:
        raise EventError("season", rule.more.get("season"), "at least as long as the window")
    if rule.more.get("direction", "both") not in {"both", "up", "down"}:
        raise EventError("direction", rule.more.get("direction"), "'both', 'up' or 'down'")
