"""No tenant sees another's event: every route of the collector is tried with another tenant's key and identifiers, and with hostile words."""

from __future__ import annotations

import asyncio
import io
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import ClientSession, ClientTimeout
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector import Collector, CollectorConfig
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector._routes import public_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

#: In everything that tenant_b has, and in nothing else.
MARK = "zq7secret"
HOSTILE = [
    "x' OR 1=1 --",
    'x" OR ""="',
    "`",
    "/* */ {tenant:String} {t0:String}",
    "') UNION ALL SELECT * FROM events --",
    "SELECT * FROM events",
    "x SETTINGS readonly = 0, additional_table_filters = {}",
    "merge('default', '^events$')",
    "mergeTreeIndex('default', 'events')",
    "1 INTO OUTFILE '/tmp/x'",
    "file('/etc/passwd')",
    "remote('127.0.0.1', default, events)",
    "\\'; DROP TABLE events; --",
    "%(tenant)s %s {} {0} ${x} $$",
    "(a+)+$" * 20,
    "(((((((((((a{1,1000}){1,1000})",
    "\x00\t\r\n",
    "名前🙂\u202e\u0000",
    "</script><script>alert(1)</script>",
    "tenant_b",
    "properties.tenant_id",
    "tenant_id",
    "../../v1/alerts",
    "-1",
    "1e999",
    "x" * 5000,
]


class Two:
    """A collector with two tenants, of whom the second has one of everything, marked."""

    def __init__(self, collector: Collector) -> None:
        self.collector = collector
        self.base = f"http://127.0.0.1:{collector.port}"
        self.theirs: dict[str, str] = {}

    async def call(self, who: str, method: str, path: str, body: Any = None, **options: Any) -> tuple[int, str]:
        headers = {"X-API-Key": f"key-{who}", **options.pop("headers", {})}
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        timeout = ClientTimeout(total=60)
        async with (
            ClientSession(self.base, headers=headers, timeout=timeout) as session,
            session.request(method, path, data=None if data is None else io.BytesIO(data), **options) as answer,
        ):
            if answer.content_type == "text/event-stream":
                return answer.status, await self._some(answer)
            told = (await answer.read()).decode("utf-8", "replace")
            return answer.status, told + json.dumps(dict(answer.headers))

    @staticmethod
    async def _some(answer: Any) -> str:
        """What a stream says in its first moments."""
        told = b""
        try:
            async with asyncio.timeout(0.6):
                async for part in answer.content.iter_any():
                    told += part
        except TimeoutError:
            pass
        return told.decode("utf-8", "replace")

    async def prepare(self) -> None:
        now = time.time()
        events = [
            {
                "event_name": name,
                "event_type": kind,
                "user_id": f"{MARK}-u",
                "customer_id": f"{MARK}-c{number}",
                "session_id": f"{MARK}-s",
                "device_id": f"{MARK}-d",
                "source": MARK,
                "amount": "77001.5",
                "currency": "EUR",
                "severity": "critical",
                "category": category,
                "tags": [MARK],
                "timestamp": now - number,
                "properties": {MARK: MARK, "page": MARK, "k": MARK, "duration_ms": 7},
            }
            for number, (name, kind, category) in enumerate(
                [
                    (MARK, MARK, "business"),
                    ("page_view", "page_view", "user_behavior"),
                    ("payment", "transaction", "financial"),
                    ("login_failed", "login_failed", "security"),
                    ("onu_unreachable", "device_event", "technical"),
                    ("visit", "visit", "performance"),
                ]
            )
        ]
        await self._made("POST", "/v1/events", events)
        await self._made("POST", "/v1/flush")
        rule = {
            "name": MARK,
            "metric": "page_view",
            "threshold": 0,
            "labels": {"m": MARK},
            "notify": [f"https://{MARK}.invalid/h"],
        }
        self.theirs["alerts"] = (await self._made("POST", "/v1/alerts", rule))["alert_id"]
        board = {"title": MARK, "panels": [{"title": MARK, "chart": "bar", "group_by": ["event_name"]}]}
        self.theirs["dashboards"] = (await self._made("POST", "/v1/dashboards", board))["id"]
        path = f"/v1/dashboards/{self.theirs['dashboards']}/shares"
        self.theirs["shares"] = (await self._made("POST", path))["share_id"]
        self.theirs["silences"] = (await self._made("POST", "/v1/silences", {"match": {"m": MARK}, "comment": MARK}))[
            "id"
        ]
        plan = {
            "report_type": "summary",
            "schedule": "0 6 * * *",
            "notify": [f"https://{MARK}.invalid/h"],
            "name": MARK,
        }
        self.theirs["schedules"] = (await self._made("POST", "/v1/reports/schedules", plan))["schedule_id"]
        await self._made("PUT", "/v1/alerts/policy", {"notify": [f"https://{MARK}.invalid/h"], "group_wait": "1h"})
        own = [{"event_name": "own", "user_id": "me"}, {"event_name": "page_view", "user_id": "me"}]
        assert (await self.call("tenant_a", "POST", "/v1/events", own))[0] == 202
        await self.call("tenant_a", "POST", "/v1/flush")

    async def _made(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"X-API-Key": "key-tenant_b"}
        async with (
            ClientSession(self.base, headers=headers) as session,
            session.request(method, path, json=body) as answer,
        ):
            told = await answer.json()
            assert answer.status < 300, told
            return told


