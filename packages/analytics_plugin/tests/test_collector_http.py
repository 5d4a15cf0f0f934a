"""The collector's HTTP interface as another client sees it: keys, limits, errors, tenants."""

from __future__ import annotations

import asyncio
import gzip
import io
import itertools
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec
import pytest

from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector import Collector, CollectorConfig
from dotmac_isp.plugins.monitoring.analytics_events_plugin.events import parse_event
from dotmac_isp.plugins.monitoring.analytics_events_plugin.store import EngineProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


_FIXED = {"tenant_p": "key-p", "tenant_q": "key-q", "tenant_r": "shared", "tenant_s": "shared"}
_numbers = itertools.count()


@pytest.fixture
async def web(server: Any) -> AsyncIterator[aiohttp.ClientSession]:
    """A client; the keys `key-a` and `key-b` belong to two tenants that are new in each test."""
    number = next(_numbers)
    for tenant, secret in _FIXED.items():
        server.owner.admit(tenant, secret, "operator")
    server.owner.admit(f"a{number}", "key-a", "operator")
    server.owner.admit(f"b{number}", "key-b", "operator")
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
        yield session
    server.owner.dismiss(f"a{number}", "operator")
    server.owner.dismiss(f"b{number}", "operator")


def key(value: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {value}"}


async def ask(web: aiohttp.ClientSession, who: str, **query: Any) -> list[dict[str, Any]]:
    async with web.post("/v1/query", json=query, headers=key(who)) as answer:
        assert answer.status == 200, await answer.text()
        return list((await answer.json())["rows"])


async def test_it_says_who_it_is_without_a_key(web: aiohttp.ClientSession) -> None:
    async with web.get("/v1/about") as answer:
        assert (await answer.json())["product"] == "dotmac-analytics-collector"


@pytest.mark.parametrize(
    ("headers", "status", "words"),
    [
        ({}, 401, "no valid API key"),
        (key("wrong"), 401, "no valid API key"),
        (key("key-p") | {"X-Dotmac-Tenant": "tenant_q"}, 403, "does not belong to the tenant"),
        (key("shared"), 400, "belongs to several tenants; say which one in the header 'X-Dotmac-Tenant'"),
        (key("shared") | {"X-Dotmac-Tenant": "tenant_s"}, 200, ""),
        ({"X-API-Key": "key-p"}, 200, ""),
    ],
)
async def test_a_key_opens_its_tenant_and_nothing_else(
    web: aiohttp.ClientSession, headers: dict[str, str], status: int, words: str
) -> None:
    for method, path in (("GET", "/v1/whoami"), ("GET", "/v1/alerts"), ("GET", "/v1/dashboards")):
        async with web.request(method, path, headers=headers) as answer:
            assert answer.status == status
            assert words in await answer.text()


@pytest.mark.parametrize(
    "body",
    [
        b'[{"event":"x","event_id":"1"},{"event":"x","event_id":"2"}]',
        b'{"events":[{"event":"x","event_id":"1"},{"event":"x","event_id":"2"}]}',
        b'{"batch":[{"event":"x","messageId":"1"},{"event":"x","messageId":"2"}]}',
        b'{"event":"x","event_id":"1"}\n{"event":"x","event_id":"2"}\n',
    ],
)
async def test_events_come_in_several_forms(web: aiohttp.ClientSession, body: bytes) -> None:
    async with web.post("/v1/events", data=body, headers=key("key-a")) as answer:
        assert answer.status == 202
        assert await answer.json() == {"accepted": 2, "duplicates": [], "rejected": []}
    compressed = {**key("key-a"), "Content-Encoding": "gzip"}
    async with web.post("/v1/events", data=gzip.compress(body), headers=compressed) as answer:
        assert await answer.json() == {"accepted": 0, "duplicates": ["1", "2"], "rejected": []}
    assert await ask(web, "key-a") == [{"value": 2}]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{", 400, "not the JSON that is expected"),
        (b'"text"', 422, "expected a list of events"),
        (b"[" + b'{"event":"x"},' * 50_000 + b'{"event":"x"}]', 422, "at most 50000"),
        (b'[{"event":"' + b"x" * (17 << 20) + b'"}]', 413, "exceeded"),
    ],
)
async def test_a_body_that_is_no_batch_is_refused_with_the_reason(
    web: aiohttp.ClientSession, body: bytes, status: int, words: str
) -> None:
    async with web.post("/v1/events", data=io.BytesIO(body), headers=key("key-a")) as answer:
        assert answer.status == status
        assert words in (await answer.json())["error"]


async def test_a_compressed_bomb_is_refused(web: aiohttp.ClientSession) -> None:
    bomb = gzip.compress(b"[" + b" " * (200 << 20) + b"]")
    headers = {**key("key-a"), "Content-Encoding": "gzip"}
    async with web.post("/v1/events", data=bomb, headers=headers) as answer:
        assert answer.status == 413


_HOSTILE = [
    "x' OR 1=1 --",
    "{tenant:String}",
    "\\'; DROP TABLE events; --",
    "a\tb",
    "') UNION ALL SELECT * FROM events --",
    "%s %(tenant)s",
    "x SETTINGS readonly=0",
    "名前🙂",
]


