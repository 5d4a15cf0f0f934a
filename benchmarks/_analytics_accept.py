"""Taking events: what validation costs over parsing alone, and what the disk costs over none.

The first line is what the collector does with a batch of 100 in its own form (bounds, names, times, shapes; lines for the engine
made) on one core, against `orjson.loads` of the same bytes. The others are a real collector over HTTP without an engine behind it, against the same
with a spool that writes nothing; identifiers are looked up in SQLite on both sides. p99 is of single events from 64 clients, against the
disk's own flush of 440 bytes.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import orjson

from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.intake._intake import rows
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.intake._wire import wire_events

from ._analytics_events import batches
from ._measure import Figure, Sides, in_turn, median_of

__all__ = ["figures"]

ROUNDS = 7
_EVENTS = 20_000


def figures() -> list[Figure]:
    return [_validation(), *_durable()]


def _validation() -> Figure:
    bodies = batches(_EVENTS, 100)

    def accept() -> float:
        started = time.perf_counter()
        for body in bodies:
            found = wire_events(body)
            assert found is not None
            rows(found, "bench", "2026-11-25T00:00:00.000+00:00")
        return (time.perf_counter() - started) / _EVENTS * 1e6

    def parse() -> float:
        started = time.perf_counter()
        for body in bodies:
            orjson.loads(body)
        return (time.perf_counter() - started) / _EVENTS * 1e6

    return Figure(
        name="analytics, validation",
        what="an event validated and made a line",
        against="orjson.loads",
        unit="µs",
        sides=in_turn(accept, parse, ROUNDS),
        goal=1 / 0.40,
    )


class _Server:
    def __init__(self, stack: ExitStack, *arguments: str) -> None:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        command = [sys.executable, "-m", "benchmarks._analytics_server", folder, *arguments]
        root = Path(__file__).parents[1]
        process = stack.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root, text=True)
        )
        assert process.stdin is not None
        assert process.stdout is not None
        stack.callback(process.stdin.close)
        self.port = int(process.stdout.readline())

    def take(self, bodies: list[bytes], clients: int) -> tuple[float, list[float]]:
        """Seconds for all of them, and for each."""
        return asyncio.run(_load(self.port, bodies, clients))


async def _load(port: int, bodies: list[bytes], clients: int) -> tuple[float, list[float]]:
    waiting = iter(bodies)
    times: list[float] = []

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for body in waiting:
            started = time.perf_counter()
            head = f"POST /v1/events HTTP/1.1\r\nHost: x\r\nX-API-Key: bench-key\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 202"), answer
            length = int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            times.append(time.perf_counter() - started)
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return time.perf_counter() - started, times


def _durable() -> list[Figure]:
    with ExitStack() as stack:
        servers = [_Server(stack), _Server(stack, "--no-disk")]
        batched = _rates(servers, 40_000, 100, 8)
        singles, p99 = _singles(servers)
        flushes = _flushes()
    return [
        Figure(
            "analytics, durable", "an event of a batch of 100 on disk", "without disk", "µs", batched, goal=1 / 0.65
        ),
        Figure(
            "analytics, durable", "a single event on disk, 64 clients", "without disk", "µs", singles, goal=1 / 0.95
        ),
        Figure(
            name="analytics, durable",
            what="a single event on disk, 64 clients, p99",
            against="the disk's flush, p50",
            unit="ms",
            sides=Sides(tuple(p99), (flushes,) * len(p99)),
            goal=25,
        ),
    ]


def _rates(servers: list[_Server], count: int, size: int, clients: int) -> Sides:
    def side(server: _Server) -> float:
        return server.take(batches(count, size), clients)[0] / count * 1e6

    return in_turn(lambda: side(servers[0]), lambda: side(servers[1]), ROUNDS)


def _singles(servers: list[_Server]) -> tuple[Sides, list[float]]:
    count = 6_000
    p99: list[float] = []

    def side(number: int) -> float:
        seconds, times = servers[number].take(batches(count, 1), 64)
        if number == 0:
            p99.append(sorted(times)[int(len(times) * 0.99)] * 1e3)
        return seconds / count * 1e6

    return in_turn(lambda: side(0), lambda: side(1), ROUNDS), p99


def _flushes() -> float:
    with tempfile.NamedTemporaryFile() as file:
        taken = []
        for _ in range(300):
            started = time.perf_counter()
            os.write(file.fileno(), b"x" * 440)
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - started)
    return median_of(taken) * 1e3
