"""Alert states as functions of value and clock."""

from __future__ import annotations

from typing import Any

import pytest

from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.alerts import AlertState, next_state, parse_rule


def states(rule: dict[str, Any], *values: float | None, step: float = 10.0) -> list[str]:
    parsed = parse_rule(rule)
    state = AlertState()
    found = []
    for index, value in enumerate(values):
        state = next_state(parsed, state, value, 1000.0 + index * step)
        found.append(state.state)
    return found


def test_it_waits_for_the_time_that_the_condition_must_hold() -> None:
    rule = {"metric": "x", "threshold": 5, "for": "20s"}
    assert states(rule, 1, 6, 6, 6, 6, 2, 6) == ["ok", "pending", "pending", "firing", "firing", "ok", "pending"]


def test_without_such_a_time_it_fires_at_once() -> None:
    assert states({"metric": "x", "threshold": 5}, 5, 6, 5) == ["ok", "firing", "ok"]


def test_nothing_to_measure_is_a_state_of_its_own() -> None:
    rule = {"metric": "p95", "field": "ms", "operator": "above", "threshold": 5}
    assert states(rule, None, 9, None, 1) == ["no_data", "firing", "no_data", "ok"]


@pytest.mark.parametrize(
    ("operator", "value", "state"),
    [("below", 4, "firing"), ("<=", 5, "firing"), ("eq", 5, "firing"), ("!=", 5, "ok"), ("at_least", 5, "firing")],
)
def test_every_comparison(operator: str, value: float, state: str) -> None:
    assert states({"metric": "x", "operator": operator, "threshold": 5}, value) == [state]


def test_a_state_that_stays_keeps_its_beginning_and_the_history_holds_changes_only() -> None:
    rule = parse_rule({"metric": "x", "threshold": 0})
    state = AlertState()
    for second, value in enumerate([0, 0, 1, 1, 1, 0]):
        state = next_state(rule, state, value, 100.0 + second)
    assert [(at, name) for at, name, _ in state.history] == [(100.0, "ok"), (102.0, "firing"), (105.0, "ok")]
    assert state.since == 105.0
