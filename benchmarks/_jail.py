"""Jailed instances: calls over the boundary against gRPC, the start from the zygote and the memory against processes of one's own."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks._measure import Figure, Sides
from benchmarks._site import compiled, put_plugin

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

#: What a plugin that speaks HTTP, Kafka and Vault has in memory.
LIBRARIES = ("aiohttp", "requests", "hvac", "tenacity", "aiokafka", "structlog", "prometheus_client")
_CODE = """
{imports}
from dotmac_isp.plugins.core.base import BasePlugin

class Plugin(BasePlugin):
    async def echo(self, value):
        return value
"""
#: One processor: enforced, and no brake for a process with one thread.
_HOSTING = """
[{id}.hosting]
mode = "jailed"
preload = [{preload}]
[{id}.hosting.limits]
cpu = 1.0
"""
_FRESH = """
import asyncio, os, sys
{imports}
from dotmac_isp.plugins.core.base import BasePlugin
import vendor_{id}
plugin = vendor_{id}.Plugin(None)
async def main():
    await plugin.echo(1)
    sys.stdout.write("ready\\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
asyncio.run(main())
"""
_SMALL = {"device_id": "BBSM000a0001", "port": 3, "enabled": True, "rate": 100000}
_AT_ONCE = 64
_CALLS, _ROUNDS = 400, 11
_IDLE = 30


def figures() -> list[Figure]:
    """All of them; grpcio must be installed for the first two."""
    return [*asyncio.run(_calls()), *asyncio.run(_starts_and_memory())]


@contextlib.asynccontextmanager
async def host_of(plugin_id: str, libraries: tuple[str, ...]) -> AsyncIterator[tuple[Any, Path]]:
    """A running host with one installed plugin that runs jailed, and where the plugin is."""
    from dotmac_isp.plugins.core import PluginManager

    imports = "\n".join(f"import {name}" for name in libraries)
    preload = ", ".join(f'"{name}"' for name in libraries)
    with tempfile.TemporaryDirectory(prefix="b") as folder:
        site, home = Path(folder, "site"), Path(folder, "home")
        site.mkdir(mode=0o755)  # noqa: ASYNC240 - before anything is measured
        put_plugin(site, plugin_id, _CODE.format(imports=imports), more=_HOSTING.format(id=plugin_id, preload=preload))
        compiled(site)
        sys.path.insert(0, str(site))
        try:
            async with PluginManager(home=home, health_interval=0, metrics_interval=0) as plugins:
                yield plugins, site
        finally:
            sys.path.remove(str(site))


# calls


async def _calls() -> list[Figure]:
    async with host_of("echo", ()) as (plugins, _), _grpc_echo() as remote:
        await plugins.start_plugin("echo", tenant_id="t1")
        # The boundary alone, as gRPC is measured: without the gate before it.
        jailed = plugins._find(plugins._ref("echo", "t1"))._life.object.echo
        handle = plugins.get("echo", tenant_id="t1").echo
        alone = await _in_turn(functools.partial(_p50, jailed), functools.partial(_p50, remote))
        gated = await _in_turn(functools.partial(_p50, handle), functools.partial(_p50, remote), 5)
        many = await _in_turn(functools.partial(_pipelined, jailed), functools.partial(_pipelined, remote))
        behind = await _in_turn(functools.partial(_pipelined, handle), functools.partial(_pipelined, remote), 5)
        held = plugins.status("echo", tenant_id="t1").isolation["guarantees"]
    rates = {
        "calls per second, ours and gRPC's": f"{1e6 / statistics.median(many.ours):,.0f}, {1e6 / statistics.median(many.theirs):,.0f}"
    }
    enforced = {"enforced": ", ".join(name for name, one in held.items() if one["strength"] == "enforced")}
    grpc = "grpc.aio over a Unix socket"
    return [
        Figure("jail", "jailed call, small arguments, p50", grpc, "µs", alone, 0.3, enforced),
        Figure("jail", f"jailed call, {_AT_ONCE} at once, per call", grpc, "µs", many, 1 / 15, rates),
        Figure("jail", "the first through the gate", grpc, "µs", gated),
        Figure("jail", "the second through the gate", grpc, "µs", behind),
    ]


async def _in_turn(
    ours: Callable[[], Awaitable[float]], theirs: Callable[[], Awaitable[float]], rounds: int = _ROUNDS
) -> Sides:
    await ours(), await theirs()
    taken: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        for side in (0, 1) if number % 2 else (1, 0):
            taken[side].append(await (ours, theirs)[side]())
    return Sides(tuple(taken[0]), tuple(taken[1]))


async def _p50(call: Callable[[Any], Awaitable[Any]]) -> float:
    taken = []
    for _ in range(_CALLS):
        began = time.perf_counter()
        await call(_SMALL)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1e6


async def _pipelined(call: Callable[[Any], Awaitable[Any]]) -> float:
    each = _CALLS // 8

    async def one() -> None:
        for _ in range(each):
            await call(_SMALL)

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(_AT_ONCE)))
    return (time.perf_counter() - began) / (_AT_ONCE * each) * 1e6


@contextlib.asynccontextmanager
async def _grpc_echo() -> AsyncIterator[Callable[[Any], Awaitable[Any]]]:
    """gRPC's own asynchronous server in another Python process, with the same codec, and a call to it."""
    import grpc.aio
    import msgspec

    with tempfile.TemporaryDirectory(prefix="g") as folder:
        address = f"unix:{folder}/s"
        server = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "benchmarks._jail_grpc",
            address,
            stdout=asyncio.subprocess.PIPE,
            stdin=asyncio.subprocess.PIPE,
        )
        try:
            assert server.stdout is not None
            await server.stdout.readline()
            async with grpc.aio.insecure_channel(address) as channel:
                yield channel.unary_unary(
                    "/bench/echo",
                    request_serializer=msgspec.msgpack.encode,
                    response_deserializer=msgspec.msgpack.decode,
                )
        finally:
            server.kill()
            await server.wait()


