"""Importing a plugin: whatever its code does becomes one error that names the module and the remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dotmac_isp.plugins.core.base import BasePlugin
from dotmac_isp.plugins.core.discovery import discover, load_class, load_provider, load_settings_model
from dotmac_isp.plugins.core.errors import DiscoveryError
from dotmac_isp.plugins.core.settings import PluginSettings

Install = Callable[..., Path]
BASE = "from dotmac_isp.plugins.core.base import BasePlugin, NetworkAutomationPlugin\n"


@pytest.fixture
def load(site: Path, install: Install) -> Callable[..., type[BasePlugin]]:
    def run(code: str, **options: object) -> type[BasePlugin]:
        install("vendor-one", "one", code=code, **options)
        return load_class(discover(path=[str(site)]).plugins["one"])

    return run


def test_a_plugin_class_is_imported_when_it_is_asked_for(load: Callable[..., type[BasePlugin]]) -> None:
    loaded = load(BASE + "class Plugin(BasePlugin):\n    pass\n")
    assert issubclass(loaded, BasePlugin)
    assert loaded.__module__ == "vendor_one"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import no_such_vendor_lib\n", "the module 'no_such_vendor_lib' is missing"),
        ("from os import no_such_name\n", "cannot import name 'no_such_name'"),
        ("import sys\nsys.exit(3)\n", "ended the program: SystemExit(3)"),
        ("raise KeyboardInterrupt\n", "failed: KeyboardInterrupt"),
        ("1 / 0\n", "failed: ZeroDivisionError(division by zero)"),
        ("def broken(:\n", "failed: SyntaxError"),
        ("x = 1\n", "vendor_one of vendor-one has no 'Plugin'"),
        ("Plugin = 3\n", "is of type int, not a plugin class"),
        ("class Plugin:\n    pass\n", "is the class Plugin, not a plugin class"),
        (BASE + "class Plugin(NetworkAutomationPlugin):\n    pass\n", "lacks configure_device, discover_devices"),
    ],
)
def test_code_that_cannot_be_used_is_told_with_the_module_and_a_remedy(
    load: Callable[..., type[BasePlugin]], code: str, said: str
) -> None:
    with pytest.raises(DiscoveryError) as caught:
        load(code)
    assert said in str(caught.value)
    assert "vendor-one" in str(caught.value)
    assert caught.value.plugin_id == "one"
    assert caught.value.remedy


def test_the_remedy_of_a_missing_module_names_the_declared_requirements_that_are_missing(
    load: Callable[..., type[BasePlugin]],
) -> None:
    needs = ("no-such-vendor-lib>=2", "msgspec>=0.1", "only-windows; sys_platform == 'win32'")
    with pytest.raises(DiscoveryError, match=r"python -m pip install 'no-such-vendor-lib>=2'$"):
        load("import no_such_vendor_lib\n", requires=needs)


def test_a_plugin_loads_once_what_it_lacked_is_there(
    site: Path, install: Install, load: Callable[..., type[BasePlugin]]
) -> None:
    with pytest.raises(DiscoveryError):
        load("import vendor_lib_late\n" + BASE + "class Plugin(BasePlugin):\n    pass\n")
    (site / "vendor_lib_late.py").write_text("")
    assert load_class(discover(path=[str(site)]).plugins["one"]).__name__ == "Plugin"


def test_the_settings_model_and_the_provider_module_come_from_the_manifest(site: Path, install: Install) -> None:
    code = (
        "from dotmac_isp.plugins.core.settings import PluginSettings\n"
        "class S(PluginSettings):\n    host: str = 'h'\nclass Other:\n    pass\n"
    )
    install("vendor-one", "one", code=code, manifest='settings = "vendor_one:S"\nprovides = "vendor_one"\n')
    install("vendor-two", "two", manifest='settings = "vendor_one:Other"\n')
    install("vendor-none", "none")
    plugins = discover(path=[str(site)]).plugins
    model = load_settings_model(plugins["one"])
    assert model is not None
    assert issubclass(model, PluginSettings)
    provider = load_provider(plugins["one"])
    assert provider is not None
    assert provider.__name__ == "vendor_one"
    assert load_settings_model(plugins["none"]) is None
    assert load_provider(plugins["none"]) is None
    with pytest.raises(DiscoveryError, match=r"It must be a subclass of .*PluginSettings"):
        load_settings_model(plugins["two"])
