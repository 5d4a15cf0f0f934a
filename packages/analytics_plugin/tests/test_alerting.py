"""Alerts with the engine, a collector that ends and starts again, and real servers for webhooks and mail."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import ClientSession, web

from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector import Collector, CollectorConfig
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.alerts import measure, parse_rule
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.questions import Questions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

KEYS = {"tenant_a": "key-a", "tenant_b": "key-b"}


class Receiver:
    """A webhook's server: what it got, and how it answers."""

    def __init__(self) -> None:
        self.got: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.answers: list[int] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        status = self.answers.pop(0) if self.answers else 200
        if status == 200:
            self.got.put_nowait({**await request.json(), "header": request.headers["Idempotency-Key"]})
        return web.Response(status=status)

    async def next(self) -> dict[str, Any]:
        return await asyncio.wait_for(self.got.get(), 30)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    app = web.Application()
    app.router.add_post("/hook", made.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield made
    await runner.cleanup()


class Tenant:
    """Calls a collector with a tenant's key."""

    def __init__(self, collector: Collector, name: str) -> None:
        self.base, self.headers = f"http://127.0.0.1:{collector.port}", {"X-API-Key": KEYS[name]}

    async def call(self, method: str, path: str, value: Any = None, status: int = 200) -> Any:
        async with (
            ClientSession(self.base, headers=self.headers) as session,
            session.request(method, path, json=value) as response,
        ):
            told = await response.json()
            assert response.status == status, told
            return told

    async def track(self, *events: dict[str, Any]) -> None:
        assert (await self.call("POST", "/v1/events", list(events), 202))["accepted"] == len(events)
        await self.call("POST", "/v1/flush")

    async def alert(self, **rule: Any) -> str:
        return str((await self.call("POST", "/v1/alerts", rule, 201))["alert_id"])

    async def state(self, alert_id: str) -> str:
        return str((await self.call("GET", f"/v1/alerts/{alert_id}"))["state"])


def collector(folder: Path, **config: Any) -> Collector:
    values = {"alert_interval": 0.2, "notify_hosts": ("127.0.0.1",), **config}
    made = Collector(CollectorConfig(data_dir=folder, port=0, **values))
    for name, key in KEYS.items():
        made.meta.admit(name, key, "operator")
    return made


@pytest.fixture
async def running(engine: None, tmp_path: Path) -> AsyncIterator[Collector]:
    async with collector(tmp_path) as made:
        yield made


QUICK = {"group_wait": 0, "group_interval": 0}


async def test_an_alert_is_told_once_also_when_the_collector_starts_again_and_when_it_ends(
    engine: None, tmp_path: Path, receiver: Receiver
) -> None:
    receiver.answers = [500]
    async with collector(tmp_path) as first:
        tenant = Tenant(first, "tenant_a")
        await tenant.call("PUT", "/v1/alerts/policy", {**QUICK, "notify": receiver.url})
        alert = await tenant.alert(name="Break-in", metric="login_failed", operator=">", threshold=1, window="6s")
        old = {"event_name": "login_failed", "timestamp": time.time()}
        await tenant.track(old, {"event_name": "login_failed"})
        told = await receiver.next()
        assert (told["subject"], told["status"], told["tenant"]) == ("[FIRING] Break-in", "firing", "tenant_a")
        assert (told["alerts"][0]["value"], told["key"]) == (2.0, told["header"])
    async with collector(tmp_path) as second:
        tenant = Tenant(second, "tenant_a")
        told = await receiver.next()
        assert (told["subject"], told["alerts"][0]["alert_id"]) == ("[RESOLVED] Break-in", alert)
        status = await tenant.call("GET", f"/v1/alerts/{alert}")
        assert [state for _, state, _ in status["history"]][-2:] == ["firing", "ok"]
        await asyncio.sleep(1)
        assert receiver.got.empty()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_mail_goes_out_for_each_group_and_no_password_is_shown(running: Collector, port: int) -> None:
    pytest.importorskip("apprise", reason="apprise is not installed (extra 'alerts')")
    controller = pytest.importorskip("aiosmtpd.controller", reason="aiosmtpd is not installed")
    letters: asyncio.Queue[Any] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    class Handler:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
            loop.call_soon_threadsafe(letters.put_nowait, envelope)
            return "250 taken"

    smtp = controller.Controller(Handler(), hostname="127.0.0.1", port=port)
    smtp.start()
    try:
        target = f"mailto://127.0.0.1:{port}?from=noc@isp.example&to=duty@isp.example&mode=insecure"
        tenant = Tenant(running, "tenant_a")
        await tenant.call("PUT", "/v1/alerts/policy", {**QUICK, "group_by": ["device_id"]})
        alert = await tenant.alert(
            name="Device down", metric="down", threshold=0, group_by=["device_id"], notify=[target], severity="critical"
        )
        await tenant.track(*({"event_name": "down", "device_id": f"olt-{n}"} for n in (1, 1, 2)))
        got = [await asyncio.wait_for(letters.get(), 30) for _ in range(2)]
        assert {tuple(letter.rcpt_tos) for letter in got} == {("duty@isp.example",)}
        text = b"".join(letter.content for letter in got).decode()
        assert "device_id=olt-1" in text.replace("=3D", "=")
        status = await tenant.call("GET", f"/v1/alerts/{alert}")
        assert {one["labels"]["device_id"]: one["value"] for one in status["instances"]} == {"olt-1": 2.0, "olt-2": 1.0}
        assert status["rule"]["notify"] == [f"mailto://127.0.0.1:{port} to duty@isp.example"]
    finally:
        smtp.stop()


async def test_every_kind_measures_what_it_says(running: Collector) -> None:
    tenant, other = Tenant(running, "tenant_a"), Tenant(running, "tenant_b")
    now = time.time()
    await other.track(*({"event_name": name, "user_id": "x"} for name in ("view", "buy", "bad", "all") * 5))
    await tenant.track(
        *({"event_name": "all", "user_id": f"u{n}", "properties": {"ms": n}} for n in range(10)),
        *({"event_name": "bad", "user_id": f"u{n}"} for n in range(3)),
        *({"event_name": "view", "user_id": f"u{n}", "timestamp": now - 60} for n in range(4)),
        {"event_name": "buy", "user_id": "u1"},
        *({"event_name": "flow", "timestamp": now - 600 - n} for n in range(6)),
        *({"event_name": "flow", "timestamp": now - n} for n in range(2)),
        *({"event_name": "season", "timestamp": now - week * 86400} for week in (1, 2, 3) for _ in range(40)),
        *({"event_name": "season", "timestamp": now} for _ in range(3)),
    )
    rules: dict[str, tuple[dict[str, Any], float]] = {
        "percentile": ({"metric": "max", "field": "ms", "threshold": 8, "event_name": "all"}, 9.0),
        "users": ({"metric": "unique_users", "where": {"user_id": {"starts_with": "u"}}, "threshold": 9}, 10.0),
        "ratio": (
            {"numerator": {"event_name": "bad"}, "denominator": {"event_name": "all"}, "threshold": 0.2},
            0.3,
        ),
        "funnel": ({"steps": ["view", "buy"], "operator": "<", "threshold": 30, "window": "1h"}, 25.0),
        "change": (
            {"kind": "change", "metric": "flow", "operator": "<", "threshold": -50, "window": "8m"},
            2.0,
        ),
        "absence": ({"kind": "absence", "event_name": "heartbeat"}, 0.0),
        "anomaly": (
            {"kind": "anomaly", "metric": "season", "season": "1d", "seasons": 3, "window": "1h"},
            3.0,
        ),
    }
    for name, (rule, value) in rules.items():
        alert = await tenant.alert(**rule)
        status = await tenant.call("GET", f"/v1/alerts/{alert}")
        assert (status["state"], status["value"]) == ("firing", value), (name, status)


async def test_many_rules_measure_what_each_alone_does(running: Collector) -> None:
    tenant = Tenant(running, "tenant_a")
    now = time.time()
    await tenant.track(
        *(
            {"event_name": f"e{n % 5}", "category": ("business", "technical")[n % 2], "timestamp": now - 97 * n}
            for n in range(60)
        )
    )
    wishes = [
        {
            "event_name": f"e{n % 6}",
            "window": f"{5 * (n + 1)}m",
            "threshold": 0,
            **({"category": "business"} if n % 3 else {}),
        }
        for n in range(12)
    ] + [{"kind": "change", "event_name": f"e{n}", "window": "20m", "threshold": 0} for n in range(3)]
    rules = {str(n): (parse_rule(wish), now) for n, wish in enumerate(wishes)}
    asked = Questions(running.store, "tenant_a")
    together = await measure(rules, asked)
    for key, rule in rules.items():
        assert (await measure({key: rule}, asked))[key] == together[key]
    assert sum(found[""][1].value or 0 for found in together.values()) > 20


async def test_sql_watches_too_and_a_rule_that_fails_says_why(running: Collector) -> None:
    pytest.importorskip("sqlglot", reason="sqlglot is not installed (extra 'sql')")
    tenant, other = Tenant(running, "tenant_a"), Tenant(running, "tenant_b")
    await other.track({"event_name": "secret", "user_id": "x"})
    await tenant.track({"event_name": "own", "user_id": "u"}, {"event_name": "own", "user_id": "u"})
    sql = "SELECT user_id, count() AS value FROM events GROUP BY user_id"
    alert = await tenant.alert(kind="sql", sql=sql, threshold=1)
    status = await tenant.call("GET", f"/v1/alerts/{alert}")
    assert [(one["labels"], one["value"]) for one in status["instances"]] == [({"user_id": "u"}, 2.0)]
    bad = await tenant.alert(kind="sql", sql="SELECT nothing FROM events", threshold=1)
    status = await tenant.call("GET", f"/v1/alerts/{bad}")
    assert (status["state"], "nothing" in status["error"]) == ("error", True)


async def test_one_bad_rule_does_not_spoil_the_others_and_acknowledging_and_silences_work(
    running: Collector, receiver: Receiver
) -> None:
    tenant, other = Tenant(running, "tenant_a"), Tenant(running, "tenant_b")
    await tenant.call("PUT", "/v1/alerts/policy", {**QUICK, "repeat_interval": "1s", "notify": [receiver.url]})
    silence = await tenant.call("POST", "/v1/silences", {"match": {"team": "noc"}, "duration": "1h"}, 201)
    bad = await tenant.alert(metric="x", where={"y": {"matches": "("}}, threshold=0)
    good = await tenant.alert(name="Good", metric="x", where={"z": "1"}, threshold=0)
    quiet = await tenant.alert(name="Quiet", metric="x", threshold=0, labels={"team": "noc"})
    await tenant.track({"event_name": "x", "properties": {"z": 1}})
    assert [await tenant.state(one) for one in (bad, good, quiet)] == ["error", "firing", "firing"]
    assert [(await receiver.next())["subject"] for _ in range(2)] == ["[FIRING] Good"] * 2
    done = await tenant.call("POST", f"/v1/alerts/{good}/acknowledge", {"by": "anna"})
    assert done == {"alert_id": good, "acknowledged": 1}
    assert (await tenant.call("GET", f"/v1/alerts/{good}"))["acknowledged"]["by"] == "anna"
    # Nobody else's.
    for method, path in (
        ("GET", f"/v1/alerts/{good}"),
        ("PUT", f"/v1/alerts/{good}"),
        ("DELETE", f"/v1/alerts/{good}"),
        ("POST", f"/v1/alerts/{good}/acknowledge"),
        ("DELETE", f"/v1/silences/{silence['id']}"),
    ):
        await other.call(method, path, {"metric": "x", "threshold": 1}, 404)
    assert await other.call("GET", "/v1/alerts") == await other.call("GET", "/v1/silences") == []
    assert (await other.call("GET", "/v1/alerts/policy"))["notify"] == []
    await tenant.call("DELETE", f"/v1/silences/{silence['id']}")
    while (await receiver.next())["subject"] != "[FIRING] Quiet":
        pass


async def test_a_rule_is_tried_on_the_past(running: Collector) -> None:
    tenant, other = Tenant(running, "tenant_a"), Tenant(running, "tenant_b")
    start = time.time() // 60 * 60 - 7200
    await other.track(*({"event_name": "fail", "timestamp": start + 60} for _ in range(50)))
    await tenant.track(
        *({"event_name": "fail", "timestamp": start + 1800 + n} for n in range(20)),
        *({"event_name": "fail", "timestamp": start + 5400 + n} for n in range(20)),
    )
    rule = {"name": "Fails", "metric": "fail", "threshold": 10, "window": "5m", "for": "1m", "keep_firing_for": "2m"}
    told = await tenant.call(
        "POST", "/v1/alerts/backtest", {"rule": rule, "since": start, "until": start + 7200, "step": "1m"}
    )
    assert (told["episodes"], told["evaluations"]) == (2, 121)
    assert [one["state"] for one in told["changes"]] == ["ok", *["pending", "firing", "recovering", "ok"] * 2][1:]
    assert abs(told["changes"][0]["at"] - start - 1800) <= 120
    assert max(told["values"]) == 20.0
    grouped = {**rule, "group_by": ["event_name"]}
    told = await tenant.call("POST", "/v1/alerts/backtest", {"rule": grouped, "since": start, "step": "10m"})
    assert told["episodes"] <= 2


async def test_a_rule_in_sql_is_tried_on_the_past_as_if_its_clock_stood_there(running: Collector) -> None:
    tenant = Tenant(running, "tenant_a")
    start = time.time() // 60 * 60 - 7200
    await tenant.track(
        *({"event_name": "cut", "timestamp": start + 1800 + n} for n in range(20)),
        *({"event_name": "cut", "timestamp": start + 5400 + n} for n in range(20)),
    )
    for clock in ("now()", "now64(3)", "now('Europe/Berlin')", "toDateTime(current_timestamp())"):
        # Without an upper bound: what came later must not be seen.
        sql = (
            f"SELECT count() AS value FROM events WHERE event_name = 'cut' AND timestamp > {clock} - INTERVAL 5 MINUTE"
        )
        rule = {"name": "Cuts", "kind": "sql", "sql": sql, "threshold": 10}
        told = await tenant.call(
            "POST", "/v1/alerts/backtest", {"rule": rule, "since": start, "until": start + 7200, "step": "1m"}
        )
        assert (told["episodes"], told["evaluations"]) == (2, 121), clock
        assert [one["state"] for one in told["changes"]] == ["firing", "ok"] * 2
        assert abs(told["changes"][0]["at"] - start - 1800) <= 120
    longer = await tenant.call("POST", "/v1/alerts/backtest", {"rule": rule, "since": start, "step": "1s"})
    assert longer["evaluations"] <= 301


async def test_the_minute_in_which_a_past_moment_lies_counts_up_to_it(running: Collector) -> None:
    tenant, other = Tenant(running, "tenant_a"), Tenant(running, "tenant_b")
    start = time.time() // 60 * 60 - 3600
    await tenant.track(*({"event_name": "cut", "timestamp": start + n} for n in range(0, 120, 5)))
    await other.track(*({"event_name": "cut", "timestamp": start + n} for n in range(120)))
    found = []
    for counted in (
        "sum(events) AS value FROM events_per_minute WHERE minute",
        "count() AS value FROM events WHERE timestamp",
    ):
        rule = {"name": "Cuts", "kind": "sql", "sql": f"SELECT {counted} >= now() - INTERVAL 1 HOUR", "threshold": 0}
        wish = {"rule": rule, "since": start, "until": start + 119, "step": "7s"}
        found.append((await tenant.call("POST", "/v1/alerts/backtest", wish))["values"])
    assert found[0] == found[1] == [float(seconds // 5 + 1) for seconds in range(0, 120, 7)]


async def test_messages_do_not_go_to_the_collectors_own_machine_unless_the_operator_says_so(
    engine: None, tmp_path: Path, receiver: Receiver
) -> None:
    async with collector(tmp_path, notify_hosts=()) as made:
        tenant = Tenant(made, "tenant_a")
        await tenant.call("PUT", "/v1/alerts/policy", {**QUICK, "notify": receiver.url})
        await tenant.alert(metric="x", threshold=0)
        await tenant.track({"event_name": "x"})
        for _ in range(100):
            if troubles := (await tenant.call("GET", "/v1/alerts/policy"))["undelivered"]:
                break
            await asyncio.sleep(0.1)
        assert "the collector's own machine" in troubles[0]["error"]
        assert receiver.got.empty()
