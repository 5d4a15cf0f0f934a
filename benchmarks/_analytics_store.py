"""Storing events: end to end against the engine alone, with rollups against without, in a child process against in this one.

*End to end* is a collector over HTTP, batches of 500 from four clients, until all of them can be asked for; the other side is the same engine with the same
tables and views, given ready lines in blocks of 20,000 over two connections. *Visible* is the time from an acknowledgement to the first question of
the engine's own that sees the event, at 20,000 events a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector._collector import Collector, CollectorConfig
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.intake._wire import wire_events
from dotmac_isp.plugins.monitoring.analytics_events_plugin.store import ROLLUPS, EngineProcess, Store

from ._analytics_accept import _load
from ._analytics_events import batches, rows
from ._measure import Figure, Sides

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["figures"]

ROUNDS = 5
_END_TO_END = 200_000
_ROWS = 10_000

IN_PROCESS = """
import json, sys, time
from chdb.state.sqlitelike import Connection
from dotmac_isp.plugins.monitoring.analytics_events_plugin.store import EVENT_COLUMNS, Layout
from dotmac_isp.plugins.monitoring.analytics_events_plugin.store._child import OPTIONS
from benchmarks._analytics_events import rows
connection = Connection(f"{sys.argv[1]}?{OPTIONS}")
layout = Layout()
for statement in layout.statements():
    connection.query(statement)
settings = ", ".join(f"{name} = '{value}'" for name, value in layout.insert_settings.items())
inserts, questions = [], []
for number in range(12):
    data = rows(10_000)
    started = time.perf_counter()
    with connection.send_insert(f"INSERT INTO events ({', '.join(EVENT_COLUMNS)}) SETTINGS {settings}, insert_deduplication_token = 'b{number}'", "JSONEachRow") as stream:
        stream.append(data)
        stream.finish()
    inserts.append(time.perf_counter() - started)
for _ in range(200):
    started = time.perf_counter()
    connection.query("SELECT 1", "Native").bytes()
    questions.append(time.perf_counter() - started)
