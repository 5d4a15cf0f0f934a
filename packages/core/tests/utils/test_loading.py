"""Loading a tenant's integrations: what is loaded, in which order, what is left out and why."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dotmac_isp.plugins.core.errors import (
    ConfigurationError,
    DiscoveryError,
    LifecycleError,
    TenantIdError,
    UnknownSettingError,
)
from dotmac_isp.plugins.core.manager import PluginManager
from dotmac_isp.plugins.utils.vendor_plugin_loader import VendorPluginLoader

Install = Callable[..., None]
Configure = Callable[..., Path]


async def test_plugins_load_in_the_order_of_the_file_and_then_by_id(
    install: Install, configure: Configure, manager: PluginManager
) -> None:
    for plugin_id in ("alpha", "beta", "gamma", "delta"):
        install(plugin_id)
    configure({"gamma": {"enabled": True}, "beta": {"enabled": True}})
    await manager.start()
    results = await VendorPluginLoader(manager).load_vendor_integrations("production", tenant_id="tenant_123")
    assert results["loaded_plugins"] == ["gamma", "beta", "alpha", "delta"]
    assert results["failed_plugins"] == {}
    assert (results["environment"], results["tenant_id"]) == ("production", "tenant_123")
    assert results["started_plugins"] == []
    assert [one.state.value for one in manager.list(tenant_id="tenant_123")] == ["initialised"] * 4


async def test_what_is_switched_off_or_not_installed_is_skipped_with_the_reason(
    install: Install, configure: Configure, manager: PluginManager
) -> None:
    install("alpha")
    install("beta")
    file = configure({"alpha": {"enabled": False}, "never_made": {"enabled": True}})
    await manager.start()
    results = await VendorPluginLoader(manager).load_vendor_integrations("production", "t")
    assert results["loaded_plugins"] == ["beta"]
    line = next(number for number, text in enumerate(file.read_text().splitlines(), 1) if '"alpha"' in text) + 1
    assert results["skipped_plugins"]["alpha"] == f"disabled by {file}, line {line}"
    assert "not installed" in results["skipped_plugins"]["never_made"]
    assert "alpha" not in results["failed_plugins"]


async def test_one_plugin_that_cannot_be_used_stops_no_other(
    install: Install, configure: Configure, manager: PluginManager
) -> None:
    install("bad_manifest", broken_manifest=True)
    install("bad_import", code="import no_such_vendor_library\n")
    install("bad_step")
    install("bad_value")
    install("fine")
    install("lacks_secret", secrets=("lacks-key",))
    install("needs_bad", requires={"bad_step": ""})
    install("needs_nothing_there", requires={"nobody": ">=2"})
    file = configure(
        {
            "bad_step": {"configuration": {"trouble": "initialize"}},
            "bad_value": {"configuration": {"port": "many"}},
        }
    )
    await manager.start()
    results = await VendorPluginLoader(manager).load_vendor_integrations("production", tenant_id="t")
    assert results["loaded_plugins"] == ["fine"]
    failed = results["failed_plugins"]
    assert {one: failure["kind"] for one, failure in failed.items()} == {
        "bad_manifest": "discovery",
        "bad_import": "discovery",
        "bad_step": "error",
        "bad_value": "configuration",
        "lacks_secret": "secret missing",
        "needs_bad": "dependency",
        "needs_nothing_there": "dependency",
    }
    assert all(failure["remedy"] for failure in failed.values())
    assert "no_such_vendor_library" in failed["bad_import"]["error"]
    assert "the vendor's library is broken" in failed["bad_step"]["error"]
    assert "bad_step, which failed: " in failed["needs_bad"]["error"]
    assert "nobody" in failed["needs_nothing_there"]["error"]
    assert "LACKS_KEY__T or LACKS_KEY" in failed["lacks_secret"]["remedy"]
    wrong = failed["bad_value"]
    lines = file.read_text().splitlines()
    assert (wrong["file"], wrong["key"]) == (str(file), "port")
    assert wrong["line"] is not None
    assert lines[wrong["line"] - 1].strip() == '"port": "many"'
    assert json.loads(json.dumps(results)) == results


async def test_an_unknown_environment_is_told_with_the_file_the_line_and_what_there_is(
    install: Install, configure: Configure, manager: PluginManager
) -> None:
    install("alpha")
    file = configure(staging={})
    await manager.start()
    loader = VendorPluginLoader(manager)
    with pytest.raises(ConfigurationError) as caught:
        await loader.load_vendor_integrations("prodution", tenant_id="t")
    error = caught.value
    assert (error.source, error.field) == (file, "deployment_scenarios")
    assert f"'prodution' in {file}, line {error.line}" in str(error)
    assert "Did you mean 'production'?" in str(error)
    assert "development, production, staging" in str(error)
    assert manager.list(tenant_id="t") == []
    assert loader.tenant_id is None


async def test_a_file_with_a_wrong_type_is_told_with_line_and_key(home: Path, manager: PluginManager) -> None:
    (home / "vendor_integrations.json").write_text(
        '{\n  "vendor_integrations": {\n    "alpha": {"enabled": "yes"}\n  }\n}'
    )
    with pytest.raises(ConfigurationError, match=r"line 3: vendor_integrations\.alpha\.enabled is 'yes'"):
        await manager.start()


async def test_a_tenant_file_with_an_unknown_key_stops_that_tenant_only(
    install: Install, home: Path, manager: PluginManager
) -> None:
    install("alpha")
    (home / "tenants").mkdir()
    (home / "tenants" / "wrong.json").write_text('{"plugins": {\n"alpha": {"enabeld": true}}}')
    await manager.start()
    loader = VendorPluginLoader(manager)
    with pytest.raises(
        UnknownSettingError, match=r"wrong\.json, line 2: plugins\.alpha\.enabeld .*Did you mean 'enabled'"
    ):
        await loader.load_vendor_integrations("production", tenant_id="wrong")
    assert (await loader.load_vendor_integrations("production", tenant_id="right"))["loaded_plugins"] == ["alpha"]


@pytest.mark.parametrize("tenant_id", ["a/b", "..", "a\nb", "x" * 300])
async def test_what_is_no_tenant_id_is_refused_everywhere(manager: PluginManager, tenant_id: str) -> None:
    await manager.start()
    loader = VendorPluginLoader(manager)
    with pytest.raises(TenantIdError):
        await loader.load_vendor_integrations("production", tenant_id=tenant_id)
    with pytest.raises(TenantIdError):
        await loader.start_vendor_plugin("alpha", tenant_id=tenant_id)
    with pytest.raises(TenantIdError):
        await loader.get_vendor_plugin_status(tenant_id=tenant_id)


async def test_settings_given_with_the_load_override_every_other_layer(
    install: Install, configure: Configure, manager: PluginManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("alpha")
    configure({"alpha": {"configuration": {"port": 2}}}, production={"alpha": {"configuration": {"port": 3}}})
    monkeypatch.setenv("HOST", "from.environment")
    await manager.start()
    loader = VendorPluginLoader(manager)
    await loader.load_vendor_integrations("production", tenant_id="t", configuration={"alpha": {"port": 4}})
    explained = {one.key: one for one in loader.explain("alpha")}
    assert (explained["port"].value, explained["port"].layer) == (4, "override")
    assert [(layer, value) for layer, _, value in explained["port"].overrode] == [
        ("plugin default", 1),
        ("file", 2),
        ("scenario", 3),
    ]
    assert (explained["host"].value, explained["host"].layer) == ("from.environment", "environment")
    with pytest.raises(DiscoveryError, match="Did you mean 'alpha'"):
        await loader.load_vendor_integrations("production", tenant_id="t", configuration={"alhpa": {}})


async def test_loading_for_another_environment_gives_a_running_plugin_its_settings(
    install: Install, configure: Configure, manager: PluginManager
) -> None:
    install("alpha")
    install("beta")
    configure(
        development={"alpha": {"configuration": {"host": "lab"}}},
        production={"alpha": {"configuration": {"host": "field"}}, "beta": {"enabled": False}},
    )
    await manager.start()
    loader = VendorPluginLoader(manager)
    await loader.load_vendor_integrations("development", tenant_id="t")
    await loader.start_all_vendor_plugins()
    assert await manager.get("alpha", tenant_id="t").where() == "lab:1"
    results = await loader.load_vendor_integrations("production", tenant_id="t")
    assert results["loaded_plugins"] == ["alpha"]
    assert "production" in results["skipped_plugins"]["beta"]
    assert await manager.get("alpha", tenant_id="t").where() == "field:1"
    assert [one.plugin_id for one in manager.list(tenant_id="t")] == ["alpha"]


async def test_safe_mode_and_a_suspended_tenant_are_reasons_to_skip(
    install: Install, configure: Configure, home: Path
) -> None:
    install("alpha")
    install("beta")
    (home / "tenants").mkdir()
    (home / "tenants" / "asleep.json").write_text('{"suspended": true}')
    async with PluginManager(safe_mode=["alpha"], health_interval=0, metrics_interval=0) as manager:
        loader = VendorPluginLoader(manager)
        results = await loader.load_vendor_integrations("production", tenant_id="t")
        assert results["loaded_plugins"] == ["beta"]
        assert "safe mode" in results["skipped_plugins"]["alpha"]
        results = await loader.load_vendor_integrations("production", tenant_id="asleep")
        assert results["loaded_plugins"] == []
        assert results["skipped_plugins"]["beta"].startswith("the tenant is suspended")


async def test_a_secret_that_only_the_file_requires_fails_the_load_too(
    install: Install, configure: Configure, manager: PluginManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("alpha", optional=("alpha-token",))
    configure({"alpha": {"security": {"secrets_required": ["alpha-token"]}}})
    monkeypatch.delenv("ALPHA_TOKEN", raising=False)
    await manager.start()
    loader = VendorPluginLoader(manager)
    results = await loader.load_vendor_integrations("production", tenant_id="t")
    assert results["failed_plugins"]["alpha"]["kind"] == "secret missing"
    monkeypatch.setenv("ALPHA_TOKEN", "worth nothing")
    results = await loader.load_vendor_integrations("production", tenant_id="t")
    assert results["loaded_plugins"] == ["alpha"]


async def test_a_manager_that_was_not_started_is_told_at_once(install: Install, manager: PluginManager) -> None:
    install("alpha")
    loader = VendorPluginLoader(manager)
    with pytest.raises(LifecycleError, match=r"await plugin_manager\.start\(\) first"):
        await loader.load_vendor_integrations("production", tenant_id="t")


async def test_a_plugin_that_provides_secrets_is_the_hosts_and_no_tenants(
    install: Install, manager: PluginManager
) -> None:
    install("alpha")
    install("strongroom", category="secrets")
    await manager.start()
    loader = VendorPluginLoader(manager)
    results = await loader.load_vendor_integrations("production", tenant_id="t")
    assert results["loaded_plugins"] == ["alpha"]
    assert "the host runs it for the system tenant" in results["skipped_plugins"]["strongroom"]
    assert list((await loader.validate_secrets())["plugins"]) == ["alpha"]
    assert (await loader.load_vendor_integrations("production"))["loaded_plugins"] == ["alpha", "strongroom"]
