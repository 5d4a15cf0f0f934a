"""What asking costs over many events: the API against SQL by hand, chDB against DuckDB, under load, alerts, a dashboard's page.

A collector in this process with its engine in a child, as it runs; events are made by the engine (`_analytics_site`). Sides in turn; of each
side the 95th percentile of the rounds (API against SQL), or the median (engines). `DOTMAC_BENCH_EVENTS` is how many events there are
(1,000,000; the goals are for 10,000,000, which take some minutes to make).
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks._analytics_site import TENANT, engine_cpu, site
from benchmarks._measure import Figure, Sides

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["figures"]

EVENTS = int(os.environ.get("DOTMAC_BENCH_EVENTS", "1000000"))
ROUNDS = 15
#: Of these the 95th percentile is asked for, which of fifteen would be the two slowest.
API_ROUNDS = 40
GOAL_API = 1.25
GOAL_LOAD = 3.0
GOAL_RULES = 1.0
GOAL_PAGE_SECONDS = 2.0
GOAL_PAGE_BYTES = 1.5e6
_RULES = 1000
_PARTS = 20
_LOAD_SECONDS = 12.0
_PERSON = "multiIf(user_id != '', user_id, customer_id != '', customer_id, session_id)"


def _span(days: float) -> tuple[str, str, float, float]:
    until = time.time() // 60 * 60
    since = until - days * 86400
    text = [time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at)) for at in (since, until)]
    return text[0], text[1], since, until


def questions() -> dict[str, tuple[dict[str, Any], str, str]]:
    """By name: what the API is asked, the same in ClickHouse's SQL, the same in DuckDB's."""
    day, end, day_at, end_at = _span(1)
    week, _, week_at, _ = _span(7)
    month, _, month_at, _ = _span(29)
    one = f"tenant_id = '{TENANT}'"
    duck_time = "timestamp >= TIMESTAMP '{0}' AND timestamp < TIMESTAMP '{1}'".format
    house_time = "timestamp >= '{0}' AND timestamp < '{1}'".format
    return {
        "count per minute, a day": (
            {"interval": "1m", "since": day_at, "until": end_at, "limit": 10_000},
            f"SELECT minute, sum(events) FROM events_per_minute WHERE {one} AND minute >= '{day}' AND minute < '{end}' GROUP BY minute ORDER BY minute",
            f"SELECT date_trunc('minute', timestamp) m, count(*) FROM events WHERE {one} AND {duck_time(day, end)} GROUP BY m ORDER BY m",
        ),
        "top 10 users, a week": (
            {"group_by": ["user_id"], "top": 10, "since": week_at, "until": end_at},
            f"SELECT user_id, count() AS n FROM events WHERE {one} AND {house_time(week, end)} GROUP BY user_id ORDER BY n DESC LIMIT 10",
            f"SELECT user_id, count(*) n FROM events WHERE {one} AND {duck_time(week, end)} GROUP BY user_id ORDER BY n DESC LIMIT 10",
        ),
        "funnel of 3 steps, a week": (
            {
                "kind": "funnel",
                "steps": ["page_view", "signup", "payment"],
                "window": "24h",
                "since": week_at,
                "until": end_at,
            },
            (
                f"SELECT level, count() FROM (SELECT {_PERSON} AS person, windowFunnel(86400000)(toUInt64(toUnixTimestamp64Milli(timestamp)), "
                f"event_name = 'page_view', event_name = 'signup', event_name = 'payment') AS level FROM events WHERE {one} AND {house_time(week, end)} "
                "AND event_name IN ('page_view', 'signup', 'payment') GROUP BY person) WHERE level > 0 GROUP BY level"
            ),
            (
                f"WITH e AS (SELECT user_id, event_name, timestamp FROM events WHERE {one} AND {duck_time(week, end)} AND event_name IN ('page_view','signup','payment')), "
                "a AS (SELECT user_id, event_name, timestamp, max(CASE WHEN event_name = 'page_view' THEN timestamp END) OVER w AS a FROM e "
                "WINDOW w AS (PARTITION BY user_id ORDER BY timestamp)), "
                "b AS (SELECT *, max(CASE WHEN event_name = 'signup' AND timestamp - a <= INTERVAL 24 HOUR THEN a END) OVER (PARTITION BY user_id ORDER BY timestamp) AS b FROM a), "
                "c AS (SELECT user_id, max(CASE WHEN event_name = 'payment' AND timestamp - b <= INTERVAL 24 HOUR THEN 3 WHEN b IS NOT NULL THEN 2 WHEN a IS NOT NULL THEN 1 ELSE 0 END) AS level FROM b GROUP BY user_id) "
                "SELECT level, count(*) FROM c WHERE level > 0 GROUP BY level"
            ),
        ),
        "retention by day, 29 days": (
            {"kind": "retention", "event": "login", "periods": [1, 7, 14], "since": month_at, "until": end_at},
            (
                "SELECT cohort, count(), countIf(has(returned, cohort + 1)), countIf(has(returned, cohort + 7)), countIf(has(returned, cohort + 14)) FROM ("
                f"SELECT {_PERSON} AS person, min(toDate(timestamp, 'UTC')) AS cohort, groupUniqArray(toDate(timestamp, 'UTC')) AS returned FROM events "
                f"WHERE {one} AND {house_time(month, end)} AND event_name = 'login' GROUP BY person) GROUP BY cohort ORDER BY cohort"
            ),
            (
                f"WITH d AS (SELECT DISTINCT user_id, timestamp::DATE AS day FROM events WHERE {one} AND {duck_time(month, end)} AND event_name = 'login'), "
                "c AS (SELECT user_id, min(day) AS cohort FROM d GROUP BY user_id) "
                "SELECT cohort, count(DISTINCT c.user_id), count(*) FILTER (day = cohort + 1), count(*) FILTER (day = cohort + 7), count(*) FILTER (day = cohort + 14) "
                "FROM c JOIN d USING (user_id) GROUP BY cohort ORDER BY cohort"
            ),
        ),
        "sum by JSON property, a week": (
            {"measure": "p95", "field": "duration_ms", "group_by": ["plan"], "since": week_at, "until": end_at},
            f"SELECT toString(properties.plan) AS plan, quantile(0.95)(toFloat64OrNull(toString(properties.duration_ms))) AS v FROM events WHERE {one} AND {house_time(week, end)} GROUP BY plan ORDER BY v DESC LIMIT 1000",
            f"SELECT properties->>'plan' AS plan, approx_quantile(CAST(properties->>'duration_ms' AS DOUBLE), 0.95) AS v FROM events WHERE {one} AND {duck_time(week, end)} GROUP BY plan ORDER BY v DESC",
        ),
        "timeline, the last 100 of a user": (
            {"kind": "timeline", "where": {"user_id": "u17"}, "limit": 100, "since": month_at, "until": end_at},
            (
                "SELECT event_id, event_name, event_type, category, severity, timestamp, user_id, customer_id, session_id, device_id, source, toString(amount), currency, tags, "
                f"toJSONString(properties) FROM events WHERE {one} AND {house_time(month, end)} AND user_id = 'u17' ORDER BY timestamp DESC, event_id DESC LIMIT 100"
            ),
            f"SELECT * FROM events WHERE {one} AND {duck_time(month, end)} AND user_id = 'u17' ORDER BY timestamp DESC, event_id DESC LIMIT 100",
        ),
    }


def figures() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_measured(Path(folder)))


async def _measured(folder: Path) -> list[Figure]:
    async with site(folder / "collector", EVENTS) as collector:
        found: list[Figure] = []
        for stage in (
            _api(collector),
            _rules(collector),
            _page(collector),
            _engines(collector, folder),
            _under_load(collector),
        ):
            taken = await stage
            found += taken
            for one in taken:
                print(f"{one.what}: {one.sides.ratio:.3f} {one.notes or ''}", file=sys.stderr, flush=True)
        return found


async def _timed(work: Callable[[], Awaitable[Any]]) -> float:
    started = time.perf_counter()
    await work()
    return (time.perf_counter() - started) * 1000


def _asker(collector: Any, session: Any, question: dict[str, Any]) -> Callable[[], Awaitable[Any]]:
    async def ask() -> Any:
        async with session.post(f"http://127.0.0.1:{collector.port}/v1/query", json=question) as answer:
            body = await answer.read()
            assert answer.status == 200, body[:300]

    return ask


async def _api(collector: Any) -> list[Figure]:
    import aiohttp

    found = []
    async with aiohttp.ClientSession(headers={"X-API-Key": f"key-{TENANT}"}) as session:
        for name, (question, sql, _) in questions().items():
            ask = _asker(collector, session, question)

            async def by_hand(sql: str = sql) -> None:
                await collector.store.query(sql)

            for work in (ask, by_hand):
                await work()
            ours: list[float] = []
            theirs: list[float] = []
            for number in range(API_ROUNDS):
                for side in (0, 1) if number % 2 else (1, 0):
                    (ours, theirs)[side].append(await _timed((ask, by_hand)[side]))
            found.append(
                Figure(
                    "analytics",
                    f"API: {name}",
                    "SQL by hand",
                    "ms",
                    Sides(tuple(ours), tuple(theirs)),
                    GOAL_API,
                    _p95(ours, theirs),
                )
            )
    return found


def _p95(ours: list[float], theirs: list[float]) -> dict[str, Any]:
    one, other = (statistics.quantiles(side, n=20, method="inclusive")[18] for side in (ours, theirs))
    return {"p95": f"{one:.1f} / {other:.1f} ms = {one / other:.2f}"}


def _rule(number: int) -> dict[str, Any]:
    names = ("page_view", "click", "login", "signup", "payment", "login_failed", "api_error", "timeout", "upgrade")
    name = names[number % len(names)]
    kinds: list[dict[str, Any]] = [
        {"event_name": name, "threshold": 1e9},
        {"event_name": name, "threshold": 1e9, "category": "user_behavior", "window": "10m"},
        {"kind": "change", "event_name": name, "threshold": 1e9, "window": "15m"},
        {"kind": "absence", "event_name": name, "window": "30m"},
        {"numerator": {"event_name": name}, "denominator": {"event_name": "page_view"}, "threshold": 9, "window": "1h"},
        {"metric": "p95", "field": "duration_ms", "event_name": name, "threshold": 1e9},
        {"event_name": name, "where": {"plan": "gold"}, "condition": "value > 1000000.0"},
    ]
    return {"name": f"rule {number}", **kinds[number % len(kinds)]}


async def _rules(collector: Any) -> list[Figure]:
    for number in range(_RULES):
        collector.alerts.create(f"t{number % 10}", _rule(number))
    pid = collector.store.endpoint.pid
    taken, parts = [], []
    for _ in range(5):
        now = time.time()
        ours, engine = time.process_time(), engine_cpu(pid)
        for number in range(10):
            tenant = f"t{number}"
            await collector.alerts._evaluate(tenant, list(collector.alerts._rules[tenant]), now)
        parts.append((time.process_time() - ours, engine_cpu(pid) - engine))
        taken.append(sum(parts[-1]))
    shown = ", ".join(f"{one:.2f} + {other:.2f}" for one, other in parts)
    for number in range(10):
        for key in list(collector.alerts._rules[f"t{number}"]):
            collector.alerts.delete(f"t{number}", key)
    sides = Sides(tuple(taken), (1.0,) * len(taken))
    notes = {"collector + engine, s": shown}
    return [Figure("analytics", f"{_RULES} alert rules, one round", "a second of CPU", "s", sides, GOAL_RULES, notes)]


async def _page(collector: Any) -> list[Figure]:
    import aiohttp

    where = {"severity": ["error", "major", "critical"]}
    panels = [
        {"title": "Events", "chart": "number"},
        {"title": "Users", "metric": "unique_users", "chart": "number"},
        {"title": "Errors", "chart": "number", "where": where},
        {"title": "Events over time", "chart": "area", "group_by": ["category"]},
        {"title": "Errors over time", "chart": "line", "where": where, "group_by": ["event_name"]},
        {"title": "Response time", "chart": "line", "metric": "p95", "field": "duration_ms", "event_name": "page_view"},
        {"title": "Events by name", "chart": "bar", "group_by": ["event_name"]},
        {"title": "Pages", "chart": "bar", "metric": "page_view", "group_by": ["page"]},
        {"title": "By plan", "chart": "pie", "group_by": ["plan"]},
        {
            "title": "Revenue",
            "chart": "line",
            "metric": "sum",
            "field": "amount",
            "event_name": "payment",
            "interval": "1h",
        },
        {"title": "Way to the payment", "kind": "funnel", "steps": ["page_view", "signup", "payment"]},
        {"title": "Latest errors", "kind": "timeline", "where": where, "limit": 15},
    ]
    base = f"http://127.0.0.1:{collector.port}/v1/dashboards"
    async with aiohttp.ClientSession(headers={"X-API-Key": f"key-{TENANT}"}) as session:
        async with session.post(base, json={"title": "Bench", "time_range": "24h", "panels": panels}) as answer:
            ident = (await answer.json())["id"]
        sizes: list[int] = []

        async def draw() -> None:
            async with session.get(f"{base}/{ident}") as answer:
                sizes.append(len(await answer.read()))
                assert answer.status == 200

        await draw()
        taken = [await _timed(draw) / 1000 for _ in range(7)]
    first = Sides(tuple(taken), (1.0,) * len(taken))
    size = Sides((sizes[-1] / 1e6,) * 2, (1.0,) * 2)
    return [
        Figure("analytics", "page of 12 panels, a day of one tenant", "a second", "s", first, GOAL_PAGE_SECONDS),
        Figure("analytics", "its size, with the code that draws", "a million bytes", "MB", size, GOAL_PAGE_BYTES / 1e6),
    ]


async def _engines(collector: Any, folder: Path) -> list[Figure]:
    try:
        import duckdb
    except ImportError:
        return []
    for part in range(_PARTS):
        # Piece by piece: a call has a minute.
        await collector.store._call(
            "command",
            "SELECT tenant_id, event_id, event_name, event_type, category, severity, timestamp, user_id, customer_id, session_id, device_id, "
            "source, amount, currency, toJSONString(properties) AS properties FROM events "
            f"WHERE cityHash64(event_id) % {_PARTS} = {part} INTO OUTFILE '{folder}/events{part:02d}.parquet' FORMAT Parquet",
            settings={"max_execution_time": 600},
        )
    database = duckdb.connect(str(folder / "events.duckdb"), config={"threads": 2})
    await asyncio.to_thread(
        database.execute,
        "CREATE TABLE events AS SELECT * REPLACE (properties::JSON AS properties, timestamp::TIMESTAMP AS timestamp) "
        f"FROM '{folder}/events*.parquet' ORDER BY tenant_id, event_name, timestamp",
    )
    for path in folder.glob("events*.parquet"):  # noqa: ASYNC240
        path.unlink()
    found = []
    for name, (_, house, duck) in questions().items():

        async def ours(sql: str = house) -> None:
            await collector.store.query(sql)

        async def theirs(sql: str = duck) -> None:
            await asyncio.to_thread(lambda: database.execute(sql).fetchall())

        taken: tuple[list[float], list[float]] = ([], [])
        for number in range(6):
            for side, work in enumerate((ours, theirs)):
                took = await _timed(work)
                if number:
                    taken[side].append(took)
        found.append(Figure("analytics", f"chDB: {name}", "DuckDB", "ms", Sides(tuple(taken[0]), tuple(taken[1]))))
    ratios = [one.sides.ratio for one in found]
    mean = statistics.geometric_mean(ratios)
    found.append(Figure("analytics", "chDB, geometric mean of the six", "DuckDB", "", Sides((mean,) * 2, (1.0,) * 2)))
    database.close()
    return found


_FEEDER = """
import asyncio, json, random, sys, time
import aiohttp
async def main(port, rate, seconds, tasks=8):
    rnd = random.Random(1)
    names = ["page_view", "click", "login", "payment", "api_error"]
    def body():
        return json.dumps([{"event_name": rnd.choice(names), "user_id": f"u{rnd.randint(0, 500000)}", "session_id": "s" * 30, "source": "web",
            "properties": {"page": f"/p{rnd.randint(0, 40)}", "plan": rnd.choice(["gold", "basic"]), "duration_ms": rnd.randint(0, 3000),
            "country": "de", "agent": "Mozilla/5.0 (X11; Linux x86_64) like any other", "ok": True}} for _ in range(500)]).encode()
    bodies = [body() for _ in range(20)]
    sent, start = 0, time.perf_counter()
    async with aiohttp.ClientSession(headers={"X-API-Key": "key-t1", "Content-Type": "application/json"}) as session:
        async def one():
            nonlocal sent
            while (now := time.perf_counter() - start) < seconds:
                if rate and sent > rate * now:
                    await asyncio.sleep(0.002)
                    continue
                sent += 500
                async with session.post(f"http://127.0.0.1:{port}/v1/events", data=rnd.choice(bodies)) as answer:
                    await answer.read()
                    if answer.status != 202:
                        sent -= 500
                        await asyncio.sleep(0.05)
        await asyncio.gather(*(one() for _ in range(tasks)))
        async with session.post(f"http://127.0.0.1:{port}/v1/flush") as answer:
            await answer.read()
    print(sent / (time.perf_counter() - start))
