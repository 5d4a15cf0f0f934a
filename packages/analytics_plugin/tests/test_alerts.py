"""Alert rules: what they understand, their states as functions of value and clock, silences, grouping."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from dotmac_isp.plugins.monitoring.analytics_events_plugin import EventError
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.alerts import (
    AlertState,
    Outcome,
    due,
    next_state,
    parse_policy,
    parse_rule,
    parse_silence,
)
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.alerts._conditions import decide
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.alerts._dispatch import (
    Notice,
    Sent,
    message_of,
    shown_labels,
)
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.alerts._measure import label_key, outcome
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.alerts._silences import active, silenced_by
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.delivery import check_target, redacted, target_id

HOOK = "https://hooks.example/secret-part"


def states(rule: dict[str, Any], *values: float | str | None, step: float = 10.0) -> list[str]:
    """A text stands for a question that failed."""
    parsed = parse_rule(rule)
    state = AlertState()
    found = []
    for index, value in enumerate(values):
        failed = isinstance(value, str)
        told = Outcome(breached=None, error=str(value)) if failed else outcome(parsed, {"value": value}, {})  # type: ignore[dict-item]
        state = next_state(parsed, state, told, 1000.0 + index * step)
        found.append(state.state)
    return found


def test_it_waits_for_the_time_that_the_condition_must_hold() -> None:
    rule = {"metric": "x", "threshold": 5, "for": "20s"}
    assert states(rule, 1, 6, 6, 6, 6, 2, 6) == ["ok", "pending", "pending", "firing", "firing", "ok", "pending"]


def test_without_such_a_time_it_fires_at_once() -> None:
    assert states({"metric": "x", "threshold": 5}, 5, 6, 5) == ["ok", "firing", "ok"]


def test_it_goes_on_firing_for_a_while_after_the_condition_ended() -> None:
    rule = {"metric": "x", "threshold": 5, "keep_firing_for": "20s"}
    assert states(rule, 6, 1, 1, 1, 1) == ["firing", "recovering", "recovering", "ok", "ok"]
    assert states(rule, 6, 1, 6, 1, 1, 1) == ["firing", "recovering", "firing", "recovering", "recovering", "ok"]


def test_nothing_to_measure_is_a_state_of_its_own_or_what_the_rule_says() -> None:
    rule = {"metric": "p95", "field": "ms", "operator": "above", "threshold": 5}
    assert states(rule, None, 9, None, 1) == ["no_data", "firing", "no_data", "ok"]
    assert states({**rule, "on_no_data": "firing"}, None, 1) == ["firing", "ok"]
    assert states({**rule, "on_no_data": "ok"}, None, 9) == ["ok", "firing"]
    assert states({**rule, "on_no_data": "keep"}, 9, None, 1) == ["firing", "firing", "ok"]


def test_a_question_that_fails_is_a_state_of_its_own_or_what_the_rule_says() -> None:
    rule = {"metric": "x", "threshold": 5}
    assert states(rule, 1, "away", 1) == ["ok", "error", "ok"]
    assert states({**rule, "on_error": "keep"}, 9, "away", 9) == ["firing", "firing", "firing"]


def test_an_episode_goes_on_while_data_or_the_engine_are_away() -> None:
    rule = parse_rule({"metric": "x", "threshold": 5})
    state = next_state(rule, AlertState(), outcome(rule, {"value": 9.0}, {}), 1000.0)
    for at, told in ((1010.0, Outcome(breached=None)), (1020.0, Outcome(breached=None, error="x"))):
        state = next_state(rule, state, told, at)
        assert state.fired_at == 1000.0
    state = next_state(rule, state, outcome(rule, {"value": 9.0}, {}), 1030.0)
    assert (state.state, state.fired_at) == ("firing", 1000.0)
    state = next_state(rule, state, outcome(rule, {"value": 1.0}, {}), 1040.0)
    assert (state.state, state.fired_at, state.last_fired_at, state.resolved_at) == ("ok", 0.0, 1000.0, 1040.0)


@pytest.mark.parametrize(
    ("operator", "value", "state"),
    [("below", 4, "firing"), ("<=", 5, "firing"), ("eq", 5, "firing"), ("!=", 5, "ok"), ("at_least", 5, "firing")],
)
def test_every_comparison(operator: str, value: float, state: str) -> None:
    assert states({"metric": "x", "operator": operator, "threshold": 5}, value) == [state]


def test_a_state_that_stays_keeps_its_beginning_and_the_history_holds_changes_only() -> None:
    rule = parse_rule({"metric": "x", "threshold": 0})
    state = AlertState()
    for second, value in enumerate([0.0, 0.0, 1.0, 1.0, 1.0, 0.0]):
        state = next_state(rule, state, outcome(rule, {"value": value}, {}), 100.0 + second)
    assert [(at, name) for at, name, _ in state.history] == [(100.0, "ok"), (102.0, "firing"), (105.0, "ok")]
    assert state.since == 105.0


def test_what_the_kinds_measure() -> None:
    change = parse_rule({"kind": "rate_of_change", "metric": "x", "operator": "<", "threshold": -50})
    told = outcome(change, {"value": 40.0, "previous": 100.0}, {})
    assert (told.breached, told.values["change_percent"], told.values["change"]) == (True, -60.0, -60.0)
    assert outcome(change, {"value": 5.0, "previous": 0.0}, {}).values["change_percent"] == math.inf
    assert outcome(change, {"value": 0.0, "previous": 0.0}, {}).values["change_percent"] == 0.0
    ratio = parse_rule({"numerator": "bad", "denominator": "all", "threshold": 0.1} | RATIO)
    assert outcome(ratio, {"numerator": 2.0, "denominator": 10.0}, {}).breached is True
    assert outcome(ratio, {"numerator": 2.0, "denominator": 0.0}, {}).breached is None
    absence = parse_rule({"kind": "absence", "event_name": "heartbeat"})
    assert [outcome(absence, {"value": value}, {}).breached for value in (0.0, 1.0)] == [True, False]


RATIO = {"numerator": {"event_name": "bad"}, "denominator": {"event_name": "all"}}


def test_an_anomaly_is_far_from_the_same_time_of_earlier_seasons() -> None:
    rule = parse_rule({"kind": "anomaly", "metric": "x", "season": "1w", "window": "1h"})
    past = {"season_1": 100.0, "season_2": 110.0, "season_3": 90.0, "season_4": 105.0}
    assert outcome(rule, {"value": 104.0, **past}, {}).breached is False
    assert outcome(rule, {"value": 20.0, **past}, {}).breached is True
    assert outcome(rule, {"value": 300.0, **past}, {}).breached is True
    up = parse_rule({"kind": "anomaly", "metric": "x", "direction": "up", "window": "1h"})
    assert outcome(up, {"value": 20.0, **past}, {}).breached is False
    assert outcome(rule, {"value": 20.0, "season_1": 5.0, "season_2": None}, {}).breached is None
    alike = dict.fromkeys(past, 4.0)
    assert outcome(rule, {"value": 7.0, **alike}, {}).breached is False


def test_conditions_in_cel_see_the_numbers_of_their_kind_and_the_labels() -> None:
    pytest.importorskip("cel", reason="common-expression-language is not installed (extra 'alerts')")
    rule = parse_rule({"kind": "change", "metric": "x", "condition": "change_percent < -30 && previous > 50"})
    assert outcome(rule, {"value": 40.0, "previous": 100.0}, {}).breached is True
    assert outcome(rule, {"value": 4.0, "previous": 10.0}, {}).breached is False
    by_label = parse_rule({"metric": "x", "condition": "labels.severity == 'major' && value > 3"})
    assert outcome(by_label, {"value": 4.0}, {"severity": "major"}).breached is True
    assert outcome(by_label, {"value": 4.0}, {}).error.startswith("condition:")
    assert outcome(rule, {"value": None, "previous": 10.0}, {}).breached is None


@pytest.mark.parametrize(
    "condition",
    [
        "value",
        "value >",
        "nothing > 1",
        "value > 'a'",
        "[1,2].all(a, [1,2].all(b, true))",
        "[1].exists (a, true)",
        "x" * 2000,
        "'" + "(" * 500,
    ],
)
def test_a_condition_that_is_none_or_could_take_for_ever_is_refused(condition: str) -> None:
    pytest.importorskip("cel", reason="common-expression-language is not installed (extra 'alerts')")
    with pytest.raises(EventError, match="condition"):
        parse_rule({"metric": "x", "condition": condition})


def test_a_comparison_needs_no_library_and_an_old_condition_is_one() -> None:
    assert decide("value", ">", 5, "", {"value": 6.0}, {}) is True
    assert parse_rule({"metric": "x", "condition": "below", "threshold": 5}).operator == "<"


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"metric": "x"}, "threshold: nothing given"),
        ({"metric": "x", "threshold": float("nan")}, "threshold: nan"),
        ({"metric": "x", "threshold": True}, "threshold: True"),
        ({"kind": "vague", "threshold": 1}, "kind: 'vague' given, expected one of threshold, change"),
        ({"kind": "ratio", "threshold": 1}, "numerator: nothing given"),
        ({"kind": "funnel", "steps": ["a", "b"], "step": 3, "threshold": 1}, "step: 3 given"),
        ({"kind": "anomaly", "metric": "x", "seasons": 2}, "seasons: 2 given"),
        ({"kind": "anomaly", "metric": "x", "season": "1m", "window": "1h"}, "season: '1m' given"),
        ({"metric": "x", "threshold": 1, "window": "90d"}, "window: '90d' given"),
        ({"metric": "x", "threshold": 1, "notify": "file:///etc/passwd"}, "notify: 'file://…' given"),
        ({"metric": "x", "threshold": 1, "notify": "syslog://"}, "notify: 'syslog://…' given"),
        ({"metric": "x", "threshold": 1, "notify_on": ["all"]}, "notify_on: 'all' given"),
        ({"metric": "x", "threshold": 1, "on_error": "cry"}, "on_error: 'cry' given"),
        ({"metric": "x", "threshold": 1, "labels": {"a": "x" * 3000}}, "labels: 'xxx"),
    ],
)
def test_a_rule_that_makes_no_sense_says_why(rule: dict[str, Any], words: str) -> None:
    with pytest.raises(EventError, match=words):
        parse_rule(rule)


def test_an_address_is_shown_without_its_secrets() -> None:
    shown = [redacted(check_target(target, "notify")) for target in (
        "https://user:pw@hooks.example/T0/secret",
        "mailto://me:pw@mail.example?to=noc@example.org",
        "slack://TokenA/TokenB/TokenC/#noc",
    )]  # fmt: skip
    assert shown == ["https://hooks.example/…", "mailto://mail.example to noc@example.org", "slack://…"]


# -- silences ------------------------------------------------------------------------------------------------------------


def test_a_silence_holds_for_its_time_and_for_what_it_matches() -> None:
    rule = parse_rule({"name": "Down", "metric": "x", "threshold": 1, "labels": {"team": "noc"}})
    silence = parse_silence({"match": {"team": "noc", "device_id": "olt-1"}, "duration": "1h"}, now=1000.0)
    assert silenced_by([silence], "a", rule, {"device_id": "olt-1"}, 1001.0) is silence
    assert silenced_by([silence], "a", rule, {"device_id": "olt-2"}, 1001.0) is None
    assert silenced_by([silence], "a", rule, {"device_id": "olt-1"}, 1000.0 + 3600) is None
    one = parse_silence({"alert_id": "a"}, now=1000.0)
    assert silenced_by([one], "a", rule, {}, 1001.0) is one
    assert silenced_by([one], "b", rule, {}, 1001.0) is None


def test_a_maintenance_window_comes_again_at_local_time_also_when_clocks_change() -> None:
    pytest.importorskip("croniter", reason="croniter is not installed (extra 'alerts')")
    start = 1_790_000_000.0  # 2026-09-21T13:33:20Z
    wish = {"match": {"alert": "x"}, "schedule": "0 2 * * SUN", "duration": "2h", "timezone": "Europe/Berlin"}
    window = parse_silence(wish, now=start)
    summer = 1_790_467_200.0  # Sunday, 2026-09-27, midnight UTC is 02:00 in Berlin
    assert [active(window, summer + minutes * 60) for minutes in (-1, 0, 119, 120)] == [False, True, True, False]
    week_later = summer + 5 * 7 * 86400 + 3600  # 2026-11-01 01:00 UTC is 02:00 in Berlin
    assert [active(window, week_later + minutes * 60) for minutes in (-1, 0, 119, 120)] == [False, True, True, False]


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({}, "an 'alert_id', or labels"),
        ({"alert_id": "a", "schedule": "every day"}, "schedule: 'every day' given"),
        ({"alert_id": "a", "schedule": "* * * * * *"}, "five fields"),
        ({"alert_id": "a", "timezone": "Mars/Olympus"}, "timezone"),
        ({"alert_id": "a", "ends_at": 5}, "ends_at"),
        ({"alert_id": "a", "forever": True}, "silence.forever"),
    ],
)
def test_a_silence_that_makes_no_sense_says_why(wish: dict[str, Any], words: str) -> None:
    pytest.importorskip("croniter", reason="croniter is not installed (extra 'alerts')")
    with pytest.raises(EventError, match=words):
        parse_silence(wish)


# -- who is told ----------------------------------------------------------------------------------------------------------


def firing(at: float, **more: Any) -> AlertState:
    return AlertState(state="firing", since=at, fired_at=at, breached_since=at, value=9.0, **more)


RULE = parse_rule({"name": "Down", "metric": "x", "threshold": 1, "notify": HOOK, "group_by": ["device_id"]})
POLICY = parse_policy({"group_wait": "30s", "group_interval": "5m", "repeat_interval": "1h"})


def sent_of(notice: Notice, now: float) -> dict[str, Sent]:
    made = [
        Sent(
            target=target_id(notice.target),
            alert_id=item.alert_id,
            labels=item.labels,
            episode=item.episode,
            what=item.what,
            group=notice.group,
            at=now,
        )
        for item in notice.items
    ]
    return {one.key: one for one in made}


def test_alerts_of_a_group_are_told_together_once_and_again_when_they_end() -> None:
    one, two = label_key({"device_id": "olt-1"}), label_key({"device_id": "olt-2"})
    alerts = [("a", RULE, {one: firing(1000.0), two: firing(1010.0)})]
    assert due(alerts, [], {}, POLICY, 1020.0) == []
    (notice,) = due(alerts, [], {}, POLICY, 1031.0)
    assert [shown_labels(item.labels)["device_id"] for item in notice.items] == ["olt-1", "olt-2"]
    sent = sent_of(notice, 1031.0)
    assert due(alerts, [], sent, POLICY, 2000.0) == []
    ended = msgspec.structs.replace(firing(1000.0), state="ok", fired_at=0.0, last_fired_at=1000.0, resolved_at=1100.0)
    alerts = [("a", RULE, {one: ended, two: firing(1010.0)})]
    assert due(alerts, [], sent, POLICY, 1200.0) == []
    (notice,) = due(alerts, [], sent, POLICY, 1400.0)
    assert [(item.what, item.labels) for item in notice.items] == [("resolved", one)]
    sent |= sent_of(notice, 1400.0)
    assert due(alerts, [], sent, POLICY, 3000.0) == []
    assert due([("a", RULE, {one: ended})], [], {}, POLICY, 1400.0) == []


def test_what_goes_on_is_told_again_unless_somebody_acknowledged_it() -> None:
    alerts = [("a", RULE, {"": firing(1000.0)})]
    (notice,) = due(alerts, [], {}, POLICY, 1100.0)
    sent = sent_of(notice, 1100.0)
    assert due(alerts, [], sent, POLICY, 1100.0 + 3599) == []
    assert len(due(alerts, [], sent, POLICY, 1100.0 + 3600)) == 1
    acknowledged = firing(1000.0, acknowledged={"by": "me", "at": 1200.0})
    acknowledged = msgspec.convert(msgspec.to_builtins(acknowledged), AlertState)
    assert due([("a", RULE, {"": acknowledged})], [], sent, POLICY, 9000.0) == []


def test_who_was_silenced_is_told_when_the_silence_ends_and_it_still_fires() -> None:
    silence = parse_silence({"alert_id": "a", "duration": "1h"}, now=1000.0)
    alerts = [("a", RULE, {"": firing(1000.0)})]
    assert due(alerts, [silence], {}, POLICY, 1500.0) == []
    assert len(due(alerts, [silence], {}, POLICY, 1000.0 + 3601)) == 1


def test_a_message_says_what_and_where_for_people_and_programs() -> None:
    rule = msgspec.structs.replace(RULE, description="Look at the power first")
    state = firing(1000.0)
    (notice,) = due([("a", rule, {label_key({"device_id": "olt-1"}): state})], [], {}, POLICY, 1100.0)
    message = message_of("acme", notice)
    assert message.subject == "[FIRING] Down"
    assert message.text.startswith("FIRING Down [device_id=olt-1]: 9, warning – Look at the power first")
    assert message.data["alerts"][0]["labels"] == {"device_id": "olt-1"}
    assert "secret-part" not in message.text + str(message.data)
    assert message_of("acme", notice).key == message.key != ""
