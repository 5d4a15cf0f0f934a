"""What was acknowledged is there exactly once, in the table and in the rollup, whoever is killed in the middle."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from dotmac_isp.plugins.core.model import HealthStatus

#: Each kills whole processes again and again.
pytestmark = pytest.mark.slow

_TRACKER = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from conftest import Bench

async def main():
    bench = Bench(Path({folder!r}), {port})
    plugin = bench.instance("tenant_a")
    await plugin.initialize()
    await plugin.activate()
    number = 0
    while True:
        result = await plugin.track_events_batch(
            [{{"event_name": "tick", "event_id": f"e{{n}}", "user_id": f"u{{n}}"}} for n in range(number, number + 20)]
        )
        number += result["accepted"]
        print(number, flush=True)

asyncio.run(main())
"""


async def engine_pid(bench: Any) -> int:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{bench.port}/v1/health") as answer:
        return int((await answer.json())["pid"])


async def another_engine(bench: Any, former: list[int]) -> None:
    assert await engine_pid(bench) not in former


async def unhealthy(bench: Any) -> None:
    assert (await bench.service.check()).status is HealthStatus.UNHEALTHY


def is_running(pid: int) -> bool:
    """Whether the process does anything; one that has ended but was not collected yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def counted(plugin: Any, name: str = "tick") -> tuple[int, int, int]:
    """Rows in the table, distinct users in the table, events in the rollup."""
    minute = time.time() // 60 * 60
    table = await plugin.query({"event_name": name, "event_type": name})
    users = await plugin.query({"event_name": name, "metric": "unique_users"})
    rollup = await plugin.query({"event_name": name, "since": minute - 7200, "until": minute + 60})
    return tuple(int(answer["rows"][0]["value"]) for answer in (table, users, rollup))  # type: ignore[return-value]


async def eventually(ask: Any, *, seconds: float = 60) -> Any:
    """Ask again while what was killed comes back."""
    end = time.monotonic() + seconds
    while True:
        try:
            return await ask()
        except Exception:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.2)


async def track(plugin: Any, start: int, count: int) -> int:
    events = [{"event_name": "tick", "event_id": f"e{n}", "user_id": f"u{n}"} for n in range(start, start + count)]
    result = await plugin.track_events_batch(events)
    return int(result["accepted"])


async def test_the_engine_is_killed_again_and_again_while_events_come(bench: Any) -> None:
    plugin = await bench.started(flush_interval=0.05)
    acknowledged = 0
    killed = []
    for round_number in range(60):
        acknowledged += await track(plugin, acknowledged, 100)
        await asyncio.sleep(0.02)
        if round_number in {10, 25, 40}:
            killed.append(await eventually(lambda: engine_pid(bench)))
            os.kill(killed[-1], signal.SIGKILL)
            acknowledged += await track(plugin, acknowledged, 100)
            await eventually(lambda: another_engine(bench, killed))
    assert len(set(killed)) == 3
    assert acknowledged == 6300
    assert await eventually(lambda: counted(plugin)) == (6300, 6300, 6300)


async def test_the_collector_is_killed_while_events_come_and_its_engine_dies_with_it(bench: Any) -> None:
    plugin = await bench.started(flush_interval=0.05)
    acknowledged = 0
    for round_number in range(60):
        acknowledged += await track(plugin, acknowledged, 100)
        await asyncio.sleep(0.02)
        if round_number in {20, 40}:
            engine = await engine_pid(bench)
            os.kill(bench.service.pid, signal.SIGKILL)
            await eventually(lambda: unhealthy(bench))
            acknowledged += await track(plugin, acknowledged, 100)
            assert (await plugin.health_check()).status is HealthStatus.DEGRADED
            await bench.service.stop()
            await eventually(bench.service.start)
            assert not is_running(engine)
    assert acknowledged == 6200
    assert await eventually(lambda: counted(plugin)) == (6200, 6200, 6200)


async def test_the_host_is_killed_and_the_next_one_delivers_what_it_had_acknowledged(
    bench: Any, tmp_path: Path
) -> None:
    first = await bench.started()
    await first.deactivate()
    await first.cleanup()
    bench.plugins.clear()
    tests = str(Path(__file__).parent)
    program = _TRACKER.format(tests=tests, folder=str(tmp_path), port=bench.port)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=subprocess.PIPE)
    assert process.stdout is not None
    acknowledged = 0
    while acknowledged < 2000:
        acknowledged = int(await process.stdout.readline())
    process.kill()
    rest = (await process.stdout.read()).split()
    await process.wait()
    acknowledged = int(rest[-1]) if rest else acknowledged
    plugin = await bench.started()
    table, users, rollup = await counted(plugin)
    assert table == users == rollup
    assert acknowledged <= table <= acknowledged + 20  # the last batch may be on disk without its acknowledgement read


async def test_events_wait_on_disk_while_the_collector_is_away(bench: Any) -> None:
    plugin = await bench.started()
    await bench.service.stop()
    assert await track(plugin, 0, 50) == 50
    await plugin.deactivate()
    await plugin.cleanup()
    bench.plugins.clear()
    again = bench.instance()
    await again.initialize()
    await again.activate()
    assert (await again.health_check()).status is HealthStatus.DEGRADED
    await bench.service.start()
    assert await eventually(lambda: counted(again)) == (50, 50, 50)


async def test_a_replaced_instance_and_its_successor_run_side_by_side(bench: Any) -> None:
    old = await bench.started()
    await track(old, 0, 10)
    new = await bench.started()
    await track(new, 10, 10)
    await track(old, 20, 10)
    await old.deactivate()
    await old.cleanup()
    bench.plugins.remove(old)
    assert await counted(new) == (30, 30, 30)


async def test_the_same_events_sent_twice_count_once(bench: Any) -> None:
    plugin = await bench.started()
    await track(plugin, 0, 100)
    await plugin.flush()
    again = await bench.started()
    assert await track(again, 0, 100) == 100
    assert await counted(again) == (100, 100, 100)
    assert (await again.get_metrics())["analytics_events_duplicate_total"] == 100
