"""What a rule would have done: the same measuring and the same states, at moments that are past."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Final

from ..._plain import EventError, as_mapping
from ..._times import moment, span
from ._measure import measure
from ._rules import AlertRule, parse_rule
from ._states import AlertState, Outcome, next_state

if TYPE_CHECKING:
    from ..questions import Questions

__all__ = ["backtest"]

_MOST_POINTS: Final = 2000
_MOST_QUESTIONS: Final = 300
_DAY: Final = 86400.0


async def backtest(raw: object, questions: Questions) -> dict[str, Any]:
    """Evaluate a rule from `since` to `until`, each `step`, which is longer where that would be too often. Raises `EventError`."""
    given = dict(as_mapping(raw, "backtest"))
    rule = parse_rule(
        given.pop("rule", None) or {k: v for k, v in given.items() if k not in {"since", "until", "step"}}
    )
    now = time.time()
    until = moment(given.get("until", "now"), "until", now=now)
    since = moment(given.get("since", 7 * _DAY), "since", now=now)
    if not since < until <= now + 1:
        raise EventError("since", given.get("since"), "a moment before 'until', and both past")
    step = max(span(given.get("step", rule.every or 60), "step"), 1.0)
    # Of most rules many moments are one question; SQL is read and asked anew for each.
    most = _MOST_QUESTIONS if rule.kind == "sql" else _MOST_POINTS
    step = max(step, math.ceil((until - since) / most))
    moments = [since + number * step for number in range(int((until - since) // step) + 1)]
    found = await measure({str(index): (rule, at) for index, at in enumerate(moments)}, questions, past=True)
    states: dict[str, AlertState] = {}
    changes: list[dict[str, Any]] = []
    episodes = 0
    firing = 0.0
    for index, at in enumerate(moments):
        outcomes = {labels: told for labels, (_, told) in found[str(index)].items()}
        missing = {labels: Outcome(breached=False) for labels in states.keys() - outcomes.keys()}
        for labels, told in {**outcomes, **missing}.items():
            before = states.get(labels, AlertState())
            after = states[labels] = next_state(rule, before, told, at)
            episodes += bool(after.fired_at and not before.fired_at)
            firing += step if after.fired_at else 0.0
            if after.state != before.state:
                changes.append({"at": at, "labels": labels, "state": after.state, "value": after.value})
    return {
        "rule": rule.name,
        "since": since,
        "until": until,
        "step": step,
        "evaluations": len(moments),
        "episodes": episodes,
        "firing_seconds": firing,
        "changes": changes[:_MOST_POINTS],
        "values": _values(rule, found),
    }


def _values(rule: AlertRule, found: dict[str, Any]) -> list[float | None]:
    """The series, where the rule has no groups."""
    if rule.query.get("group_by"):
        return []
    return [next(iter(told.values()))[1].value for told in found.values()]
