"""Every hook, through a running host with two tenants: who is asked, who is told, and who never is."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from dotmac_isp.plugins.core import DeviceEvent, MetricSample, Secret, hookimpl
from dotmac_isp.plugins.core.errors import PluginError
from dotmac_isp.plugins.core.hookspecs import HOOKS, DeviceHooks, LifecycleHooks, MetricsHooks, ProviderHooks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from dotmac_isp.plugins.core import PluginManager

    Install = Callable[..., Awaitable[None]]

LISTENER = """
async def {hook}(self, {argument}):
    said.append((self.api.plugin_id, self.api.tenant_id, {argument}))
"""


@pytest.fixture
def both(host: PluginManager, vendor: Any) -> Install:
    """`await both("one", "async def …")`: the plugin runs for the tenants `a` and `b`."""

    async def install(plugin_id: str, body: str, **options: Any) -> None:
        vendor.install(plugin_id, body, **options)
        for tenant in ("a", "b"):
            await host.start_plugin(plugin_id, tenant_id=tenant)

    return install


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_has_a_test_and_says_what_it_is_for(name: str) -> None:
    assert hasattr(sys.modules[__name__], f"test_hook_{name}"), f"write test_hook_{name} in this file"
    (spec,) = [
        getattr(one, name) for one in (LifecycleHooks, DeviceHooks, MetricsHooks, ProviderHooks) if hasattr(one, name)
    ]
    assert spec.__doc__
    assert len(spec.__doc__.split()) >= 5
    assert HOOKS[name].family in {"lifecycle", "device", "metrics", "provider"}


async def test_hook_on_device_event(host: PluginManager, vendor: Any, both: Install) -> None:
    await both("listener", LISTENER.format(hook="on_device_event", argument="event"))
    await both("other", LISTENER.format(hook="on_device_event", argument="event"))
    await both(
        "emitter",
        LISTENER.format(hook="on_device_event", argument="event")
        + "async def emit(self, event):\n    results = await self.api.hooks.on_device_event(event=event)\n    return len(results), results.failures",
    )
    event = DeviceEvent(event_type="onu.up", device_id="onu-1", source="emitter", tenant_id="a")
    assert await host.get("emitter", tenant_id="a").emit(event) == (0, ())
    assert sorted(vendor.said, key=str) == [("listener", "a", event), ("other", "a", event)]
    vendor.said.clear()
    await host.hooks("b").on_device_event(event=event)
    assert {one[:2] for one in vendor.said} == {("listener", "b"), ("other", "b"), ("emitter", "b")}


async def test_a_plugin_cannot_reach_another_tenant_through_its_context(
    host: PluginManager, vendor: Any, both: Install
) -> None:
    await both("listener", LISTENER.format(hook="on_device_event", argument="event"))
    await both(
        "emitter",
        "async def emit(self, event, tenant):\n    await self.api.hooks.on_device_event(event=event, context=PluginContext(tenant_id=tenant))",
    )
    event = DeviceEvent(event_type="onu.up", device_id="onu-1", source="emitter")
    with pytest.raises(PluginError, match="a context of tenant b came with a call to tenant a"):
        await host.get("emitter", tenant_id="a").emit(event, "b")
    assert vendor.said == []


async def test_a_plugin_may_call_the_hooks_of_devices_and_metrics_and_no_others(
    host: PluginManager, vendor: Any
) -> None:
    vendor.install(
        "one",
        """
        async def look(self, hook):
            try:
                getattr(self.api.hooks, hook)
            except AttributeError as error:
                return str(error)
        """,
    )
    await host.start_plugin("one")
    one = host.get("one")
    for name, rule in HOOKS.items():
        own = rule.family in {"device", "metrics"}
        assert await one.look(name) == (None if own else f"the hook {name!r} is called by the host alone")


async def test_hook_discover_devices(host: PluginManager, both: Install) -> None:
    await both("one", "async def discover_devices(self):\n    return [{'device_id': self.api.tenant_id}]")
    await both("two", "def discover_devices(self, context):\n    return [{'device_id': context.tenant_id + '2'}]")
    for tenant in ("a", "b"):
        results = await host.hooks(tenant).discover_devices()
        assert results.by_plugin == {"two": [{"device_id": f"{tenant}2"}], "one": [{"device_id": tenant}]}


async def test_hook_configure_device(host: PluginManager, both: Install) -> None:
    await both(
        "one",
        "async def configure_device(self, device_id, config, context):\n    return True if device_id == context.tenant_id else None",
    )
    assert await host.hooks("a").configure_device(device_id="a", config={"x": 1}) is True
    assert await host.hooks("a").configure_device(device_id="b", config={}) is None


async def test_hook_get_device_status(host: PluginManager, both: Install) -> None:
    await both(
        "one",
        "async def get_device_status(self, device_id):\n    return {'device_id': device_id, 'status': self.api.tenant_id}",
    )
    assert await host.hooks("b").get_device_status(device_id="x") == {"device_id": "x", "status": "b"}


async def test_hook_collect_metrics(host: PluginManager, both: Install) -> None:
    await both(
        "one",
        "async def collect_metrics(self, resource_ids):\n    return {one: self.api.tenant_id for one in resource_ids}",
    )
    results = await host.hooks("a").collect_metrics(resource_ids=["r"])
    assert results.by_plugin == {"one": {"r": "a"}}


async def test_hook_create_alert(host: PluginManager, both: Install) -> None:
    await both(
        "one", "async def create_alert(self, alert_data):\n    return f\"{self.api.tenant_id}-{alert_data['name']}\""
    )
    await both("mute", "async def create_alert(self, alert_data):\n    return None")
    assert await host.hooks("b").create_alert(alert_data={"name": "loss"}) == "b-loss"


async def test_hook_get_alert_status(host: PluginManager, both: Install) -> None:
    await both(
        "one",
        "async def get_alert_status(self, alert_id):\n    return {'alert_id': alert_id, 'state': 'firing'} if alert_id == 'x' else None",
    )
    assert await host.hooks("a").get_alert_status(alert_id="x") == {"alert_id": "x", "state": "firing"}
    assert await host.hooks("a").get_alert_status(alert_id="y") is None


async def test_hook_on_metrics(host: PluginManager, vendor: Any, both: Install) -> None:
    await both("listener", LISTENER.format(hook="on_metrics", argument="samples"))
    await both(
        "measurer",
        LISTENER.format(hook="on_metrics", argument="samples") + "async def get_metrics(self):\n    return {'onus': 4}",
    )
    await host._metrics_round()
    assert [(name, tenant, samples[0].name, samples[0].value) for name, tenant, samples in vendor.said] == [
        ("listener", "a", "onus", 4.0),
        ("listener", "b", "onus", 4.0),
    ]
    vendor.said.clear()
    await host.hooks("a").on_metrics(samples=[MetricSample(name="x", value=1.0)])
    assert {one[:2] for one in vendor.said} == {("listener", "a"), ("measurer", "a")}


async def _life(host: PluginManager, vendor: Any, both: Install, hook: str) -> list[tuple[Any, ...]]:
    await both("listener", LISTENER.format(hook=hook, argument="instance"))
    vendor.install("one", LISTENER.format(hook=hook, argument="instance"))
    vendor.said.clear()
    await host.load("one", tenant_id="a")
    await host.start_plugin("one", tenant_id="a")
    await host.stop_plugin("one", tenant_id="a")
    await host.unload("one", tenant_id="a")
    return [(name, tenant, str(instance)) for name, tenant, instance in vendor.said]


async def test_hook_on_initialized(host: PluginManager, vendor: Any, both: Install) -> None:
    assert await _life(host, vendor, both, "on_initialized") == [("listener", "a", "one@a")]


async def test_hook_on_activated(host: PluginManager, vendor: Any, both: Install) -> None:
    assert await _life(host, vendor, both, "on_activated") == [("listener", "a", "one@a")]


async def test_hook_on_deactivated(host: PluginManager, vendor: Any, both: Install) -> None:
    assert await _life(host, vendor, both, "on_deactivated") == [("listener", "a", "one@a")]


async def test_hook_on_cleaned_up(host: PluginManager, vendor: Any, both: Install) -> None:
    assert await _life(host, vendor, both, "on_cleaned_up") == [("listener", "a", "one@a")]


async def test_hook_on_failed(host: PluginManager, vendor: Any, both: Install) -> None:
    await both(
        "listener",
        "async def on_failed(self, instance, failure):\n    said.append((self.api.tenant_id, str(instance), failure.message))",
    )
    vendor.install("one", "async def activate(self):\n    raise OSError('no route')")
    with pytest.raises(PluginError):
        await host.start_plugin("one", tenant_id="b")
    assert vendor.said == [("b", "one@b", "no route")]


async def test_hook_on_settings_changed(host: PluginManager, vendor: Any, both: Install) -> None:
    body = LISTENER.format(hook="on_settings_changed", argument="changes")
    settings = "class S(PluginSettings):\n    port: int = 1\n"
    await both("one", body, module=settings, manifest='settings = "vendor_one:S"')
    await both("two", body, module=settings, manifest='settings = "vendor_two:S"')
    await host.configure("one", {"port": 2}, tenant_id="a")
    ((name, tenant, (change,)),) = vendor.said
    assert (name, tenant, change.key, change.before, change.after) == ("one", "a", "port", 1, 2)


async def test_hook_on_secret_rotated(
    host: PluginManager, vendor: Any, both: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VENDOR_TOKEN", "x")
    body = LISTENER.format(hook="on_secret_rotated", argument="name")
    await both("one", body, manifest='[one.secrets]\nrequired = ["vendor-token"]')
    await both("two", body)
    await host.rotate_secret("vendor-token", tenant_id="b")
    assert vendor.said == [("one", "b", "vendor-token")]


MEMORY = """
async def initialize(self):
    self.seen = []