async def test_hostile_values_find_nothing_of_another_tenant(web: aiohttp.ClientSession) -> None:
    await web.post(
        "/v1/events", json=[{"event": "secret", "user_id": "b1", "properties": {"k": "v"}}], headers=key("key-b")
    )
    for value in _HOSTILE:
        for where in ({"event_name": value}, {"user_id": value}, {"properties.k": value}):
            assert await ask(web, "key-a", where=where, group_by=["event_name"]) == []
    for who, seen in (("key-a", []), ("key-b", [{"event_name": "secret", "value": 1}])):
        assert await ask(web, who, group_by=["event_name"], metric="unique_users") == seen


async def test_hostile_values_are_stored_and_found_as_they_are(web: aiohttp.ClientSession) -> None:
    events = [{"event": "x", "user_id": value.replace("\t", " "), "properties": {"k": value}} for value in _HOSTILE]
    async with web.post("/v1/events", json=events, headers=key("key-a")) as answer:
        assert (await answer.json())["accepted"] == len(_HOSTILE)
    for value in _HOSTILE:
        found = await ask(web, "key-a", where={"properties.k": value}, group_by=["properties.k"])
        assert found == [{"properties.k": value, "value": 1}]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"group_by": ["tenant_id"]}, ""),
        ({"group_by": ["a`b"]}, "group_by: 'a`b' given, expected a column"),
        ({"group_by": ["x) FROM events --"]}, "expected a column"),
        ({"measure": "sum", "field": "a'b"}, "expected 'amount' or the path"),
        ({"interval": "often"}, "interval: 'often' given, expected a span such as"),
        ({"since": "tomorrowish"}, "since: 'tomorrowish' given, expected a moment such as"),
        ({"limit": 10**9}, "limit: 1000000000 given, expected a whole number from 1 to 10000"),
        ({"sql": "SELECT 1"}, "sql: 'SELECT 1' given, expected one of category"),
    ],
)
async def test_a_question_that_cannot_be_asked_says_why(web: aiohttp.ClientSession, query: Any, words: str) -> None:
    async with web.post("/v1/query", json=query, headers=key("key-a")) as answer:
        assert answer.status == (422 if words else 200)
        assert words in await answer.text()


async def test_odd_properties_are_kept_and_do_not_hold_others_up(web: aiohttp.ClientSession) -> None:
    odd = [
        {"a.b": 1, "a": {"b": 2}},
        {"a": [1, "x", None, {"q": []}]},
        {"": 1},
        {"x": 10**30},
        {"\u0000": "\u0000"},
        {"when": "2024-01-01 10:00:00.5"},
        {"deep": {"d": {"d": {"d": {"d": {"d": 1}}}}}},
        {f"key{n}": n for n in range(600)},
    ]
    events = [{"event": "odd", "properties": properties} for properties in odd]
    async with web.post("/v1/events", json=events, headers=key("key-a")) as answer:
        assert (await answer.json())["accepted"] == len(odd)
    assert await ask(web, "key-a", group_by=["event_name"]) == [{"event_name": "odd", "value": len(odd)}]
    kept = await ask(web, "key-a", where={"properties.when": "2024-01-01 10:00:00.5"})
    assert kept == [{"value": 1}]
    async with web.get("/v1/health") as answer:
        assert (await answer.json())["refused_events"] == 0


async def test_measures_of_numbers_and_series(web: aiohttp.ClientSession) -> None:
    events = [{"event": "api", "properties": {"ms": n, "plan": "gold" if n % 2 else "basic"}} for n in range(1, 101)]
    events += [{"event": "pay", "amount": "0.10", "currency": "EUR"} for _ in range(3)]
    await web.post("/v1/events", json=events, headers=key("key-a"))
    assert await ask(web, "key-a", measure="max", field="ms") == [{"value": 100.0}]
    assert await ask(web, "key-a", measure="sum", field="amount") == [{"value": 0.3}]
    by_plan = await ask(web, "key-a", measure="avg", field="ms", group_by=["plan"], event_name="api")
    assert by_plan == [{"properties.plan": "basic", "value": 51.0}, {"properties.plan": "gold", "value": 50.0}]
    series = await ask(web, "key-a", interval="1h", since="2h")
    assert sum(row["value"] for row in series) == 103
    assert all(row["time"].endswith(":00:00Z") for row in series)


async def test_an_alert_is_evaluated_by_itself_and_survives_a_restart(engine: None, tmp_path: Path) -> None:
    rule = {"metric": "down", "threshold": 0, "for": "1s", "window": "10m"}
    collector = Collector(CollectorConfig(data_dir=tmp_path, port=0, alert_interval=0.2))
    await collector.start()
    alert = collector.alerts.create("a", rule)
    await collector.intake.take("a", [parse_event({"event": "down"})])
    listed = collector.alerts.list("a")[0]
    async with asyncio.timeout(20):
        while listed["state"] != "firing":
            listed = collector.alerts.list("a")[0]
            await asyncio.sleep(0.05)
    assert [change[1] for change in listed["history"]][-2:] == ["pending", "firing"]
    await collector.stop()
    async with Collector(CollectorConfig(data_dir=tmp_path, port=0)) as again:
        status = await again.alerts.status("a", alert)
        assert status is not None
        assert (status["state"], status["since"]) == ("firing", listed["since"])
        assert status["history"] == listed["history"]


