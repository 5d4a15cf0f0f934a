"""The fence: plugin code has a task of its own, at no cost while it does not suspend, and nothing that it raises passes by itself."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
from typing import TYPE_CHECKING, Any

import pytest

from dotmac_isp.plugins.core.errors import CallError
from dotmac_isp.plugins.core.model import FailureKind

if TYPE_CHECKING:
    from dotmac_isp.plugins.core import PluginManager

BASE_EXCEPTIONS = ["SystemExit(3)", "KeyboardInterrupt()", "GeneratorExit()", "vendor_journal.open_doors['odd']()"]


async def started(host: PluginManager, vendor: Any, body: str, **options: Any) -> Any:
    vendor.install("one", body, **options)
    await host.start_plugin("one", tenant_id="t")
    return host.get("one", tenant_id="t")


async def test_a_call_that_does_not_suspend_makes_no_task(host: PluginManager, vendor: Any) -> None:
    one = await started(host, vendor, "async def work(self):\n    return asyncio.current_task()")
    first = await one.work()
    before = asyncio.all_tasks()
    for _ in range(50):
        assert await one.work() is first, "the parked task serves again"
    assert asyncio.all_tasks() == before
    assert first is not asyncio.current_task(), "plugin code never has its caller's task"


async def test_the_task_is_the_same_before_and_after_the_code_suspends(host: PluginManager, vendor: Any) -> None:
    one = await started(
        host,
        vendor,
        """
        async def work(self):
            before = asyncio.current_task()
            await asyncio.sleep(0)
            between = asyncio.current_task()
            await asyncio.sleep(0.001)
            return before is between is asyncio.current_task(), before
        """,
    )
    first, second = await asyncio.gather(one.work(), one.work())
    assert first[0]
    assert second[0]
    assert first[1] is not second[1]
    assert asyncio.current_task() not in (first[1], second[1])


async def test_time_limits_and_task_groups_inside_plugin_code_work_and_leave_the_caller_alone(
    host: PluginManager, vendor: Any
) -> None:
    one = await started(
        host,
        vendor,
        """
        async def limited(self):
            try:
                async with asyncio.timeout(0.01):
                    await asyncio.sleep(5)
            except TimeoutError:
                return "timed out"

        async def already_late(self):
            try:
                async with asyncio.timeout(0):
                    await asyncio.sleep(5)
            except TimeoutError:
                return "timed out"

        async def group(self):
            async def fails():
                await asyncio.sleep(0)
                raise ValueError("a child")
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(fails())
                    tasks.create_task(asyncio.sleep(5))
            except* ValueError:
                said.append("group")
            await asyncio.sleep(0)
            return "done"

        async def gathered(self):
            return await asyncio.gather(asyncio.sleep(0, 1), asyncio.wait_for(asyncio.sleep(0, 2), 1))
        """,
    )
    assert await one.limited() == "timed out"
    assert await one.already_late() == "timed out"
    assert await one.group() == "done"
    assert await one.gathered() == [1, 2]
    assert vendor.said == ["group"]
    caller = asyncio.current_task()
    assert caller is not None
    assert not caller.cancelling()


async def test_scopes_of_anyio_inside_plugin_code_work(host: PluginManager, vendor: Any) -> None:
    pytest.importorskip("anyio", reason="anyio is not installed")
    one = await started(
        host,
        vendor,
        """
        async def work(self):
            with anyio.move_on_after(0.01) as scope:
                await anyio.sleep(5)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(anyio.sleep, 5)
                tasks.cancel_scope.cancel()
            return scope.cancelled_caught
        """,
        module="import anyio",
    )
    assert await one.work() is True
    assert await one.work() is True


SOMETHING: contextvars.ContextVar[str] = contextvars.ContextVar("something", default="default")


async def test_context_variables_reach_the_plugin_and_what_it_sets_stays_with_it(
    host: PluginManager, vendor: Any
) -> None:
    vendor.open_doors["variable"] = SOMETHING
    one = await started(
        host,
        vendor,
        """
        async def work(self, pause):
            seen = [open_doors["variable"].get()]
            token = open_doors["variable"].set("plugin")
            if pause:
                await asyncio.sleep(0)
            seen.append(open_doors["variable"].get())
            return seen
        """,
    )
    SOMETHING.set("host")
    assert await one.work(False) == ["host", "plugin"]
    assert await one.work(True) == ["host", "plugin"]
    assert SOMETHING.get() == "host"


async def test_two_plugins_may_wait_for_the_same_future(host: PluginManager, vendor: Any) -> None:
    future = asyncio.get_running_loop().create_future()
    vendor.open_doors["future"] = future
    for name in ("one", "two", "three"):
        vendor.install(name, "async def work(self):\n    return await open_doors['future']")
        await host.start_plugin(name, tenant_id="t")
    calls = [asyncio.ensure_future(host.get(name, tenant_id="t").work()) for name in ("one", "two", "three", "one")]
    await asyncio.sleep(0.01)
    future.set_result("there")
    assert await asyncio.gather(*calls) == ["there"] * 4


async def test_cancelling_the_caller_cancels_the_plugins_code(host: PluginManager, vendor: Any, until: Any) -> None:
    one = await started(
        host,
        vendor,
        """
        async def work(self):
            try:
                said.append("begins")
                await asyncio.sleep(5)
            except asyncio.CancelledError:
                said.append("cancelled")
                raise
            finally:
                await asyncio.sleep(0)
                said.append("ends")
        """,
    )
    call = asyncio.ensure_future(one.work())
    await until(lambda: vendor.said == ["begins"])
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await until(lambda: vendor.said == ["begins", "cancelled", "ends"])


async def test_cancelling_the_caller_before_the_plugins_task_had_a_turn_cancels_the_code_all_the_same(
    host: PluginManager, vendor: Any, until: Any
) -> None:
    one = await started(
        host,
        vendor,
        """
        async def work(self):
            open_doors["caller"].cancel()
            try:
                await asyncio.sleep(5)
            except asyncio.CancelledError:
                said.append("cancelled")
                raise
        """,
    )
    calls = []
    for _ in range(3):  # the second finds parked tasks that had their turn
        call: asyncio.Task[Any] = asyncio.ensure_future(one.work())
        vendor.open_doors["caller"] = call
        calls.append(call)
        with pytest.raises(asyncio.CancelledError):
            await call
    await until(lambda: vendor.said == ["cancelled"] * 3)


async def test_plugin_code_that_cancels_its_own_task_is_a_failed_call_and_nothing_more(
    host: PluginManager, vendor: Any
) -> None:
    one = await started(
        host,
        vendor,
        """
        async def at_once(self):
            asyncio.current_task().cancel()
            await asyncio.sleep(5)

        async def later(self):
            await asyncio.sleep(0)
            asyncio.current_task().cancel()
            await asyncio.sleep(5)

        async def not_waited_for(self):
            asyncio.current_task().cancel()
            return 1

        async def taken_back(self):
            asyncio.current_task().cancel()
            asyncio.current_task().uncancel()
            return 2

        async def child(self):
            child = asyncio.ensure_future(asyncio.sleep(5))
            asyncio.current_task().cancel()
            try:
                await child
            except asyncio.CancelledError:
                return child.cancelled()

        async def fine(self):
            await asyncio.sleep(0)
            return "fine"
        """,
    )
    async with asyncio.timeout(3):
        for _ in range(2):
            for method in (one.at_once, one.later):
                with pytest.raises(CallError) as caught:
                    await method()
                assert caught.value.failure is not None
                assert caught.value.failure.kind is FailureKind.CANCELLED
            assert await one.not_waited_for() == 1
            assert await one.fine() == "fine"
            assert await one.taken_back() == 2
            assert await one.fine() == "fine"
            assert await one.child() is True, "what it waits for is cancelled, as asyncio does it"
            assert await one.fine() == "fine"


@pytest.mark.parametrize("what", BASE_EXCEPTIONS)
@pytest.mark.parametrize("when", ["first", "later"])
async def test_what_would_end_the_program_ends_only_the_call(
    host: PluginManager, vendor: Any, what: str, when: str
) -> None:
    class Odd(BaseException):
        pass

    vendor.open_doors["odd"] = Odd
    pause = "await asyncio.sleep(0)" if when == "later" else "pass"
    one = await started(
        host,
        vendor,
        f"async def work(self):\n    {pause}\n    raise {what}\nasync def fine(self):\n    return 1",
    )
    with pytest.raises(CallError) as caught:
        await one.work()
    failure = caught.value.failure
    assert failure is not None
    assert failure.kind is FailureKind.CRASHED
    assert failure.error_type in str(type(caught.value.__cause__))
    assert "one@t work" in str(caught.value)
    assert await one.fine() == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("what", BASE_EXCEPTIONS[:3])
@pytest.mark.parametrize("how", ["asyncio.create_task(bad())", "self.api.spawn(bad(), name='bad')", "group"])
async def test_what_would_end_the_program_ends_only_the_plugins_task(
    host: PluginManager, vendor: Any, what: str, how: str, until: Any
) -> None:
    make = (
        "try:\n        async with asyncio.TaskGroup() as group:\n            group.create_task(bad())\n"
        "    except BaseException as error:\n        said.append('group ' + type(error).__name__)"
        if how == "group"
        else f"self.task = {how}"
    )
    one = await started(
        host,
        vendor,
        f"async def work(self):\n    {make}\n    return 1\nasync def fine(self):\n    return 2",
        module=f"""
        async def bad():
            await asyncio.sleep(0)
            said.append("bad")
            raise {what}
        """,
    )
    assert await one.work() == 1
    await until(lambda: "bad" in vendor.said)
    await asyncio.sleep(0.01)
    assert await one.fine() == 2
    if "GeneratorExit" not in what:
        assert any(
            record.outcome == "failed" and record.plugin_id == "one" and what.split("(", maxsplit=1)[0] in record.detail
            for record in host.audit.latest(tenant_id="t")
        )
    await host.unload("one", tenant_id="t")
    gc.collect()


async def test_what_spawned_work_raises_is_reported_and_its_task_gives_none(
    host: PluginManager, vendor: Any, until: Any
) -> None:
    one = await started(
        host,
        vendor,
        """
        async def work(self, error):
            async def bad():
                raise error
            return await self.api.spawn(bad(), name="the sender")
        """,
    )
    assert await one.work(ValueError("no route")) is None
    assert await one.work(SystemExit("enough")) is None
    failures = [record for record in host.audit.latest(tenant_id="t") if record.outcome == "failed"]
    assert [record.action for record in failures] == ["task the sender", "task the sender"]
    assert "ValueError: no route" in failures[0].detail
    assert "SystemExit: enough" in failures[1].detail


async def test_an_error_that_cannot_even_be_shown_is_a_failed_call_too(host: PluginManager, vendor: Any) -> None:
    one = await started(
        host,
        vendor,
        """
        async def work(self, pause):
            if pause:
                await asyncio.sleep(0)
            raise Mute("x")

        async def spawned(self):
            async def bad():
                raise Mute("x")
            return await self.api.spawn(bad(), name="mute")

        async def discover_devices(self):
            raise Mute("x")

        async def fine(self):
            return 1
        """,
        module="""
        class Mute(Exception):
            def __str__(self):
                raise RuntimeError("no text")
            __repr__ = __str__
        """,
    )
    for pause in (False, True):
        with pytest.raises(Exception) as caught:  # noqa: PT011 - the plugin's own
            await one.work(pause)
        assert type(caught.value).__name__ == "Mute"
    results = await host.hooks("t").discover_devices()
    assert "Mute" in results.failures[0].message
    assert await one.spawned() is None
    assert await one.fine() == 1


async def test_awaitables_of_every_kind_are_awaited(host: PluginManager, vendor: Any) -> None:
    one = await started(
        host,
        vendor,
        """
        def future(self):
            future = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(future.set_result, 1)
            return future

        def done(self):
            future = asyncio.get_running_loop().create_future()
            future.set_result(2)
            return future

        def task(self):
            return asyncio.ensure_future(asyncio.sleep(0, 3))

        def own(self):
            return Own()

        def plain(self):
            return 5

        def stops(self):
            raise StopIteration("odd")
        """,
        module="""
        class Own:
            def __await__(self):
                yield from asyncio.sleep(0).__await__()
                return 4
        """,
    )
    assert [await one.future(), await one.done(), await one.task(), await one.own(), await one.plain()] == [
        1,
        2,
        3,
        4,
        5,
    ]
    with pytest.raises((CallError, RuntimeError)):
        await one.stops()


async def test_plugins_that_call_each_other_keep_their_own_tasks(host: PluginManager, vendor: Any) -> None:
    vendor.install(
        "outer",
        """
        async def work(self, pause):
            before = asyncio.current_task()
            results = await self.api.hooks.collect_metrics(resource_ids=[str(pause)])
            return before is asyncio.current_task(), before is not results[0]["task"]
        """,
    )
    vendor.install(
        "inner",
        """
        async def collect_metrics(self, resource_ids):
            if resource_ids == ["True"]:
                await asyncio.sleep(0)
            return {"task": asyncio.current_task()}
        """,
    )
    for name in ("outer", "inner"):
        await host.start_plugin(name, tenant_id="t")
    for pause in (False, True):
        assert await host.get("outer", tenant_id="t").work(pause) == (True, True)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
async def test_a_loop_that_makes_eager_tasks_is_served_as_well(make_host: Any, vendor: Any) -> None:
    loop = asyncio.get_running_loop()
    former = loop.get_task_factory()
    loop.set_task_factory(asyncio.eager_task_factory)
    try:
        async with make_host() as host:
            one = await started(
                host,
                vendor,
                """
                async def group(self):
                    async def fails():
                        raise ValueError("at once")
                    try:
                        async with asyncio.TaskGroup() as tasks:
                            tasks.create_task(fails())
                    except* ValueError:
                        pass
                    return "came back"

                async def exits(self):
                    async def leave():
                        sys.exit(3)
                    task = asyncio.create_task(leave())
                    try:
                        await task
                    except Exception as error:
                        return type(error).__name__

                async def fine(self):
                    await asyncio.sleep(0)
                    return asyncio.current_task()
                """,
            )
            async with asyncio.timeout(3):
                for _ in range(3):
                    assert await one.group() == "came back"
                    assert await one.fine() is not asyncio.current_task()
                assert await one.exits() == "PluginTaskCrash"
                assert asyncio.current_task() is not None
        assert loop.get_task_factory() is asyncio.eager_task_factory
    finally:
        loop.set_task_factory(former)
