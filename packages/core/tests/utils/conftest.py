"""Vendor plugins of the tests' own, laid out as pip would leave them, and a host whose home is a folder of the test."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dotmac_isp.plugins.core.manager import PluginManager

CODE = """\
from typing import Any

from pydantic import Field

from dotmac_isp.plugins.core import BasePlugin, HealthReport, HealthStatus, PluginSettings


class Settings(PluginSettings):
    host: str = "localhost"
    port: int = Field(default=1, ge=1)
    trouble: str = ""


class Plugin(BasePlugin):
    async def initialize(self) -> None:
        if self.api.settings.trouble == "initialize":
            raise RuntimeError("the vendor's library is broken")

    async def activate(self) -> None:
        if self.api.settings.trouble == "activate":
            raise RuntimeError("the vendor hung up")

    async def health_check(self) -> HealthReport:
        if self.api.settings.trouble == "health":
            return HealthReport(status=HealthStatus.UNHEALTHY, message="the vendor is slow", details={"seconds": 9})
        return HealthReport(status=HealthStatus.HEALTHY, message="fine")

    async def where(self) -> str:
        return f"{self.api.settings.host}:{self.api.settings.port}"
"""

Install = Callable[..., None]
Configure = Callable[..., Path]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that stands for site-packages; modules imported from it are forgotten afterwards."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    for name in [one for one in sys.modules if one.startswith("loaded_")]:
        del sys.modules[name]


@pytest.fixture
def install(site: Path) -> Install:
    """`install("alpha", secrets=["alpha-key"])` puts the distribution `vendor-alpha` with the plugin `alpha` there."""

    def put(
        plugin_id: str,
        *,
        requires: dict[str, str] | None = None,
        secrets: tuple[str, ...] = (),
        optional: tuple[str, ...] = (),
        features: str = "",
        code: str = CODE,
        broken_manifest: bool = False,
        category: str = "general",
    ) -> None:
        package = f"loaded_{plugin_id}"
        info = site / f"vendor_{plugin_id}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vendor-{plugin_id}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[dotmac_isp.plugins]\n{plugin_id} = {package}:Plugin\n")
        (site / package).mkdir()
        (site / package / "__init__.py").write_text(code)
        needs = ", ".join(f"{name} = {json.dumps(versions)}" for name, versions in (requires or {}).items())
        (site / package / "dotmac-plugin.toml").write_text(
            f'[{plugin_id}]\nname = "Plugin {plugin_id}"\ncategory = "{category}"\nsettings = "{package}:Settings"\n'
            f'environment = ["HOST"]\nrequires = {{ {needs} }}\n'
            f"{'nonsense = 1' if broken_manifest else ''}\n"
            f"[{plugin_id}.secrets]\nrequired = {json.dumps(list(secrets))}\noptional = {json.dumps(list(optional))}\n{features}"
        )

    return put


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The host's home. The integrations of this project, where they are installed, are switched off in its file."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("DOTMAC_HOME", str(folder))
    for variable in ("HOST", "DOTMAC_SAFE_MODE"):
        monkeypatch.delenv(variable, raising=False)
    return folder


@pytest.fixture
def configure(home: Path) -> Configure:
    """`configure({"alpha": {"configuration": {…}}}, development={"alpha": {…}})` writes the operator's file."""

    def write(integrations: dict[str, Any] | None = None, **scenarios: dict[str, Any]) -> Path:
        ours = {one: {"enabled": False} for one in ("voltha_integration", "analytics_events", "vault_secrets")}
        content = {"vendor_integrations": {**ours, **(integrations or {})}, "deployment_scenarios": scenarios}
        file = home / "vendor_integrations.json"
        file.write_text(json.dumps(content, indent=2))
        return file

    write()
    return write


@pytest.fixture
async def manager(home: Path, configure: Configure) -> AsyncIterator[PluginManager]:
    """A manager that the test starts when everything is installed; it is stopped afterwards."""
    made = PluginManager(health_interval=0, metrics_interval=0)
    yield made
    await made.stop()
