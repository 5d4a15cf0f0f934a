"""Rules of a tenant: privacy, retention, late and future events; one customer's events given out and deleted."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dotmac_isp.plugins.monitoring.analytics_events_plugin._plain import EventError
from dotmac_isp.plugins.monitoring.analytics_events_plugin._privacy import dropped
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector._collector import Collector, CollectorConfig
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.customers import parse_person
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.questions import (
    Questions,
    fits_rollup,
    parse_query,
)
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.rules import Rules, parse_rules
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.rules._retention import due
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.rules._rules import without_private
from dotmac_isp.plugins.monitoring.analytics_events_plugin.events import parse_event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path


def test_rules_change_what_is_given_and_leave_the_rest() -> None:
    rules = parse_rules({"privacy": {"hash": ["email"], "drop": ["properties.password"]}}, Rules())
    rules = parse_rules({"retention": {"*": 90, "security": 365}, "late": "stamp"}, rules)
    assert rules.told() == {
        "privacy": {"hash": ["email"], "drop": ["password"]},
        "retention": {"*": 90.0, "security": 365.0},
        "late": "stamp",
        "future": "reject",
    }
    assert (rules.days("security", 400), rules.days("business", 400), rules.days("security", 30)) == (365, 90, 30)


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        {"privacy": {"hash": "email"}},
        {"privacy": {"drop": ["a..b"]}},
        {"privacy": {"drop": ["a\0b"]}},
        {"retention": {"sales": 3}},
        {"retention": {"*": 0}},
        {"retention": {"*": float("nan")}},
        {"late": "drop"},
        {"retain": {}},
    ],
)
def test_rules_that_cannot_be_say_why(wrong: Any) -> None:
    with pytest.raises(EventError):
        parse_rules(wrong, Rules())


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=10,
)


@given(properties=st.dictionaries(st.sampled_from("abc"), JSON, max_size=3))
@settings(max_examples=150, deadline=None)
def test_what_is_private_is_nowhere_in_the_event_and_the_rest_is_as_it_was(properties: dict[str, Any]) -> None:
    secret = "the very private value"
    told = {**properties, "email": secret, "deep": [{"secret": secret, "kept": 1}]}
    event = parse_event({"event_name": "x", "user_id": secret, "properties": told})
    rules = Rules(hash=("email", "user_id"), drop=("deep.secret", "b", "a.b"))
    made = without_private(event, rules, b"k" * 32)
    assert secret not in repr(made)
    assert made.properties["deep"] == [{"kept": 1}]
    assert made.properties["email"] == made.user_id != without_private(event, rules, b"l" * 32).user_id
    assert made.properties.get("c") == properties.get("c")
    assert event.properties == told
    assert dropped({"a": 1}, ()) == {"a": 1}


def test_retention_is_of_whole_hours_and_the_narrower_rule_goes_before_the_general_one() -> None:
    now = 1_800_000_123.0
    found = {
        before: categories
        for categories, before in due(parse_rules({"retention": {"*": 30, "security": 365}}, Rules()), now)
    }
    assert all(before % 3600 == 0 for before in found)
    assert "security" not in found[max(found)]
    assert found[min(found)] == ["security"]
    assert due(Rules(), now) == []


@pytest.fixture
async def collector(engine: None, tmp_path: Path) -> AsyncIterator[Collector]:
    async with Collector(CollectorConfig(data_dir=tmp_path / "c", port=0)) as made:
        yield made


async def rollups(collector: Collector, tenant: str) -> list[Any]:
    rows = await collector.store.query(
        "SELECT (SELECT sum(events) FROM events_per_minute WHERE tenant_id = {tenant:String}), "
        "(SELECT sum(amount) FROM amounts_per_hour WHERE tenant_id = {tenant:String}), "
        "(SELECT sum(events) FROM devices_per_hour WHERE tenant_id = {tenant:String}), "
        "(SELECT count() FROM events WHERE tenant_id = {tenant:String})",
        {"tenant": tenant},
    )
    return [float(value) for value in rows.rows[0]]


def payments(customer: str, count: int, hours: int = 1) -> list[Any]:
    start = datetime.now(UTC) - timedelta(hours=hours)
    return [
        parse_event(
            {
                "event_name": "payment",
                "customer_id": customer,
                "device_id": "d1",
                "amount": "2.50",
                "currency": "EUR",
                "timestamp": start + timedelta(minutes=number % (hours * 60)),
            }
        )
        for number in range(count)
    ]


async def until_done(collector: Collector, tenant: str) -> Any:
    async with asyncio.timeout(60):
        while (one := collector.deletions.list(tenant)[-1]).state != "done":  # noqa: ASYNC110 - nothing tells us
            await asyncio.sleep(0.05)
    return one


async def test_a_deleted_customer_is_gone_from_tables_and_rollups_and_nobody_else_is(collector: Collector) -> None:
    await collector.intake.take("a", [*payments("c1", 60, 5), *payments("c2", 40, 3)])
    await collector.intake.take("b", payments("c1", 10))
    collector.quarantine.put("a", [(event, ["why"]) for event in payments("c1", 2)])
    assert await collector.settled()
    assert await rollups(collector, "a") == [100, 250, 100, 100]
    person = parse_person({"customer_id": "c1"}, lambda name: collector.rules.names_of("a", name))
    deletion = await collector.deletions.delete("a", person)
    assert (deletion.state, deletion.deleted_events) == ("deleted", 60)
    done = await until_done(collector, "a")
    assert await rollups(collector, "a") == [40, 100, 40, 40]
    assert await rollups(collector, "b") == [10, 25, 10, 10]
    assert collector.quarantine.list("a") == []
    assert done.person is None
    assert '"c1"' not in json.dumps(done.told())  # hexadecimal digits may well say c1
    again = await collector.deletions.delete("a", person)
    assert (again.deleted_events, again.proof) == (0, done.proof)


async def test_groups_and_minutes_that_only_a_deleted_customer_had_are_gone_from_counts(collector: Collector) -> None:
    left = parse_event(
        {
            "event_name": "left",
            "customer_id": "c1",
            "timestamp": (datetime.now(UTC) - timedelta(hours=9)).isoformat(),
        }
    )
    await collector.intake.take("a", [left, *payments("c2", 3)])
    assert await collector.settled()
    until = time.time() // 60 * 60
    asked = [
        parse_query({"since": until - 86400, "until": until, **more}, now=until)
        for more in ({"group_by": ["event_name"]}, {"interval": 60}, {"interval": 3600, "group_by": ["event_name"]})
    ]
    questions = Questions(collector.store, "a")
    for query in asked:
        assert fits_rollup(query)
        assert sum(row["value"] for row in (await questions.ask(query)).rows) == 4
    person = parse_person({"customer_id": "c1"}, lambda name: collector.rules.names_of("a", name))
    await collector.deletions.delete("a", person)
    await until_done(collector, "a")
    for query in asked:
        rows = (await questions.ask(query)).rows
        assert sum(row["value"] for row in rows) == 3
        assert all(row["value"] > 0 and row.get("event_name") != "left" for row in rows)
    rule = {"threshold": 100, "window": "1d", "group_by": ["event_name"]}
    alert_id = collector.alerts.create("a", {**rule, "event_name": ["left", "payment"]})
    status = await collector.alerts.status("a", alert_id)
    assert status is not None
    assert [one["labels"] for one in status["instances"]] == [{"event_name": "payment"}]


@pytest.mark.slow
async def test_a_deletion_that_was_cut_short_is_carried_on_by_the_next_collector(engine: None, tmp_path: Path) -> None:
    config = CollectorConfig(data_dir=tmp_path / "c", port=0)
    async with Collector(config) as first:
        await first.intake.take("a", [*payments("c1", 30, 2), *payments("c2", 20)])
        assert await first.settled()
        await first.deletions.close()  # nothing goes on in the background: as if it had been killed there
        deletion = await first.deletions.delete("a", parse_person({"customer_id": "c1"}, lambda name: [name]))
        assert deletion.state == "deleted"
        assert await rollups(first, "a") == [50, 125, 50, 20]
    async with Collector(config) as second:
        await until_done(second, "a")
        assert await rollups(second, "a") == [20, 50, 20, 20]


async def test_rollups_that_are_wrong_are_put_right_and_right_ones_stay(collector: Collector) -> None:
    events = payments("c1", 30)
    await collector.intake.take("a", events)
    assert await collector.settled()
    await collector.store.change(
        "INSERT INTO events_per_minute SELECT tenant_id, minute, category, event_name, 7 FROM events_per_minute"
    )
    hours = sorted({int(datetime.fromisoformat(event.timestamp).timestamp()) // 3600 * 3600 for event in events})
    for _ in range(2):
        await collector.deletions.reconcile("a", hours)
        assert await rollups(collector, "a") == [30, 75, 30, 30]


async def test_old_events_go_by_category_from_events_and_rollups_alike(collector: Collector) -> None:
    old = datetime.now(UTC) - timedelta(days=5)
    events = [
        parse_event({"event_name": "x", "category": category, "timestamp": when, "device_id": "d"})
        for category in ("business", "security")
        for when in (None, old)
    ]
    await collector.intake.take("a", events)
    await collector.intake.take("b", events)
    assert await collector.settled()
    collector.rules.change("a", {"retention": {"business": 2}})
    await collector.retention.apply("a")
    assert await rollups(collector, "a") == [3, 0, 3, 3]
    assert await rollups(collector, "b") == [4, 0, 4, 4]


async def test_late_and_future_events_are_treated_as_the_rule_says(shared: Any) -> None:
    plugin = await shared.started(max_event_age_days=400)
    late = {"event_name": "x", "event_id": "late", "timestamp": datetime.now(UTC) - timedelta(days=40)}
    assert (await plugin.track_events_batch([late]))["accepted"] == 1
    await plugin.flush()
    assert (await plugin.get_metrics())["analytics_events_refused_total"] == 1
    assert (await plugin.set_rules({"late": "stamp"}))["late"] == "stamp"
    await plugin.track_event({**late, "event_id": "stamped"})
    row = (await plugin.query({"kind": "timeline", "limit": 1}))["rows"][0]
    assert row["tags"] == ["late"]
    assert row["properties"]["told_timestamp"].startswith(f"{late['timestamp']:%Y-%m-%d}")
    await plugin.set_rules({"late": "quarantine"})
    await plugin.track_event({**late, "event_id": "held"})
    await plugin.flush()
    held = await plugin.quarantine()
    assert [one["event_id"] for one in held] == ["held"]
    assert "not older than 30 days" in held[0]["reasons"][0]


async def test_private_properties_reach_neither_store_nor_quarantine_nor_disk(
    shared: Any, server: Any, everything_in: Callable[[Path], bytes]
) -> None:
    plugin = await shared.started(drop_properties=["pin"])
    await plugin.set_rules({"privacy": {"hash": ["email", "customer_id"], "drop": ["address.street"]}})
    schema = {"type": "object", "properties": {"ok": {"const": True}}}
    await plugin.register_schema("signup", schema)
    told = {"pin": "9-PIN-1", "email": "ann@secret.example", "address": {"street": "Secret Road 1", "city": "Ulm"}}
    for ok in (True, False):
        await plugin.track_event(
            {"event_name": "signup", "customer_id": "customer-secret", "properties": {**told, "ok": ok}}
        )
    row = (await plugin.query({"kind": "timeline", "limit": 1}))["rows"][0]
    assert row["properties"]["address"] == {"city": "Ulm"}
    assert row["properties"]["email"].startswith("h-")
    held = await plugin.quarantine()
    assert len(held) == 1
    stored = everything_in(server.folder)
    for secret in (b"ann@secret.example", b"Secret Road 1", b"customer-secret", b"9-PIN-1"):
        assert secret not in stored
    exported = await plugin.export_customer("customer-secret")
    assert len(exported.splitlines()) == 2
    deletion = await plugin.delete_customer("customer-secret")
    assert deletion["deleted_events"] == 1
    assert await plugin.export_customer("customer-secret") == ""
    assert await plugin.quarantine() == []
    assert (await plugin.deletions())[0]["deletion_id"] == deletion["deletion_id"]
    assert time.time() - deletion["asked_at"] < 60
