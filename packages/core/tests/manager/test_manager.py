"""The façade: load, start, stop, configure, tenants, requirements, safe mode, the host itself."""

from __future__ import annotations

import asyncio
import gc
import json
import random
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from dotmac_isp.plugins.core import ConfigurationError, Limits, PluginContext, PluginManager, PluginState
from dotmac_isp.plugins.core.errors import (
    CallError,
    DependencyError,
    DiscoveryError,
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


def json_files(home: Path) -> list[Path]:
    return sorted(home.rglob("*.json"))


# one instance


async def test_load_start_stop_and_unload_may_be_asked_for_twice(host: PluginManager, vendor: Any) -> None:
    vendor.install("one", SPEAKS)
    for _ in range(2):
        assert (await host.load("one", tenant_id="t")).state is PluginState.INITIALIZED
    for _ in range(2):
        assert (await host.start_plugin("one", tenant_id="t")).state is PluginState.ACTIVE
    assert (await host.load("one", tenant_id="t")).state is PluginState.ACTIVE
    for _ in range(2):
        assert (await host.stop_plugin("one", tenant_id="t")).state is PluginState.INITIALIZED
    for _ in range(2):
        await host.unload("one", tenant_id="t")
    assert vendor.said == [f"one {step}" for step in ("initialize", "activate", "deactivate", "cleanup")]
    with pytest.raises(InstanceNotFoundError, match=r"plugins\.load\('one', tenant_id='t'\)"):
        host.status("one", tenant_id="t")


async def test_a_restart_makes_the_object_anew_and_the_handle_stays_good(host: PluginManager, vendor: Any) -> None:
    vendor.install("one", "async def me(self):\n    return id(self), self")
    await host.start_plugin("one", tenant_id="t")
    one = host.get("one", tenant_id="t")
    _, before = await one.me()
    await host.restart_plugin("one", tenant_id="t")
    _, after = await one.me()
    assert before is not after
    assert one.state is PluginState.ACTIVE
    assert (await one.call("me"))[1] is after


async def test_a_method_that_the_host_keeps_is_the_new_objects_after_a_restart(
    host: PluginManager, vendor: Any
) -> None:
    vendor.install("one", "async def me(self, context):\n    return self, context.user_id")
    await host.start_plugin("one", tenant_id="t")
    me = host.get("one", tenant_id="t").me
    before, _ = await me()
    for _ in range(2):
        await host.restart_plugin("one", tenant_id="t")
        after, user = await me(context=PluginContext(user_id="u"))
        assert after is not before
        assert user == "u"
        assert after is (await host.get("one", tenant_id="t").me())[0]
    await host.unload("one", tenant_id="t")
    with pytest.raises(LifecycleError, match="one@t is unloaded"):
        await me()


async def test_every_tenant_has_its_own_instance_and_the_system_tenant_too(host: PluginManager, vendor: Any) -> None:
    vendor.install("one", SPEAKS)
    for tenant in ("a", "A", None, "-".join("xy")):
        await host.start_plugin("one", tenant_id=tenant)
        assert await host.get("one", tenant_id=tenant).name() == tenant
    assert len(host.list(everything=True)) == 4
    assert [one.tenant_id for one in host.list(tenant_id="a")] == ["a"]
    assert [one.tenant_id for one in host.list()] == [None]
    assert host.tenants() == ["A", "a", "x-y"]


async def test_an_unknown_plugin_is_told_with_the_nearest_one_or_the_pip_name(host: PluginManager, vendor: Any) -> None:
    vendor.install("fibre_works")
    with pytest.raises(DiscoveryError, match=r"there is no plugin 'fibre_work'\. Did you mean 'fibre_works'\?"):
        await host.load("fibre_work", tenant_id="t")
    for ask in (host.start_plugin, host.load, host.restart_plugin, host.enable):
        with pytest.raises(DiscoveryError, match=r"there is no plugin 'zzz'"):
            await ask("zzz", tenant_id="t")
    with pytest.raises(DiscoveryError, match=r"there is no plugin 'zzz'"):
        host.get("zzz", tenant_id="t")


# requirements


async def test_what_a_plugin_requires_runs_before_it_and_ends_after_it(host: PluginManager, vendor: Any) -> None:
    vendor.install("top", SPEAKS, manifest=requires("middle"))
    vendor.install("middle", SPEAKS, manifest=requires("bottom"))
    vendor.install("bottom", SPEAKS)
    await host.start_plugin("top", tenant_id="t")
    activations = [one for one in vendor.said if one.endswith(" activate")]
    assert activations == ["bottom activate", "middle activate", "top activate"]
    vendor.said.clear()
    await host.stop_plugin("bottom", tenant_id="t")
    assert vendor.said == ["top deactivate", "middle deactivate", "bottom deactivate"]
    assert state(host, "top") is PluginState.HELD_BACK
    assert host.status("top", tenant_id="t").reason == "bottom was stopped"
    vendor.said.clear()
    await host.start_plugin("bottom", tenant_id="t")
    assert vendor.said == activations, "what was held back goes on"
    vendor.said.clear()
    await host.stop()
    assert [one for one in vendor.said if "cleanup" in one] == ["top cleanup", "middle cleanup", "bottom cleanup"]


async def test_a_requirement_that_fails_holds_its_dependants_back_until_it_runs(
    host: PluginManager, vendor: Any
) -> None:
    vendor.install("two", SPEAKS, manifest=requires("one"))
    vendor.install(
        "one", "async def activate(self):\n    if 'open' not in open_doors:\n        raise OSError('no route')"
    )
    with pytest.raises(DependencyError, match=r"two@t is held back: one does not run: .*no route"):
        await host.start_plugin("two", tenant_id="t")
    assert state(host) is PluginState.FAILED
    assert state(host, "two") is PluginState.HELD_BACK
    assert "no route" in host.status("two", tenant_id="t").reason
    vendor.open_doors["open"] = True
    await host.start_plugin("one", tenant_id="t")
    assert state(host, "two") is PluginState.ACTIVE


async def test_a_requirement_that_cannot_be_loaded_holds_back_as_well(host: PluginManager, vendor: Any) -> None:
    vendor.install("two", manifest=requires("one"))
    vendor.install(
        "one", "async def initialize(self):\n    if 'open' not in open_doors:\n        raise OSError('no licence file')"
    )
    with pytest.raises(DependencyError, match=r"no licence file"):
        await host.start_plugin("two", tenant_id="t")
    assert state(host, "two") is PluginState.HELD_BACK
    assert "no licence file" in host.status("two", tenant_id="t").reason
    vendor.open_doors["open"] = True
    await host.start_plugin("one", tenant_id="t")
    assert state(host, "two") is PluginState.ACTIVE


async def test_a_missing_requirement_is_told_with_the_pip_name(host: PluginManager, vendor: Any) -> None:
    vendor.install("two", manifest='requires = { analytics_eventz = ">=1" }')
    with pytest.raises(DependencyError, match=r"requires analytics_eventz >=1, which is not installed"):
        await host.load("two", tenant_id="t")
    assert state(host, "two") is PluginState.HELD_BACK


async def test_a_cycle_is_told_as_its_path(host: PluginManager, vendor: Any) -> None:
    for one, other in [("a", "b"), ("b", "c"), ("c", "a")]:
        vendor.install(one, manifest=requires(other))
    vendor.install("free")
    with pytest.raises(DependencyError, match=r"a → b → c → a") as caught:
        await host.load("b", tenant_id="t")
    assert caught.value.cycle == ("a", "b", "c", "a")
    await host.start_plugin("free", tenant_id="t")


async def test_restarting_what_others_require_restarts_them_and_wrong_settings_stop_nothing(
    host: PluginManager, vendor: Any, home: Path
) -> None:
    vendor.install("one", SPEAKS, module=SETTINGS, manifest='settings = "vendor_one:S"')
    vendor.install("two", SPEAKS, manifest=requires("one"))
    await host.start_plugin("two", tenant_id="t")
    await host.restart_plugin("one", tenant_id="t")
    assert state(host, "two") is PluginState.ACTIVE
    (home / "tenants").mkdir(exist_ok=True)
    (home / "tenants" / "t.json").write_text('{"plugins": {"one": {"configuration": {"port": "many"}}}}')
    with pytest.raises(ConfigurationError, match=r"one\.port is 'many'"):
        await host.restart_plugin("one", tenant_id="t")
    assert state(host) is state(host, "two") is PluginState.ACTIVE


# tenants


async def test_a_suspended_tenant_stops_and_goes_on_as_it_was(host: PluginManager, vendor: Any, home: Path) -> None:
    for name in ("runs", "loaded", "late"):
        vendor.install(name, SPEAKS)
    vendor.install(
        "retries", "async def activate(self):\n    if 'open' not in open_doors:\n        raise NotReady('later')"
    )
    await host.start_plugin("runs", tenant_id="t")
    await host.start_plugin("runs", tenant_id="u")
    await host.load("loaded", tenant_id="t")
    with pytest.raises(PluginError, match=r"later"):
        await host.start_plugin("retries", tenant_id="t")
    for _ in range(2):
        statuses = await host.suspend_tenant("t", reason="did not pay")
        assert {one.plugin_id: one.state for one in statuses} == dict.fromkeys(
            ["runs", "loaded", "retries"], PluginState.SUSPENDED
        )
    with pytest.raises(CallError, match=r"did not pay"):
        await host.get("runs", tenant_id="t").name()
    for ask in (host.start_plugin, host.restart_plugin):
        with pytest.raises(LifecycleError, match=r"tenant t is suspended"):
            await ask("runs", tenant_id="t")
    assert (await host.load("late", tenant_id="t")).state is PluginState.SUSPENDED
    assert await host.get("runs", tenant_id="u").name() == "u"
    vendor.open_doors["open"] = True
    result = await host.resume_tenant("t")
    assert not result.failed
    assert {name: state(host, name) for name in ("runs", "loaded", "late", "retries")} == {
        "runs": PluginState.ACTIVE,
        "loaded": PluginState.INITIALIZED,
        "late": PluginState.INITIALIZED,
        "retries": PluginState.ACTIVE,
    }


async def test_a_suspension_outlives_the_host(make_host: Any, vendor: Any) -> None:
    vendor.install("one", SPEAKS)
    async with make_host() as host:
        await host.start_plugin("one", tenant_id="t")
        await host.suspend_tenant("t")
    async with make_host() as host:
        with pytest.raises(LifecycleError, match=r"suspended"):
            await host.start_plugin("one", tenant_id="t")
        await host.resume_tenant("t")
        assert state(host) is PluginState.ACTIVE


async def test_configuring_while_suspended_is_used_after_the_resumption(host: PluginManager, vendor: Any) -> None:
    vendor.install(
        "one",
        "async def port(self):\n    return self.api.settings.port",
        module=SETTINGS,
        manifest='settings = "vendor_one:S"',
    )
    await host.start_plugin("one", tenant_id="t")
    await host.suspend_tenant("t")
    await host.configure("one", {"port": 7}, tenant_id="t")
    assert state(host) is PluginState.SUSPENDED
    await host.resume_tenant("t")
    assert await host.get("one", tenant_id="t").port() == 7


async def test_a_removed_tenant_is_gone_with_all_that_it_had_and_no_other(
    host: PluginManager, vendor: Any, home: Path
) -> None:
    vendor.install(
        "one",
        """
        async def keep(self):
            await self.api.storage.put("k", {"tenant": self.api.tenant_id})
            (self.api.data_dir / "file").write_text("x")
        async def kept(self):
            document = await self.api.storage.get("k")
            return document and document.value, (self.api.data_dir / "file").exists()
        """,
        module=SETTINGS,
        manifest='settings = "vendor_one:S"',
    )
    for tenant in ("t", "T", "u"):
        await host.start_plugin("one", tenant_id=tenant)
        await host.get("one", tenant_id=tenant).keep()
        await host.configure("one", {"port": 5}, tenant_id=tenant, persist=True)
    await host.remove_tenant("t")
    assert host.list(tenant_id="t") == []
    assert host.tenants() == ["T", "u"]
    await host.start_plugin("one", tenant_id="t")
    assert await host.get("one", tenant_id="t").kept() == (None, False)
    assert {one.key: one.value for one in host.explain("one", tenant_id="t")}["port"] == 1
    for tenant in ("T", "u"):
        assert await host.get("one", tenant_id=tenant).kept() == ({"tenant": tenant}, True)
    for ask in (host.suspend_tenant, host.resume_tenant, host.remove_tenant):
        with pytest.raises(LifecycleError, match=r"the system tenant cannot be"):
            await ask(None)  # type: ignore[arg-type]


# settings


async def test_an_override_reaches_the_running_instance(host: PluginManager, vendor: Any) -> None:
    vendor.install(
        "one",
        """
        async def on_settings_changed(self, changes):
            said.append([(one.key, one.before, one.after, one.layer) for one in changes])
        async def look(self):
            return id(self), self.api.settings.port
        """,
        module=SETTINGS,
        manifest='settings = "vendor_one:S"',
    )
    vendor.install(
        "two",
        "async def look(self):\n    return id(self), self.api.settings.port",
        module=SETTINGS,
        manifest='settings = "vendor_two:S"',
    )
    vendor.install(
        "no_arguments",
        "async def on_settings_changed(self):\n    said.append('told')",
        module=SETTINGS,
        manifest='settings = "vendor_no_arguments:S"',
    )
    for name in ("one", "two", "no_arguments"):
        await host.start_plugin(name, tenant_id="t")
    before = (await host.get("one", tenant_id="t").look())[0]
    changes = await host.configure("one", {"port": 9}, tenant_id="t")
    assert [(one.key, one.before, one.after) for one in changes] == [("port", 1, 9)]
    assert vendor.said == [[("port", 1, 9, "override")]]
    assert await host.get("one", tenant_id="t").look() == (before, 9)
    assert not await host.configure("one", {"port": 9}, tenant_id="t")
    before = (await host.get("two", tenant_id="t").look())[0]
    await host.configure("two", {"port": 9}, tenant_id="t")
    after, port = await host.get("two", tenant_id="t").look()
    assert port == 9
    assert state(host, "two") is PluginState.ACTIVE
    vendor.said.clear()
    await host.configure("no_arguments", {"port": 3}, tenant_id="t")
    assert vendor.said == ["told"]
    await host.start_plugin("one", tenant_id="u")
    assert (await host.get("one", tenant_id="u").look())[1] == 1, "another tenant's is not touched"
    del after


@pytest.mark.parametrize("persist", [False, True])
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"port": "many"}, r"one\.port is 'many'"),
        ({"prot": 5}, r"one\.prot is not known.*port"),
        ({"password": 5}, r"\*\*\*"),
    ],
)
async def test_wrong_settings_change_nothing(
    host: PluginManager, vendor: Any, home: Path, wrong: dict[str, Any], said: str, persist: bool
) -> None:
    vendor.install(
        "one",
        "async def look(self):\n    return self.api.settings.port",
        module=SETTINGS,
        manifest='settings = "vendor_one:S"',
    )
    await host.start_plugin("one", tenant_id="t")
    await host.configure("one", {"port": 5}, tenant_id="t", persist=persist)
    files = {one: one.read_bytes() for one in json_files(home)}
    with pytest.raises(ConfigurationError, match=said):
        await host.configure("one", {"host": "new", **wrong}, tenant_id="t", persist=persist)
    with pytest.raises(ConfigurationError, match=said):
        await host.load("one", tenant_id="t", configuration=wrong)
    assert state(host) is PluginState.ACTIVE
    assert await host.get("one", tenant_id="t").look() == 5
    await host.restart_plugin("one", tenant_id="t")
    assert await host.get("one", tenant_id="t").look() == 5
    assert {one: one.read_bytes() for one in json_files(home)} == files


