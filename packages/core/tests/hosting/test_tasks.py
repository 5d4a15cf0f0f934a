"""The tasks that plugin code makes belong to its instance and end with it; code that blocks the loop is named."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgspec
import pytest

from dotmac_isp.plugins.core import PluginManager, PluginState

WORKER = """
async def activate(self):
    async def work(name):
        try:
            await asyncio.sleep(60)
        finally:
            said.append(name)
    self.task = asyncio.create_task(work("created"))
    self.api.spawn(work("spawned"), name="worker")
    await asyncio.sleep(0)
"""


async def test_the_tasks_of_an_instance_end_with_it_and_only_those(host: PluginManager, vendor: Any) -> None:
    vendor.install("one", WORKER)
    mine = asyncio.ensure_future(asyncio.sleep(60))
    for tenant in ("a", "b"):
        await host.start_plugin("one", tenant_id=tenant)
        assert host.status("one", tenant_id=tenant).tasks == 2
    await host.stop_plugin("one", tenant_id="a")
    assert sorted(vendor.said) == ["created", "spawned"]
    assert host.status("one", tenant_id="a").tasks == 0
    assert host.status("one", tenant_id="b").tasks == 2
    assert not mine.done()
    mine.cancel()


@pytest.mark.parametrize("step", ["initialize", "activate"])
async def test_the_tasks_of_a_failed_step_end_with_it(host: PluginManager, vendor: Any, step: str) -> None:
    vendor.install("one", WORKER.replace("activate", step) + "    raise ValueError('no')\n")
    with pytest.raises(Exception, match="no"):
        await host.start_plugin("one", tenant_id="t")
    assert sorted(vendor.said) == ["created", "spawned"]
    assert host.status("one", tenant_id="t").tasks == 0


async def test_a_task_that_ignores_its_cancellation_is_named(host: PluginManager, vendor: Any, until: Any) -> None:
    vendor.install(
        "one",
        """
        async def activate(self):
            async def stubborn():
                while "enough" not in open_doors:
                    try:
                        await asyncio.sleep(0.02)
                    except asyncio.CancelledError:
                        pass
                said.append("ended")
            self.api.spawn(stubborn(), name="the stubborn one")
            await asyncio.sleep(0)
        """,
    )
    await host.start_plugin("one", tenant_id="t")
    await host.stop_plugin("one", tenant_id="t")
    assert host.status("one", tenant_id="t").state is PluginState.INITIALIZED
    (record,) = [one for one in host.audit.latest(tenant_id="t") if one.outcome == "ignores cancellation"]
    assert "the stubborn one" in record.detail
    assert record.plugin_id == "one"
    vendor.open_doors["enough"] = True
    await until(lambda: vendor.said == ["ended"])


async def test_tasks_spawned_during_cleanup_end_too(host: PluginManager, vendor: Any) -> None:
    vendor.install(
        "one",
        "async def cleanup(self):\n    self.api.spawn(asyncio.sleep(60), name='late')\n    await asyncio.sleep(0)",
    )
    await host.start_plugin("one", tenant_id="t")
    before = asyncio.all_tasks()
    await host.unload("one", tenant_id="t")
    left = {task.get_name() for task in asyncio.all_tasks() - before if not task.done()}
    assert left <= {"dotmac-fence"}, "only a parked task, which waits for the next call"


async def test_code_that_is_still_about_after_the_end_cannot_begin_anything(
    host: PluginManager, vendor: Any, until: Any
) -> None:
    vendor.install(
        "one",
        """
        async def activate(self):
            def late():
                try:
                    self.api.spawn(asyncio.sleep(60), name="the late one")
                except Exception as error:
                    said.append(str(error))
            asyncio.get_running_loop().call_later(0.05, late)
        """,
    )
    await host.start_plugin("one", tenant_id="t")
    await host.unload("one", tenant_id="t")
    await until(lambda: vendor.said)
    assert vendor.said == ["one was released for tenant t; the late one cannot be spawned"]


async def test_the_hosts_own_tasks_are_left_alone(host: PluginManager, vendor: Any) -> None:
    task = asyncio.create_task(asyncio.sleep(0, 7), name="mine")
    assert await task == 7

    async def leave() -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await asyncio.create_task(leave())


async def test_the_factory_gives_way_to_the_former_one(make_host: Any, vendor: Any) -> None:
    loop = asyncio.get_running_loop()
    made = []

    def factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
        made.append(coro.__qualname__)
        return asyncio.Task(coro, loop=loop, **options)

    former = loop.get_task_factory()
    loop.set_task_factory(factory)  # type: ignore[arg-type]
    try:
        async with make_host():
            assert loop.get_task_factory() is not factory
            made.clear()
            await asyncio.create_task(asyncio.sleep(0))
            assert made == ["sleep"], "it still makes the tasks"
        assert loop.get_task_factory() is factory
    finally:
        loop.set_task_factory(former)


async def test_a_factory_that_somebody_put_in_front_later_stays(make_host: Any, vendor: Any) -> None:
    loop = asyncio.get_running_loop()
    former = loop.get_task_factory()
    host = make_host()
    await host.start()
    inner = loop.get_task_factory()

    def factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
        assert inner is not None
        return inner(loop, coro, **options)  # type: ignore[arg-type]

    loop.set_task_factory(factory)  # type: ignore[arg-type]
    try:
        await host.stop()
        assert loop.get_task_factory() is factory
        assert await asyncio.create_task(asyncio.sleep(0, 3)) == 3
    finally:
        loop.set_task_factory(former)


@pytest.mark.parametrize("where", ["first", "later", "task", "step"])
async def test_code_that_blocks_the_loop_is_reported_once_with_plugin_seconds_and_stack(
    make_host: Any, vendor: Any, where: str, caplog: pytest.LogCaptureFixture, until: Any
) -> None:
    from dotmac_isp.plugins.core import Limits

    vendor.install(
        "one",
        f"""
        async def {"activate" if where == "step" else "work"}(self):
            if {where == "later"}:
                await asyncio.sleep(0)
            if {where == "task"}:
                async def in_a_task():
                    busy_bees()
                await asyncio.create_task(in_a_task())
            else:
                busy_bees()
        """,
        module="def busy_bees():\n    time.sleep(0.7)\n",
    )
    limits = msgspec.structs.replace(Limits(), blocking=0.2)
    with caplog.at_level(logging.ERROR, logger="dotmac.host"):
        async with make_host(limits=limits) as host:
            await host.start_plugin("one", tenant_id="t")
            if where != "step":
                await host.get("one", tenant_id="t").work()
            await until(lambda: any(one.outcome == "blocked" for one in host.audit.latest(everything=True)))
            await asyncio.sleep(0.3)
            records = [one for one in host.audit.latest(everything=True) if one.outcome == "blocked"]
    (record,) = records
    assert (record.plugin_id, record.tenant_id) == ("one", "t")
    assert "busy_bees" in record.detail
    assert "time.sleep(0.7)" in record.detail
    (line,) = [one.getMessage() for one in caplog.records if "blocked" in one.getMessage()]
    assert "one@t" in line
    assert " s by " in line


async def test_nothing_is_left_after_stop(make_host: Any, vendor: Any) -> None:
    vendor.install("one", WORKER)
    before = asyncio.all_tasks()
    async with make_host() as host:
        for number in range(5):
            await host.start_plugin("one", tenant_id=f"t{number}")
        await asyncio.gather(*(host.hooks(f"t{number}").discover_devices() for number in range(5)))
    await asyncio.sleep(0)
    assert {task for task in asyncio.all_tasks() if not task.done()} <= before