async def note(self, what):
    self.seen.append(what)
    return list(self.seen)

async def hand_over_state(self):
    return {"seen": self.seen, "of": self.api.tenant_id}

async def take_over_state(self, state):
    assert state["of"] == self.api.tenant_id
    self.seen = [*state["seen"], "taken over"]
"""


async def test_hook_hand_over_state(host: PluginManager, both: Install) -> None:
    await both("one", MEMORY.replace("take_over_state", "_nothing"))
    await both("two", MEMORY)
    for plugin, after in (("one", ["b"]), ("two", ["a", "taken over", "b"])):
        await host.get(plugin, tenant_id="a").note("a")
        await host.reload_plugin(plugin, tenant_id="a")
        assert await host.get(plugin, tenant_id="a").note("b") == after
        assert await host.get(plugin, tenant_id="b").note("c") == ["c"], "another tenant's instance is not concerned"


async def test_hook_take_over_state(host: PluginManager, vendor: Any, both: Install) -> None:
    await both("one", MEMORY + '    if "full" in open_doors:\n        raise OSError("no room")\n')
    one = host.get("one", tenant_id="a")
    await one.note("a")
    vendor.open_doors["full"] = True
    with pytest.raises(PluginError, match="the one before goes on: one@a: take_over_state failed: OSError: no room"):
        await host.reload_plugin("one", tenant_id="a")
    assert await one.note("b") == ["a", "b"], "nothing is lost when it is not taken"


async def test_hook_provide_secret(make_host: Any, vendor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VENDOR_TOKEN", raising=False)
    vendor.install(
        "vault",
        "async def provide_secret(self, reference, tenant):\n    return f'{reference} of {tenant}' if tenant == 'a' else None",
        manifest='category = "secrets"',
    )
    vendor.install(
        "one",
        "async def look(self):\n    return await self.api.secrets.get('vendor-token')",
        manifest='[one.secrets]\noptional = ["vendor-token"]',
    )
    async with make_host() as host:
        for tenant in ("a", "b"):
            await host.start_plugin("one", tenant_id=tenant)
        assert await host.get("one", tenant_id="a").look() == Secret("vendor-token", "vendor-token of a")
        assert await host.get("one", tenant_id="b").look() is None


class Provider:
    """Implementations of the host's own, for hooks that packages implement in their provider module."""

    @hookimpl
    async def provide_audit_sink(self) -> object:
        return self

    @hookimpl
    def provide_licence_keys(self) -> dict[str, bytes]:
        return {"key-1": b"x"}


async def test_hook_provide_audit_sink(host: PluginManager) -> None:
    provider = Provider()
    host.register(provider, name="sinks")
    results = await host.hooks().provide_audit_sink()
    assert list(results) == [provider]
    assert len(await host.hooks("a").provide_audit_sink()) == 0


async def test_hook_provide_licence_keys(host: PluginManager) -> None:
    host.register(Provider(), name="issuer")
    assert (await host.hooks().provide_licence_keys()).by_plugin == {"issuer": {"key-1": b"x"}}


async def test_hook_provide_host_services(host: PluginManager, vendor: Any) -> None:
    vendor.install(
        "one",
        module="""
        @hookimpl
        async def provide_host_services(settings):
            said.append((settings.plugin_id, settings.values.port, settings.data_dir.name, settings.home.name))
            return []

        class S(PluginSettings):
            port: int = 1
        """,
        manifest='provides = "vendor_one"\nsettings = "vendor_one:S"',
    )
    for tenant in ("a", "b"):
        await host.start_plugin("one", tenant_id=tenant)
    assert vendor.said == [("one", 1, "one", "home")], "once per host"
