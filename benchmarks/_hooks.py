"""A hook through the gate, against pluggy's own synchronous call of the same hook.

Ours is everything that a host has: a running `PluginManager`, plugins that are installed, loaded and active, the context made
anew for each call, authorisation, licence, breaker, deadline, fence, check of the result, counts and durations. pluggy's
side is `manager.hook.<name>(…)` with as many plain implementations of the same specification, and a context that was made before.

Two hooks: `get_device_status`, first result, which every implementation answers with `None` ("not mine"), so that all are asked; and
`discover_devices`, which collects a list from each.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from dotmac_isp.plugins.core import PluginContext, PluginManager, hookimpl
from dotmac_isp.plugins.core.hookspecs import PROJECT, DeviceHooks

from ._measure import Figure, Sides
from ._site import compiled, put_plugin

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["figures"]

ROUNDS = 81
#: A round's length on each side: long against the clock's resolution, short against the machine's moods.
CALLS = {1: 4000, 10: 1000}
GOAL = 6.0
_TENANT = "tenant_1"
_CODE = """\
from dotmac_isp.plugins.core import BasePlugin


class Plugin(BasePlugin):
    {prefix}def get_device_status(self, device_id, context):
        return None

    {prefix}def discover_devices(self, context):
        return []
"""
#: One first-result hook, one that collects, and what they are called with; ours makes the context, theirs is given one.
_HOOKS: dict[str, dict[str, str]] = {"get_device_status": {"device_id": "olt-1"}, "discover_devices": {}}
_KINDS = {"async def": "async ", "def": ""}


class _Theirs:
    @hookimpl
    def get_device_status(self, device_id: str, context: PluginContext) -> None:  # noqa: ARG002 - the hook's
        return None

    @hookimpl
    def discover_devices(self, context: PluginContext) -> list[Any]:  # noqa: ARG002
        return []


def figures() -> list[Figure]:
    found = []
    for count in CALLS:
        for kind, prefix in _KINDS.items():
            plugins = f"{count} plugin{'s' * (count > 1)}"
            taken = _in_a_host(count, f"{kind.split()[0]}{count}", prefix)
            found += [
                Figure(
                    name=f"{hook}, {plugins}, {kind}",
                    what=f"await hooks.{hook}(…), {plugins}, {kind}",
                    against="pluggy's synchronous call",
                    unit="µs",
                    sides=sides,
                    goal=GOAL,
                )
                for hook, sides in taken.items()
            ]
    return found


def _in_a_host(count: int, stem: str, prefix: str) -> dict[str, Sides]:
    """Install `count` plugins, run a host with them, and measure in it."""
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder, "site")
        names = [f"{stem}_{number}" for number in range(count)]
        for name in names:
            put_plugin(site, name, _CODE.format(prefix=prefix))
        compiled(site)
        sys.path.insert(0, str(site))
        try:
            return asyncio.run(_measure(Path(folder, "home"), names))
        finally:
            sys.path.remove(str(site))


async def _measure(home: Path, names: list[str]) -> dict[str, Sides]:
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(DeviceHooks)
    for name in names:
        manager.register(_Theirs(), name=name)
    calls = CALLS[len(names)]
    taken: dict[str, Sides] = {}
    async with PluginManager(home=home) as plugins:
        for name in names:
            await plugins.start_plugin(name, tenant_id=_TENANT)
        hooks = plugins.hooks(_TENANT)
        seen = plugins.statistics().calls
        for hook, values in _HOOKS.items():
            taken[hook] = await _rounds(getattr(hooks, hook), getattr(manager.hook, hook), values, calls)
        counted = plugins.statistics().calls - seen
    # The gate's own count shows that every plugin was called every time.
    expected = len(_HOOKS) * (ROUNDS + 1) * calls * len(names)
    if counted != expected:
        raise RuntimeError(f"{counted} calls went through the gate, and not {expected}")
    return taken


async def _rounds(
    ours: Callable[..., Awaitable[Any]], theirs: Callable[..., Any], values: dict[str, str], calls: int
) -> Sides:
    """As `in_turn`, in one task. The first round warms up and does not count."""
    context = PluginContext(tenant_id=_TENANT, request_id="benchmark")
    took_ours, took_theirs = [], []
    for _ in range(ROUNDS + 1):
        await asyncio.sleep(0)  # the host watches for code that keeps the loop to itself
        started = time.perf_counter()
        for _ in range(calls):
            await ours(**values)
        middle = time.perf_counter()
        for _ in range(calls):
            theirs(**values, context=context)
        ended = time.perf_counter()
        took_ours.append((middle - started) / calls * 1e6)
        took_theirs.append((ended - middle) / calls * 1e6)
    return Sides(tuple(took_ours[1:]), tuple(took_theirs[1:]))