@pytest.fixture
async def two(engine: None, tmp_path: Path) -> AsyncIterator[Two]:
    for name in ("croniter", "sqlglot"):
        pytest.importorskip(name, reason=f"{name} is not installed (extras 'alerts', 'sql')")
    async with Collector(CollectorConfig(data_dir=tmp_path, port=0, alert_interval=3600)) as collector:
        for tenant in ("tenant_a", "tenant_b"):
            collector.meta.admit(tenant, f"key-{tenant}", "operator")
        made = Two(collector)
        await made.prepare()
        yield made


WHERE = {"user_id": f"{MARK}-u", "k": MARK}
KINDS = [{"kind": "timeline"}, {"kind": "sessions"}, {"kind": "paths"}, {"kind": "retention", "event": "page_view"}]
RULE = {"metric": "page_view", "threshold": 100, "group_by": ["k"], "notify": []}
REPORTS = ["summary", "business", "user_behavior", "conversion", "retention", "performance", "security", "network"]
#: What a route may be asked, with words that would find the other's things.
BODIES: dict[str, list[Any]] = {
    "/v1/query": [
        *({"group_by": [one], "since": "30d"} for one in ("event_name", "user_id", "k", MARK, "source", "device_id")),
        {"measure": "sum", "field": "amount", "since": "30d"},
        {"metric": MARK, "where": WHERE},
        *KINDS,
        *({**kind, "where": WHERE} for kind in KINDS),
        {"kind": "funnel", "steps": ["page_view", "payment"]},
    ],
    "/v1/sql": [
        {"sql": "SELECT * FROM events"},
        {"sql": "SELECT * FROM events_per_minute"},
        {"sql": "SELECT * FROM events WHERE 1 OR 1 = 1"},
        {"sql": "SELECT * FROM events WHERE user_id = {u:String}", "parameters": {"u": f"{MARK}-u"}},
    ],
    "/v1/reports": [
        {"report_type": name, "parameters": {"since": "30d", "format": form}}
        for name in REPORTS
        for form in ("json", "csv", "html")
    ],
    "/v1/dashboards": [{"template": name} for name in ("network_operations", "sales", "support")],
    "/v1/alerts": [RULE],
    "/v1/alerts/backtest": [{"rule": RULE, "since": "1h", "step": "10m"}],
    "/v1/customers/export": [{"customer_id": f"{MARK}-c0"}, {"user_id": f"{MARK}-u"}],
    "/v1/customers/delete": [{"customer_id": f"{MARK}-c0"}],
}


