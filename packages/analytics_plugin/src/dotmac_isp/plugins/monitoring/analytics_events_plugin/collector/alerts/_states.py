"""The states of an alert, as functions of the last state, what was measured, and the clock.

They are Grafana's: ok (normal), pending, firing, recovering, no_data, error. From the first moment that an alert fires until it is ok again is
one episode, also when data or the engine are away in between: who was told of an episode is not told again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from ._rules import AlertRule

__all__ = ["Acknowledgement", "AlertState", "Outcome", "next_state", "worst"]

_HISTORY = 20
_ORDER = ("firing", "recovering", "error", "pending", "no_data", "ok")


class Acknowledgement(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody looks after it; it is not repeated to others until the episode ends."""

    by: str
    at: float
    note: str = ""


class AlertState(msgspec.Struct, frozen=True, kw_only=True):
    """Times are Unix seconds; 0 stands for never."""

    state: str = "ok"
    since: float = 0.0
    value: float | None = None
    values: dict[str, float | None] = msgspec.field(default_factory=dict)
    evaluated_at: float = 0.0
    #: When the condition began to hold without interruption.
    breached_since: float = 0.0
    #: When it ceased to hold while the alert was firing.
    recovering_since: float = 0.0
    #: When the current episode began to fire; 0: there is none.
    fired_at: float = 0.0
    #: The last episode, when it fired and when it ended.
    last_fired_at: float = 0.0
    resolved_at: float = 0.0
    error: str = ""
    acknowledged: Acknowledgement | None = None
    #: The last changes: time, state, value.
    history: tuple[tuple[float, str, float | None], ...] = ()


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What an evaluation gave. `breached` is `None` when there was nothing to measure."""

    breached: bool | None
    value: float | None = None
    values: dict[str, float | None] = msgspec.field(default_factory=dict)
    error: str = ""


def next_state(rule: AlertRule, before: AlertState, outcome: Outcome, now: float) -> AlertState:
    """What the alert is now."""
    policy, unusual = _unusual(rule, outcome)
    if unusual and policy == "keep":
        return msgspec.structs.replace(before, evaluated_at=now, error=outcome.error)
    if unusual and policy in {"no_data", "error"}:
        return _changed(before, policy, outcome, now, breached_since=0.0)
    breached = policy == "firing" if unusual else bool(outcome.breached)
    return _breached(rule, before, outcome, now) if breached else _fine(rule, before, outcome, now)


def _unusual(rule: AlertRule, outcome: Outcome) -> tuple[str, bool]:
    if outcome.error:
        return rule.on_error, True
    return rule.on_no_data, outcome.breached is None


def _breached(rule: AlertRule, before: AlertState, outcome: Outcome, now: float) -> AlertState:
    since = before.breached_since or now
    if before.fired_at or now - since >= rule.for_seconds:
        return _changed(
            before, "firing", outcome, now, breached_since=since, fired_at=before.fired_at or now, recovering_since=0.0
        )
    return _changed(before, "pending", outcome, now, breached_since=since)


def _fine(rule: AlertRule, before: AlertState, outcome: Outcome, now: float) -> AlertState:
    if not before.fired_at:
        return _changed(before, "ok", outcome, now, breached_since=0.0)
    since = before.recovering_since or now
    if now - since < rule.keep_firing_for:
        return _changed(before, "recovering", outcome, now, breached_since=0.0, recovering_since=since)
    ended = _changed(before, "ok", outcome, now, breached_since=0.0, recovering_since=0.0, fired_at=0.0)
    return msgspec.structs.replace(ended, last_fired_at=before.fired_at, resolved_at=now, acknowledged=None)


def _changed(before: AlertState, state: str, outcome: Outcome, now: float, **times: float) -> AlertState:
    changed = state != before.state or not before.since
    history = (*before.history, (now, state, outcome.value))[-_HISTORY:] if changed else before.history
    return msgspec.structs.replace(
        before,
        state=state,
        since=now if changed else before.since,
        value=outcome.value,
        values=outcome.values,
        evaluated_at=now,
        error=outcome.error,
        history=history,
        **times,
    )


def worst(states: list[AlertState]) -> AlertState:
    """The one that stands for all."""
    return min(states, key=lambda one: _ORDER.index(one.state), default=AlertState())