async def test_settings_that_are_to_stay_outlive_the_host_and_an_override_does_not(make_host: Any, vendor: Any) -> None:
    vendor.install(
        "one",
        "async def look(self):\n    return self.api.settings.host, self.api.settings.port",
        module=SETTINGS,
        manifest='settings = "vendor_one:S"',
    )
    async with make_host() as host:
        await host.start_plugin("one", tenant_id="t")
        await host.configure("one", {"port": 5}, tenant_id="t", persist=True)
        await host.configure("one", {"host": "over"}, tenant_id="t")
        assert await host.get("one", tenant_id="t").look() == ("over", 5)
        told = {one.key: (one.value, one.layer) for one in host.explain("one", tenant_id="t")}
        assert told["port"] == (5, "tenant")
        assert told["host"] == ("over", "override")
    async with make_host() as host:
        await host.start_plugin("one", tenant_id="t")
        assert await host.get("one", tenant_id="t").look() == ("h", 5)


async def test_a_plugin_with_settings_that_cannot_be_used_never_starts_without_them(
    host: PluginManager, vendor: Any, home: Path
) -> None:
    vendor.install(
        "one",
        "async def look(self):\n    return self.api.settings.port",
        module=SETTINGS,
        manifest='settings = "vendor_one:S"',
    )
    (home / "tenants").mkdir()
    file = home / "tenants" / "t.json"
    file.write_text('{"plugins": {"one": {"configuration": {"port": "many"}}}}')
    for ask in (host.load, host.start_plugin, host.start_plugin):
        with pytest.raises(ConfigurationError, match=r"one\.port is 'many' .*t\.json, line 1"):
            await ask("one", tenant_id="t")
        assert state(host) is PluginState.MISCONFIGURED
    file.write_text('{"plugins": {"one": {"configuration": {"port": 8}}}}')
    await host.start_plugin("one", tenant_id="t")
    assert await host.get("one", tenant_id="t").look() == 8


