"""The hook caller: pluggy's order, first results over synchronous and asynchronous answers, wrappers, arguments, typed results."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pluggy
import pytest

from dotmac_isp.plugins.core import HookResults, Limits, PluginContext, hookimpl
from dotmac_isp.plugins.core.errors import HookError, PermissionDeniedError, PluginError, StepError
from dotmac_isp.plugins.core.model import FailureKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dotmac_isp.plugins.core import PluginManager


def answers(name: str, options: str = "") -> str:
    return f"{options}\nasync def discover_devices(self, context):\n    said.append({name!r})\n    return [{{'by': {name!r}}}]"


# order


async def test_the_order_is_pluggys_last_come_first_with_tryfirst_and_trylast(
    host: PluginManager, run: Any, vendor: Any
) -> None:
    for name, options in [
        ("a", ""),
        ("first", "@hookimpl(tryfirst=True)"),
        ("b", ""),
        ("last", "@hookimpl(trylast=True)"),
        ("c", ""),
    ]:
        await run(name, answers(name, options))
    results = await host.hooks("t").discover_devices()
    expected = ["first", "c", "b", "a", "last"]
    assert vendor.said == expected
    assert [one[0]["by"] for one in results] == expected
    assert list(results.by_plugin) == expected

    class Spec:
        @pluggy.HookspecMarker("x")
        def who(self) -> str: ...

    manager = pluggy.PluginManager("x")
    manager.add_hookspecs(Spec)
    mark = pluggy.HookimplMarker("x")
    for name, chosen in [("a", {}), ("first", {"tryfirst": True}), ("b", {}), ("last", {"trylast": True}), ("c", {})]:
        body = mark(**chosen)(lambda self, name=name: name)  # type: ignore[call-overload]
        manager.register(type(name, (), {"who": body})(), name=name)
    assert manager.hook.who() == expected


async def test_a_first_result_is_the_first_that_is_not_none_over_synchronous_and_asynchronous_answers(
    host: PluginManager, run: Any, vendor: Any
) -> None:
    for name, body in [
        (
            "never",
            "async def get_device_status(self, device_id):\n    said.append('never')\n    return {'by': 'never'}",
        ),
        ("sync", "def get_device_status(self, device_id):\n    said.append('sync')\n    return {'by': 'sync'}"),
        (
            "slow",
            "async def get_device_status(self, device_id):\n    await asyncio.sleep(0)\n    said.append('slow')\n    return None",
        ),
        ("none", "async def get_device_status(self, device_id):\n    said.append('none')"),
        ("sync_none", "def get_device_status(self, device_id):\n    said.append('sync_none')"),
    ]:
        await run(name, body)
    assert await host.hooks("t").get_device_status(device_id="olt") == {"by": "sync"}
    assert vendor.said == ["sync_none", "none", "slow", "sync"]


async def test_falsy_answers_are_answers(host: PluginManager, run: Any) -> None:
    await run("yes", "async def configure_device(self, device_id, config):\n    return True")
    await run("no", "async def configure_device(self, device_id, config):\n    return False")
    assert await host.hooks("t").configure_device(device_id="x", config={}) is False
    await run("empty", "async def discover_devices(self):\n    return []")
    results = await host.hooks("t").discover_devices()
    assert list(results) == [[]]


async def test_none_answers_are_left_out_of_the_results(host: PluginManager, run: Any) -> None:
    await run("one", "async def discover_devices(self):\n    return None")
    await run("two", "async def discover_devices(self):\n    await asyncio.sleep(0)")
    await run("three", answers("three"))
    results = await host.hooks("t").discover_devices()
    assert results.by_plugin == {"three": [{"by": "three"}]}
    assert results.failures == ()
    assert isinstance(results, HookResults)


async def test_without_implementations_there_is_nothing(host: PluginManager) -> None:
    assert len(await host.hooks("t").discover_devices()) == 0
    assert await host.hooks("t").get_device_status(device_id="x") is None


async def test_one_that_fails_does_not_stop_the_others_and_results_say_who_failed(
    host: PluginManager, run: Any
) -> None:
    await run("good", answers("good"))
    await run("bad", "async def discover_devices(self):\n    raise OSError('line cut')")
    await run("late", "async def discover_devices(self):\n    await asyncio.sleep(0)\n    sys.exit(2)")
    results = await host.hooks("t").discover_devices()
    assert results.by_plugin == {"good": [{"by": "good"}]}
    assert {failure.plugin_id: failure.kind for failure in results.failures} == {
        "bad": FailureKind.ERROR,
        "late": FailureKind.CRASHED,
    }
    assert "line cut" in repr(results)


async def test_a_first_result_passes_over_failures_and_raises_when_nobody_answers(
    host: PluginManager, run: Any
) -> None:
    await run("bad", "async def get_device_status(self, device_id):\n    raise OSError('line cut')")
    with pytest.raises(
        HookError, match=r"get_device_status: no plugin of tenant t answered, and bad failed: .*line cut"
    ) as caught:
        await host.hooks("t").get_device_status(device_id="x")
    assert [failure.plugin_id for failure in caught.value.failures] == ["bad"]
    await run(
        "worse", "async def get_device_status(self, device_id):\n    await asyncio.sleep(0)\n    raise OSError('too')"
    )
    vendor_answers = "@hookimpl(trylast=True)\ndef get_device_status(self, device_id):\n    return {'by': 'good'}"
    await run("good", vendor_answers)
    assert await host.hooks("t").get_device_status(device_id="x") == {"by": "good"}


async def test_implementations_that_suspend_wait_side_by_side(host: PluginManager, run: Any, vendor: Any) -> None:
    vendor.open_doors["barrier"] = asyncio.Barrier(4)
    for number in range(4):
        await run(
            f"p{number}",
            "async def discover_devices(self):\n    await open_doors['barrier'].wait()\n    return [self.api.plugin_id]",
        )
    async with asyncio.timeout(3):
        results = await host.hooks("t").discover_devices()
    assert list(results) == [["p3"], ["p2"], ["p1"], ["p0"]], "in call order, whoever ends first"


async def test_cancelling_the_caller_ends_all_that_suspended(
    host: PluginManager, run: Any, vendor: Any, until: Any
) -> None:
    for number in range(3):
        await run(
            f"p{number}",
            """
            async def discover_devices(self):
                try:
                    said.append("waits")
                    await asyncio.sleep(60)
                finally:
                    said.append("ends")
            """,
        )
    call = asyncio.ensure_future(host.hooks("t").discover_devices())
    await until(lambda: len(vendor.said) == 3)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await until(lambda: vendor.said.count("ends") == 3)
    metrics = host.telemetry.instance("p0", "t").operation("discover_devices")
    assert metrics.calls == 1
    await host.stop_plugin("p0", tenant_id="t")  # does not wait for calls that nobody waits for


# arguments


async def test_implementations_take_the_arguments_that_they_want(host: PluginManager, run: Any, vendor: Any) -> None:
    await run(
        "all",
        "async def configure_device(self, device_id, config, context):\n    said.append((device_id, config, context.tenant_id))",
    )
    await run("some", "async def configure_device(self, config):\n    said.append(config)")
    await run("none", "async def configure_device(self):\n    said.append('nothing')")
    await run(
        "defaults",
        "async def configure_device(self, config, device_id='default', context=None):\n    said.append((config, device_id, context.tenant_id))",
    )
    assert await host.hooks("t").configure_device(device_id="d", config={"a": 1}) is None
    assert vendor.said == [({"a": 1}, "d", "t"), "nothing", {"a": 1}, ("d", {"a": 1}, "t")]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "lacks device_id; it takes context, device_id"),
        ({"device": "x"}, "lacks device_id and got unknown device;"),
        ({"device_id": "x", "more": 1}, "got unknown more;"),
    ],
)
async def test_wrong_arguments_of_the_caller_are_named(host: PluginManager, arguments: Any, said: str) -> None:
    with pytest.raises(TypeError, match=rf"hook get_device_status {said}"):
        await host.hooks("t").get_device_status(**arguments)


async def test_a_context_that_is_none_is_told_so(host: PluginManager) -> None:
    with pytest.raises(TypeError, match=r"context must be a PluginContext or None, and is of type dict"):
        await host.hooks("t").discover_devices(context={"tenant_id": "t"})


async def test_a_hook_that_does_not_exist_is_told_with_those_that_do(host: PluginManager) -> None:
    with pytest.raises(AttributeError, match=r"there is no hook 'discover_device'; the hooks are .*discover_devices"):
        _ = host.hooks("t").discover_device


async def test_an_implementation_with_an_argument_that_the_hook_lacks_fails_the_load_with_its_name(
    host: PluginManager, vendor: Any
) -> None:
    vendor.install("one", "async def discover_devices(self, devices):\n    return []")
    with pytest.raises(PluginError, match=r"(?s)discover_devices.*devices"):
        await host.load("one", tenant_id="t")
    assert "devices" in host.status("one", tenant_id="t").reason


@pytest.mark.parametrize("kind", ["wrapper=True", "hookwrapper=True"])
async def test_an_asynchronous_wrapper_is_refused_with_the_reason(host: PluginManager, vendor: Any, kind: str) -> None:
    vendor.install("one", f"@hookimpl({kind})\nasync def discover_devices(self):\n    result = yield\n")
    with pytest.raises(PluginError, match=r"generator function") as caught:
        await host.load("one", tenant_id="t")
    assert isinstance(caught.value, StepError)
    assert "discover_devices" in str(caught.value)
    assert "generator function" in host.status("one", tenant_id="t").reason


# contexts


async def test_the_context_is_made_and_completed(host: PluginManager, run: Any, vendor: Any) -> None:
    await run("one", "async def discover_devices(self, context):\n    said.append(context)")
    await host.hooks("t").discover_devices()
    await host.hooks("t").discover_devices(context=PluginContext(user_id="u", roles=("admin",)))
    whole = PluginContext.within(5, tenant_id="t", request_id="mine")
    await host.hooks("t").discover_devices(context=whole)
    made, completed, same = vendor.said
    assert (made.tenant_id, completed.tenant_id) == ("t", "t")
    assert made.request_id
    assert 0 < made.remaining <= Limits().call
    assert 0 < completed.remaining <= Limits().call
    assert completed.request_id != made.request_id
    assert (completed.user_id, completed.roles) == ("u", ("admin",))
    assert same is whole


@pytest.mark.parametrize(("called", "given"), [("t", "other"), (None, "other")])
async def test_a_context_of_another_tenant_is_refused(
    host: PluginManager, run: Any, vendor: Any, called: str | None, given: str
) -> None:
    one = await run("one", "async def discover_devices(self):\n    said.append('called')", tenant_id=called)
    with pytest.raises(PermissionDeniedError, match=r"a context of tenant other came with a call to tenant"):
        await host.hooks(called).discover_devices(context=PluginContext(tenant_id=given))
    with pytest.raises(PermissionDeniedError, match=r"leave its tenant_id out"):
        await one.discover_devices(context=PluginContext(tenant_id=given))
    assert vendor.said == []


# what is an implementation


async def test_marked_methods_of_other_names_and_disowned_hooks(host: PluginManager, run: Any, vendor: Any) -> None:
    await run(
        "one",
        """
        discover_devices = None

        @hookimpl(specname="get_device_status")
        async def look(self, device_id):
            return {"by": "look"}

        @property
        def not_our_business(self):
            said.append("ran")
            raise ValueError

        @staticmethod
        def create_alert(alert_data):
            return "static"
        """,
    )
    assert list(await host.hooks("t").discover_devices()) == []
    assert await host.hooks("t").get_device_status(device_id="x") == {"by": "look"}
    assert await host.hooks("t").create_alert(alert_data={}) == "static"
    assert vendor.said == []


async def test_the_hosts_own_implementations_take_part(host: PluginManager, run: Any) -> None:
    class Own:
        @hookimpl
        async def discover_devices(self, context: PluginContext) -> list[Any]:
            return [context.tenant_id]

        async def get_device_status(self) -> dict[str, Any]:  # no marker: not one
            return {}

    host.register(Own(), name="everywhere", every_tenant=True)
    host.register(Own(), name="only_t", tenant_id="t")
    assert (await host.hooks("t").discover_devices()).by_plugin == {"only_t": ["t"], "everywhere": ["t"]}
    assert (await host.hooks("u").discover_devices()).by_plugin == {"everywhere": ["u"]}
    assert await host.hooks("t").get_device_status(device_id="x") is None
    with pytest.raises(PluginError, match=r"'only_t' is registered already"):
        host.register(Own(), name="only_t", tenant_id="t")
    with pytest.raises(PluginError, match=r"'only_t' is registered already"):
        host.register(Own(), name="only_t", every_tenant=True)
    assert set((await host.hooks("t").discover_devices()).by_plugin) == {"only_t", "everywhere"}
    host.unregister("only_t")
    host.unregister("only_t")
    host.unregister("everywhere")
    for tenant in ("t", "u", "later"):
        assert len(await host.hooks(tenant).discover_devices()) == 0


# wrappers


class Wrapper:
    """A host's wrapper around `discover_devices`, made of one generator function."""

    def __init__(self, function: Any) -> None:
        self._function = function

    @hookimpl(wrapper=True)
    def discover_devices(self, context: PluginContext) -> Iterator[Any]:
        return (yield from self._function(context))


