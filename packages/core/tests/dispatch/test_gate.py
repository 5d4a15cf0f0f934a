"""The gate: who is refused, what a failure is, deadlines, the breaker, what is counted and what is audited."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from dotmac_isp.plugins.core import ConfigurationError, Limits, NotReady, PluginContext
from dotmac_isp.plugins.core.errors import (
    CallError,
    CircuitOpenError,
    CredentialsRefused,
    DeadlineError,
    InstanceNotFoundError,
    LicenceError,
    PermissionDeniedError,
)
from dotmac_isp.plugins.core.health import Breaker
from dotmac_isp.plugins.core.model import FailureKind, PluginState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dotmac_isp.plugins.core import InstanceRef, PluginManager

RAISES = """
async def work(self, error, pause):
    if pause:
        await asyncio.sleep(0)
    raise error
async def fine(self):
    return 1
"""


class Book:
    """An authoriser and licence book that refuses what it is told to, and notes who asked."""

    def __init__(self) -> None:
        self.permission: str | None = None
        self.licence: str | None = None
        self.at_activation: str | None = None
        self.asked: list[tuple[Any, ...]] = []
        self.broken = False

    def refuse_call(self, instance: InstanceRef, what: str | None, context: PluginContext | None = None) -> str | None:
        if self.broken:
            raise RuntimeError("the policy server is away")
        if context is None:
            self.asked.append(("licence", str(instance), what))
            return self.licence
        self.asked.append(("permission", str(instance), what, context.user_id))
        return self.permission

    def refuse_activation(self, instance: InstanceRef, permissions: Sequence[str] | None = None) -> str | None:
        return self.at_activation if permissions is not None else None

    def state_of(self, instance: InstanceRef) -> None:
        return None

    def describe(self) -> str:
        return "the test's book"


# failures


@pytest.mark.parametrize("pause", [False, True])
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError("x"), FailureKind.ERROR),
        (TypeError("the plugin's own"), FailureKind.ERROR),
        (ValueError("x"), FailureKind.REQUEST),
        (NotReady("x"), FailureKind.NOT_READY),
        (CredentialsRefused("x"), FailureKind.CREDENTIALS),
        (ConfigurationError("x", field="host"), FailureKind.CONFIGURATION),
        (PermissionDeniedError("x"), FailureKind.PERMISSION),
        (SystemExit("x"), FailureKind.CRASHED),
        (asyncio.CancelledError("x"), FailureKind.CANCELLED),
        (StopAsyncIteration("x"), FailureKind.ERROR),
        (ExceptionGroup("x", [ValueError("y")]), FailureKind.ERROR),
    ],
    ids=lambda value: getattr(value, "name", type(value).__name__),
)
async def test_every_kind_of_failure_is_told_and_counted_and_audited_once(
    host: PluginManager, run: Any, error: BaseException, kind: FailureKind, pause: bool
) -> None:
    one = await run("one", RAISES)
    before = len(host.audit.latest(tenant_id="t"))
    with pytest.raises(Exception) as caught:  # noqa: PT011 - every kind there is
        await one.work(error, pause, context=PluginContext(user_id="u", request_id="r-1"))
    if isinstance(error, Exception):
        assert caught.value is error, "the plugin's own exception, where it is one"
    else:
        assert isinstance(caught.value, CallError)
        assert caught.value.failure is not None
        assert caught.value.failure.kind is kind
        assert caught.value.failure.request_id == "r-1"
    stats = host.telemetry.instance("one", "t").operation("work")
    assert (stats.calls, stats.failures) == (1, {kind: 1})
    record = next(one for one in host.audit.latest(tenant_id="t")[before:] if one.action == "call work")
    assert (record.outcome, record.plugin_id, record.user_id, record.request_id) == (kind.value, "one", "u", "r-1")
    assert await one.fine() == 1


async def test_a_successful_call_is_counted_once_and_not_audited(host: PluginManager, run: Any) -> None:
    one = await run(
        "one", "async def work(self, pause):\n    await asyncio.sleep(pause) if pause else None\n    return 1"
    )
    before = len(host.audit.latest(everything=True))
    for pause in (0, 0.001, 0):
        assert await one.work(pause) == 1
    stats = host.telemetry.instance("one", "t").operation("work")
    assert (stats.calls, stats.failed) == (3, 0)
    assert len(host.audit.latest(everything=True)) == before


@pytest.mark.parametrize("pause", ["", "await asyncio.sleep(0)"])
async def test_an_answer_of_the_wrong_type_is_a_failure_that_says_what_it_must_be(
    host: PluginManager, run: Any, pause: str
) -> None:
    await run("one", f"async def discover_devices(self):\n    {pause or 'pass'}\n    return {{'a': 1}}")
    (failure,) = (await host.hooks("t").discover_devices()).failures
    assert failure.kind is FailureKind.WRONG_TYPE
    assert failure.message == "discover_devices must give list or tuple or None, and gave dict"


async def test_wrong_arguments_on_a_handle_are_the_callers_matter(host: PluginManager, run: Any) -> None:
    one = await run(
        "one", "async def work(self, device_id):\n    return self.inner()\ndef inner(self):\n    return len(5)"
    )
    with pytest.raises(TypeError, match=r"device_id"):
        await one.work()
    with pytest.raises(TypeError, match=r"unexpected keyword"):
        await one.work("x", nonsense=1)
    with pytest.raises(TypeError, match=r"has no len"):
        await one.work("x")
    stats = host.telemetry.instance("one", "t").operation("work")
    assert stats.failures == {FailureKind.REQUEST: 2, FailureKind.ERROR: 1}
    with pytest.raises(AttributeError, match=r"one has no public method 'wrok'; it has inner, work"):
        await one.wrok("x")


async def test_lifecycle_steps_and_private_methods_cannot_be_called_through_the_handle(
    host: PluginManager, run: Any
) -> None:
    one = await run("one", "async def cleanup(self):\n    pass\nasync def _private(self):\n    pass")
    for name in ("cleanup", "activate", "_private", "api", "plugin_info"):
        with pytest.raises(AttributeError):
            await one.call(name)


async def test_no_failure_text_shows_a_secret(
    host: PluginManager, run: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("VENDOR_PASSWORD", "hunter2-and-more")
    await run(
        "one",
        """
        async def discover_devices(self):
            password = await self.api.secrets.require("vendor-password")
            raise OSError(f"login with {password.reveal()} refused")

        async def spawns(self):
            password = await self.api.secrets.require("vendor-password")
            async def bad():
                raise OSError(password.reveal())
            await self.api.spawn(bad(), name="x")

        async def health_check(self):
            password = await self.api.secrets.require("vendor-password")
            return HealthReport(status=HealthStatus.DEGRADED, message=password.reveal(), details={"p": [password.reveal()]})
        """,
        manifest='[one.secrets]\nrequired = ["vendor-password"]',
    )
    (failure,) = (await host.hooks("t").discover_devices()).failures
    assert "login with" in failure.message
    await host.get("one", tenant_id="t").spawns()
    await host.health_check("one", tenant_id="t")
    everything = [failure.message, failure.traceback, caplog.text, repr(host.audit.latest(everything=True))]
    everything.append(str(host.inventory().as_dict()))
    assert not [text for text in everything if "hunter2" in text]


# refusals


async def test_a_refusing_authoriser_and_licence_book_stand_before_the_plugin_in_this_order(
    make_host: Any, vendor: Any
) -> None:
    book = Book()
    vendor.install(
        "one",
        "async def provision_olt(self):\n    said.append('ran')\nasync def get_device_status(self, device_id):\n    said.append('ran')",
        manifest='[one.features.olt]\npermission = "network.olt.configure"\nmethods = ["provision_olt"]',
    )
    async with make_host(authoriser=book, licences=book) as host:
        await host.start_plugin("one", tenant_id="t")
        one = host.get("one", tenant_id="t")
        await one.provision_olt(context=PluginContext(user_id="u"))
        assert book.asked == [
            ("permission", "one@t", "network.olt.configure", "u"),
            ("licence", "one@t", "provision_olt"),
        ]
        book.licence = "the licence ended"
        with pytest.raises(LicenceError, match=r"the licence ended"):
            await one.provision_olt()
        book.permission = "rule 3 denies it"
        book.asked.clear()
        with pytest.raises(PermissionDeniedError, match=r"rule 3 denies it") as caught:
            await one.provision_olt()
        assert [asked[0] for asked in book.asked] == ["permission"], "who may not is not told about licences"
        assert caught.value.failure is not None
        assert caught.value.failure.kind is FailureKind.PERMISSION
        results = await host.hooks("t").discover_devices()
        assert results.failures == (), "one that does not answer the hook is not asked for"
        assert vendor.said == ["ran"]
        stats = host.telemetry.instance("one", "t").operation("provision_olt")
        assert (stats.calls, stats.failures) == (3, {FailureKind.LICENCE: 1, FailureKind.PERMISSION: 1})
        assert host.status("one", tenant_id="t").breaker == "closed"
        assert host.status("one", tenant_id="t").policy == "the test's book"


async def test_an_authoriser_that_cannot_decide_has_not_allowed(make_host: Any, vendor: Any) -> None:
    book = Book()
    vendor.install("one", "async def discover_devices(self):\n    await asyncio.sleep(0)\n    said.append('ran')")
    async with make_host(authoriser=book) as host:
        await host.start_plugin("one", tenant_id="t")
        book.broken = True
        (failure,) = (await host.hooks("t").discover_devices()).failures
        assert failure.kind is FailureKind.PERMISSION
        assert "the policy server is away" in failure.message
        assert vendor.said == []


async def test_what_is_not_active_takes_no_calls_and_says_why(host: PluginManager, run: Any) -> None:
    one = await run("one", RAISES)
    await host.stop_plugin("one", tenant_id="t")
    with pytest.raises(CallError, match=r"it takes no calls: .*stopped") as caught:
        await one.fine()
    assert caught.value.failure is not None
    assert caught.value.failure.kind is FailureKind.NOT_ACTIVE
    await host.unload("one", tenant_id="t")
    with pytest.raises(InstanceNotFoundError, match=r"one is not loaded for tenant t"):
        await one.fine()
    await host.load("one", tenant_id="t")
    with pytest.raises(CallError, match=r"it takes no calls: initialised: loaded"):
        await one.fine()


# deadlines


async def test_a_calls_own_deadline_ends_it(host: PluginManager, run: Any, vendor: Any, until: Any) -> None:
    one = await run(
        "one",
        "async def work(self):\n    try:\n        await asyncio.sleep(60)\n    finally:\n        said.append('ended')",
    )
    with pytest.raises(DeadlineError, match=r"no result after") as caught:
        await one.work(context=PluginContext.within(0.02))
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.failure is not None
    assert (caught.value.failure.kind, caught.value.failure.plugin_id) == (FailureKind.DEADLINE, "one")
    await until(lambda: vendor.said == ["ended"])


async def test_the_hosts_default_is_the_deadline_of_calls_without_one(make_host: Any, vendor: Any) -> None:
    vendor.install("one", "async def discover_devices(self):\n    await asyncio.sleep(60)")
    vendor.install("two", "async def discover_devices(self):\n    return [2]")
    async with make_host(limits=msgspec.structs.replace(Limits(), call=0.03)) as host:
        for name in ("one", "two"):
            await host.start_plugin(name, tenant_id="t")
        results = await host.hooks("t").discover_devices()
    assert results.by_plugin == {"two": [2]}
    assert [failure.kind for failure in results.failures] == [FailureKind.DEADLINE]


async def test_a_deadline_that_has_passed_already_calls_nobody_and_is_nobodys_fault(
    host: PluginManager, run: Any, vendor: Any
) -> None:
    one = await run("one", "async def work(self):\n    said.append('ran')")
    late = PluginContext(deadline=time.monotonic() - 1)
    for _ in range(20):
        with pytest.raises(DeadlineError, match=r"the deadline had passed before the call"):
            await one.work(context=late)
    assert vendor.said == []
    assert host.status("one", tenant_id="t").breaker == "closed"
    await one.work()


async def test_a_plugin_that_swallows_cancellation_does_not_hold_its_caller(
    host: PluginManager, run: Any, vendor: Any, until: Any
) -> None:
    one = await run(
        "one",
        """
        async def work(self):
            while "enough" not in open_doors:
                try:
                    await asyncio.sleep(0.01)
                except asyncio.CancelledError:
                    said.append("no")
        """,
    )
    async with asyncio.timeout(2):
        with pytest.raises(DeadlineError):
            await one.work(context=PluginContext.within(0.02))
    await until(lambda: vendor.said == ["no"])
    assert host.status("one", tenant_id="t").tasks == 1, "it is still there, and one can see it"
    vendor.open_doors["enough"] = True


async def test_one_deadline_counts_for_the_whole_way(host: PluginManager, run: Any) -> None:
    outer = await run(
        "outer",
        """
        async def work(self, context):
            results = await self.api.hooks.collect_metrics(resource_ids=[], context=context)
            return [failure.kind.value for failure in results.failures], context.remaining < 0.1
        """,
    )
    await run("inner", "async def collect_metrics(self):\n    await asyncio.sleep(60)")
    with pytest.raises(DeadlineError):
        await outer.work(context=PluginContext.within(0.05))


# the breaker


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def broken(make_host: Any, vendor: Any) -> Any:
    """A host whose plugin `one` has its breaker open, and the clock of that breaker."""
    vendor.install(
        "one", RAISES + "async def discover_devices(self):\n    await asyncio.sleep(open_doors['for'])\n    return []\n"
    )
    vendor.install(
        "two", "async def discover_devices(self):\n    await asyncio.sleep(open_doors['two'])\n    return []"
    )
    vendor.open_doors.update({"for": 0, "two": 0})
    host = make_host(limits=msgspec.structs.replace(Limits(), breaker_failures=3, give_up_failures=100))
    await host.start()
    for name in ("two", "one"):
        await host.start_plugin(name, tenant_id="t")
    clock = Clock()
    member = host._find(host._ref("one", "t")).member
    member.breaker = Breaker(3, 30.0, clock=clock)
    one = host.get("one", tenant_id="t")
    for _ in range(3):
        with pytest.raises(OSError, match=r"x"):
            await one.work(OSError("x"), False)
    return host, one, clock, member.breaker


async def test_the_breaker_opens_refuses_lets_one_trial_through_and_closes(broken: Any) -> None:
    _host, one, clock, breaker = broken
    assert breaker.state == "open"
    with pytest.raises(CircuitOpenError, match=r"failed 3 times in a row; the next trial is in"):
        await one.fine()
    clock.now += 31
    assert breaker.state == "half-open"
    with pytest.raises(OSError, match=r"x"):
        await one.work(OSError("x"), True)
    assert breaker.state == "open"
    clock.now += 31
    assert await one.fine() == 1
    assert breaker.state == "closed"


async def test_during_the_trial_nobody_else_passes(broken: Any, vendor: Any) -> None:
    _host, one, clock, _breaker = broken
    clock.now += 31
    vendor.open_doors["for"] = 0.05
    trial = asyncio.ensure_future(one.discover_devices())
    await asyncio.sleep(0.01)
    with pytest.raises(CircuitOpenError):
        await one.fine()
    assert await trial == []
    assert await one.fine() == 1


@pytest.mark.parametrize("way", ["request", "late", "cancelled", "abandoned", "configuration"])
async def test_a_trial_without_a_verdict_lets_another_one_through(broken: Any, vendor: Any, way: str) -> None:
    host, one, clock, breaker = broken
    clock.now += 31
    if way in {"request", "configuration"}:
        error = ValueError("bad id") if way == "request" else ConfigurationError("x")
        with pytest.raises((ValueError, ConfigurationError)):
            await one.work(error, True)
    elif way == "late":
        with pytest.raises(DeadlineError):
            await one.fine(context=PluginContext(deadline=time.monotonic() - 1))
    else:
        vendor.open_doors["for"] = 60
        vendor.open_doors["two"] = 60 if way == "abandoned" else 0
        call = asyncio.ensure_future(
            host.hooks("t").discover_devices() if way == "abandoned" else one.discover_devices()
        )
        await asyncio.sleep(0.02)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert await one.fine() == 1
    assert breaker.state == "closed"


async def test_the_callers_mistakes_never_open_the_breaker(host: PluginManager, run: Any) -> None:
    one = await run("one", RAISES)
    for number in range(20):
        with pytest.raises(ValueError, match=r"x"):
            await one.work(ValueError("x"), bool(number % 2))
    assert host.status("one", tenant_id="t").breaker == "closed"
    assert host.status("one", tenant_id="t").state is PluginState.ACTIVE


async def test_the_instances_breakers_are_its_own(host: PluginManager, run: Any) -> None:
    one = await run("one", RAISES)
    await host.start_plugin("one", tenant_id="u")
    for _ in range(5):
        with pytest.raises(OSError, match=r"x"):
            await one.work(OSError("x"), False)
    with pytest.raises(CircuitOpenError):
        await one.fine()
    assert await host.get("one", tenant_id="u").fine() == 1
