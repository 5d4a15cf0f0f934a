"""`PluginManager`: many instances at once, and the host itself."""

from __future__ import annotations

import asyncio
import gc
import json
import random
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from dotmac_isp.plugins.core import Limits, PluginManager, PluginState
from dotmac_isp.plugins.core.errors import (
    InstanceNotFoundError,
    LifecycleError,
    PluginError,
    TenantIdError,
)
from dotmac_isp.plugins.core.model import InstanceRef

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

QUICK = Limits(deactivate=0.1, cleanup=0.1, cancellation=0.1)
SPEAKS = """
async def initialize(self):
    said.append(f"{self.api.plugin_id} initialize")
async def activate(self):
    said.append(f"{self.api.plugin_id} activate")
async def deactivate(self):
    said.append(f"{self.api.plugin_id} deactivate")
async def cleanup(self):
    said.append(f"{self.api.plugin_id} cleanup")
async def name(self):
    return self.api.tenant_id
"""
SETTINGS = "class S(PluginSettings):\n    host: str = 'h'\n    port: int = 1\n    password: str = ''\n"


def state(host: PluginManager, plugin_id: str = "one", tenant_id: str | None = "t") -> PluginState:
    return host.status(plugin_id, tenant_id=tenant_id).state


def requires(*names: str) -> str:
    return "requires = { " + ", ".join(f"{name} = '>=1'" for name in names) + " }"


# many at once


async def test_bulk_operations_keep_their_bound_and_give_a_result_each(make_host: Any, vendor: Any, home: Path) -> None:
    vendor.install(
        "one",
        """
        async def activate(self):
            open_doors["now"] += 1
            open_doors["most"] = max(open_doors["most"], open_doors["now"])
            await asyncio.sleep(0.005)
            open_doors["now"] -= 1
            if self.api.tenant_id == "t5":
                raise OSError("no route")
        """,
    )
    vendor.install("two", manifest=requires("one"))
    vendor.open_doors.update(now=0, most=0)
    (home / "tenants").mkdir()
    (home / "tenants" / "t7.json").write_text("{")
    tenants = [f"t{number}" for number in range(12)]
    async with make_host(at_once=3) as host:
        loaded = await host.load_all(plugins=["two", "one", "zzz"], tenants=[*tenants, "no/tenant"])
        assert len(loaded) == 3 * 13
        bad = {(ref.plugin_id, ref.tenant_id): type(error).__name__ for ref, error in loaded.failed.items()}
        assert bad == {
            **{("zzz", tenant): "DiscoveryError" for tenant in tenants},
            **{(name, "t7"): "ConfigurationError" for name in ("one", "two")},
            **{(name, "no/tenant"): "TenantIdError" for name in ("one", "two", "zzz")},
        }
        started = await host.start_all(plugins=["one", "two"])
        assert vendor.open_doors["most"] == 3
        assert {str(ref) for ref in started.failed} == {"one@t5", "two@t5"}
        assert len(started.succeeded) == 20
        assert repr(started) == "<BulkResult 20 succeeded, 2 failed>"
        assert isinstance(started[InstanceRef("one", "t5")], Exception)
        stopped = await host.stop_all(tenants=["t1", "t2"])
        assert len(stopped) == 4
        assert state(host, "one", "t1") is PluginState.INITIALIZED
        assert state(host, "one", "t3") is PluginState.ACTIVE
        assert len((await host.restart_all(tenants=["t3"])).succeeded) == 2
        await host.unload_all()
        assert host.list(everything=True) == []


