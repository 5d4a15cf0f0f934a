"""All configuration files as one: who switches a plugin on, which layers it gets, what a tenant keeps."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from dotmac_isp.plugins.core.discovery import Discovery, InstalledPlugin, Manifest, Problem
from dotmac_isp.plugins.core.errors import ConfigurationError, TenantIdError, UnknownSettingError
from dotmac_isp.plugins.core.settings import Configuration, PluginSettings, resolve, state_home


class Voltha(PluginSettings):
    voltha_host: str = "default"
    voltha_port: int = 1
    voltha_rest_port: int = 1
    device_monitoring_interval: float = 1


def installed(plugin_id: str = "voltha_integration", **changes: Any) -> InstalledPlugin:
    values: dict[str, Any] = {
        "id": plugin_id,
        "manifest": Manifest(id=plugin_id, name="V", version="1", environment=("VOLTHA_HOST",)),
        "module": "dotmac_isp.plugins.network_automation.voltha_integration_plugin",
        "class_name": "VolthaIntegrationPlugin",
        "distribution": "dotmac-plugin-voltha",
        "version": "1",
        "editable": False,
        "manifest_path": Path("dotmac-plugin.toml"),
    }
    return InstalledPlugin(**{**values, **changes})


def write(home: Path, name: str, value: object) -> Path:
    path = home / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(json.dumps(value, indent=2))
    return path


def own(home: Path, **values: object) -> Configuration:
    write(home, "vendor_integrations.json", values)
    return Configuration.read(home)


def test_without_an_operators_file_the_packaged_one_counts(tmp_path: Path) -> None:
    configuration = Configuration.read(tmp_path / "absent")
    assert configuration.plugin_ids() == ("voltha_integration", "analytics_events")
    assert configuration.environments() == ("development", "production")


def test_the_operators_file_stands_over_the_packaged_one_key_by_key(tmp_path: Path) -> None:
    entry = {"configuration": {"voltha_port": 7}, "name": "Our VOLTHA"}
    configuration = own(
        tmp_path,
        vendor_integrations={"acme": {}, "voltha_integration": entry},
        deployment_scenarios={"staging": {"acme": {"enabled": False}}},
    )
    assert configuration.plugin_ids() == ("voltha_integration", "analytics_events", "acme")
    assert configuration.environments() == ("development", "production", "staging")
    merged = configuration.integration("voltha_integration")
    assert merged is not None
    assert merged.name == "Our VOLTHA"
    assert merged.class_name == "VolthaIntegrationPlugin"
    assert merged.configuration["voltha_port"] == 7
    assert merged.configuration["voltha_rest_port"] == 8881
    assert configuration.integration("nobody") is None


def test_an_unknown_environment_names_those_that_there_are(tmp_path: Path) -> None:
    configuration = Configuration.read(tmp_path)
    with pytest.raises(ConfigurationError, match=r"no environment 'prod'. There are: development, production"):
        configuration.enabled("voltha_integration", "prod")
    with pytest.raises(ConfigurationError, match=r"no environment ''"):
        configuration.layers(installed(), environment="")


def test_installed_is_enabled_and_tenant_over_scenario_over_file_decides(tmp_path: Path) -> None:
    configuration = own(
        tmp_path,
        vendor_integrations={"a": {"enabled": False}},
        deployment_scenarios={"production": {"a": {"enabled": True}}},
    )
    write(tmp_path, "tenants/t1.json", {"plugins": {"a": {"enabled": False}}})
    assert configuration.enabled("other") == (True, "installed, and nothing switches it off")
    answer, why = configuration.enabled("a")
    assert (answer, "vendor_integrations.json, line 4" in why) == (False, True)
    answer, why = configuration.enabled("a", "production")
    assert (answer, why.startswith("enabled by the scenario 'production'")) == (True, True)
    answer, why = configuration.enabled("a", "production", "t1")
    assert (answer, why) == (False, f"disabled by {tmp_path / 'tenants/t1.json'}, line 4")
    assert configuration.enabled("a", "production", "t2")[0] is True


def test_every_layer_has_its_place(tmp_path: Path) -> None:
    configuration = own(
        tmp_path,
        vendor_integrations={"voltha_integration": {"configuration": {"voltha_port": 2, "voltha_host": "own"}}},
        deployment_scenarios={"production": {"voltha_integration": {"configuration": {"voltha_port": 3}}}},
    )
    write(tmp_path, "tenants/t1.json", {"plugins": {"voltha_integration": {"configuration": {"voltha_rest_port": 4}}}})
    layers = configuration.layers(
        installed(),
        environment="production",
        tenant_id="t1",
        override={"device_monitoring_interval": 5},
        model_class=Voltha,
        environ={"VOLTHA_HOST": "env"},
    )
    assert [layer.name for layer in layers] == ["file", "file", "scenario", "environment", "tenant", "override"]
    resolved = resolve("voltha_integration", Voltha, layers=layers)
    assert resolved.model == Voltha(voltha_host="env", voltha_port=3, voltha_rest_port=4, device_monitoring_interval=5)
    host = next(one for one in resolved.explain() if one.key == "voltha_host")
    assert [value for _, _, value in host.overrode] == ["default", "voltha.fiber.local", "own"]


def test_a_wrong_setting_of_a_tenant_is_told_with_its_file_and_line(tmp_path: Path) -> None:
    configuration = Configuration.read(tmp_path)
    values = {"plugins": {"voltha_integration": {"configuration": {"voltha_port": "high"}}}}
    path = write(tmp_path, "tenants/t1.json", values)
    layers = configuration.layers(installed(), tenant_id="t1", model_class=Voltha)
    with pytest.raises(ConfigurationError) as caught:
        resolve("voltha_integration", Voltha, layers=layers)
    assert f"is 'high' (tenant: {path}, line 5)" in str(caught.value)


def test_a_damaged_tenant_file_concerns_that_tenant_only_and_is_not_overwritten(tmp_path: Path) -> None:
    configuration = Configuration.read(tmp_path)
    path = write(tmp_path, "tenants/bad.json", {"plugin": {}})
    with pytest.raises(UnknownSettingError, match=r"Did you mean 'plugins'"):
        configuration.enabled("voltha_integration", None, "bad")
    before = path.read_bytes()
    with pytest.raises(UnknownSettingError):
        configuration.write_tenant_configuration("bad", "a", {"x": 1})
    assert path.read_bytes() == before
    assert configuration.enabled("voltha_integration", None, "good")[0]


@pytest.mark.parametrize("tenant", ["../x", "a/b", "", ".hidden", "a\n", "x" * 300])
def test_no_tenant_names_a_file_elsewhere(tmp_path: Path, tenant: str) -> None:
    configuration = Configuration.read(tmp_path)
    with pytest.raises(TenantIdError):
        configuration.tenant(tenant)
    with pytest.raises(TenantIdError):
        configuration.write_tenant_configuration(tenant, "a", {"x": 1})


def test_what_a_tenant_is_given_at_run_time_survives_a_restart(tmp_path: Path) -> None:
    configuration = Configuration.read(tmp_path)
    configuration.write_tenant_configuration("t1", "a", {"limits": {"cpu": 1, "memory": 2}, "host": "x"})
    configuration.write_tenant_configuration("t1", "a", {"limits": {"cpu": 5}}, remove=["host", "absent"])
    configuration.write_tenant_enabled("t1", "b", False)
    configuration.write_tenant_suspended("t1", True)
    again = Configuration.read(tmp_path)
    assert again.tenants() == ("t1",)
    assert again.tenant("t1").plugins["a"].configuration == {"limits": {"cpu": 5, "memory": 2}}
    assert again.enabled("b", None, "t1")[0] is False
    assert again.suspended("t1")
    again.write_tenant_enabled("t1", "b", None)
    again.write_tenant_suspended("t1", False)
    assert configuration.enabled("b", None, "t1")[0] is True, "a host sees what another process wrote"
    assert not configuration.suspended("t1")
    path = tmp_path / "tenants/t1.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert configuration.remove_tenant("t1") is True
    assert configuration.remove_tenant("t1") is False
    assert configuration.tenants() == ()


def test_the_system_tenant_keeps_settings_too_and_is_listed_nowhere(tmp_path: Path) -> None:
    configuration = Configuration.read(tmp_path)
    configuration.write_tenant_configuration(None, "a", {"x": 1})
    assert Configuration.read(tmp_path).tenant(None).plugins["a"].configuration == {"x": 1}
    assert configuration.tenants() == ()


def test_what_is_no_json_is_refused_and_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    configuration = Configuration.read(tmp_path)
    configuration.write_tenant_configuration("t1", "a", {"x": 1})
    for bad in (float("nan"), object(), {1, 2}):
        with pytest.raises(ConfigurationError, match=r"cannot be written as JSON"):
            configuration.write_tenant_configuration("t1", "a", {"x": bad})
    assert configuration.tenant("t1").plugins["a"].configuration == {"x": 1}
    assert sorted(one.name for one in (tmp_path / "tenants").iterdir()) == [".lock", "t1.json"]


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from dotmac_isp.plugins.core.settings import Configuration\n"
        "configuration = Configuration.read(Path(sys.argv[1]))\n"
        "for index in range(20): configuration.write_tenant_configuration('t1', 'a', {f'process{index}': index})\n"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    configuration = Configuration.read(tmp_path)

    def work(name: str) -> None:
        for index in range(20):
            configuration.write_tenant_configuration("t1", "a", {f"{name}{index}": index})

    threads = [threading.Thread(target=work, args=(name,)) for name in ("x", "y")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert other.wait(60) == 0
    assert len(configuration.tenant("t1").plugins["a"].configuration) == 60


def test_a_module_or_class_that_differs_from_the_entry_points_is_an_error_with_its_line(tmp_path: Path) -> None:
    configuration = own(tmp_path, vendor_integrations={"voltha_integration": {"class_name": "Other"}})
    found = Discovery(plugins={"voltha_integration": installed()}, problems=())
    errors = [one for one in configuration.check_against(found) if one.severity == "error"]
    (error,) = errors
    assert f"{tmp_path / 'vendor_integrations.json'}, line 4: voltha_integration.class_name is 'Other'" in error.message
    assert "'VolthaIntegrationPlugin'" in (error.remedy or "")


def test_a_plugin_that_is_named_but_not_installed_is_a_warning_with_its_pip_name(tmp_path: Path) -> None:
    problem = Problem(plugin_id="analytics_events", distribution="dotmac-plugin-analytics", message="broken")
    found = Discovery(plugins={}, problems=(problem,))
    (warning,) = Configuration.read(tmp_path).check_against(found)
    assert warning.severity == "warning"
    assert warning.plugin_id == "voltha_integration", "what is installed and broken has its own problem"
    assert warning.remedy == "python -m pip install dotmac-plugin-voltha"


def test_the_state_folder_is_dotmac_home_or_the_users_data_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOTMAC_HOME", str(tmp_path))
    assert state_home() == tmp_path
    monkeypatch.setenv("DOTMAC_HOME", "")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert state_home().name == "dotmac-plugins"