@pytest.mark.slow
async def test_every_route_shows_one_tenant_its_own_things_only(two: Two) -> None:
    tried = 0
    for route in public_app(two.collector).router.routes():
        resource = route.resource
        if route.method in {"HEAD", "OPTIONS"} or resource is None or resource.canonical == "/v1/keys":
            continue
        kind = resource.canonical.split("/")[-2 if resource.canonical.endswith("}") else -1]
        ident = next((one for name, one in two.theirs.items() if name in resource.canonical), two.theirs["alerts"])
        path = resource.canonical.replace("{id}", ident).replace("{share}", two.theirs["shares"])
        path = path.replace("{token}", f"{two.theirs['shares']}.{'0' * 48}").replace("{version}", "x")
        for query in ("", f"?event={MARK}&since=30d&event_name={MARK}&limit=100"):
            for body in [*BODIES.get(resource.canonical, []), {}] if route.method in {"POST", "PUT"} else [None]:
                status, told = await two.call("tenant_a", route.method, path + query, body)
                assert status < 500 or status in {501, 503}, (route.method, path, body, told[:300])
                shown = told.replace(ident, "").replace(two.theirs["shares"], "")
                asked = json.dumps(body or {}) + query
                # A refusal may repeat what was asked for; an answer may not know it.
                assert MARK not in (shown if status < 400 and MARK not in asked else ""), (
                    route.method,
                    path,
                    body,
                    told[:500],
                )
                if status < 400 and MARK in asked:
                    assert "77001" not in told, (route.method, path, body)
                    assert f"{MARK}-c" not in told.replace(asked, "") or "customers" in path, (route.method, path, body)
                if "{id}" in resource.canonical:
                    assert status in {404, 405}, (kind, route.method, path, told[:300])
                tried += 1
    assert tried > 100
    # And everything of the other's is still there.
    for path in ("alerts", "dashboards", "silences", "reports/schedules"):
        status, told = await two.call("tenant_b", "GET", f"/v1/{path}")
        assert (status, MARK in told) == (200, True), path
    status, told = await two.call("tenant_b", "POST", "/v1/query", {"group_by": ["user_id"], "since": "30d"})
    assert json.loads(told[: told.index("]}") + 2])["rows"] == [{"user_id": f"{MARK}-u", "value": 6}]


async def test_a_key_that_names_another_tenant_is_refused_without_saying_who_there_is(two: Two) -> None:
    for tenant in ("tenant_b", "nobody"):
        status, told = await two.call(
            "tenant_a", "POST", "/v1/query", {"group_by": ["user_id"]}, headers={"X-Dotmac-Tenant": tenant}
        )
        assert status == 403
        assert told.startswith('{"error":"the API key does not belong to the tenant that the request names"}')


def anywhere(word: str) -> list[tuple[str, str, Any]]:
    """A word in every place of every question."""
    return [
        ("POST", "/v1/query", {"group_by": [word], "where": {"user_id": word, word: "x"}}),
        ("POST", "/v1/query", {"metric": word, "field": word, "interval": word}),
        ("POST", "/v1/query", {"where": {"k": {"matches": word, "contains": word, "!=": word}}, "since": word}),
        ("POST", "/v1/query", {"measure": "unique", "field": word}),
        ("POST", "/v1/query", {word: word}),
        (
            "POST",
            "/v1/query",
            {"kind": "funnel", "steps": [word, {"event": word, "where": {"k": word}}], "window": word},
        ),
        ("POST", "/v1/query", {"kind": "funnel", "steps": [word, "b"]}),
        ("POST", "/v1/query", {"kind": "retention", "event": word}),
        ("POST", "/v1/query", {"kind": "paths", "start": word, "by": word}),
        ("POST", "/v1/query", {"kind": "paths", "end": word}),
        ("POST", "/v1/query", {"kind": word}),
        ("POST", "/v1/sql", {"sql": word}),
        ("POST", "/v1/sql", {"sql": f"SELECT {word} FROM events"}),
        ("POST", "/v1/sql", {"sql": "SELECT * FROM events WHERE user_id = {x:String}", "parameters": {"x": word}}),
        ("POST", "/v1/sql", {"sql": "SELECT {x:String}", "parameters": {word: word}}),
        ("POST", "/v1/reports", {"report_type": word, "parameters": {word: word}}),
        ("POST", "/v1/reports", {"report_type": "conversion", "parameters": {"steps": [word, word], "title": word}}),
        ("POST", "/v1/reports", {"report_type": "business", "parameters": {"revenue_events": [word]}}),
        (
            "POST",
            "/v1/reports",
            {"report_type": "network", "parameters": {"down_events": [word], "subscribers": {word: 1}}},
        ),
        ("POST", "/v1/reports", {"report_type": "performance", "parameters": {"field": word, "format": "csv"}}),
        (
            "POST",
            "/v1/alerts/backtest",
            {"rule": {"metric": word, "threshold": 1, "where": {"k": word}}, "since": "1h", "step": "30m"},
        ),
        ("POST", "/v1/alerts/backtest", {"rule": {"name": word, "condition": word, "metric": "x"}}),
        ("POST", "/v1/alerts", {"name": word, "kind": "sql", "sql": word, "threshold": 1}),
        ("POST", "/v1/silences", {"match": {word: word}, "schedule": word}),
        ("POST", "/v1/dashboards", {"title": word, "panels": [{"title": word, "query": word, "unit": word}]}),
        ("POST", "/v1/dashboards", {"panels": [{"spec": {"mark": word, word: word}}]}),
        ("GET", "/v1/dashboards/x", None),
    ]