async def test_a_full_spool_asks_to_come_again(engine: None, tmp_path: Path) -> None:
    config = CollectorConfig(data_dir=tmp_path / "small", port=0, spool_bytes=2000)
    async with Collector(config) as small, aiohttp.ClientSession(f"http://127.0.0.1:{small.port}") as session:
        small.meta.admit("a", "key-a", "operator")
        events = [{"event": "x", "properties": {"text": "y" * 3000}}]
        async with session.post("/v1/events", json=events, headers=key("key-a")) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (429, "30")


async def test_an_existing_server_is_used_like_the_engine_of_our_own(engine: None, tmp_path: Path) -> None:
    server = EngineProcess(tmp_path / "server", tmp_path / "server.log")
    await server.start()
    options = await server.options()
    url = f"clickhouse://default:{options['password']}@127.0.0.1:{options['port']}/default"
    config = CollectorConfig(data_dir=tmp_path / "collector", port=0, database=url)
    async with Collector(config) as running:
        await running.intake.take("a", [parse_event({"event": "x"})])
        assert await running.settled()
        assert (await running.store.query("SELECT count() AS n FROM events")).dicts() == [{"n": 1}]
        assert running.describe()["engine"] == "server"
    assert server.pid is not None
    await server.stop()


@pytest.mark.slow
async def test_while_the_store_is_away_events_are_taken_and_questions_say_so(
    server_engine: EngineProcess, server_url: str, tmp_path: Path
) -> None:
    config = CollectorConfig(data_dir=tmp_path / "data", port=0, database=server_url, patience=1.0)
    async with Collector(config) as first, asyncio.timeout(30):
        await first.sharing.ready.wait()
    password = (await server_engine.options())["password"]
    await server_engine.stop()
    async with Collector(config) as running, aiohttp.ClientSession(f"http://127.0.0.1:{running.port}") as session:
        running.meta.admit("a", "key-a", "operator")
        async with session.post("/v1/events", json={"event": "x"}, headers=key("key-a")) as answer:
            assert answer.status == 202
        async with session.post("/v1/query", json={}, headers=key("key-a")) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
            words = await answer.text()
            assert "accepted events are safe on disk" in words
            assert password not in words
        async with session.get("/v1/health") as answer:
            health = await answer.json()
            assert (health["status"], health["backlog_records"]) == ("degraded", 1)
    async with Collector(CollectorConfig(data_dir=tmp_path / "data", port=0)) as later:
        assert await later.settled()
        assert (await later.store.query("SELECT count() AS n FROM events")).dicts() == [{"n": 1}]


async def test_an_operator_lets_a_key_in_from_the_command_line(server: Any) -> None:
    module = "dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.main"
    command = [sys.executable, "-m", module, "key", "--data", str(server.folder), "--tenant", "tenant_x", "--make"]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    made = (await process.communicate())[0].decode().strip()
    assert process.returncode == 0
    address = f"http://127.0.0.1:{server.port}/v1/whoami"
    async with aiohttp.ClientSession() as session, session.get(address, headers=key(made)) as answer:
        assert (await answer.json())["tenant"] == "tenant_x"


async def test_a_row_that_the_engine_refuses_is_put_aside_and_holds_nobody_up(engine: None, tmp_path: Path) -> None:
    async with Collector(CollectorConfig(data_dir=tmp_path, port=0)) as running:
        good = [parse_event({"event": "good", "event_id": f"g{number}"}) for number in range(20)]
        bad = msgspec.structs.replace(parse_event({"event": "bad", "event_id": "b"}), amount="a lot")
        await running.intake.take("a", [*good[:7], bad, *good[7:]])
        assert await running.settled()
        rows = await running.store.query("SELECT event_name, count() AS n FROM events GROUP BY event_name")
        assert rows.dicts() == [{"event_name": "good", "n": 20}]
        rollup = await running.store.query("SELECT sum(events) AS n FROM events_per_minute")
        assert rollup.dicts() == [{"n": 20}]
        refused = json.loads((tmp_path / "refused.ndjson").read_text())
        assert refused["event"]["event_id"] == "b"
        assert "amount" in refused["reason"]


async def test_a_rule_that_makes_no_sense_says_why(web: aiohttp.ClientSession) -> None:
    for rule, words in (
        ({}, "threshold: nothing given, expected a finite number"),
        ({"metric": "x", "threshold": 1, "operator": "near"}, "operator: 'near' given, expected one of >"),
        ({"metric": "x", "threshold": 1, "window": "-5m"}, "window: '-5m' given, expected a span"),
        ({"metric": "x", "threshold": True}, "threshold: True given"),
    ):
        async with web.post("/v1/alerts", json=rule, headers=key("key-a")) as answer:
            assert answer.status == 422
            assert words in (await answer.json())["error"]
