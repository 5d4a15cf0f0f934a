"""Lost and doubled events when hosts, collectors and engines are killed at random moments.

    python packages/analytics_plugin/benchmarks/kills.py [--events 1000000] [--kills 50] [--seed 1]

A tracker (a process with a plugin instance) tracks numbered events in batches; a collector with its engine stores them. One of the three
is chosen at random and killed with SIGKILL at a random moment, and started again. The tracker goes on after the last batch whose
acknowledgement it had told; what it tracks twice has the same identifiers. In the end the table, its distinct identifiers and the
three rollups must all say the number of events.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

MODULE = "dotmac_isp.plugins.monitoring.analytics_events_plugin"
TENANT, KEY = "kills", "the key of the kills"
BATCH = 1000

TRACKER = """
import asyncio, logging, sys
from pathlib import Path
from {module} import AnalyticsEventsPlugin
from {module}.settings import AnalyticsSettings
from dotmac_isp.plugins.core.model import Secret

class Secrets:
    async def get(self, name):
        return Secret(name, {key!r})
    require = get

class Api:
    tenant_id, secrets, data_dir = {tenant!r}, Secrets(), Path({folder!r})
    settings = AnalyticsSettings(analytics_host="127.0.0.1", analytics_port={port}, flush_interval=0.1, batch_size=2000, when_full="wait")
    logger = logging.LoggerAdapter(logging.getLogger("tracker"), {{}})
    def spawn(self, work, *, name):
        return asyncio.create_task(work, name=name)

async def main():
    plugin = AnalyticsEventsPlugin(Api())
    await plugin.initialize()
    await plugin.activate()
    for start in range({start}, {events}, {batch}):
        batch = [
            {{"event_name": "tick", "event_id": f"e{{n}}", "device_id": f"d{{n % 50}}", "amount": "0.01", "currency": "EUR",
              "properties": {{"n": n, "text": "x" * 60}}}}
            for n in range(start, min(start + {batch}, {events}))
        ]
        result = await plugin.track_events_batch(batch)
        assert result["accepted"] + len(result["duplicates"]) == len(batch), result
        print(start + len(batch), flush=True)
    while True:
        try:
            await plugin.flush()
            break
        except Exception:
            await asyncio.sleep(0.5)
    print("delivered", flush=True)

asyncio.run(main())
"""


class Scene:
    """The processes of a run."""

    def __init__(self, folder: Path, events: int) -> None:
        self.folder = folder
        self.events = events
        self.acknowledged = 0
        self.delivered = asyncio.Event()
        self.killed = {"tracker": 0, "collector": 0, "engine": 0}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.collector: asyncio.subprocess.Process | None = None
        self.tracker: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    async def start_collector(self) -> None:
        command = ("-m", f"{MODULE}.collector.main", "serve", "--with-parent", "--port", str(self.port))
        while True:
            self.collector = await asyncio.create_subprocess_exec(
                sys.executable,
                *command,
                "--data",
                str(self.folder / "collector"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            assert self.collector.stdout is not None
            if await self.collector.stdout.readline():
                return
            await self.collector.wait()

    async def start_tracker(self) -> None:
        program = TRACKER.format(
            module=MODULE,
            tenant=TENANT,
            key=KEY,
            folder=str(self.folder / "plugin"),
            port=self.port,
            start=self.acknowledged // BATCH * BATCH,
            events=self.events,
            batch=BATCH,
        )
        self.tracker = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        self._reading = asyncio.create_task(self._read(self.tracker))

    async def _read(self, tracker: asyncio.subprocess.Process) -> None:
        assert tracker.stdout is not None
        while line := (await tracker.stdout.readline()).strip():
            if line == b"delivered":
                self.delivered.set()
            else:
                self.acknowledged = max(self.acknowledged, int(line))

    async def kill(self, what: str) -> None:
        if what == "tracker":
            await self._end(self.tracker)
            if self._reading is not None:
                await self._reading
            await self.start_tracker()
        elif what == "collector":
            await self._end(self.collector)
            await self.start_collector()
        else:
            with contextlib.suppress(Exception):
                os.kill((await self.ask("GET", "/v1/health"))["pid"], signal.SIGKILL)
        self.killed[what] += 1

    @staticmethod
    async def _end(process: asyncio.subprocess.Process | None) -> None:
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()

    async def ask(self, method: str, path: str, value: Any = None) -> Any:
        import aiohttp

        headers = {"Authorization": f"Bearer {KEY}"}
        async with (
            aiohttp.ClientSession(f"http://127.0.0.1:{self.port}", headers=headers) as session,
            session.request(method, path, json=value) as answer,
        ):
            answer.raise_for_status()
            return await answer.json()

    async def close(self) -> None:
        await self._end(self.tracker)
        if self.collector is not None and self.collector.stdin is not None:
            self.collector.stdin.close()
            await self.collector.wait()


async def counted(data: Path) -> dict[str, int]:
    """What the next collector on the folder finds, after it has stored what waited."""
    from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector._collector import Collector, CollectorConfig

    sql = (
        "SELECT (SELECT count() FROM events) AS rows, (SELECT uniqExact(event_id) FROM events) AS ids, "
        "(SELECT sum(events) FROM events_per_minute) AS per_minute, "
        "(SELECT toInt64(sum(amount) * 100) FROM amounts_per_hour) AS amounts, "
        "(SELECT sum(events) FROM devices_per_hour) AS devices"
    )
    async with Collector(CollectorConfig(data_dir=data, port=0)) as collector:
        assert await collector.writer.drained(300)
        return {name: int(value) for name, value in (await collector.store.query(sql)).dicts()[0].items()}


async def run(folder: Path, events: int, kills: int, seed: int) -> dict[str, Any]:
    """Kill and count. `lost` and `doubled` are over the table and the rollup."""
    from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector._meta import Meta

    chosen = random.Random(seed)
    scene = Scene(folder, events)
    started = time.monotonic()
    (folder / "plugin").mkdir()
    await scene.start_collector()
    meta = Meta(folder / "collector")
    meta.admit(TENANT, KEY, "operator")
    meta.close()
    await scene.start_tracker()
    try:
        for number in range(kills):
            # Spread over the events, so that the last kills still find something to do.
            while scene.acknowledged < events * number // (kills + 1) and not scene.delivered.is_set():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await asyncio.sleep(chosen.uniform(0.0, 0.5))
            await scene.kill(chosen.choice(("tracker", "collector", "collector", "engine", "engine")))
        await scene.delivered.wait()
    finally:
        await scene.close()
    found = await counted(folder / "collector")
    seen = [int(value) for value in found.values()]
    return {
        **found,
        "events": events,
        "killed": scene.killed,
        "lost": max(events - value for value in seen),
        "doubled": max(value - events for value in seen),
        "seconds": round(time.monotonic() - started, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        result = asyncio.run(run(Path(name), options.events, options.kills, options.seed))
    print(json.dumps(result, indent=2))
    sys.exit(0 if result["lost"] == result["doubled"] == 0 else 1)


if __name__ == "__main__":
    main()
