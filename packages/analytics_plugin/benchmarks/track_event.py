"""How long `track_event` takes in a host: 64 callers, one process, the collector beside it.

    python packages/analytics_plugin/benchmarks/track_event.py [--seconds 3] [--callers 64]

Two loads: *paced*, every caller an event each 50 ms at its own phase (as requests come to a portal), and *flat out*, every caller the
next event as soon as the last is acknowledged, so the figure is then the number of callers divided by the throughput. Beside them the
disk's own flush, and the time of `parse_event` alone.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import socket
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from dotmac_isp.plugins.core import PluginManager
from dotmac_isp.plugins.monitoring.analytics_events_plugin.events import parse_event

PLUGIN = "analytics_events"
PACE = 0.05
Track = Callable[[Any], Awaitable[Any]]


def event(number: int) -> dict[str, Any]:
    """An event of about 440 bytes as JSON."""
    return {
        "event_type": "page_view",
        "user_id": f"user-{number % 5000}",
        "session_id": f"session-{number % 900}",
        "source": "portal",
        "tags": ["web", "eu"],
        "properties": {
            "page": f"/plans/{number % 40}",
            "referrer": "https://example.net/search?q=fibre",
            "duration_ms": number % 1500,
            "plan": "gold",
            "mobile": number % 2 == 0,
            "score": 0.5,
        },
    }


async def caller(track: Track, until: float, pause: float, times: list[float]) -> None:
    await asyncio.sleep(pause * secrets.randbelow(1000) / 1000)
    clock, number = time.perf_counter, secrets.randbelow(10_000)
    while (start := clock()) < until:
        await track(event(number))
        spent = clock() - start
        times.append(spent)
        number += 1
        if pause:
            await asyncio.sleep(max(0.0, pause - spent))


async def lag(until: float, times: list[float]) -> None:
    while (start := time.perf_counter()) < until:
        await asyncio.sleep(0.002)
        times.append(time.perf_counter() - start - 0.002)


def told(name: str, times: list[float], more: str = "") -> None:
    cuts = statistics.quantiles(times, n=100)
    print(f"{name:<34} p50 {cuts[49] * 1e3:7.3f} ms   p99 {cuts[98] * 1e3:7.3f} ms   {more}")


async def load(name: str, track: Track, callers: int, seconds: float, pause: float) -> None:
    times: list[float] = []
    lags: list[float] = []
    until = time.perf_counter() + seconds
    await asyncio.gather(lag(until, lags), *(caller(track, until, pause, times) for _ in range(callers)))
    told(name, times, f"{len(times) / seconds:,.0f} events/s")
    told("  lag of the event loop", lags)


def flush_of_the_disk(folder: Path) -> None:
    times = []
    descriptor = os.open(folder / "probe", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for _ in range(500):
        start = time.perf_counter()
        os.write(descriptor, b"x" * 440)
        os.fdatasync(descriptor)
        times.append(time.perf_counter() - start)
    os.close(descriptor)
    told("write and fdatasync of 440 bytes", times)


def parsing() -> None:
    events = [event(number) for number in range(20_000)]
    start = time.perf_counter()
    for one in events:
        parse_event(one)
    print(f"parse_event                        {(time.perf_counter() - start) / len(events) * 1e6:.1f} µs per event")


async def run(folder: Path, callers: int, seconds: float) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        os.environ["ANALYTICS_PORT"] = str(probe.getsockname()[1])
    os.environ.setdefault("ANALYTICS_API_KEY", secrets.token_hex(16))
    async with PluginManager(home=folder) as plugins:
        await plugins.load(PLUGIN, tenant_id="bench")
        await plugins.start_plugin(PLUGIN, tenant_id="bench")
        handle = plugins.get(PLUGIN, tenant_id="bench")
        await load("warming up", handle.track_event, callers, 1.0, 0.0)
        await load(f"track_event, {callers} callers, paced", handle.track_event, callers, seconds, PACE)
        await load(f"track_event, {callers} callers, flat out", handle.track_event, callers, seconds, 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--callers", type=int, default=64)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        flush_of_the_disk(folder)
        parsing()
        asyncio.run(run(folder, options.callers, options.seconds))


if __name__ == "__main__":
    main()
