"""What the tests of the running host share: tiny plugins installed as pip would leave them, and hosts that leave nothing behind."""

from __future__ import annotations

import asyncio
import functools
import importlib
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from dotmac_isp.plugins.core import Limits, PluginManager
from dotmac_isp.plugins.core.discovery import discover

if TYPE_CHECKING:
    from pathlib import Path

PREAMBLE = """\
import asyncio
import sys
import time

import vendor_journal
from dotmac_isp.plugins.core import *
from dotmac_isp.plugins.core.base import *

said = vendor_journal.said
open_doors = vendor_journal.open_doors
"""

#: Patience of tests: long enough for a loaded machine where something must happen, short where something must be given up.
QUICK = Limits(
    call=5.0,
    step_warning=0.05,
    initialize=0.3,
    activate=0.3,
    deactivate=0.2,
    cleanup=0.2,
    health_check=0.3,
    cancellation=0.2,
    blocking=5.0,
)


class Vendor:
    """Installs plugins below one folder, and hears what they say (`said.append(…)` in their code)."""

    def __init__(self, site: Path) -> None:
        self.site = site
        (site / "vendor_journal.py").write_text("said = []\nopen_doors = {}\n")
        importlib.invalidate_caches()
        self._journal = importlib.import_module("vendor_journal")

    @property
    def said(self) -> list[Any]:
        """What the plugins said, in order."""
        return self._journal.said

    @property
    def open_doors(self) -> dict[str, Any]:
        """Values by which a test tells plugins what to do."""
        return self._journal.open_doors

    def install(
        self,
        plugin_id: str,
        body: str = "pass",
        *,
        module: str = "",
        manifest: str = "",
        base: str = "BasePlugin",
        version: str = "1.0",
        distribution: str | None = None,
        package: str | None = None,
        code: str | None = None,
        table: str | None = None,
    ) -> Path:
        """Install a plugin whose class has this body; `code` and `table` stand in for the whole module and manifest."""
        package = package or f"vendor_{plugin_id}"
        name = distribution or f"vendor-{plugin_id.replace('_', '-')}"
        info = self.site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[dotmac_isp.plugins]\n{plugin_id} = {package}:Plugin\n")
        place = self.site / package
        place.mkdir(exist_ok=True)
        if code is None:
            body = textwrap.indent(textwrap.dedent(body).strip("\n"), "    ")
            code = f"{PREAMBLE}\n{textwrap.dedent(module)}\n\nclass Plugin({base}):\n{body}\n"
        (place / "__init__.py").write_text(code)
        if table is None:
            table = f'[{plugin_id}]\nname = "Plugin {plugin_id}"\n{textwrap.dedent(manifest)}'
        (place / "dotmac-plugin.toml").write_text(table)
        importlib.invalidate_caches()
        return place


@pytest.fixture
def vendor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Vendor]:
    """Where to install plugins. Their modules are forgotten afterwards; what else is installed on the machine is not seen."""
    site = tmp_path / "site"
    site.mkdir()
    seen = functools.partial(discover, path=[str(site)])
    monkeypatch.setattr("dotmac_isp.plugins.core.manager._base.discover", seen)
    before = set(sys.modules)
    path = list(sys.path)
    monkeypatch.syspath_prepend(str(site))
    yield Vendor(site)
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if name.split(".")[0].startswith("vendor_"):
            del sys.modules[name]


MakeHost = Callable[..., PluginManager]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The host's state folder."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
async def make_host(home: Path, vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MakeHost]:
    """Makes managers (not started yet). After the test they are stopped, and nothing of them may be left on the loop."""
    monkeypatch.delenv("DOTMAC_SAFE_MODE", raising=False)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    made: list[PluginManager] = []
    tasks = asyncio.all_tasks()
    factory = asyncio.get_running_loop().get_task_factory()

    def make(**options: Any) -> PluginManager:
        given = {"home": home, "limits": QUICK, "health_interval": 0, "metrics_interval": 0, **options}
        made.append(PluginManager(**given))
        return made[-1]

    yield make
    for manager in made:
        await manager.stop()
    await asyncio.sleep(0)
    left = {task for task in asyncio.all_tasks() - tasks if task is not asyncio.current_task() and not task.done()}
    assert not left
    assert asyncio.get_running_loop().get_task_factory() is factory


@pytest.fixture
async def host(make_host: MakeHost) -> AsyncIterator[PluginManager]:
    """A host that runs. Plugins installed after its start are found when they are asked for."""
    async with make_host() as manager:
        yield manager


async def wait_until(condition: Callable[[], Any], *, seconds: float = 5.0) -> None:
    """Wait until something is so; fails the test when it never is."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not condition():
        assert loop.time() < end, "it did not come about"
        await asyncio.sleep(0.005)


@pytest.fixture
def until() -> Callable[..., Any]:
    """`await until(lambda: …)`."""
    return wait_until
