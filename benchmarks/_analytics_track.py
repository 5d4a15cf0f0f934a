"""`track_event` in a host with 64 callers, each an event every 50 ms, and the lag of the event loop meanwhile; against the goals themselves."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import secrets
import socket
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from dotmac_isp.plugins.core import PluginManager

from ._measure import Figure, Sides

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["figures"]

ROUNDS = 5
_CALLERS = 64
_SECONDS = 3.0


def _script() -> ModuleType:
    place = Path(__file__).parents[1] / "packages" / "analytics_plugin" / "benchmarks" / "track_event.py"
    spec = importlib.util.spec_from_file_location("track_event", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def figures() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        medians, lags = asyncio.run(_rounds(Path(folder)))
    return [
        Figure("analytics, track_event", f"track_event, {_CALLERS} callers, p50", "goal", "ms", Sides(tuple(medians), (0.6,) * ROUNDS), goal=1.0),
        Figure("analytics, track_event", "lag of the event loop, p99", "goal", "ms", Sides(tuple(lags), (10.0,) * ROUNDS), goal=1.0),
    ]  # fmt: skip


async def _rounds(home: Path) -> tuple[list[float], list[float]]:
    script = _script()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        os.environ["ANALYTICS_PORT"] = str(probe.getsockname()[1])
    os.environ.setdefault("ANALYTICS_API_KEY", secrets.token_hex(16))
    medians, lags = [], []
    async with PluginManager(home=home) as plugins:
        await plugins.load(script.PLUGIN, tenant_id="bench")
        await plugins.start_plugin(script.PLUGIN, tenant_id="bench")
        track = plugins.get(script.PLUGIN, tenant_id="bench").track_event
        for number in range(ROUNDS + 1):
            times: list[float] = []
            lag: list[float] = []
            until = time.perf_counter() + _SECONDS
            callers = (script.caller(track, until, script.PACE, times) for _ in range(_CALLERS))
            await asyncio.gather(script.lag(until, lag), *callers)
            if number:
                medians.append(statistics.median(times) * 1e3)
                lags.append(sorted(lag)[int(len(lag) * 0.99)] * 1e3)
    return medians, lags