# starts and memory


async def _starts_and_memory() -> list[Figure]:
    async with host_of("heavy", LIBRARIES) as (plugins, site):
        await plugins.load("heavy", tenant_id="warm")
        numbers = iter(range(1000))

        async def jailed() -> float:
            began = time.perf_counter()
            await plugins.load("heavy", tenant_id=f"t{next(numbers)}")
            return (time.perf_counter() - began) * 1e3

        async def fresh() -> float:
            began = time.perf_counter()
            process = await asyncio.to_thread(_spawn, site)
            taken = (time.perf_counter() - began) * 1e3
            await asyncio.to_thread(_end, process)
            return taken

        starts = await _in_turn(jailed, fresh)
        for _ in range(_IDLE):
            await jailed()
        pids = [one.isolation["pid"] for one in plugins.list(everything=True)]
        process = await asyncio.to_thread(_spawn, site)
        theirs = pss(process.pid)
        await asyncio.to_thread(_end, process)
        ours = tuple(pss(pid) for pid in pids)
        memory = Sides(ours, (theirs,) * len(ours))
    what = f"fresh interpreter with the same imports ({', '.join(LIBRARIES)})"
    return [
        Figure("jail", "jailed instance, from the zygote to ready", what, "ms", starts, 0.03),
        Figure(
            "jail",
            f"idle jailed instance, PSS ({len(ours)} of them)",
            "a process of its own with the same imports",
            "MB",
            memory,
            0.08,
        ),
    ]


def _spawn(site: Path) -> subprocess.Popen[bytes]:
    imports = "\n".join(f"import {name}" for name in LIBRARIES)
    process = subprocess.Popen(
        [sys.executable, "-c", _FRESH.format(imports=imports, id="heavy")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(site)},
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    process.communicate()


def pss(pid: int) -> float:
    """Megabytes of memory of a process, what it shares divided by those that share it."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"the memory of {pid} is not known")