asyncio.run(main(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
"""


async def _feed(collector: Any, rate: float, seconds: float) -> float:
    command = [sys.executable, "-c", _FEEDER, str(collector.port), str(rate), str(seconds)]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    told, _ = await process.communicate()
    assert process.returncode == 0
    return float(told)


async def _under_load(collector: Any) -> list[Figure]:
    import aiohttp

    collector.config = type(collector.config)(
        **{name: getattr(collector.config, name) for name in collector.config.__struct_fields__} | {"patience": 30.0}
    )
    highest = await _feed(collector, 0, _LOAD_SECONDS)
    asked = [question for question, _, _ in questions().values()]
    async with aiohttp.ClientSession(headers={"X-API-Key": f"key-{TENANT}"}) as session:
        runs = [_asker_unsettled(collector, session, question) for question in asked]

        async def some(seconds: float) -> list[float]:
            end, taken = time.perf_counter() + seconds, []
            while time.perf_counter() < end:
                taken += [await _timed(run) for run in runs]
            return taken

        idle = await some(6.0)
        feeding = asyncio.create_task(_feed(collector, highest / 2, _LOAD_SECONDS))
        await asyncio.sleep(2.0)
        loaded = await some(_LOAD_SECONDS - 4.0)
        rate = await feeding
    one, other = (statistics.quantiles(side, n=20, method="inclusive")[18] for side in (loaded, idle))
    notes = {"highest intake": f"{highest:,.0f} events/s", "during the questions": f"{rate:,.0f} events/s"}
    return [
        Figure(
            "analytics",
            "the six questions at half the highest intake, p95",
            "idle, p95",
            "ms",
            Sides((one,) * 2, (other,) * 2),
            GOAL_LOAD,
            notes,
        )
    ]


def _asker_unsettled(collector: Any, session: Any, question: dict[str, Any]) -> Callable[[], Awaitable[Any]]:
    """As a dashboard asks: without waiting for what is on its way."""
    from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.questions import (
        Questions,
        parse_journey,
        parse_query,
        travel,
    )

    asked = Questions(collector.store, TENANT)

    async def ask() -> Any:
        if "kind" in question:
            return await travel(parse_journey(question), asked)
        return await asked.ask(parse_query(question))

    del session
    return ask


if __name__ == "__main__":
    for figure in figures():
        print(json.dumps([figure.what, figure.sides.ratio, figure.notes]))
