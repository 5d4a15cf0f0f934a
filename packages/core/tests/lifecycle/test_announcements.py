"""Lifecycle hooks are told in order, none is lost, and who is told may act on the very instance."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from dotmac_isp.plugins.core import PluginState, hookimpl

if TYPE_CHECKING:
    from dotmac_isp.plugins.core import PluginManager

DOOR = """
async def activate(self):
    if "open" not in open_doors:
        raise OSError("the door is shut")
"""


async def test_who_is_told_of_a_failure_may_restart_the_same_instance(host: PluginManager, vendor: Any) -> None:
    vendor.install("one", DOOR)

    class Doctor:
        @hookimpl
        async def on_failed(self, instance: Any) -> None:
            vendor.open_doors["open"] = True
            await host.restart_plugin(instance.plugin_id, tenant_id=instance.tenant_id)

    host.register(Doctor(), name="doctor", every_tenant=True)
    async with asyncio.timeout(4):  # a call may take five seconds, and would wait for itself so long
        with pytest.raises(Exception, match="shut"):
            await host.start_plugin("one", tenant_id="t")
    assert host.status("one", tenant_id="t").state is PluginState.ACTIVE


async def test_every_step_is_told_in_order_and_before_the_operation_returns(host: PluginManager, vendor: Any) -> None:
    vendor.install("one")
    told: list[str] = []

    class Diary:
        @hookimpl
        async def on_initialized(self) -> None:
            await asyncio.sleep(0.02)
            told.append("initialized")

        @hookimpl
        async def on_activated(self) -> None:
            told.append("activated")

        @hookimpl
        async def on_deactivated(self) -> None:
            await asyncio.sleep(0.02)
            told.append("deactivated")

        @hookimpl
        async def on_cleaned_up(self) -> None:
            told.append("cleaned up")

    host.register(Diary(), name="diary", every_tenant=True)
    await host.start_plugin("one", tenant_id="t")
    assert told == ["initialized", "activated"]
    await asyncio.gather(host.restart_plugin("one", tenant_id="t"), host.restart_plugin("one", tenant_id="t"))
    assert told[2:] == ["deactivated", "initialized", "activated"] * 2
    await host.unload("one", tenant_id="t")
    assert told[8:] == ["deactivated", "cleaned up"]


async def test_two_instances_whose_failures_restart_each_other_do_not_wait_for_each_other(
    host: PluginManager, vendor: Any, until: Any
) -> None:
    for name in ("one", "two"):
        vendor.install(name, DOOR)
    seen: list[str] = []

    class Doctor:
        @hookimpl
        async def on_failed(self, instance: Any) -> None:
            seen.append(instance.plugin_id)
            if len(seen) < 5:
                other = "two" if instance.plugin_id == "one" else "one"
                with pytest.raises(Exception, match="shut"):
                    await host.start_plugin(other, tenant_id="t")

    host.register(Doctor(), name="doctor", every_tenant=True)
    async with asyncio.timeout(4):
        with pytest.raises(Exception, match="shut"):
            await host.start_plugin("one", tenant_id="t")
        await until(lambda: len(seen) == 5)
    assert seen == ["one", "two", "one", "two", "one"]


async def test_what_is_told_while_the_host_stops_is_told(make_host: Any, vendor: Any) -> None:
    vendor.install("one")
    told: list[Any] = []

    class Diary:
        @hookimpl
        async def on_cleaned_up(self, instance: Any) -> None:
            await asyncio.sleep(0.01)
            told.append(str(instance))

    host = make_host()
    await host.start()
    host.register(Diary(), name="diary", every_tenant=True)
    for tenant in "abc":
        await host.start_plugin("one", tenant_id=tenant)
    await host.stop()
    assert sorted(told) == ["one@a", "one@b", "one@c"]


async def test_two_managers_on_one_loop_with_the_same_instance_do_not_end_each_others_tasks(
    make_host: Any, vendor: Any, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    vendor.install(
        "one",
        """
        async def activate(self):
            async def work():
                await asyncio.sleep(60)
            self.tasks = [asyncio.create_task(work()), self.api.spawn(work(), name="work")]
            await asyncio.sleep(0)

        async def at_work(self):
            return sum(not task.done() for task in self.tasks)

        async def crash(self):
            async def leave():
                sys.exit(3)
            await asyncio.wait([asyncio.create_task(leave())])
            return True
        """,
    )
    other_home = tmp_path / "other"
    other_home.mkdir()
    first, second = make_host(), make_host(home=other_home)
    await first.start()
    await second.start()
    for host in (first, second):
        await host.start_plugin("one", tenant_id="t")
        assert host.status("one", tenant_id="t").tasks == 2
    for host in (first, second):
        assert await host.get("one", tenant_id="t").crash(), "its own keeper fences it"
    assert sum("crash failed: SystemExit" in text for text in caplog.messages) == 2
    await first.unload("one", tenant_id="t")
    assert await second.get("one", tenant_id="t").at_work() == 2
    await first.stop()
    assert await second.get("one", tenant_id="t").at_work() == 2
    assert second.status("one", tenant_id="t").tasks == 2
    await second.stop()
