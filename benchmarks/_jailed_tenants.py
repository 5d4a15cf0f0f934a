"""A thousand jailed tenants of one plugin: started, called once, stopped. Time and memory in all, and against a tenth of them."""

from __future__ import annotations

import asyncio
import resource
import time
from typing import Any

from benchmarks._jail import host_of, pss
from benchmarks._measure import Figure, Sides

MANY = 1000
_AT_ONCE = 8


def figures() -> list[Figure]:
    """Seconds per tenant, at a thousand and at a hundred."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16384), hard))
    few = asyncio.run(_run(MANY // 10))
    many = asyncio.run(_run(MANY))
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    notes = {
        f"{MANY} tenants": ", ".join(f"{key} {value:.3g}" for key, value in many.items()),
        f"{MANY // 10} tenants": ", ".join(f"{key} {value:.3g}" for key, value in few.items()),
    }
    per = (few["all, s"] / (MANY // 10) * 1e3, many["all, s"] / MANY * 1e3)
    sides = Sides((per[1],) * 2, (per[0],) * 2)
    return [Figure("jailed tenants", f"per tenant at {MANY}", f"at {MANY // 10}", "ms", sides, None, notes)]


async def _run(count: int) -> dict[str, float]:
    tenants = [f"t{number}" for number in range(count)]
    async with host_of("crowd", ()) as (plugins, _):
        await plugins.load("crowd", tenant_id="warm")
        taken: dict[str, float] = {}
        began = time.perf_counter()

        async def start(tenant: str) -> None:
            await plugins.start_plugin("crowd", tenant_id=tenant)

        async def call(tenant: str) -> None:
            if await plugins.get("crowd", tenant_id=tenant).echo(tenant) != tenant:
                raise RuntimeError(f"{tenant} got somebody else's answer")

        async def stop(tenant: str) -> None:
            await plugins.unload("crowd", tenant_id=tenant)

        for name, action in (("start", start), ("call", call), ("stop", stop)):
            at = time.perf_counter()
            await _each(action, tenants)
            taken[f"{name}, s"] = time.perf_counter() - at
            if name == "call":
                pids = [one.isolation["pid"] for one in plugins.list(everything=True)]
                if len(set(pids)) != count + 1:
                    raise RuntimeError(f"{count} tenants have {len(set(pids)) - 1} processes")
                at = time.perf_counter()
                taken["PSS of all, MB"] = sum(map(pss, pids))
                began += time.perf_counter() - at
        return {"all, s": time.perf_counter() - began, **taken}


async def _each(action: Any, tenants: list[str]) -> None:
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(tenant: str) -> None:
        async with gate:
            await action(tenant)

    await asyncio.gather(*map(one, tenants))