async def test_thousands_of_tenants_leave_nothing(make_host: Any, vendor: Any) -> None:
    vendor.install("one", "async def discover_devices(self):\n    return [self.api.tenant_id]")
    tenants = [f"t{number}" for number in range(2000)]
    async with make_host(limits=Limits()) as host:
        assert not (await host.load_all(plugins=["one"], tenants=tenants)).failed
        assert not (await host.start_all()).failed
        for tenant in tenants[::50]:
            assert list(await host.hooks(tenant).discover_devices()) == [[tenant]]
        statistics = host.statistics()
        assert (statistics.instances, statistics.states) == (2000, {"active": 2000})
        assert not (await host.unload_all()).failed
        assert host.statistics().instances == 0
        assert not host.telemetry.instances()
        assert len(asyncio.all_tasks()) < 20
    gc.collect()


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_many_tasks_ask_of_one_instance_at_once_it_never_breaks(  # noqa: C901
    host: PluginManager, vendor: Any, seed: int
) -> None:
    vendor.install(
        "one",
        """
        busy = 0
        async def step(self, name):
            assert not self.busy, "two steps at once"
            self.busy = 1
            await asyncio.sleep(open_doors["random"].random() * 0.003)
            if open_doors["random"].random() < 0.1 and name in ("initialize", "activate"):
                self.busy = 0
                raise NotReady("now and then")
            self.busy = 0
        async def initialize(self):
            await self.step("initialize")
        async def activate(self):
            await self.step("activate")
        async def deactivate(self):
            await self.step("deactivate")
        async def cleanup(self):
            await self.step("cleanup")
        async def discover_devices(self):
            await asyncio.sleep(0)
            return [1]
        """,
        module=SETTINGS,
        manifest='settings = "vendor_one:S"',
    )
    chance = vendor.open_doors["random"] = random.Random(seed)
    unexpected: list[BaseException] = []

    async def worker() -> None:
        for _ in range(25):
            work: Callable[..., Any] = chance.choice(
                [host.load, host.start_plugin, host.start_plugin, host.stop_plugin, host.restart_plugin, host.unload]
            )
            try:
                if chance.random() < 0.1:
                    await host.configure("one", {"port": chance.randrange(9)}, tenant_id="t")
                elif chance.random() < 0.1:
                    await (host.suspend_tenant if chance.random() < 0.5 else host.resume_tenant)("t")
                elif chance.random() < 0.2:
                    await asyncio.wait_for(work("one", tenant_id="t"), chance.random() * 0.01)
                else:
                    await work("one", tenant_id="t")
                    await host.hooks("t").discover_devices()
            except TimeoutError:
                pass
            except PluginError as error:
                allowed = ("now and then", "is not loaded for tenant", "tenant t is suspended")
                if not any(text in str(error) for text in allowed):
                    unexpected.append(error)

    async with asyncio.timeout(30):
        await asyncio.gather(*(worker() for _ in range(8)))
        assert unexpected == []
        await host.resume_tenant("t")
        for _ in range(20):
            try:
                await host.start_plugin("one", tenant_id="t")
                break
            except PluginError:
                continue
        assert state(host) is PluginState.ACTIVE
        assert list(await host.hooks("t").discover_devices()) == [[1]]


# the host


async def test_stop_ends_although_a_plugin_hangs_in_every_step_and_ignores_cancellation(
    make_host: Any, vendor: Any
) -> None:
    hang = "\n    while 'enough' not in open_doors:\n        try:\n            await asyncio.sleep(0.01)\n        except asyncio.CancelledError:\n            pass\n"
    vendor.install(
        "bad",
        "".join(f"async def {step}(self):{hang}" for step in ("deactivate", "cleanup", "discover_devices"))
        + "async def activate(self):\n    self.api.on_cleanup(self.deactivate)\n    self.api.spawn(self.cleanup(), name='stubborn')\n",
    )
    vendor.install("good", SPEAKS)
    host = make_host(limits=msgspec.structs.replace(QUICK, call=0.5))
    await host.start()
    await host.start_plugin("bad", tenant_id="t")
    await host.start_plugin("good", tenant_id="t")
    call = asyncio.ensure_future(host.hooks("t").discover_devices())
    await asyncio.sleep(0.01)
    async with asyncio.timeout(6):
        await asyncio.gather(host.stop(), host.stop())
    assert not host.running
    assert vendor.said[-1] == "good cleanup"
    assert [one.kind.value for one in (await call).failures] == ["deadline"]
    vendor.open_doors["enough"] = True
    await asyncio.sleep(0.05)


async def test_a_stop_that_is_cancelled_stops_all_the_same(make_host: Any, vendor: Any) -> None:
    vendor.install("one", SPEAKS + "async def deactivate(self):\n    await asyncio.sleep(0.05)\n")
    host = make_host()
    await host.start()
    await host.start_plugin("one", tenant_id="t")
    task = asyncio.ensure_future(host.stop())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not host.running
    assert vendor.said[-1] == "one cleanup"


