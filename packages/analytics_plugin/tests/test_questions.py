"""Funnels, retention, sessions, distinct counts, percentiles, top; and that nobody's words become part of a statement."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dotmac_isp.plugins.monitoring.analytics_events_plugin import EventError
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.questions import (
    Sql,
    build,
    build_journey,
    parse_journey,
    parse_query,
)

NOW = 1_760_000_000.0
_HOSTILE = [
    "x' OR 1=1 --",
    'x" OR ""="',
    "` FROM events --",
    "/* */ {tenant:String} {s0:String}",
    "') UNION ALL SELECT * FROM events --",
    "x SETTINGS readonly = 0",
    "merge('default', '^events$')",
    "mergeTreeIndex('default', 'events')",
    "1 INTO OUTFILE '/tmp/x'",
    "file('/etc/passwd')",
    "\\'; DROP TABLE events; --",
    "%(tenant)s %s {} {0}",
    "(a+)+$",
    "\x00\t\n",
    "名前🙂",
    "x" * 3000,
]


def sql(question: dict[str, Any]) -> Sql:
    if question.get("kind", "events") == "events":
        return build(parse_query(question, now=NOW), "mine")
    return build_journey(parse_journey(question, now=NOW), "mine")


def asked(word: str) -> list[dict[str, Any]]:
    where = {"user_id": word, "properties.k": [word, "y"]}
    return [
        {"event_name": word, "where": where, "group_by": ["k", "source"], "interval": "1h"},
        {"measure": "unique", "field": "k", "where": where},
        {"measure": "p99.9", "field": "ms", "category": word},
        {"kind": "funnel", "steps": [word, {"event": word, "where": where}, "z"], "where": where},
        {"kind": "retention", "event": word, "return_event": word, "where": where},
        {"kind": "sessions", "where": where, "interval": "1d"},
        {"kind": "paths", "where": where, "by": "k", "start": word},
        {"kind": "timeline", "where": where},
    ]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(_HOSTILE) | st.text(min_size=1))
def test_a_statement_is_the_same_text_whatever_is_asked_for(word: str) -> None:
    for hostile, harmless in zip(asked(word), asked("harmless"), strict=True):
        made, plain = sql(hostile), sql(harmless)
        assert made.text == plain.text
        assert made.parameters["tenant"] == "mine"
        assert made.text.count("FROM events") == made.text.count("tenant_id = {tenant:String}") == 1


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(_HOSTILE) | st.text(min_size=1))
def test_a_name_is_a_column_or_a_bound_path_or_refused(name: str) -> None:
    for hostile, harmless in zip(named(name), named("k"), strict=True):
        try:
            made = sql(hostile)
        except EventError:
            continue
        assert made.parameters["tenant"] == "mine"
        assert made.text.count("tenant_id = {tenant:String}") == 1
        if not re.fullmatch(r"[a-z0-9_.]+", name, re.IGNORECASE):
            # What the statement has anyway ("-", a space) is not the name pasted in, nor is a path in its quotes.
            assert unquoted(made.text).count(name) == unquoted(sql(harmless).text).count(name)


def unquoted(text: str) -> str:
    """A statement without what stands in quotes for names."""
    return re.sub(r"`(?:[^`\\]|\\.)*`", "PATH", text)


def named(name: str) -> list[dict[str, Any]]:
    """Questions with the name in every place that takes one."""
    return [
        {"group_by": [name]},
        {"where": {name: "x"}},
        {"measure": "sum", "field": name},
        {"measure": "unique", "field": name},
        {"measure": name},
        {"kind": "sessions", "where": {name: "x"}},
        {"kind": name},
        {"kind": "retention", "event": "x", "period": name},
        {name: "x"},
    ]


async def test_no_hostile_word_brings_another_tenants_events(shared: Any) -> None:
    mine, other = await shared.started("tenant_a"), await shared.started("tenant_b")
    await other.track_events_batch(
        [{"event_name": "secret", "user_id": f"u{n}", "properties": {"k": "v"}} for n in range(3)]
    )
    await mine.track_event({"event_name": "own", "user_id": "me", "properties": {"k": "v"}})
    await other.flush()
    for word in _HOSTILE[:-1]:
        for question in asked(word):
            rows = (await mine.query(question))["rows"]
            assert all(not row.get(key) for row in rows for key in ("value", "people", "sessions", "event_id")), (
                question,
                rows,
            )
    assert (await mine.query({"kind": "sessions"}))["rows"][0]["people"] == 1
    assert (await mine.query({"measure": "unique", "field": "k"}))["rows"] == [{"value": 1}]
    funnel = await mine.query({"kind": "funnel", "steps": ["secret", "own"]})
    assert [row["people"] for row in funnel["rows"]] == [0, 0]
    assert (await other.query({"kind": "retention", "event": "secret"}))["rows"][0]["people"] == 3


async def test_a_funnel_counts_people_in_order_and_within_the_window(shared: Any) -> None:
    plugin = await shared.started()
    start = time.time() - 7200
    seconds = itertools.count()

    def event(user: str, name: str, after: float, **properties: Any) -> dict[str, Any]:
        return {
            "event_name": name,
            "user_id": user,
            "timestamp": start + after + next(seconds) / 1000,
            "properties": properties,
        }

    await plugin.track_events_batch(
        [
            event("a", "view", 0),
            event("a", "signup", 0.2, plan="gold"),
            event("b", "view", 0),
            event("b", "signup", 3000, plan="gold"),
            event("c", "signup", 0, plan="gold"),
            event("c", "view", 5),
            event("d", "view", 0),
            event("d", "signup", 9, plan="basic"),
        ]
    )
    steps = ["view", {"event": "signup", "where": {"plan": "gold"}}]
    answer = await plugin.query({"kind": "funnel", "steps": steps, "window": "10m"})
    assert answer["rows"] == [
        {"step": "view", "people": 4, "of_first_percent": 100.0, "of_previous_percent": 100.0},
        {"step": "signup", "people": 1, "of_first_percent": 25.0, "of_previous_percent": 25.0},
    ]
    wider = await plugin.query({"kind": "funnel", "steps": ["view", "signup"], "window": "1h"})
    assert [row["people"] for row in wider["rows"]] == [4, 3]


async def test_the_latest_events_come_first_with_exact_amounts(shared: Any) -> None:
    plugin, other = await shared.started("tenant_a"), await shared.started("tenant_b")
    await other.track_event({"event_name": "secret"})
    await other.flush()
    await plugin.track_transaction("123456789012.123457", "EUR", timestamp=time.time() - 60)
    await plugin.track_event({"event_name": "note", "tags": ["a"], "properties": {"n": 1, "deep": {"x": [1]}}})
    rows = (await plugin.query({"kind": "timeline", "limit": 5}))["rows"]
    assert [(row["event_name"], row["amount"]) for row in rows] == [("note", None), ("payment", "123456789012.123457")]
    assert (rows[0]["properties"], rows[0]["tags"]) == ({"n": 1, "deep": {"x": [1]}}, ["a"])
    assert [row["event_name"] for row in (await plugin.query({"kind": "timeline", "limit": 1}))["rows"]] == ["note"]


async def test_retention_and_sessions_and_distinct_counts_and_the_top(shared: Any) -> None:
    plugin = await shared.started()
    noon = (time.time() // 86400 - 3) * 86400 + 43200
    visits = {"a": [0, 60, 86400], "b": [0, 4000], "c": [0]}
    await plugin.track_events_batch(
        [
            {
                "event_name": "visit",
                "user_id": user,
                "timestamp": noon + at,
                "properties": {"ms": at, "page": f"/{user}"},
            }
            for user, times in visits.items()
            for at in times
        ]
    )
    retention = await plugin.query({"kind": "retention", "event": "visit", "periods": [1, 2]})
    assert [(row["people"], row["day_1"], row["day_2"]) for row in retention["rows"]] == [(3, 1, 0)]
    assert list(retention["columns"]) == ["cohort", "people", "day_1", "day_2"]
    sessions = (await plugin.query({"kind": "sessions"}))["rows"][0]
    assert (sessions["sessions"], sessions["people"], sessions["single_event"]) == (5, 3, 4)
    by_day = (await plugin.query({"kind": "sessions", "interval": "1d"}))["rows"]
    assert [row["sessions"] for row in by_day] == [4, 1]
    since = {"since": "7d"}
    for measure in ("unique", "approx_unique"):
        assert (await plugin.query({"measure": measure, "field": "page", **since}))["rows"] == [{"value": 3}]
    top = (await plugin.query({"group_by": ["page"], "top": 1, **since}))["rows"]
    assert top == [{"properties.page": "/a", "value": 3}]
    assert (await plugin.query({"measure": "p99.9", "field": "ms", **since}))["rows"][0]["value"] > 80_000


async def test_the_counts_per_minute_answer_as_the_events_do_whatever_the_bounds(shared: Any) -> None:
    plugin = await shared.started()
    hour = (time.time() // 3600 - 5) * 3600
    times = [0, 1, 59.999, 60, 61, 119, 120, 3599.5, 3600, 7199]
    await plugin.track_events_batch([{"event_name": "tick", "source": "core", "timestamp": hour + at} for at in times])
    bounds = [(0, 3600), (60, 120), (60, 61), (59.5, 60.5), (0, 7200), (7199, 7200), (-3600, 0)]
    for first, last in bounds:
        wanted = sum(first <= at < last for at in times)
        for interval in ({}, {"interval": "1m"}, {"interval": "1h"}):
            ask = {"event_name": "tick", "since": hour + first, "until": hour + last, **interval}
            counted = (await plugin.query(ask))["rows"]
            listed = (await plugin.query({**ask, "source": "core"}))["rows"]  # the counts know no source
            assert sum(row["value"] for row in counted) == wanted, (first, last, interval)
            assert counted == listed
    assert (await plugin.query({"event_name": "tick", "since": "2020-01-01", "until": "2200-01-01"}))["rows"] == [
        {"value": 10}
    ]
    assert (await plugin.query({"event_name": "tick", "since": "2200-01-01", "until": "2200-01-02"}))["rows"] == [
        {"value": 0}
    ]


async def test_comparisons_narrow_a_question(shared: Any) -> None:
    plugin = await shared.started()
    await plugin.track_events_batch(
        [
            {
                "event_name": "load",
                "amount": n,
                "currency": "EUR",
                "properties": {"ms": n * 10, "page": f"/a/{n}", "odd": n % 2},
            }
            for n in range(10)
        ]
        + [{"event_name": "load"}]
    )
    for where, count in {
        '{"ms": {">": 30, "<=": 60}}': 3,
        '{"amount": {">=": 8}}': 2,
        '{"page": {"contains": "A/9"}}': 1,
        '{"page": {"starts_with": "/a"}, "odd": 1}': 5,
        '{"page": {"matches": "^/a/[0-4]$"}}': 5,
        '{"page": {"!=": "/a/1"}}': 10,
        '{"page": {"exists": false}}': 1,
        '{"page": {"exists": true, "not_in": ["/a/1", "/a/2"]}}': 8,
        '{"page": {"matches": "(a+)+$"}}': 0,
        '{"ms": ["10", 20]}': 2,
    }.items():
        answer = await plugin.query({"measure": "count", "event_name": "load", "where": json.loads(where)})
        assert answer["rows"] == [{"value": count}], where
    many = {"page": [f"/a/{n}" for n in range(900)] + ["x" * 3000]}
    assert (await plugin.query({"where": many}))["rows"] == [{"value": 10}]
    for wrong in (
        {"ms": {">": "1"}},
        {"ms": {">": float("inf")}},
        {"ms": {}},
        {"ms": {"like": "x"}},
        {"x": "x" * 10**6},
    ):
        with pytest.raises(EventError):
            await plugin.query({"where": wrong})


async def test_paths_are_the_ways_within_a_session(shared: Any) -> None:
    plugin, other = await shared.started("tenant_a"), await shared.started("tenant_b")
    start = time.time() - 9000

    def way(user: str, *pages: str, at: float = 0) -> list[dict[str, Any]]:
        return [
            {"event_name": "view", "user_id": user, "timestamp": start + at + n, "properties": {"page": page}}
            for n, page in enumerate(pages)
        ]

    await other.track_events_batch(way("x", "/secret", "/plans"))
    await other.flush()
    await plugin.track_events_batch(
        [
            *way("a", "/", "/plans", "/plans", "/buy"),
            *way("b", "/", "/plans", "/help"),
            *way("b", "/", "/help", at=4000),
        ]
    )
    answer = await plugin.query({"kind": "paths", "by": "page", "depth": 2})
    assert answer["rows"] == [
        {"path": ["/", "/plans"], "sessions": 2, "people": 2},
        {"path": ["/", "/help"], "sessions": 1, "people": 1},
    ]
    on = await plugin.query({"kind": "paths", "by": "page", "start": "/plans"})
    assert [row["path"] for row in on["rows"]] == [["/plans", "/buy"], ["/plans", "/help"]]
    back = await plugin.query({"kind": "paths", "by": "page", "end": "/help", "depth": 2})
    assert sorted(row["path"] for row in back["rows"]) == [["/", "/help"], ["/plans", "/help"]]


async def test_the_live_stream_shows_new_events_of_the_tenant_and_goes_on_where_it_was(shared: Any) -> None:
    import aiohttp

    plugin, other = await shared.started("tenant_a"), await shared.started("tenant_b")
    base = f"http://127.0.0.1:{shared.port}"
    headers = {"Authorization": f"Bearer key-of-{plugin.api.tenant_id}"}

    async def told(response: aiohttp.ClientResponse, count: int) -> list[tuple[str, str]]:
        found, last = [], ""
        async for line in response.content:
            if line.startswith(b"id: "):
                last = line[4:].decode().strip()
            if line.startswith(b"data: "):
                found.append((json.loads(line[6:])["event_name"], last))
                if len(found) == count:
                    break
        return found

    async with aiohttp.ClientSession(base, headers=headers) as session:
        async with asyncio.timeout(30), session.get("/v1/stream", params={"where.plan": "gold"}) as response:
            assert response.content_type == "text/event-stream"
            await other.track_event({"event_name": "secret", "properties": {"plan": "gold"}})
            await other.flush()
            for name, plan in (("a", "gold"), ("b", "basic"), ("c", "gold")):
                await plugin.track_event({"event_name": name, "properties": {"plan": plan}})
                await plugin.flush()
            first = await told(response, 2)
        assert [name for name, _ in first] == ["a", "c"]
        again = {"Last-Event-ID": first[0][1]}
        async with asyncio.timeout(30), session.get("/v1/stream", headers=again) as response:
            assert {name for name, _ in await told(response, 2)} <= {"a", "b", "c"}
        async with session.get("/v1/stream", headers={"Last-Event-ID": "x"}) as response:
            assert response.status == 422
        async with session.get("/v1/stream", headers={"Authorization": "Bearer nobody"}) as response:
            assert response.status == 401


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ({"kind": "paths", "start": "a", "end": "b"}, "end: 'b' given, expected either 'start' or 'end', not both"),
        ({"kind": "paths", "depth": 1}, "depth: 1 given, expected a whole number from 2 to 10"),
        ({"kind": "path"}, "kind: 'path' given, expected one of events, funnel, retention, sessions, paths"),
        ({"kind": "funnel", "steps": ["one"]}, "steps: .* expected a list of 2 to 10 events"),
        ({"kind": "funnel", "steps": ["a", 5]}, "steps: 5 given"),
        ({"kind": "retention"}, "event: nothing given"),
        ({"kind": "retention", "event": "a", "periods": [0]}, "periods: .* whole numbers from 1 to 366"),
        ({"kind": "retention", "event": "a", "period": "month"}, "period: 'month' given, expected 'day' or 'week'"),
        ({"kind": "retention", "event": "a", "period": ["day"]}, r"period: \['day'\] given"),
        ({"kind": "timeline", "limit": 10**6}, "limit: 1000000 given, expected a whole number from 1 to 1000"),
        ({"kind": "sessions", "steps": []}, "steps: .* expected one of gap, interval, kind"),
        ({"kind": "sessions", "since": "1h", "until": "2h"}, "since: '1h' given, expected a moment before 'until'"),
    ],
)
def test_a_journey_that_cannot_be_asked_says_why(question: dict[str, Any], words: str) -> None:
    with pytest.raises(EventError, match=words):
        sql(question)
