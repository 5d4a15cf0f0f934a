"""Whether the cost of a tenant grows with their number: 1,000 tenants × one inline plugin, against 100.

Each side is a fresh process with a `PluginManager` and its SQLite store. Every tenant's instance is loaded, then every one
started, called once through its hook, stopped and unloaded, one after the other, so that all are there at once. The plugin
has a settings model and an optional secret that is not there; in the second line it also writes a document when it starts.
The side with 100 does so ten times, each time with a new host, so that both take equally long: what comes once per process
or hits the machine meanwhile falls on both alike. The time is that of the whole, by the number of tenants.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._measure import Figure, Sides, median_of, run_python
from ._site import compiled, put_plugin

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["figures"]

ROUNDS = 7
MANY, FEW = 1000, 100
GOAL = 1.3
_PLUGIN = "tenant_probe"
_SITE = Path(__file__).resolve().parents[1]
_CODE = """\
from dotmac_isp.plugins.core import BasePlugin, PluginSettings


class Settings(PluginSettings):
    host: str = "127.0.0.1"
    port: int = 50057
    window: float = 2.5


class Plugin(BasePlugin):
    async def activate(self):
        {activate}

    async def get_device_status(self, device_id, context):
        return None
"""
_WRITES = {False: "pass", True: 'await self.api.storage.put("seen", {"tenant": self.api.tenant_id})'}
_PHASES = ("load", "start", "call", "stop", "unload")


def figures() -> list[Figure]:
    return [_figure(writes=False), _figure(writes=True)]


def _figure(*, writes: bool) -> Figure:
    taken: dict[int, list[dict[str, float]]] = {FEW: [], MANY: []}
    for number in range(ROUNDS):
        for count in (FEW, MANY) if number % 2 else (MANY, FEW):
            taken[count].append(_in_a_process(count, writes=writes))
    many, few = (tuple(one["total"] for one in taken[count]) for count in (MANY, FEW))
    notes = {
        f"{phase}, ms per tenant at {FEW} and {MANY}": [
            round(median_of([one[phase] for one in taken[count]]), 3) for count in (FEW, MANY)
        ]
        for phase in _PHASES
    }
    notes["the last tenth of 1,000 loads against the first"] = [
        round(median_of([one["drift"] for one in taken[MANY]]), 2)
    ]
    notes[f"KB per active instance at {FEW} and {MANY}"] = [
        round(median_of([one["kilobytes"] for one in taken[count]]), 1) for count in (FEW, MANY)
    ]
    notes[f"processor, ms per tenant at {FEW} and {MANY}"] = [
        round(median_of([one["processor"] for one in taken[count]]), 3) for count in (FEW, MANY)
    ]
    end = ", a document written" if writes else ""
    return Figure(
        name=f"tenants{end}",
        what=f"load, start, call, stop, unload{end}: per tenant at {MANY:,}",
        against=f"the same at {FEW}",
        unit="ms",
        sides=Sides(many, few),
        goal=GOAL,
        notes=notes,
    )


def _in_a_process(count: int, *, writes: bool) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder, "site")
        put_plugin(
            site,
            _PLUGIN,
            _CODE.format(activate=_WRITES[writes]),
            more=f'settings = "vendor_{_PLUGIN}:Settings"',
        )
        compiled(site)
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(_SITE)])}
        said = run_python("-m", "benchmarks._tenants", str(count), str(Path(folder, "home")), env=env)
    taken: dict[str, float] = json.loads(said)
    return taken


# in the process


async def _measure(count: int, home: Path) -> dict[str, float]:
    """`MANY` tenants in all: `count` at a time, each time with a manager and a home of its own."""
    await _one_host(1, home / "warm-up")
    hosts = [await _one_host(count, home / str(number)) for number in range(MANY // count)]
    return {key: sum(one[key] for one in hosts) / len(hosts) for key in hosts[0]} | {"kilobytes": hosts[0]["kilobytes"]}


async def _one_host(count: int, home: Path) -> dict[str, float]:
    """Milliseconds per tenant, for each phase and for all; how much slower the later loads are; memory."""
    from dotmac_isp.plugins.core import PluginManager

    taken: dict[str, float] = {}
    tenants = [f"tenant-{number}" for number in range(count)]
    async with PluginManager(home=home, health_interval=0, metrics_interval=0) as plugins:

        async def call(plugin_id: str, *, tenant_id: str) -> None:  # noqa: ARG001 - as the others
            await plugins.hooks(tenant_id).get_device_status(device_id="olt-1")

        actions: tuple[Callable[..., Awaitable[Any]], ...] = (
            plugins.load,
            plugins.start_plugin,
            call,
            plugins.stop_plugin,
            plugins.unload,
        )
        gc.collect()  # what the host before left is not this one's
        before, processor, started = _resident_kb(), time.process_time(), time.perf_counter()
        for phase, action in zip(_PHASES, actions, strict=True):
            marks = await _each(action, tenants)
            taken[phase] = (marks[-1] - marks[0]) / count * 1e3
            if phase == "load":
                tenth = max(count // 10, 1)
                taken["drift"] = (marks[-1] - marks[-1 - tenth]) / (marks[tenth] - marks[0])
            elif phase == "start":
                taken["kilobytes"] = (_resident_kb() - before) / count
            elif phase == "call" and plugins.statistics().calls < count:
                raise RuntimeError("not every tenant's plugin was called")
        taken["total"] = (time.perf_counter() - started) / count * 1e3
        taken["processor"] = (time.process_time() - processor) / count * 1e3
    return taken


async def _each(action: Callable[..., Awaitable[Any]], tenants: list[str]) -> list[float]:
    """Do it for every tenant; the time before each, and at the end."""
    marks = [time.perf_counter()]
    for tenant in tenants:
        await action(_PLUGIN, tenant_id=tenant)
        await asyncio.sleep(0)  # what suspends nowhere would keep the loop to itself for as long as there are tenants
        marks.append(time.perf_counter())
    return marks


def _resident_kb() -> float:
    """What the process has in memory now (Linux), else the most it had."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return pages * resource.getpagesize() / 1024


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_measure(int(sys.argv[1]), Path(sys.argv[2])))))
