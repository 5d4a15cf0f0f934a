"""The states of an instance, and how long the host waits before it tries again."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dotmac_isp.plugins.core.errors import LifecycleError
from dotmac_isp.plugins.core.health import GiveUpRule, backoff
from dotmac_isp.plugins.core.lifecycle import StateMachine
from dotmac_isp.plugins.core.lifecycle._states import _WAYS
from dotmac_isp.plugins.core.model import InstanceRef, PluginState

REF = InstanceRef("one", "t")


def path_to(state: PluginState) -> list[PluginState]:
    """The shortest way from the beginning."""
    paths = {PluginState.CREATED: [PluginState.CREATED]}
    edge = [PluginState.CREATED]
    while edge:
        here = edge.pop(0)
        for there in sorted(_WAYS[here], key=lambda one: one.value):
            if there not in paths:
                paths[there] = [*paths[here], there]
                edge.append(there)
    return paths[state][1:]


@pytest.mark.parametrize(("start", "end"), list(itertools.product(PluginState, PluginState)))
def test_every_way_that_is_open_is_taken_and_every_other_one_is_refused(start: PluginState, end: PluginState) -> None:
    machine = StateMachine(REF)
    for state in path_to(start):
        machine.move(state, "on the way")
    if end in _WAYS[start]:
        before = machine.now
        machine.move(end, "why not")
        assert (machine.state, machine.now.reason) == (end, "why not")
        assert machine.now.since >= before.since
        assert machine.history[-1] is machine.now
    else:
        with pytest.raises(LifecycleError, match=f"one@t is {start.value} .* cannot become {end.value}") as caught:
            machine.move(end, "why not")
        assert machine.state is start
        assert "it can become" in str(caught.value)


def test_every_state_can_be_left_for_good_and_reached() -> None:
    for state in PluginState:
        assert state is PluginState.CREATED or path_to(state)
        if state not in {PluginState.UNLOADED, PluginState.ACTIVE, PluginState.ACTIVATING, PluginState.DEACTIVATING}:
            assert _WAYS[state] & {PluginState.CLEANING_UP, PluginState.UNLOADED}


def test_the_history_is_bounded() -> None:
    machine = StateMachine(REF, keep=4)
    for _ in range(10):
        machine.move(PluginState.FAILED, "f")
        machine.move(PluginState.RETRYING, "r")
    assert len(machine.history) == 4


@given(
    attempt=st.integers(0, 10_000),
    asked=st.none() | st.floats(0, 1e9, allow_nan=False),
    jitter=st.floats(0, 1, exclude_max=True),
)
def test_the_wait_before_the_next_try_grows_within_bounds(attempt: int, asked: float | None, jitter: float) -> None:
    wait = backoff(attempt, asked=asked, jitter=lambda: jitter)
    least = max(min(5 * 2 ** min(attempt, 20), 600), min(asked or 0, 86_400))
    assert least <= wait <= least * 1.1


def test_the_wait_is_five_times_two_to_the_n() -> None:
    assert [backoff(n, jitter=lambda: 0.0) for n in range(9)] == [5, 10, 20, 40, 80, 160, 320, 600, 600]
    assert backoff(2, first=0.01, jitter=lambda: 0.0) == 0.04


def test_three_failures_within_the_hour_are_enough_and_older_ones_are_forgotten() -> None:
    now = [0.0]
    rule = GiveUpRule(3, 3600.0, clock=lambda: now[0])
    assert [rule.enough(), rule.enough()] == [False, False]
    now[0] = 3601.0
    assert rule.enough() is False
    now[0] = 3602.0
    assert rule.enough() is False
    assert rule.enough() is True
    rule.forget()
    assert rule.enough() is False