class OldWrapper(Wrapper):
    @hookimpl(hookwrapper=True)
    def discover_devices(self, context: PluginContext) -> Iterator[Any]:
        yield from self._function(context)


async def test_wrappers_see_the_awaited_result_and_may_change_it(host: PluginManager, run: Any) -> None:
    await run("slow", "async def discover_devices(self):\n    await asyncio.sleep(0)\n    return ['slow']")
    seen: list[Any] = []

    def inner(context: PluginContext) -> Any:
        seen.append("inner in")
        result = yield
        seen.append(("inner out", result.by_plugin))
        return HookResults([*result.by_plugin.items(), ("inner", ["added"])])

    def outer(context: PluginContext) -> Any:
        seen.append("outer in")
        box = yield
        seen.append(("outer out", box.get_result().by_plugin))
        box.force_result(HookResults([("outer", [context.tenant_id])]))

    host.register(Wrapper(inner), name="inner", tenant_id="t")
    host.register(OldWrapper(outer), name="outer", tenant_id="t")
    results = await host.hooks("t").discover_devices()
    assert seen == [
        "outer in",
        "inner in",
        ("inner out", {"slow": ["slow"]}),
        ("outer out", {"slow": ["slow"], "inner": ["added"]}),
    ]
    assert results.by_plugin == {"outer": ["t"]}