# on and off


async def test_what_is_switched_off_stays_off_until_it_is_switched_on(make_host: Any, vendor: Any) -> None:
    vendor.install("one", SPEAKS)
    async with make_host() as host:
        await host.start_plugin("one", tenant_id="t")
        await host.disable("one", tenant_id="t", reason="replaced")
        assert (state(host), host.status("one", tenant_id="t").reason) == (PluginState.DISABLED, "replaced")
        for ask in (host.load, host.start_plugin, host.restart_plugin):
            with pytest.raises(LifecycleError, match=r"one is off for tenant t: disabled by .*t\.json"):
                await ask("one", tenant_id="t")
            assert state(host) is PluginState.DISABLED
        await host.start_plugin("one", tenant_id="u")
    async with make_host() as host:
        with pytest.raises(LifecycleError, match=r"one is off"):
            await host.start_plugin("one", tenant_id="t")
        await host.enable("one", tenant_id="t")
        await host.start_plugin("one", tenant_id="t")


@pytest.mark.parametrize("through", ["argument", "environment"])
async def test_safe_mode_for_all_and_for_one(
    make_host: Any, vendor: Any, monkeypatch: pytest.MonkeyPatch, through: str
) -> None:
    vendor.install("one", SPEAKS)
    vendor.install("two", SPEAKS)
    for mode, off in [("all", {"one", "two"}), ("one", {"one"}), (" one , x", {"one"})]:
        options = {"safe_mode": mode} if through == "argument" else {}
        if through == "environment":
            monkeypatch.setenv("DOTMAC_SAFE_MODE", mode)
        async with make_host(**options) as host:
            for name in ("one", "two"):
                if name in off:
                    for ask in (host.load, host.start_plugin, host.start_plugin):
                        with pytest.raises(LifecycleError, match=rf"{name} is off for tenant t: safe mode"):
                            await ask(name, tenant_id="t")
                    assert state(host, name) is PluginState.DISABLED
                else:
                    await host.start_plugin(name, tenant_id="t")
            assert not off & set(host.load_order("t"))
            result = await host.load_all(plugins=["one", "two"], tenants=["v"])
            assert {ref.plugin_id for ref in result.failed} == off


async def test_a_required_plugin_that_is_not_there_makes_the_start_fail_loudly(make_host: Any, vendor: Any) -> None:
    vendor.install("broken", table="[broken\n")
    for name, said in [("missing", "there is no plugin 'missing'"), ("broken", "not valid TOML|TOML")]:
        host = make_host(required=[name])
        with pytest.raises(DiscoveryError, match=said):
            await host.start()
        assert not host.running
        await host.stop()


async def test_a_blocked_version_does_not_load_and_says_why(make_host: Any, vendor: Any) -> None:
    vendor.install("one", version="1.0")
    async with make_host(blocked={"one": "<1.2 | loses events"}) as host:
        with pytest.raises(DiscoveryError, match=r"loses events"):
            await host.load("one", tenant_id="t")
        assert any("loses events" in one.message for one in host.problems)


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
    async with make_host() as host:
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
