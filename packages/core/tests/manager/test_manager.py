"""The façade: load, start, stop, configure, tenants, requirements, safe mode, the host itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dotmac_isp.plugins.core import ConfigurationError, PluginContext, PluginManager, PluginState
from dotmac_isp.plugins.core.errors import (
    CallError,
    DependencyError,
    DiscoveryError,
    InstanceNotFoundError,
    LifecycleError,
    PluginError,
)

if TYPE_CHECKING:
    from pathlib import Path

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
