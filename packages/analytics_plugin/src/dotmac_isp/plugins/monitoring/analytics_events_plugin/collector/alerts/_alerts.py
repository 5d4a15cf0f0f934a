"""Alert rules: a measure over a sliding window against a threshold, and the state that follows from it.

The states are pure functions of the last state, the value and the clock; they are stored with every change, so a restart neither forgets
a firing alert nor fires it twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import operator
import time
import uuid
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..._plain import EventError, as_mapping
from ..._tasks import ended
from ..._times import span
from ...store import Store, StoreRefusedError, StoreUnavailableError
from ..questions import Query, Questions, parse_query

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .._meta import Meta

__all__ = ["AlertRule", "AlertState", "Alerts", "next_state", "parse_rule"]

_log: Final = logging.getLogger(__name__)
_KIND: Final = "alert"
_MAX_NAME: Final = 200
_HISTORY: Final = 20
_OPERATORS: Final[dict[str, Callable[[float, float], bool]]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}
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
_RULE_FIELDS: Final = frozenset({"name", "operator", "threshold", "window", "for_seconds", "severity", "description"})
_RULE_ALIASES: Final = {
    "title": "name",
    "alert_name": "name",
    "condition": "operator",
    "comparison": "operator",
    "value": "threshold",
    "time_window": "window",
    "window_seconds": "window",
    "for": "for_seconds",
    "duration": "for_seconds",
    "alert_severity": "severity",
    "message": "description",
}


class AlertRule(msgspec.Struct, frozen=True, kw_only=True):
    """A threshold on a measure over the last `window` seconds; `for_seconds` it must hold before the alert fires."""

    name: str
    #: The question, as the caller wrote it (without times).
    query: dict[str, Any]
    operator: str
    threshold: float
    window: float = 300.0
    for_seconds: float = 0.0
    severity: str = "warning"
    description: str = ""


class AlertState(msgspec.Struct, frozen=True, kw_only=True):
    """`state` is ok, pending, firing or no_data; times are Unix seconds."""

    state: str = "ok"
    since: float = 0.0
    value: float | None = None
    evaluated_at: float = 0.0
    #: When the condition began to hold without interruption; 0: it does not.
    breached_since: float = 0.0
    error: str = ""
    #: The last changes: time, state, value.
    history: tuple[tuple[float, str, float | None], ...] = ()


class _Stored(msgspec.Struct, frozen=True, kw_only=True):
    rule: AlertRule
    state: AlertState
    created_at: float


def parse_rule(raw: object) -> AlertRule:
    """Understand a rule as a person writes it. Raises `EventError`."""
    given = {_RULE_ALIASES.get(key, key): value for key, value in as_mapping(raw, "alert").items() if value is not None}
    question = {key: value for key, value in given.items() if key not in _RULE_FIELDS}
    question = {**question, **as_mapping(question.pop("query", None) or {}, "query")}
    parse_query(question)
    return AlertRule(
        name=_name(given, question),
        query=question,
        operator=_operator(given.get("operator", ">")),
        threshold=_threshold(given.get("threshold")),
        window=span(given.get("window", 300), "window"),
        for_seconds=span(given["for_seconds"], "for") if given.get("for_seconds") else 0.0,
        severity=str(given.get("severity", "warning")),
        description=str(given.get("description", "")),
    )


def _name(given: Mapping[str, Any], question: Mapping[str, Any]) -> str:
    name = str(given.get("name") or question.get("event_name") or question.get("metric") or "alert").strip()
    if len(name) > _MAX_NAME or not name.isprintable():
        raise EventError("name", name, f"at most {_MAX_NAME} printable characters")
    return name


def _operator(value: object) -> str:
    text = str(value).strip().lower()
    text = _OPERATOR_ALIASES.get(text, text)
    if text not in _OPERATORS:
        raise EventError("operator", value, "one of " + ", ".join(_OPERATORS))
    return text


def _threshold(value: object) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value == value:  # noqa: PLR0124 - not NaN
        return float(value)
    raise EventError("threshold", value, "a number")


def next_state(rule: AlertRule, before: AlertState, value: float | None, now: float) -> AlertState:
    """What the alert is after `value` was measured at `now`; `None`: there was nothing to measure."""
    breached = value is not None and _OPERATORS[rule.operator](value, rule.threshold)
    breached_since = (before.breached_since or now) if breached else 0.0
    if value is None:
        state = "no_data"
    elif not breached:
        state = "ok"
    else:
        state = "firing" if now - breached_since >= rule.for_seconds else "pending"
    changed = state != before.state or not before.since
    history = (*before.history, (now, state, value))[-_HISTORY:] if changed else before.history
    return AlertState(
        state=state,
        since=now if changed else before.since,
        value=value,
        evaluated_at=now,
        breached_since=breached_since,
        history=history,
    )


class Alerts:
    """Keeps the rules of all tenants and evaluates them on a timer."""

    def __init__(self, meta: Meta, store: Store, *, interval: float) -> None:
        self._meta = meta
        self._store = store
        self._interval = interval
        self._task: asyncio.Task[None] | None = None
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="analytics alerts")

    async def close(self) -> None:
        await ended(self._task)

    def create(self, tenant: str, raw: object) -> str:
        """Store a rule and return its id. Raises `EventError`."""
        rule = parse_rule(raw)
        alert_id = uuid.uuid4().hex
        self._save(tenant, alert_id, _Stored(rule=rule, state=AlertState(), created_at=time.time()))
        return alert_id

    def delete(self, tenant: str, alert_id: str) -> bool:
        return self._meta.delete(_KIND, tenant, alert_id)

    def list(self, tenant: str) -> list[dict[str, Any]]:
        return [_shown(key, msgspec.convert(value, _Stored)) for _, key, value in self._meta.list(_KIND, tenant)]

    async def status(self, tenant: str, alert_id: str) -> dict[str, Any] | None:
        """Evaluate now and say how the alert is; `None`: the tenant has no such alert."""
        stored = await self._evaluate(tenant, alert_id)
        return None if stored is None else _shown(alert_id, stored)

    def _save(self, tenant: str, alert_id: str, stored: _Stored) -> None:
        self._meta.put(_KIND, tenant, alert_id, stored)

    async def _run(self) -> None:
        """Evaluate all rules, spread over the interval."""
        while True:
            rules = self._meta.list(_KIND)
            pause = self._interval / max(1, len(rules))
            for tenant, alert_id, _ in rules:
                await self._evaluate(tenant, alert_id)
                await asyncio.sleep(pause)
            if not rules:
                await asyncio.sleep(self._interval)

    async def _evaluate(self, tenant: str, alert_id: str) -> _Stored | None:
        async with self._locks.setdefault((tenant, alert_id), asyncio.Lock()):
            value = self._meta.get(_KIND, tenant, alert_id)
            if value is None:
                self._locks.pop((tenant, alert_id), None)
                return None
            stored = msgspec.convert(value, _Stored)
            after = await self._measure(tenant, stored)
            if after.state != stored.state.state or not stored.state.since:
                _log.info("alert %r of tenant %s is %s (value %s)", stored.rule.name, tenant, after.state, after.value)
            stored = msgspec.structs.replace(stored, state=after)
            with contextlib.suppress(KeyError):
                self._save(tenant, alert_id, stored)
            return stored

    async def _measure(self, tenant: str, stored: _Stored) -> AlertState:
        now = time.time()
        query = _window(stored.rule, now)
        try:
            measured = await Questions(self._store, tenant).number(query)
        except (StoreUnavailableError, StoreRefusedError) as error:
            return msgspec.structs.replace(stored.state, error=str(error), evaluated_at=now)
        return next_state(stored.rule, stored.state, measured, now)


def _window(rule: AlertRule, now: float) -> Query:
    query = parse_query({**rule.query, "since": now - rule.window, "until": now + 1}, now=now)
    return msgspec.structs.replace(query, group_by=(), interval=0)


def _shown(alert_id: str, stored: _Stored) -> dict[str, Any]:
    rule: dict[str, Any] = msgspec.to_builtins(stored.rule)
    state: dict[str, Any] = msgspec.to_builtins(stored.state)
    return {"alert_id": alert_id, "name": stored.rule.name, "created_at": stored.created_at, "rule": rule, **state}
