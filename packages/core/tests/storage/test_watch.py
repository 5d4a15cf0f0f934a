from __future__ import annotations

import asyncio
import contextlib
import gc
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from dotmac_isp.plugins.core.api import Change
    from dotmac_isp.plugins.core.storage import StorageEngine

WORKER = Path(__file__).with_name("worker.py")


async def take(watcher: AsyncIterator[Change], count: int) -> list[tuple[str, Any]]:
    changes = [await asyncio.wait_for(anext(watcher), 10) for _ in range(count)]
    return [(one.key, None if one.document is None else one.document.value) for one in changes]


async def nothing_more(watcher: AsyncIterator[Change]) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(watcher), 0.5)


async def test_each_own_write_is_seen_in_order_and_once(engine: StorageEngine) -> None:
    storage = engine.scope("tenant", "plugin")
    await storage.put("a", "before")
    watcher = storage.watch()
    for number in range(3):
        await storage.put("a", number)
    await storage.delete("a")
    await storage.put("b", 1)
    assert await take(watcher, 5) == [("a", 0), ("a", 1), ("a", 2), ("a", None), ("b", 1)]
    await nothing_more(watcher)


async def test_what_another_host_writes_is_seen(engine: StorageEngine, other: StorageEngine) -> None:
    await other.scope("tenant", "plugin").put("a", "before")
    watcher = engine.scope("tenant", "plugin").watch()
    storage = other.scope("tenant", "plugin")
    await storage.put("a", 1)
    await storage.put("b", 2)
    assert await take(watcher, 2) == [("a", 1), ("b", 2)]
    await storage.delete("a")
    assert await take(watcher, 1) == [("a", None)]
    await nothing_more(watcher)


async def test_a_watch_sees_its_prefix_its_plugin_and_its_tenant(engine: StorageEngine, other: StorageEngine) -> None:
    watcher = engine.scope("tenant", "plugin").watch("onu/")
    for host in (engine, other):
        for tenant, plugin in ((None, "plugin"), ("tenant", "other"), ("other", "plugin"), ("tenant", "plugin")):
            for key in ("onu", "onu/1", "olt/1"):
                await host.scope(tenant, plugin).put(key, host is engine)
    seen = await take(watcher, 2)
    assert sorted(seen) == [("onu/1", False), ("onu/1", True)] or seen == [("onu/1", False)] * 2
    await nothing_more(watcher)


async def test_a_write_between_the_call_of_watch_and_the_first_await_is_not_lost(
    engine: StorageEngine, url: str
) -> None:
    storage = engine.scope("tenant", "plugin")
    watcher = storage.watch()
    # Blocks the event loop on purpose: nothing of this process runs between the call and the write of the other one.
    subprocess.run(  # noqa: ASYNC221
        [sys.executable, WORKER, "put", url, "at once"], check=True, timeout=60
    )
    assert await take(watcher, 1) == [("at once", "from another process")]


async def test_two_hosts_that_write_one_key_show_every_watcher_the_same_end(
    engine: StorageEngine, other: StorageEngine
) -> None:
    here, there = engine.scope("tenant", "plugin"), other.scope("tenant", "plugin")
    watchers = [here.watch(), there.watch()]
    await asyncio.gather(*((here, there)[n % 2].put("key", n) for n in range(40)))
    last = await here.put("end", "end")
    final = await here.get("key")
    assert final is not None
    for watcher in watchers:
        versions: dict[str, int] = {}
        while versions.get("end") != last.version or versions.get("key") != final.version:
            change = await asyncio.wait_for(anext(watcher), 10)
            assert change.document is not None
            assert change.document.version > versions.get(change.key, 0)
            versions[change.key] = change.document.version


async def test_a_wait_that_was_given_up_loses_nothing(engine: StorageEngine) -> None:
    storage = engine.scope("tenant", "plugin")
    watcher = storage.watch()
    await nothing_more(watcher)
    await storage.put("key", 1)
    assert await take(watcher, 1) == [("key", 1)]


async def test_closing_the_store_ends_the_watchers(engine: StorageEngine) -> None:
    storage = engine.scope("tenant", "plugin")

    async def all_changes() -> list[str]:
        return [change.key async for change in storage.watch()]

    watching = asyncio.create_task(all_changes())
    await asyncio.sleep(0.05)
    await storage.put("key", 1)
    await engine.close()
    assert await asyncio.wait_for(watching, 10) == ["key"]


async def test_a_cancelled_task_leaves_no_watcher_behind(engine: StorageEngine) -> None:
    storage = engine.scope("tenant", "plugin")

    async def watch() -> None:
        async for _ in storage.watch():
            pass

    task = asyncio.create_task(watch())
    await asyncio.sleep(0.05)
    assert len(engine._hub.scopes()) == 1
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    del task
    # The event loop holds the last exception, and with it the task's frames, until its next turn.
    await asyncio.sleep(0)
    gc.collect()
    assert engine._hub.scopes() == []


async def test_aclose_ends_a_watch(engine: StorageEngine) -> None:
    storage = engine.scope("tenant", "plugin")
    watcher = storage.watch()
    waiting = asyncio.ensure_future(anext(watcher, "the end"))
    await asyncio.sleep(0.05)
    await watcher.aclose()  # type: ignore[attr-defined]
    assert await asyncio.wait_for(waiting, 10) == "the end"
    assert engine._hub.scopes() == []


async def test_a_watcher_that_is_too_slow_still_sees_the_end_of_each_key(engine: StorageEngine) -> None:
    storage = engine.scope("tenant", "plugin")
    watcher = storage.watch()
    await asyncio.gather(*(storage.put(f"key{n % 7}", n) for n in range(1500)))
    final = {one.key: one.value for one in await storage.list()}
    await storage.put("end", "end")
    seen = {}
    taken = 0
    while "end" not in seen:
        ((key, value),) = await take(watcher, 1)
        seen[key] = value
        taken += 1
    assert {key: value for key, value in seen.items() if key != "end"} == final
    assert taken < 1500


async def test_changes_are_seen_again_after_the_listening_connection_broke(
    postgres_url: str, postgres_server: Any, tmp_path: Path
) -> None:
    from dotmac_isp.plugins.core.storage import open_storage

    engine, other = [await open_storage(postgres_url, home=tmp_path) for _ in range(2)]
    watcher = engine.scope("tenant", "plugin").watch()
    await other.scope("tenant", "plugin").put("before", 1)
    assert await take(watcher, 1) == [("before", 1)]
    postgres_server.psql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE query LIKE 'LISTEN%' OR query LIKE 'SELECT extract(epoch%'"
    )
    for number in range(5):
        await other.scope("tenant", "plugin").put(f"after{number}", number)
    assert sorted(await take(watcher, 5)) == [(f"after{number}", number) for number in range(5)]
    await engine.close()
    await other.close()