async def tried(two: Two, word: str) -> None:
    for method, path, body in anywhere(word):
        status, told = await two.call("tenant_a", method, path, body)
        assert status < 500 or status == 501, (path, body, told[:400])
        assert MARK not in told.replace(word, ""), (path, body, told[:400])
        assert len(told) < 200_000, (path, body)


@pytest.mark.slow
async def test_hostile_words_bring_nothing_of_the_others(two: Two) -> None:
    for word in HOSTILE:
        await tried(two, word)
        for where in ({"event": word}, {f"where.{word}": word}, {"since": word}):
            status, told = await two.call("tenant_a", "GET", "/v1/stream", params=where)
            assert (status in {200, 400, 422}, MARK in told) == (True, False), (where, told[:300])


@pytest.mark.slow
def test_no_word_at_all_brings_anything_of_the_others(engine: None, tmp_path_factory: pytest.TempPathFactory) -> None:
    pytest.importorskip("sqlglot", reason="sqlglot is not installed (extra 'sql')")
    with asyncio.Runner() as runner:
        folder = tmp_path_factory.mktemp("words")
        collector = Collector(CollectorConfig(data_dir=folder, port=0, alert_interval=3600))
        for tenant in ("tenant_a", "tenant_b"):
            collector.meta.admit(tenant, f"key-{tenant}", "operator")
        runner.run(collector.start())
        try:
            made = Two(collector)
            runner.run(made.prepare())

            @settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
            @given(
                st.text(min_size=1, max_size=60)
                | st.lists(st.sampled_from(HOSTILE[:-1]), min_size=2, max_size=4).map(" ".join)
            )
            def words(word: str) -> None:
                runner.run(tried(made, word))

            words()
        finally:
            runner.run(collector.stop())


@pytest.mark.parametrize(
    "path", ["/v1/query", "/v1/sql", "/v1/reports", "/v1/alerts", "/v1/dashboards", "/v1/silences"]
)
async def test_bodies_that_are_no_questions_are_refused_with_a_sentence(two: Two, path: str) -> None:
    wrong = [
        b"{",
        b"null",
        b"[]",
        b'"x"',
        b"5",
        b"\xff\xfe",
        b'{"since": NaN}',
        b'{"where": {"k": {">": NaN}}}',
        b'{"threshold": 1e999}',
        b'{"title": "\\ud800", "name": "\\ud800", "sql": "\\ud800", "metric": "\\ud800"}',
        b'{"metric": "\\u0000", "sql": "\\u0000", "title": "\\u0000"}',
        b"[" * 100_000 + b"]" * 100_000,
        b'{"where":' * 20_000 + b"1" + b"}" * 20_000,
        json.dumps({"metric": "x" * 10_000_000, "sql": "x" * 10_000_000, "title": "x" * 10_000_000}).encode(),
        json.dumps({"where": {f"k{number}": "x" for number in range(10_000)}, "spec": {}}).encode(),
        json.dumps({"group_by": ["k"] * 10_000}).encode(),
    ]
    for body in wrong:
        status, told = await two.call("tenant_a", "POST", path, body)
        assert status in {200, 201, 400, 413, 422}, (body[:80], status, told[:300])
        assert MARK not in told
        if status >= 400:
            assert len(told) < 3_000, body[:80]
            assert '"error"' in told