async def test_nothing_can_be_loaded_while_the_host_stops(
    make_host: Any, vendor: Any, until: Callable[..., Any]
) -> None:
    vendor.install("one", "async def deactivate(self):\n    said.append(1)\n    await asyncio.sleep(0.05)")
    vendor.install("two")
    host = make_host()
    await host.start()
    await host.start_plugin("one", tenant_id="t")
    stop = asyncio.ensure_future(host.stop())
    await until(lambda: vendor.said)
    with pytest.raises(LifecycleError, match=r"is stopping"):
        await host.start_plugin("two", tenant_id="t")
    await stop


async def test_a_host_that_does_not_run_says_how_to_start_it(make_host: Any, vendor: Any) -> None:
    vendor.install("one")
    host = make_host()
    await host.stop()
    for _ in range(2):
        for ask in (
            host.load,
            host.start_plugin,
            host.stop_plugin,
            host.restart_plugin,
            host.unload,
            host.health_check,
        ):
            with pytest.raises(
                LifecycleError, match=r"not running\. await plugins\.start\(\) first, or use async with"
            ):
                await ask("one", tenant_id="t")
        for look in (host.hooks, host.list, host.statistics, host.inventory, host.tenants, lambda: host.get("one")):
            with pytest.raises(LifecycleError, match=r"not running"):
                look()
        assert not host.explain("one")
        async with host:
            with pytest.raises(LifecycleError, match=r"running already"):
                await host.start()
            await host.start_plugin("one", tenant_id="t")
        await host.stop()


async def test_two_hosts_in_one_process_side_by_side_and_one_after_the_other(
    make_host: Any, vendor: Any, tmp_path: Path
) -> None:
    vendor.install("one", SPEAKS)
    async with make_host(home=tmp_path / "a") as first, make_host(home=tmp_path / "b") as second:
        await first.start_plugin("one", tenant_id="t")
        with pytest.raises(InstanceNotFoundError):
            second.get("one", tenant_id="t")
        await second.start_plugin("one", tenant_id="t")
        await first.stop()
        assert await second.get("one", tenant_id="t").name() == "t"
    async with make_host(home=tmp_path / "a") as third:
        await third.start_plugin("one", tenant_id="t")
        assert third.statistics().calls > 0


async def test_the_inventory_and_statistics_are_plain_data(host: PluginManager, vendor: Any) -> None:
    vendor.install("one", SPEAKS)
    vendor.install("broken", table="[broken\n")
    host.rediscover()
    await host.start_plugin("one", tenant_id="t")
    shown = json.loads(json.dumps(host.inventory().as_dict()))
    assert [one["id"] for one in shown["plugins"] if one["id"] == "one"] == ["one"]
    (instance,) = shown["instances"]
    assert (instance["plugin_id"], instance["state"], instance["reason"]) == ("one", "active", "started")
    assert [one["plugin_id"] for one in shown["problems"] if one["plugin_id"] == "broken"] == ["broken"]
    assert shown["tenants"] == ["t"]
    assert shown["policy"] == "no policy"
    statistics = host.statistics()
    assert (statistics.instances, statistics.states, statistics.failures) == (1, {"active": 1}, 0)


@pytest.mark.parametrize("tenant", ["a/b", "..", "a\nb", "x" * 300, "", "-", "é", "a\0", 5])
async def test_no_way_in_takes_a_tenant_id_that_is_none(host: PluginManager, vendor: Any, tenant: Any) -> None:
    vendor.install("one", SPEAKS)
    for ask in (
        host.load,
        host.start_plugin,
        host.stop_plugin,
        host.restart_plugin,
        host.unload,
        host.enable,
        host.disable,
        host.health_check,
    ):
        with pytest.raises(TenantIdError):
            await ask("one", tenant_id=tenant)
    for change in (host.suspend_tenant, host.resume_tenant, host.remove_tenant):
        with pytest.raises(TenantIdError):
            await change(tenant)
    with pytest.raises(TenantIdError):
        host.hooks(tenant)
    with pytest.raises(TenantIdError):
        host.get("one", tenant_id=tenant)
    with pytest.raises(TenantIdError):
        await host.configure("one", {}, tenant_id=tenant)
    with pytest.raises(TenantIdError):
        await host.rotate_secret("x", tenant_id=tenant)
    assert host.tenants() == []