print(json.dumps([sorted(inserts[2:])[5], sorted(questions)[100]]))
"""


def figures() -> list[Figure]:
    return [asyncio.run(_end_to_end()), asyncio.run(_rollups()), *asyncio.run(_child()), asyncio.run(_visible())]


@contextlib.asynccontextmanager
async def _store() -> AsyncIterator[Store]:
    with tempfile.TemporaryDirectory() as name:
        store = Store(EngineProcess(Path(name, "engine"), Path(name, "engine.log")))
        await store.start()
        yield store
        await store.stop()


@contextlib.asynccontextmanager
async def _collector() -> AsyncIterator[tuple[int, asyncio.subprocess.Process]]:
    """In a process of its own, as a host starts it."""
    with tempfile.TemporaryDirectory() as name:
        module = "dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.main"
        command = (sys.executable, "-m", module, "serve", "--with-parent", "--port", "0", "--data", name)
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        assert process.stdout is not None
        assert process.stdin is not None
        port = int(json.loads(await process.stdout.readline())["port"])
        admitting = (sys.executable, "-m", module, "key", "--data", name, "--tenant", "bench")
        admitted = await asyncio.create_subprocess_exec(*admitting, stdin=asyncio.subprocess.PIPE)
        await admitted.communicate(b"bench-key\n")
        yield port, process
        process.stdin.close()
        await process.wait()


async def _end_to_end() -> Figure:
    ours: list[float] = []
    theirs: list[float] = []
    async with _collector() as (port, _), _store() as store:
        for number in range(ROUNDS):
            bodies = batches(_END_TO_END, 500)
            blocks = [rows(20_000) for _ in range(_END_TO_END // 20_000)]
            for side in (0, 1) if number % 2 else (1, 0):
                started = time.perf_counter()
                if side == 0:
                    await _load(port, bodies, 4)
                    await _flush(port)
                else:
                    await _insert(store, blocks, f"r{number}")
                (ours, theirs)[side].append((time.perf_counter() - started) / _END_TO_END * 1e6)
    return Figure(
        name="analytics, end to end",
        what="an event from HTTP until it can be asked for, three rollups",
        against="ready lines into the engine, two connections, same tables",
        unit="µs",
        sides=Sides(tuple(ours), tuple(theirs)),
        goal=1 / 0.75,
    )


async def _flush(port: int) -> None:
    import aiohttp

    async with (
        aiohttp.ClientSession(headers={"X-API-Key": "bench-key"}) as session,
        session.post(f"http://127.0.0.1:{port}/v1/flush") as answer,
    ):
        assert answer.status == 200, await answer.text()


async def _insert(store: Store, blocks: list[bytes], token: str) -> None:
    waiting = iter(enumerate(blocks))

    async def lane() -> None:
        for number, block in waiting:
            await store.insert_events(block, f"{token}-{number}")

    await asyncio.gather(lane(), lane())


async def _rollups() -> Figure:
    ours: list[float] = []
    theirs: list[float] = []
    async with _store() as rolled, _store() as plain:
        for rollup in ROLLUPS:
            await plain.change(f"DROP VIEW {rollup.name}_mv")
        for number in range(ROUNDS * 4 + 1):
            data = rows(_ROWS)
            for side in (0, 1) if number % 2 else (1, 0):
                started = time.perf_counter()
                await (rolled, plain)[side].insert_events(data, f"b{number}")
                (ours, theirs)[side].append((time.perf_counter() - started) * 1e3)
    return Figure(
        name="analytics, rollups",
        what=f"{_ROWS:,} rows with three rollups",
        against="without",
        unit="ms",
        sides=Sides(tuple(ours[1:]), tuple(theirs[1:])),
        goal=1.15,
    )


async def _child() -> list[Figure]:
    inserts: tuple[list[float], list[float]] = ([], [])
    questions: tuple[list[float], list[float]] = ([], [])
    async with _store() as store:
        for number in range(ROUNDS):
            taken = []
            for block in range(12):
                data = rows(_ROWS)
                started = time.perf_counter()
                await store.insert_events(data, f"c{number}-{block}")
                taken.append(time.perf_counter() - started)
            inserts[0].append(sorted(taken[2:])[5] * 1e3)
            taken = []
            for _ in range(200):
                started = time.perf_counter()
                await store.query("SELECT 1")
                taken.append(time.perf_counter() - started)
            questions[0].append(statistics.median(taken) * 1e3)
            insert, question = await asyncio.to_thread(_in_process)
            inserts[1].append(insert * 1e3)
            questions[1].append(question * 1e3)
    more = statistics.median(one - other for one, other in zip(*questions, strict=True))
    return [
        Figure("analytics, child", f"{_ROWS:,} rows, engine in its child", "in-process", "ms", Sides(tuple(inserts[0]), tuple(inserts[1])), goal=1 / 0.92),
        Figure(
            name="analytics, child",
            what="what a question costs more in the child",
            against="goal",
            unit="ms",
            sides=Sides((more,) * 2, (1.2,) * 2),
            goal=1.0,
        ),
    ]  # fmt: skip


def _in_process() -> tuple[float, float]:
    root = Path(__file__).parents[1]
    with tempfile.TemporaryDirectory() as name:
        done = subprocess.run(
            [sys.executable, "-c", IN_PROCESS, f"{name}/engine"], cwd=root, capture_output=True, text=True, check=True
        )
    insert, question = json.loads(done.stdout.splitlines()[-1])
    return float(insert), float(question)


async def _visible() -> Figure:
    """A batch of 200 each 10 ms; every tenth is looked for until it is there."""
    bodies = batches(20_000 * 6, 200)
    waits: list[float] = []
    tasks: list[asyncio.Task[None]] = []
    with tempfile.TemporaryDirectory() as name:
        async with Collector(CollectorConfig(data_dir=Path(name), port=0)) as collector:

            async def look(event_id: str, acknowledged: float) -> None:
                sql = "SELECT count() FROM events WHERE tenant_id = 'bench' AND event_id = {id:String}"
                while not (await collector.store.query(sql, {"id": event_id})).rows[0][0]:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
                waits.append(time.perf_counter() - acknowledged)

            begin = time.perf_counter()
            for number, body in enumerate(bodies):
                await asyncio.sleep(max(0.0, begin + number * 0.01 - time.perf_counter()))
                events = wire_events(body) or []
                await collector.intake.take("bench", events)
                if number % 20 == 19:
                    tasks.append(asyncio.create_task(look(events[-1].event_id, time.perf_counter())))
            spent = time.perf_counter() - begin
            await asyncio.gather(*tasks)
    p99 = sorted(waits)[int(len(waits) * 0.99)]
    return Figure(
        name="analytics, visible",
        what="from acknowledgement to visible, p99",
        against="goal",
        unit="s",
        sides=Sides((p99,) * 2, (1.0,) * 2),
        goal=1.0,
        notes={"events per second": round(20_000 * 6 / spent), "median": f"{statistics.median(waits):.3f} s"},
    )