async def test_a_wrapper_of_a_first_result_changes_it(host: PluginManager, run: Any) -> None:
    await run("one", "async def get_device_status(self, device_id):\n    await asyncio.sleep(0)\n    return {'n': 1}")
    await run(
        "two",
        "@hookimpl(wrapper=True)\ndef get_device_status(self, device_id):\n    result = yield\n    return {**result, 'seen': device_id}",
    )
    assert await host.hooks("t").get_device_status(device_id="d") == {"n": 1, "seen": "d"}


def _raises_in_set_up(context: PluginContext) -> Any:
    raise ValueError("the wrapper's own")
    yield


def _raises_in_teardown(context: PluginContext) -> Any:
    yield
    raise ValueError("the wrapper's own")


def _yields_twice(context: PluginContext) -> Any:
    result = yield
    yield
    return result


def _never_yields(context: PluginContext) -> Any:
    return None
    yield


def _returns_nothing(context: PluginContext) -> Any:
    yield


def _exits(context: PluginContext) -> Any:
    yield
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (_raises_in_set_up, "the wrapper's own"),
        (_raises_in_teardown, "the wrapper's own"),
        (_yields_twice, "yielded twice; it must yield exactly once"),
        (_never_yields, "did not yield; it must yield exactly once"),
        (_returns_nothing, "must return HookResults, and returned NoneType"),
        (_exits, "3"),
    ],
)
async def test_a_wrapper_that_fails_is_reported_and_left_out(
    host: PluginManager, run: Any, function: Any, said: str
) -> None:
    await run("one", answers("one"))
    await run("bad", "async def discover_devices(self):\n    raise OSError('x')")
    await run(
        "twice",
        "def discover_devices(self):\n    return [1]\n@hookimpl(specname='discover_devices')\ndef more(self):\n    return [2]",
    )
    host.register(Wrapper(function), name="broken", tenant_id="t")
    results = await host.hooks("t").discover_devices()
    assert sorted(map(str, results)) == ["[1]", "[2]", "[{'by': 'one'}]"], "the answers stay as they were"
    assert [failure.plugin_id for failure in results.failures] == ["bad", "broken"]
    assert said in results.failures[1].message


