"""What becomes of an instance whose steps fail, hang, or say what is the matter; and what remedies do."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from dotmac_isp.plugins.core import ConfigurationError, HealthStatus, Limits, NotReady, PluginState
from dotmac_isp.plugins.core.errors import (
    CredentialsRefused,
    PluginError,
    SecretMissingError,
    StepError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from dotmac_isp.plugins.core import PluginManager

QUICK_RETRY = msgspec.structs.replace(
    Limits(), retry_first=0.02, initialize=0.2, activate=0.2, deactivate=0.1, cleanup=0.1, cancellation=0.1
)
STEPS = ["__init__", "initialize", "activate", "deactivate", "cleanup"]
WAYS = {
    "raises": "raise OSError('no route')",
    "raises later": "await asyncio.sleep(0)\n    raise OSError('no route')",
    "hangs": "await asyncio.sleep(60)",
    "hangs for good": "while 'enough' not in open_doors:\n        try:\n            await asyncio.sleep(0.01)\n        except asyncio.CancelledError:\n            pass",
    "exits": "sys.exit(3)",
    "interrupts": "await asyncio.sleep(0)\n    raise KeyboardInterrupt",
    "cancels itself": "asyncio.current_task().cancel()\n    await asyncio.sleep(60)",
}


def state(host: PluginManager, plugin_id: str = "one", tenant_id: str = "t") -> PluginState:
    return host.status(plugin_id, tenant_id=tenant_id).state


@pytest.mark.parametrize(
    ("step", "way"),
    # A constructor cannot wait.
    [(step, way) for step in STEPS for way, code in WAYS.items() if step != "__init__" or "await" not in code],
)
async def test_a_step_that_fails_or_hangs_fails_its_instance_and_nothing_else(
    host: PluginManager, vendor: Any, step: str, way: str
) -> None:
    code = WAYS[way]
    if step == "__init__":
        method = f"def __init__(self, api):\n    super().__init__(api)\n    {code}"
    else:
        method = f"async def {step}(self):\n    said.append({step!r})\n    {code}"
    cleanup = "" if step == "cleanup" else "async def cleanup(self):\n    said.append('cleanup')\n"
    vendor.install("one", f"{method}\n{cleanup}")
    vendor.install("two", "async def discover_devices(self):\n    return [2]")
    await host.start_plugin("two", tenant_id="t")
    async with asyncio.timeout(10):
        if step in {"__init__", "initialize", "activate"}:
            with pytest.raises(StepError, match=f"one@t: {'construct' if step == '__init__' else step} failed"):
                await host.start_plugin("one", tenant_id="t")
            status = host.status("one", tenant_id="t")
            assert status.state is PluginState.FAILED
            assert "no route" in status.reason or "raises" not in way
            assert ("cleanup" in vendor.said) is (step != "__init__"), "what was made is released"
            assert status.health.status is not HealthStatus.HEALTHY
        else:
            await host.start_plugin("one", tenant_id="t")
            await host.stop_plugin("one", tenant_id="t")
            assert state(host) is PluginState.INITIALIZED
        assert (await host.hooks("t").discover_devices()).by_plugin == {"two": [2]}
        await host.unload("one", tenant_id="t")
        vendor.open_doors["enough"] = True
    assert [one.plugin_id for one in host.list(tenant_id="t")] == ["two"]


@pytest.mark.parametrize("step", ["initialize", "activate", "deactivate", "cleanup"])
async def test_what_a_step_returns_does_not_matter(host: PluginManager, vendor: Any, step: str) -> None:
    vendor.install("one", f"def {step}(self):\n    return object()")
    await host.start_plugin("one", tenant_id="t")
    assert state(host) is PluginState.ACTIVE
    await host.unload("one", tenant_id="t")


async def test_a_slow_step_is_reported_while_it_runs(
    host: PluginManager, vendor: Any, caplog: pytest.LogCaptureFixture
) -> None:
    vendor.install("one", "async def activate(self):\n    await asyncio.sleep(0.15)")
    with caplog.at_level(logging.WARNING):
        await host.start_plugin("one", tenant_id="t")
    assert "one@t: activate has been running for 0.05 s" in caplog.text
    assert [one.detail for one in host.audit.latest(tenant_id="t") if one.outcome == "slow"]


async def test_cleanups_run_last_in_first_out_also_after_a_failed_step_and_past_one_that_fails(
    host: PluginManager, vendor: Any
) -> None:
    body = """
    async def {step}(self):
        async def waits():
            await asyncio.sleep(0)
            said.append("second")
        self.api.on_cleanup(lambda: said.append("first"))
        self.api.on_cleanup(waits)
        self.api.on_cleanup(lambda: 1 / 0)
        self.api.on_cleanup(lambda: said.append("third"))
        {end}
    async def cleanup(self):
        said.append("own")
    """
    for step, end in [("initialize", "raise OSError"), ("activate", "raise OSError"), ("initialize", "pass")]:
        vendor.said.clear()
        name = f"{step}_{end.split(maxsplit=1)[0]}"
        vendor.install(name, body.format(step=step, end=end))
        if end == "pass":
            await host.start_plugin(name, tenant_id="t")
            await host.unload(name, tenant_id="t")
        else:
            with pytest.raises(StepError):
                await host.start_plugin(name, tenant_id="t")
        assert vendor.said == ["third", "second", "first", "own"]
        assert any("ZeroDivisionError" in one.detail for one in host.audit.latest(tenant_id="t"))


async def test_states_have_reasons_and_times_and_are_announced_to_the_others(host: PluginManager, vendor: Any) -> None:
    hooks = ["on_initialized", "on_activated", "on_deactivated", "on_cleaned_up"]
    listener = "\n".join(
        f"async def {hook}(self, instance):\n    said.append(({hook!r}, str(instance)))" for hook in hooks
    )
    vendor.install(
        "listener", listener + "\nasync def on_failed(self, instance, failure):\n    said.append(str(failure))\n"
    )
    vendor.install("one")
    vendor.install("bad", "async def activate(self):\n    raise OSError('no route')")
    await host.start_plugin("listener", tenant_id="t")
    await host.start_plugin("listener", tenant_id="u")
    vendor.said.clear()
    await host.start_plugin("one", tenant_id="t")
    await host.unload("one", tenant_id="t")
    assert vendor.said == [(hook, "one@t") for hook in hooks]
    with pytest.raises(StepError):
        await host.start_plugin("bad", tenant_id="t")
    assert vendor.said[-1] == "bad@t activate: error: no route"
    status = host.status("bad", tenant_id="t")
    assert [one.state.value for one in status.history] == [
        "created",
        "initialising",
        "initialised",
        "activating",
        "failed",
    ]
    assert status.since == status.history[-1].since > 0
    assert status.reason == "activate: no route"


# remedies


async def test_not_ready_is_tried_again_until_it_is(make_host: Any, vendor: Any, until: Callable[..., Any]) -> None:
    vendor.install(
        "one",
        "async def activate(self):\n    said.append(self)\n    if len(said) < 3:\n        raise NotReady('the line is down')",
    )
    async with make_host(limits=QUICK_RETRY) as host:
        with pytest.raises(NotReady, match="the line is down"):
            await host.start_plugin("one", tenant_id="t")
        status = host.status("one", tenant_id="t")
        assert (status.state, status.attempts) == (PluginState.RETRYING, 1)
        assert status.reason == "activate: the line is down"
        assert status.retry_at is not None
        assert status.retry_at > status.since
        await until(lambda: state(host) is PluginState.ACTIVE)
        assert len({id(one) for one in vendor.said}) == len(vendor.said) == 3, "a new object for each try"
        assert host.status("one", tenant_id="t").attempts == 0
        assert host.status("one", tenant_id="t").retry_at is None


async def test_a_first_step_that_is_not_ready_is_tried_again_too_when_a_start_was_asked_for(
    make_host: Any, vendor: Any, until: Callable[..., Any]
) -> None:
    vendor.install(
        "one", "async def initialize(self):\n    said.append(1)\n    if len(said) < 2:\n        raise NotReady('later')"
    )
    async with make_host(limits=QUICK_RETRY) as host:
        with pytest.raises(NotReady):
            await host.start_plugin("one", tenant_id="t")
        await until(lambda: state(host) is PluginState.ACTIVE)


async def test_a_plugin_may_ask_to_be_left_alone_for_longer(make_host: Any, vendor: Any) -> None:
    vendor.install("one", "async def activate(self):\n    raise NotReady('maintenance', retry_after=3600)")
    async with make_host(limits=QUICK_RETRY) as host:
        with pytest.raises(NotReady):
            await host.start_plugin("one", tenant_id="t")
        status = host.status("one", tenant_id="t")
        assert status.retry_at is not None
        assert 3599 < status.retry_at - status.since < 3970
        await host.stop_plugin("one", tenant_id="t")


async def test_what_was_stopped_is_not_tried_again(make_host: Any, vendor: Any) -> None:
    vendor.install("one", "async def activate(self):\n    said.append(1)\n    raise NotReady('later')")
    async with make_host(limits=QUICK_RETRY) as host:
        for end in (host.stop_plugin, host.unload):
            with pytest.raises(NotReady):
                await host.start_plugin("one", tenant_id="t")
            vendor.said.clear()
            await end("one", tenant_id="t")
            await asyncio.sleep(0.08)
            assert vendor.said == []


async def test_an_instance_that_fails_again_and_again_is_given_up_and_the_operator_may_begin_anew(
    make_host: Any, vendor: Any, until: Callable[..., Any]
) -> None:
    vendor.install(
        "one", "async def activate(self):\n    if 'mended' not in open_doors:\n        raise OSError('broken')"
    )
    async with make_host(limits=QUICK_RETRY) as host:
        with pytest.raises(StepError):
            await host.start_plugin("one", tenant_id="t")
        await until(lambda: state(host) is PluginState.DISABLED)
        assert host.status("one", tenant_id="t").reason == "gave up after 3 failures; the last: activate: broken"
        assert host.status("one", tenant_id="t").retry_at is None
        vendor.open_doors["mended"] = True
        await asyncio.sleep(0.1)
        assert state(host) is PluginState.DISABLED
        await host.start_plugin("one", tenant_id="t")
        assert state(host) is PluginState.ACTIVE


async def test_calls_that_keep_failing_give_the_instance_up_and_hold_back_what_requires_it(
    make_host: Any, vendor: Any, until: Callable[..., Any]
) -> None:
    vendor.install("one", "async def discover_devices(self):\n    raise OSError('broken')")
    vendor.install("two", manifest="requires = { one = '>=1' }")
    limits = msgspec.structs.replace(QUICK_RETRY, breaker_failures=1, breaker_pause=0.0, give_up_failures=3)
    async with make_host(limits=limits) as host:
        await host.start_plugin("two", tenant_id="t")
        for _ in range(3):
            await host.hooks("t").discover_devices()
        await until(lambda: state(host) is PluginState.DISABLED)
        await until(lambda: state(host, "two") is PluginState.HELD_BACK)
        assert "gave up after 3 failures" in host.status("one", tenant_id="t").reason
        assert "broken" in host.status("two", tenant_id="t").reason
        await host.start_plugin("one", tenant_id="t")
        assert state(host, "two") is PluginState.ACTIVE


async def test_refused_credentials_wait_for_new_ones(
    host: PluginManager, vendor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VENDOR_PASSWORD", "old")
    manifest = '[{0}.secrets]\nrequired = ["vendor-password"]'
    vendor.install(
        "one",
        """
        async def activate(self):
            if (await self.api.secrets.require("vendor-password")).reveal() != "new":
                raise CredentialsRefused("the vendor said 401")
        """,
        module="from dotmac_isp.plugins.core.errors import CredentialsRefused",
        manifest=manifest.format("one"),
    )
    vendor.install("two", manifest="requires = { one = '>=1' }")
    vendor.install(
        "three",
        "async def on_secret_rotated(self):\n    said.append('told')",
        manifest=manifest.format("three"),
    )
    await host.start_plugin("three", tenant_id="t")
    with pytest.raises(PluginError, match="the vendor said 401"):
        await host.start_plugin("two", tenant_id="t")
    assert state(host) is PluginState.AWAITING_SECRET
    assert state(host, "two") is PluginState.HELD_BACK
    with pytest.raises(CredentialsRefused):
        await host.rotate_secret("vendor-password", tenant_id="t")
    assert vendor.said == ["told"], "the others are told all the same"
    monkeypatch.setenv("VENDOR_PASSWORD", "new")
    concerned = await host.rotate_secret("vendor-password", tenant_id="t")
    assert sorted(map(str, concerned)) == ["one@t", "three@t"]
    assert state(host) is PluginState.ACTIVE
    assert state(host, "two") is PluginState.ACTIVE
    assert vendor.said == ["told", "told"]
    assert state(host, "three") is PluginState.ACTIVE


async def test_a_missing_secret_is_named_with_where_to_put_it_and_its_arrival_starts_the_instance(
    host: PluginManager, vendor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VENDOR_PASSWORD", raising=False)
    vendor.install("one", manifest='[one.secrets]\nrequired = ["vendor-password"]')
    with pytest.raises(SecretMissingError, match="VENDOR_PASSWORD__T or VENDOR_PASSWORD"):
        await host.start_plugin("one", tenant_id="t")
    assert state(host) is PluginState.AWAITING_SECRET
    assert "vendor-password" in host.status("one", tenant_id="t").reason
    monkeypatch.setenv("VENDOR_PASSWORD__T", "x")
    await host.rotate_secret("vendor-password", tenant_id="t")
    assert state(host) is PluginState.ACTIVE


class BrokenVault:
    name = "vault"
    broken = True

    async def provide(self, reference: str, tenant: str | None) -> str | None:
        if self.broken:
            raise ConnectionError("the vault is sealed")
        return "secret"


async def test_a_secret_provider_that_fails_does_not_leave_the_instance_half_loaded(
    make_host: Any, vendor: Any, until: Callable[..., Any]
) -> None:
    vendor.install("one", manifest='[one.secrets]\nrequired = ["vendor-password"]')
    vault = BrokenVault()
    async with make_host(limits=QUICK_RETRY, secret_providers=[vault]) as host:
        with pytest.raises(PluginError, match="vault"):
            await host.start_plugin("one", tenant_id="t")
        assert state(host) is PluginState.RETRYING
        vault.broken = False
        await until(lambda: state(host) is PluginState.ACTIVE)


async def test_wrong_settings_that_only_the_vendor_knows_are_a_state_with_the_field_and_configure_mends_them(
    host: PluginManager, vendor: Any
) -> None:
    vendor.install(
        "one",
        """
        async def activate(self):
            if self.api.settings.region != "west":
                raise ConfigurationError(f"the vendor knows no region {self.api.settings.region!r}", field="region")
        """,
        module="class S(PluginSettings):\n    region: str = 'east'\n",
        manifest='settings = "vendor_one:S"',
    )
    with pytest.raises(ConfigurationError, match="no region 'east'") as caught:
        await host.start_plugin("one", tenant_id="t")
    assert caught.value.field == "region"
    assert state(host) is PluginState.MISCONFIGURED
    assert "region" in host.status("one", tenant_id="t").reason
    await host.configure("one", {"region": "west"}, tenant_id="t")
    assert state(host) is PluginState.ACTIVE


# cancelled half-way


@pytest.mark.parametrize("step", ["initialize", "activate", "deactivate", "cleanup"])
async def test_cancelling_an_operation_half_way_leaves_an_instance_that_can_be_used_again(
    host: PluginManager, vendor: Any, step: str, until: Callable[..., Any]
) -> None:
    vendor.install(
        "one",
        f"async def {step}(self):\n    said.append('in')\n    if len(said) == 1:\n        await asyncio.sleep(0.15)",
    )
    if step in {"deactivate", "cleanup"}:
        await host.start_plugin("one", tenant_id="t")
    work = {
        "initialize": host.load,
        "activate": host.start_plugin,
        "deactivate": host.stop_plugin,
        "cleanup": host.unload,
    }[step]
    task = asyncio.ensure_future(work("one", tenant_id="t"))
    await until(lambda: vendor.said)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0.01)
    with pytest.raises(asyncio.CancelledError):
        await task
    await host.start_plugin("one", tenant_id="t")
    assert state(host) is PluginState.ACTIVE
    await host.unload("one", tenant_id="t")
    assert host.list(tenant_id="t") == []


# what a plugin says of itself


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("HealthReport(status=HealthStatus.DEGRADED, message='slow', details={'ms': 5})", "slow"),
        ("'fine'", "health_check must give a HealthReport, and gave str"),
        ("None", "must give a HealthReport, and gave NoneType"),
        ("HealthReport(status=HealthStatus.HEALTHY, details={'x': object()})", "cannot be shown"),
        ("HealthReport(status='excellent')", "cannot be shown"),
        ("HealthReport(status=HealthStatus.HEALTHY, message=5)", "cannot be shown"),
        ("1 / 0", "division by zero"),
        ("sys.exit()", "SystemExit"),
    ],
)
async def test_whatever_a_health_check_says_the_inventory_can_be_shown(
    host: PluginManager, vendor: Any, said: str, expected: str
) -> None:
    import json

    vendor.install("one", f"async def health_check(self):\n    return {said}")
    await host.start_plugin("one", tenant_id="t")
    report = await host.health_check("one", tenant_id="t")
    assert expected in report.message or expected in str(host.audit.latest(tenant_id="t")) or expected in repr(report)
    assert report.status is not HealthStatus.HEALTHY
    json.dumps(host.inventory().as_dict())


async def test_a_health_check_that_hangs_is_unhealthy(host: PluginManager, vendor: Any) -> None:
    vendor.install("one", "async def health_check(self):\n    await asyncio.sleep(60)")
    await host.start_plugin("one", tenant_id="t")
    report = await host.health_check("one", tenant_id="t")
    assert report.status is HealthStatus.UNHEALTHY
    assert "no result after" in report.message


async def test_numbers_of_one_plugin_that_are_none_do_not_keep_the_others_from_being_collected(
    make_host: Any, vendor: Any, until: Callable[..., Any]
) -> None:
    vendor.install(
        "bad",
        "async def get_metrics(self):\n    return {'a': 'x', 5: 1, 'good_number': 1, 'calls_total': 4, 'bad name!': 2, 'nan': float('nan')}",
    )
    vendor.install("none", "async def get_metrics(self):\n    return 7")
    vendor.install(
        "good",
        "async def get_metrics(self):\n    return {'onus': 8}\nasync def on_metrics(self, samples):\n    said.extend((one.name, one.value) for one in samples)",
    )
    async with make_host(metrics_interval=0.03, health_interval=0.03) as host:
        for name in ("bad", "none", "good"):
            await host.start_plugin(name, tenant_id="t")
        await until(lambda: {("good_number", 1.0), ("calls_total", 4.0)} <= set(vendor.said))
