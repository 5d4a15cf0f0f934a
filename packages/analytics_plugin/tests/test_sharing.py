"""Several collectors before one server have one memory, and one of them does what is done once."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import sqlite3
import sys
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector._collector import Collector, CollectorConfig
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.customers import parse_person
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.sharing import (
    Change,
    Documents,
    Member,
    Pace,
    judged,
)
from dotmac_isp.plugins.monitoring.analytics_events_plugin.events import parse_event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

_BEAT = 0.2
_PATIENCE = 60.0


@contextlib.asynccontextmanager
async def collector(folder: Path, url: str, **more: Any) -> AsyncIterator[Collector]:
    config = CollectorConfig(
        data_dir=folder, port=0, database=url, beat=_BEAT, alert_interval=0.5, notify_hosts=("127.0.0.1",), **more
    )
    async with Collector(config) as made:
        yield made


async def until(what: Callable[[], Any]) -> Any:
    """Ask again and again: what other processes know cannot be awaited."""
    async with asyncio.timeout(_PATIENCE):
        while True:
            found = what()
            found = await found if asyncio.iscoroutine(found) else found
            if found:
                return found
            await asyncio.sleep(_BEAT / 4)


class Caller:
    """Asks one collector over HTTP with one key."""

    def __init__(self, session: aiohttp.ClientSession, port: int, key: str) -> None:
        self._session = session
        self._url = f"http://127.0.0.1:{port}"
        self._headers = {"Authorization": f"Bearer {key}"}

    async def __call__(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        async with self._session.request(method, self._url + path, json=body, headers=self._headers) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text.startswith(("{", "[")) else text


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as made:
        yield made


async def test_what_is_set_at_one_collector_holds_at_the_other(
    server_url: str, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    async with collector(tmp_path / "a", server_url) as a, collector(tmp_path / "b", server_url) as b:
        await asyncio.gather(a.sharing.ready.wait(), b.sharing.ready.wait())
        a.meta.admit("t", "operators-key", "operator")
        await until(lambda: b.meta.keys.opened_by("operators-key"))
        at_a, at_b = Caller(session, a.port, "operators-key"), Caller(session, b.port, "operators-key")

        assert (await at_a("POST", "/v1/rules", {"privacy": {"hash": ["user_id"], "drop": ["secret"]}}))[0] == 200
        schema = {"event_name": "sale", "schema": {"type": "object", "required": ["price"]}, "mode": "reject"}
        assert (await at_a("POST", "/v1/schemas", schema))[0] in {200, 201}
        board = {"title": "Sales", "panels": [{"title": "n", "metric": "count", "chart": "table"}]}
        status, made = await at_a("POST", "/v1/dashboards", board)
        assert status == 201, made
        status, made_key = await at_a("POST", "/v1/keys", {"name": "reader", "scopes": ["read"]})
        assert status == 201
        await until(lambda: b.meta.keys.opened_by(made_key["key"]) and b.schemas.list("t") and b.dashboards.list("t"))

        assert (await at_b("GET", "/v1/rules"))[1]["privacy"]["drop"] == ["secret"]
        status, told = await at_b("POST", "/v1/events", [{"event_name": "sale", "properties": {"secret": "x"}}])
        assert (status, told["accepted"]) == (202, 0), told
        assert (await at_a("POST", "/v1/schemas", {"event_name": "sale", "mode": "quarantine"}))[0] == 201
        await until(lambda: b.schemas.list("t")[0].mode == "quarantine")
        assert (await at_b("POST", "/v1/events", [{"event_name": "sale", "event_id": "e1"}]))[0] == 202
        await until(lambda: a.quarantine.list("t"))
        mend = {"event_ids": ["e1"], "changes": {"set": {"price": 3}}}
        status, told = await at_a("POST", "/v1/quarantine/replay", mend)
        assert (status, told["replayed"]) == (200, 1), told
        await until(lambda: not b.quarantine.list("t"))
        status, link = await at_b("POST", f"/v1/dashboards/{made['id']}/shares", {})
        assert status == 201, link
        await until(lambda: a.dashboards.shares("t"))
        token = link["path"].removeprefix("/d/")
        assert a.dashboards.opened(token) is not None
        # A pseudonym is the same wherever the event came in.
        event = parse_event({"event_name": "visit", "user_id": "u1"})
        assert a.rules.applied("t", event).event.user_id == b.rules.applied("t", event).event.user_id != "u1"

        report = {
            "report_type": "summary",
            "schedule": "0 6 * * *",
            "notify": ["https://hooks.example/x"],
            "format": "json",
        }
        status, schedule = await at_b("POST", "/v1/reports/schedules", report)
        assert status == 201, schedule
        silence = await at_b("POST", "/v1/silences", {"match": {"device_id": "olt-1"}, "duration": "2h"})
        assert silence[0] == 201, silence
        await until(lambda: a.schedules.list("t") and a.alerts.silences("t"))
        assert (await at_a("DELETE", f"/v1/reports/schedules/{schedule['schedule_id']}"))[0] == 200
        await until(lambda: not b.schedules.list("t"))
        assert (await at_b("DELETE", f"/v1/dashboards/{made['id']}"))[0] == 200
        assert (await at_b("DELETE", f"/v1/keys/{made_key['key_id']}"))[0] == 200
        await until(lambda: not a.dashboards.list("t") and not a.meta.keys.opened_by(made_key["key"]))
        assert a.dashboards.opened(token) is None


async def test_a_hosts_own_key_opens_its_own_collector_only(server_url: str, tmp_path: Path) -> None:
    async with collector(tmp_path / "a", server_url) as a, collector(tmp_path / "b", server_url) as b:
        a.meta.admit("t", "key-of-host-a", "host")
        b.meta.admit("t", "key-of-host-b", "host")
        a.meta.admit("t", "last", "operator")
        await until(lambda: b.meta.keys.opened_by("last"))
        assert a.meta.keys.opened_by("key-of-host-a")
        assert not b.meta.keys.opened_by("key-of-host-a")
        assert b.meta.keys.opened_by("key-of-host-b")


async def test_a_collector_that_was_away_hears_what_was_changed_and_deleted_meanwhile(
    server_url: str, tmp_path: Path
) -> None:
    async with collector(tmp_path / "a", server_url) as a:
        a.meta.admit("t", "stays", "operator")
        async with collector(tmp_path / "b", server_url) as b:
            gone = b.meta.keys.make("t", {"name": "goes", "scopes": ["read"]})[1]
            await until(lambda: a.meta.keys.opened_by(gone) and b.meta.keys.opened_by("stays"))
        key_id = a.meta.keys.opened_by(gone)[0].key_id
        assert a.meta.keys.revoke("t", key_id)
        a.rules.change("t", {"privacy": {"drop": ["secret"]}})
        await a.sharing.tell()
        async with collector(tmp_path / "b", server_url) as b:
            await until(lambda: b.rules.of("t").drop)
            await until(lambda: not b.meta.keys.opened_by(gone))
            assert b.meta.keys.opened_by("stays")


async def test_a_new_collector_takes_nothing_over_http_before_it_knows_the_others_rules(
    engine: None, tmp_path: Path, port: int, session: aiohttp.ClientSession
) -> None:
    async with collector(tmp_path / "a", f"clickhouse://default:x@127.0.0.1:{port}/default") as alone:
        alone.meta.admit("t", "k", "host")
        status, told = await Caller(session, alone.port, "k")("POST", "/v1/events", [{"event_name": "x"}])
        assert status == 503
        assert "rules and keys of the other collectors" in told["error"]


async def test_an_alert_is_told_once_whoever_leads_and_again_by_nobody_after_the_leader_went(
    server_url: str, tmp_path: Path
) -> None:
    got: asyncio.Queue[Any] = asyncio.Queue()

    async def handle(request: web.Request) -> web.Response:
        got.put_nowait(await request.json())
        return web.Response()

    app = web.Application()
    app.router.add_post("/hook", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    rule = {"metric": "error", "threshold": 0, "window": "1h", "notify": [url]}
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(collector(tmp_path / "a", server_url))
        await until(lambda: first.sharing.leads)
        second = await stack.enter_async_context(collector(tmp_path / "b", server_url))
        second.alerts.set_policy("t", {"group_wait": 0, "group_interval": 0})
        alert_id = second.alerts.create("t", rule)
        await second.intake.take("t", [parse_event({"event_name": "error"})])
        async with asyncio.timeout(_PATIENCE):
            await got.get()
        await until(lambda: second.alerts.list("t")[0]["state"] == "firing")
        assert not second.sharing.leads
        assert second.alerts.acknowledge("t", alert_id, "ann", "I look") == 1
        await until(lambda: first.alerts.list("t")[0].get("acknowledged"))
        status = await second.alerts.status("t", alert_id)
        assert status is not None
        assert status["state"] == "firing"
        await until(lambda: second.meta.list("alert_sent"))
        await first.stop()
        await until(lambda: second.sharing.leads)
        rounds = second.alerts.rounds
        await until(lambda: second.alerts.rounds > rounds + 3)
        assert second.alerts.list("t")[0]["acknowledged"]["by"] == "ann"
        assert got.empty()
    await runner.cleanup()


@pytest.mark.slow
async def test_when_the_leader_is_killed_another_one_leads_but_not_before_the_first_must_have_stopped(
    server_url: str, tmp_path: Path
) -> None:
    module = "dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.main"
    command = [sys.executable, "-m", module, "serve", "--with-parent", "--port", "0", "--data", str(tmp_path / "a")]
    first = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "ANALYTICS_DB_CONNECTION": server_url},
    )
    try:
        assert first.stdout is not None
        port = json.loads(await first.stdout.readline())["port"]
        async with aiohttp.ClientSession() as session:

            async def leads() -> bool:
                async with session.get(f"http://127.0.0.1:{port}/v1/health") as answer:
                    return bool((await answer.json())["leads"])

            await until(leads)
        config = CollectorConfig(data_dir=tmp_path / "b", port=0, database=server_url)
        async with Collector(config) as second:
            await until(lambda: second.sharing.others)
            assert not second.sharing.leads
            began = time.monotonic()
            first.kill()
            await until(lambda: second.sharing.leads)
            pace = Pace(config.beat)
            assert time.monotonic() - began > pace.hold
    finally:
        with contextlib.suppress(ProcessLookupError):
            first.kill()
        await first.wait()


async def test_a_customer_that_is_deleted_at_one_collector_is_gone_from_the_disk_of_the_other(
    server_url: str, tmp_path: Path
) -> None:
    async with collector(tmp_path / "a", server_url) as a, collector(tmp_path / "b", server_url) as b:
        await until(lambda: a.sharing.others and b.sharing.others)
        for one in (a, b):
            events = [parse_event({"event_name": "tick", "customer_id": name}) for name in ("anna-7", "otto")]
            await one.intake.take("t", events)
            assert await one.settled()
        assert "anna-7" in _disk(tmp_path / "b")
        person = parse_person({"customer_id": "anna-7"}, lambda name: a.rules.names_of("t", name))
        told = await a.deletions.delete("t", person)
        assert (told.state, told.deleted_events) == ("deleted", 2)
        await until(lambda: a.deletions.list("t")[0].state == "done")
        await until(lambda: b.deletions.list("t")[0].state == "done")
        rows = await a.store.query("SELECT customer_id FROM events ORDER BY customer_id")
        assert [row[0] for row in rows.rows] == ["otto", "otto"]
        counted = await a.store.query("SELECT sum(events) FROM events_per_minute")
        assert counted.rows[0][0] == 2
        assert "anna-7" not in _disk(tmp_path / "b")
        assert "anna-7" not in _disk(tmp_path / "a")
        assert "anna-7" not in str((await a.store.query("SELECT value FROM collector_documents")).rows)
        for folder in (tmp_path / "a", tmp_path / "b"):
            await until(lambda folder=folder: "anna-7" not in _disk(folder, "*.sqlite*"))


def _disk(folder: Path, *patterns: str) -> str:
    found = []
    for path in [one for pattern in patterns or ("spool/*", "kept/*") for one in folder.glob(pattern)]:
        data = path.read_bytes()
        found.append(data.decode(errors="replace"))
    return "".join(found)


@pytest.mark.slow
async def test_events_that_come_to_two_collectors_at_the_same_moment_count_once(
    server_url: str, tmp_path: Path
) -> None:
    async with collector(tmp_path / "a", server_url) as a, collector(tmp_path / "b", server_url) as b:
        await until(lambda: a.sharing.leads or b.sharing.leads)
        for number in range(20):
            events = [parse_event({"event_name": "tick", "event_id": f"{number}-{n}"}) for n in range(50)]
            await asyncio.gather(a.intake.take("t", events), b.intake.take("t", events))
            await asyncio.gather(a.settled(), b.settled())

        async def right() -> bool:
            rows = await a.store.query("SELECT sum(events) FROM events_per_minute")
            return int(rows.rows[0][0]) == 1000

        await until(right)
        rows = await a.store.query("SELECT uniqExact(event_id) FROM events")
        assert rows.rows[0][0] == 1000


async def test_a_rule_that_is_changed_at_a_follower_begins_anew_at_the_leader(server_url: str, tmp_path: Path) -> None:
    async with collector(tmp_path / "a", server_url) as a:
        await until(lambda: a.sharing.leads)
        async with collector(tmp_path / "b", server_url) as b:
            await b.intake.take("t", [parse_event({"event_name": "error"})])
            alert_id = b.alerts.create("t", {"metric": "error", "threshold": 0, "window": "1h"})
            await until(lambda: b.alerts.list("t")[0]["state"] == "firing")
            assert b.alerts.change("t", alert_id, {"metric": "error", "threshold": 5, "window": "1h"})
            await until(lambda: a.alerts.list("t")[0]["rule"]["threshold"] == 5)
            await until(lambda: b.alerts.list("t")[0]["state"] == "ok")
            assert a.alerts.list("t")[0]["last_fired_at"] == 0


async def test_documents_and_keys_of_a_folder_from_before_are_there_and_are_told_to_the_others(
    server_url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "keys.secret").write_bytes(b"s" * 32)
    with contextlib.closing(sqlite3.connect(folder / "meta.sqlite", isolation_level=None)) as old:
        old.execute(
            "CREATE TABLE documents (kind TEXT, tenant TEXT, id TEXT, value BLOB, updated REAL, PRIMARY KEY (kind, tenant, id))"
        )
        old.execute("INSERT INTO documents VALUES ('rules', 't', 'rules', '{\"drop\":[\"secret\"]}', 1.0)")
        old.execute(
            "CREATE TABLE keys (id TEXT, tenant TEXT, hash BLOB, owner TEXT, value BLOB, PRIMARY KEY (id, tenant))"
        )
        hashed = hashlib.blake2b(b"old-key", key=b"s" * 32, digest_size=32).digest()
        access = {"key_id": "k1", "tenant": "t", "name": "n", "scopes": ["read"], "created_at": 1.0}
        old.execute("INSERT INTO keys VALUES ('k1', 't', ?, 'tenant', ?)", (hashed, json.dumps(access).encode()))
    async with collector(tmp_path / "a", server_url) as first:  # its secret is the one that all use
        await first.sharing.ready.wait()
        async with collector(folder, server_url) as second:
            assert second.rules.of("t").drop == ("secret",)
            await until(lambda: first.rules.of("t").drop == ("secret",))
            await until(lambda: first.meta.keys.opened_by("old-key"))
            assert second.meta.keys.opened_by("old-key")
            assert first.meta.secret == second.meta.secret != b"s" * 32
            # A pseudonym that was made with the former secret is found with the name, wherever it is asked for.
            formerly = second.rules.names_of("t", "anna")
            assert len(formerly) == 3
            await until(lambda: sorted(first.rules.names_of("t", "anna")) == sorted(formerly))


def test_what_was_deleted_does_not_come_back_because_another_collector_had_not_heard_of_it(tmp_path: Path) -> None:
    leader, other = (Documents(tmp_path / f"{name}.sqlite", shared=True) for name in "lo")
    leader.put("report_schedule", "t", "s1", {"next_at": 1})
    other.take(leader.waiting())
    leader.told(leader.waiting())
    assert other.delete("report_schedule", "t", "s1")
    leader.put("report_schedule", "t", "s1", {"next_at": 2})
    told = [*other.waiting(), *leader.waiting()]
    for one in (leader, other):
        one.take(told)
        assert one.list("report_schedule") == []
    leader.put("report_schedule", "t", "s1", {"next_at": 3})
    assert leader.list("report_schedule") == []
    assert not leader.waiting()
    leader.close()
    other.close()


def test_what_a_collector_that_was_away_for_long_knows_alone_is_forgotten_and_can_come_again(tmp_path: Path) -> None:
    mine = Documents(tmp_path / "d.sqlite", shared=True)
    known = Change("rules", "t", "x", "1", 10)
    assert mine.take([known]) == [known]
    mine.put("rules", "t", "untold", 2)
    (lost,) = mine.keep_only([])
    assert (lost.id, lost.gone) == ("x", True)
    assert [key for _, key, _ in mine.list("rules")] == ["untold"]
    assert mine.take([known]) == [known]
    mine.close()


# -- who leads, as values ---------------------------------------------------------------------------------------------

_PACE = Pace(1.0)


def test_nobody_leads_before_every_other_claim_of_the_moment_must_be_visible() -> None:
    mine = Member("me", 7, 10_000, 0.0)
    early, late = judged("me", 7, [mine], 11_000, _PACE), judged("me", 7, [mine], 12_000, _PACE)
    assert early is not None
    assert late is not None
    assert (early.leads, late.leads) == (False, True)


def test_the_first_claim_leads_and_the_other_is_withdrawn() -> None:
    members = [Member("a", 1, 500, 0.1), Member("b", 1, 400, 0.1)]
    first, second = judged("b", 1, members, 10_000, _PACE), judged("a", 1, members, 10_000, _PACE)
    assert first is not None
    assert second is not None
    assert (first.leads, second.claimed) == (True, 0)


def test_a_leader_that_is_silent_for_longer_than_it_may_hold_the_lead_is_followed_by_another() -> None:
    assert _PACE.hold < _PACE.patience
    for age, claims in ((_PACE.patience - 0.1, False), (_PACE.patience + 0.1, True)):
        verdict = judged("me", 1, [Member("me", 1, 0, 0.0), Member("old", 9, 5, age)], 99_000, _PACE)
        assert verdict is not None
        assert bool(verdict.claimed) is claims


def test_nothing_follows_from_an_answer_that_is_older_than_the_own_last_beat() -> None:
    assert judged("me", 2, [Member("me", 1, 0, 0.0)], 1000, _PACE) is None
    assert judged("me", 2, [], 1000, _PACE) is None


_steps = st.lists(
    st.tuples(st.sampled_from(["put", "delete", "exchange"]), st.integers(0, 2), st.sampled_from(["x", "y"])),
    max_size=40,
)


@settings(deadline=None, max_examples=60)
@given(_steps)
def test_whatever_is_changed_where_in_the_end_all_have_the_same(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, str]]
) -> None:
    folder = tmp_path_factory.mktemp("documents")
    all_of_them = [Documents(folder / f"{n}.sqlite", shared=True) for n in range(3)]
    server: dict[str, Change] = {}

    def exchange(one: Documents) -> None:
        told = one.waiting()
        for change in told:
            if change.id not in server or change.version > server[change.id].version:
                server[change.id] = change
        one.told(told)
        one.take(server.values())

    for number, (what, who, key) in enumerate(steps):
        if what == "put":
            all_of_them[who].put("rules", "t", key, number)
        elif what == "delete":
            all_of_them[who].delete("rules", "t", key)
        else:
            exchange(all_of_them[who])
    for one in (*all_of_them, *all_of_them):
        exchange(one)
    seen = [one.list("rules") for one in all_of_them]
    for one in all_of_them:
        one.close()
    assert seen[0] == seen[1] == seen[2]