async def test_the_wrappers_are_closed_when_the_caller_is_cancelled(
    host: PluginManager, run: Any, vendor: Any, until: Any
) -> None:
    closed: list[str] = []

    def wrapper(context: PluginContext) -> Any:
        try:
            return (yield)
        finally:
            closed.append("closed")

    held = Wrapper(wrapper)
    host.register(held, name="w", tenant_id="t")
    await run("one", "async def discover_devices(self):\n    said.append(1)\n    await asyncio.sleep(60)")
    call = asyncio.ensure_future(host.hooks("t").discover_devices())
    await until(lambda: vendor.said)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert closed == ["closed"]


async def test_the_one_that_tells_is_called_neither_directly_nor_as_a_wrapper(
    host: PluginManager, run: Any, vendor: Any
) -> None:
    one = await run(
        "one",
        """
        @hookimpl(wrapper=True)
        def collect_metrics(self, resource_ids):
            said.append("wrapped myself")
            return (yield)

        async def ask(self):
            return (await self.api.hooks.collect_metrics()).by_plugin
        """,
    )
    await run("two", "async def collect_metrics(self):\n    return {'n': 2}")
    with pytest.raises(TypeError, match=r"lacks resource_ids"):
        await one.ask()
    assert (await host.hooks("t").collect_metrics(resource_ids=[])).by_plugin == {"two": {"n": 2}}
    assert vendor.said == ["wrapped myself"]
