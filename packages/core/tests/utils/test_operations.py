"""What one does with loaded plugins: one by one, all of a tenant, and what one asks about them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dotmac_isp.plugins.core.errors import (
    ConfigurationError,
    DiscoveryError,
    InstanceNotFoundError,
    SecretMissingError,
)
from dotmac_isp.plugins.utils import VendorPluginLoader

if TYPE_CHECKING:
    from dotmac_isp.plugins.core.manager import PluginManager

Install = Callable[..., None]
Configure = Callable[..., Path]


@pytest.fixture
async def loader(install: Install, manager: PluginManager) -> VendorPluginLoader:
    """Two plugins, loaded for the tenant `t`."""
    install("alpha")
    install("beta", requires={"alpha": ">=1"})
    await manager.start()
    made = VendorPluginLoader(manager)
    await made.load_vendor_integrations("production", tenant_id="t")
    return made


async def states(loader: VendorPluginLoader) -> dict[str, str]:
    status = await loader.get_vendor_plugin_status()
    return {one: plugin["state"] for one, plugin in status["plugins"].items() if one in {"alpha", "beta"}}


async def test_a_plugin_is_started_stopped_restarted_and_unloaded(loader: VendorPluginLoader) -> None:
    started = await loader.start_vendor_plugin("beta", tenant_id="t")
    assert (started["state"], started["reason"], started["environment"]) == ("active", "started", "production")
    assert await states(loader) == {"alpha": "active", "beta": "active"}
    stopped = await loader.stop_vendor_plugin("alpha")
    assert stopped["state"] == "initialised"
    assert (await states(loader))["beta"] == "held back"
    restarted = await loader.restart_vendor_plugin("alpha")
    assert restarted["state"] == "active"
    await loader.unload_vendor_plugin("beta")
    await loader.unload_vendor_plugin("beta")
    assert await states(loader) == {"alpha": "active"}


async def test_a_running_plugin_has_new_settings_at_once_and_wrong_ones_change_nothing(
    loader: VendorPluginLoader, home: Path
) -> None:
    await loader.start_vendor_plugin("alpha")
    plugin = loader.plugin_manager.get("alpha", tenant_id="t")
    changes = await loader.configure_vendor_plugin("alpha", {"host": "elsewhere"}, persist=True)
    assert [(one.key, one.before, one.after, one.layer) for one in changes] == [
        ("host", "localhost", "elsewhere", "tenant")
    ]
    assert await plugin.where() == "elsewhere:1"
    kept = json.loads((home / "tenants" / "t.json").read_text())
    assert kept["plugins"]["alpha"]["configuration"] == {"host": "elsewhere"}
    with pytest.raises(ConfigurationError, match=r"alpha\.port is 0"):
        await loader.configure_vendor_plugin("alpha", {"port": 0})
    assert await plugin.where() == "elsewhere:1"


async def test_an_unknown_plugin_is_told_with_the_nearest_one(loader: VendorPluginLoader) -> None:
    for call in (
        loader.start_vendor_plugin,
        loader.stop_vendor_plugin,
        loader.restart_vendor_plugin,
        loader.unload_vendor_plugin,
        loader.get_vendor_plugin_status,
        loader.validate_secrets,
    ):
        with pytest.raises(DiscoveryError, match=r"there is no plugin 'alhpa'\. Did you mean 'alpha'"):
            await call("alhpa")
    with pytest.raises(DiscoveryError, match="Did you mean 'alpha'"):
        await loader.configure_vendor_plugin("alhpa", {})
    with pytest.raises(DiscoveryError, match="Did you mean 'alpha'"):
        loader.explain("alhpa")


async def test_stopping_what_is_not_loaded_says_how_to_load_it(loader: VendorPluginLoader) -> None:
    with pytest.raises(InstanceNotFoundError, match="not loaded for tenant other"):
        await loader.stop_vendor_plugin("alpha", tenant_id="other")


async def test_bulk_operations_keep_the_order_and_give_a_result_for_each(
    install: Install, loader: VendorPluginLoader
) -> None:
    started = await loader.start_all_vendor_plugins()
    assert (started["succeeded"], started["failed"]) == (["alpha", "beta"], {})
    assert (await loader.restart_all_vendor_plugins())["succeeded"] == ["alpha", "beta"]
    stopped = await loader.stop_all_vendor_plugins(["beta", "alpha", "nobody"])
    assert stopped["succeeded"] == ["beta", "alpha"]
    assert stopped["failed"]["nobody"]["kind"] == "discovery"
    await loader.configure_vendor_plugin("alpha", {"trouble": "activate"})
    failed = await loader.start_all_vendor_plugins()
    assert failed["succeeded"] == []
    assert "the vendor hung up" in failed["failed"]["alpha"]["error"]
    assert failed["failed"]["beta"]["kind"] == "dependency"
    await loader.configure_vendor_plugin("alpha", {"trouble": ""})
    assert (await loader.start_all_vendor_plugins())["succeeded"] == ["alpha", "beta"]
    assert (await loader.unload_all_vendor_plugins())["succeeded"] == ["beta", "alpha"]


async def test_health_counts_the_plugins_of_one_tenant(install: Install, loader: VendorPluginLoader) -> None:
    install("broken", broken_manifest=True)
    await loader.discover_vendor_plugins()
    await loader.start_vendor_plugin("alpha", tenant_id="t")
    await loader.load_vendor_integrations("production", tenant_id="other")
    assert loader.tenant_id == "other"
    await loader.start_all_vendor_plugins()
    await loader.stop_vendor_plugin("beta")
    await loader.configure_vendor_plugin("beta", {"trouble": "health"})
    await loader.start_vendor_plugin("beta")
    summary = await loader.health_check_all_plugins()
    assert summary["tenant_id"] == "other"
    assert (summary["healthy_plugins"], summary["unhealthy_plugins"], summary["total_plugins"]) == (1, 2, 3)
    assert summary["plugins"]["beta"]["message"] == "the vendor is slow"
    assert summary["plugins"]["beta"]["details"] == {"seconds": 9}
    assert summary["plugins"]["broken"]["state"] == "not loaded"
    summary = await loader.health_check_all_plugins(tenant_id="t")
    assert (summary["healthy_plugins"], summary["unknown_plugins"], summary["total_plugins"]) == (1, 1, 2)


async def test_status_has_state_health_and_reason_of_every_plugin_also_of_those_that_did_not_load(
    install: Install, configure: Configure, manager: PluginManager
) -> None:
    install("alpha")
    install("broken", broken_manifest=True)
    install("off")
    configure({"off": {"enabled": False}})
    await manager.start()
    loader = VendorPluginLoader(manager)
    await loader.load_vendor_integrations("production", tenant_id="t")
    await loader.start_vendor_plugin("alpha")
    status = await loader.get_vendor_plugin_status()
    assert status["plugins"]["alpha"]["health"] == "healthy"
    assert "nonsense" in status["plugins"]["broken"]["reason"]
    assert "disabled by" in status["plugins"]["off"]["reason"]
    assert status["active_plugins"] == 1
    one = await loader.get_vendor_plugin_status("alpha")
    assert list(one["plugins"]) == ["alpha"]
    nobody = await loader.get_vendor_plugin_status("alpha", tenant_id="never_loaded")
    assert nobody["plugins"]["alpha"]["state"] == "not loaded"


async def test_two_tenants_keep_their_own_settings_and_states(loader: VendorPluginLoader) -> None:
    await loader.load_vendor_integrations("development", tenant_id="u", configuration={"alpha": {"host": "of.u"}})
    await loader.start_vendor_plugin("alpha")
    await loader.start_vendor_plugin("alpha", tenant_id="t")
    get = loader.plugin_manager.get
    assert await get("alpha", tenant_id="u").where() == "of.u:1"
    assert await get("alpha", tenant_id="t").where() == "localhost:1"
    await loader.stop_vendor_plugin("alpha")
    assert (await loader.get_vendor_plugin_status("alpha", tenant_id="t"))["plugins"]["alpha"]["state"] == "active"
    assert (loader.environment, (await loader.get_vendor_plugin_status(tenant_id="t"))["environment"]) == (
        "development",
        "production",
    )


async def test_a_plugin_whose_settings_were_wrong_starts_when_they_are_right(
    install: Install, home: Path, manager: PluginManager
) -> None:
    install("alpha")
    (home / "tenants").mkdir()
    file = home / "tenants" / "t.json"
    file.write_text('{"plugins": {"alpha": {"configuration": {"port": "many"}}}}')
    await manager.start()
    loader = VendorPluginLoader(manager)
    results = await loader.load_vendor_integrations("production", tenant_id="t")
    assert results["failed_plugins"]["alpha"]["file"] == str(file)
    with pytest.raises(ConfigurationError):
        await loader.start_vendor_plugin("alpha")
    file.write_text('{"plugins": {"alpha": {"configuration": {"port": 7}}}}')
    await loader.start_vendor_plugin("alpha")
    assert await manager.get("alpha", tenant_id="t").where() == "localhost:7"
    assert (await loader.health_check_all_plugins())["healthy_plugins"] == 1


async def test_secrets_are_reported_by_name_and_never_by_value(
    install: Install, manager: PluginManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(
        "alpha",
        secrets=("alpha-user", "alpha-key"),
        optional=("alpha-extra",),
        features='[alpha.features.more]\nsecrets = ["alpha-extra"]\n',
    )
    for name in ("ALPHA_KEY", "ALPHA_EXTRA", "ALPHA_USER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ALPHA_USER__T", "somebody important")
    await manager.start()
    loader = VendorPluginLoader(manager)
    report = await loader.validate_secrets("alpha", tenant_id="t")
    assert report["valid"] is False
    assert report["missing"] == ["alpha: alpha-key"]
    assert report["plugins"]["alpha"] == {
        "valid": False,
        "required": {"alpha-user": "present", "alpha-key": "missing"},
        "optional": {"alpha-extra": "missing"},
        "switched_off": {"more": ["alpha-extra"]},
        "remedy": "Set ALPHA_KEY__T or ALPHA_KEY",
    }
    with pytest.raises(SecretMissingError):
        await loader.start_vendor_plugin("alpha", tenant_id="t")
    monkeypatch.setenv("ALPHA_KEY", "worth a lot")
    report = await loader.validate_secrets(tenant_id="t")
    assert report["valid"] is True
    assert "somebody important" not in json.dumps(report)
    assert (await loader.validate_secrets(tenant_id="u"))["missing"] == ["alpha: alpha-user"]


async def test_a_plugin_that_was_installed_meanwhile_is_found(install: Install, loader: VendorPluginLoader) -> None:
    install("gamma")
    install("delta", broken_manifest=True)
    found = await loader.discover_vendor_plugins()
    assert found["plugins"]["gamma"]["distribution"] == "vendor-gamma"
    assert (found["plugins"]["gamma"]["state"], found["plugins"]["alpha"]["state"]) == (None, "initialised")
    assert [one["severity"] for one in found["problems"] if one["plugin_id"] == "delta"] == ["error"]
    results = await loader.load_vendor_integrations("production", "t")
    assert results["loaded_plugins"] == ["alpha", "beta", "gamma"]
