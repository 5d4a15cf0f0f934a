"""Reload under load: 1,000 calls a second to one instance while it is made anew; how many are lost, and how long the unluckiest waits.

The other side is the plugin's own longest call in the same round, as the plugin itself clocks it.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks._measure import Figure, Sides
from benchmarks._site import compiled, put_plugin

RATE = 1000
SECONDS = 2.0
ROUNDS = 5
_TAKES = (0.0, 0.01, 0.1)
_CODE = """\
import asyncio
import time
from dotmac_isp.plugins.core.base import BasePlugin


class Plugin(BasePlugin):
    async def initialize(self):
        self.count = 0

    async def work(self, seconds):
        began = time.perf_counter()
        self.count += 1
        if seconds:
            await asyncio.sleep(seconds)
        return time.perf_counter() - began
"""
_STATE = """
    async def hand_over_state(self):
        return self.count

    async def take_over_state(self, state):
        self.count = state
"""
_KINDS = {"inline": ("inline", ""), "inline, state handed over": ("inline", _STATE), "jailed": ("jailed", "")}


def figures() -> list[Figure]:
    """One line for each kind of plugin."""
    found = []
    for kind, (mode, state) in _KINDS.items():
        rounds, calls, lost = asyncio.run(_measure(mode, state))
        sides = Sides(tuple(one for one, _ in rounds), tuple(other for _, other in rounds))
        notes = {"calls": calls, "lost": lost, "longest wait of all rounds, ms": round(max(sides.ours), 1)}
        what = f"longest wait of a call, {RATE:,} calls/s, a reload every second, {kind}"
        found.append(Figure("reload", what, "the plugin's own longest call", "ms", sides, 2.0, notes))
    return found


async def _measure(mode: str, state: str) -> tuple[list[tuple[float, float]], int, int]:
    from dotmac_isp.plugins.core import PluginManager

    with tempfile.TemporaryDirectory(prefix="b") as folder:
        site, home = Path(folder, "site"), Path(folder, "home")
        site.mkdir(mode=0o755)  # noqa: ASYNC240 - before anything is measured
        put_plugin(site, "busy", _CODE + state, more=f'[busy.hosting]\nmode = "{mode}"\n')
        compiled(site)
        sys.path.insert(0, str(site))
        try:
            async with PluginManager(home=home, health_interval=0, metrics_interval=0) as plugins:
                await plugins.start_plugin("busy")
                rounds, calls, lost = [], 0, 0
                for _ in range(ROUNDS):
                    waits, own, failed = await _round(plugins)
                    rounds.append((max(waits) * 1e3, max(own) * 1e3))
                    calls, lost = calls + len(waits) + failed, lost + failed
                return rounds, calls, lost
        finally:
            sys.path.remove(str(site))
            sys.modules.pop("vendor_busy", None)


async def _round(plugins: Any) -> tuple[list[float], list[float], int]:
    work = plugins.get("busy").work
    waits: list[float] = []
    own: list[float] = []
    failed = 0

    async def ask(seconds: float) -> None:
        nonlocal failed
        began = time.perf_counter()
        try:
            own.append(await work(seconds))
        except Exception:  # noqa: BLE001 - a lost call is what is counted
            failed += 1
        else:
            waits.append(time.perf_counter() - began)

    async def reload(at: float) -> None:
        await asyncio.sleep(at)
        await plugins.reload_plugin("busy")

    reloads = [asyncio.create_task(reload(0.5 + number)) for number in range(int(SECONDS))]
    calls: list[asyncio.Task[None]] = []
    began = time.perf_counter()
    while (now := time.perf_counter() - began) < SECONDS:
        while len(calls) < now * RATE:
            calls.append(asyncio.create_task(ask(_TAKES[len(calls) % len(_TAKES)])))
        await asyncio.sleep(0.001)
    await asyncio.gather(*calls, *reloads)
    return waits, own, failed
