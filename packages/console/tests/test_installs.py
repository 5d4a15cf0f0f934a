"""A running host follows what pip does: packages that are built and installed for real into the folder that it runs from."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Home, Host, Site

CODE = """\
from dotmac_isp.plugins.core.base import BasePlugin


class Plugin(BasePlugin):
    async def activate(self):
        {activate}

    async def version(self):
        from . import words  # late: an upgrade must not mix versions

        return [words.WORD, "{version}"]
"""
PROJECT = """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "vendor-{name}"
version = "{version}"
[project.entry-points."dotmac_isp.plugins"]
{name} = "vendor_{name}:Plugin"
[tool.setuptools]
packages = ["vendor_{name}"]
[tool.setuptools.package-data]
"vendor_{name}" = ["*.toml"]
"""


class Packages:
    """Makes vendor packages and installs them into the folder that stands for the host's site-packages."""

    def __init__(self, folder: Path, site: Path) -> None:
        self.folder = folder
        self.site = site

    def source(self, name: str, version: str, *, activate: str = "pass", manifest: str = "") -> Path:
        """A checkout of a plugin."""
        project = self.folder / f"{name}-{version}"
        code = project / f"vendor_{name}"
        code.mkdir(parents=True, exist_ok=True)
        (code / "__init__.py").write_text(CODE.format(version=version, activate=activate))
        (code / "words.py").write_text(f"WORD = 'word of {version}'\n")
        (code / "dotmac-plugin.toml").write_text(f'[{name}]\nname = "Plugin {name}"\n{manifest}')
        (project / "pyproject.toml").write_text(PROJECT.format(name=name, version=version))
        return project

    def wheel(self, name: str, version: str, **more: str) -> Path:
        """A wheel, as its build backend would have made it."""
        code = self.source(name, version, **more) / f"vendor_{name}"
        path = self.folder / f"vendor_{name}-{version}-py3-none-any.whl"
        info = f"vendor_{name}-{version}.dist-info"
        files = {f"vendor_{name}/{one.name}": one.read_text() for one in code.iterdir() if one.is_file()}
        files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: vendor-{name}\nVersion: {version}\n"
        files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        files[f"{info}/entry_points.txt"] = f"[dotmac_isp.plugins]\n{name} = vendor_{name}:Plugin\n"
        files[f"{info}/RECORD"] = "".join(f"{one},,\n" for one in files) + f"{info}/RECORD,,\n"
        with zipfile.ZipFile(path, "w") as archive:
            for file, text in files.items():
                archive.writestr(file, text)
        return path

    def install(self, *what: str | Path) -> None:
        """By uv."""
        self._uv("install", "--no-deps", "--no-build-isolation", *map(str, what))

    def uninstall(self, name: str) -> None:
        self._uv("uninstall", f"vendor-{name}")

    def _uv(self, command: str, *words: str) -> None:
        uv = shutil.which("uv") or str(Path(sys.prefix, "bin", "uv"))
        place = ["--python", sys.executable, "--target", str(self.site)]
        self._run([uv, "pip", command, "--quiet", "--offline", *place, *words])

    @staticmethod
    def _run(command: list[str], **variables: str) -> None:
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | variables
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr


class PipPackages(Packages):
    """The same by pip itself, in a virtual environment whose packages the host sees."""

    #: The pip of the interpreter that this environment was made from; ours may have none.
    PIP = (getattr(sys, "_base_executable", sys.executable), "-m", "pip")

    def __init__(self, folder: Path, site: Path) -> None:
        super().__init__(folder, site)
        self._python = str(site.parents[2] / "bin" / "python")

    def install(self, *what: str | Path) -> None:
        self._pip("install", "--no-deps", "--no-index", "--no-build-isolation", *map(str, what))

    def uninstall(self, name: str) -> None:
        self._pip("uninstall", "--yes", f"vendor-{name}")

    def _pip(self, command: str, *words: str) -> None:
        self._run([*self.PIP, "--python", self._python, command, "--quiet", *words])


@pytest.fixture(params=["uv", pytest.param("pip", marks=pytest.mark.slow)])
def installer(request: pytest.FixtureRequest) -> str:
    """Who installs; with pip each test takes some seconds more."""
    if request.param == "uv" and shutil.which("uv") is None and not Path(sys.prefix, "bin", "uv").exists():
        pytest.skip("uv is not installed here")
    if request.param == "pip":
        told = subprocess.run([*PipPackages.PIP, "--version"], capture_output=True, text=True, check=False)
        if told.returncode != 0:
            pytest.skip(f"{PipPackages.PIP[0]} has no pip")
    return str(request.param)


@pytest.fixture
def site_folder(tmp_path: Path, installer: str) -> Path:
    """A folder, or for pip a virtual environment's own, in which the build tools of this one can be seen."""
    if installer == "uv":
        (tmp_path / "site").mkdir()
        return tmp_path / "site"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "env")], check=True)
    folder = next((tmp_path / "env" / "lib").glob("python*")) / "site-packages"
    (folder / "build-tools.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder


@pytest.fixture
def packages(tmp_path: Path, site: Site, installer: str) -> Packages:
    folder = tmp_path / "sources"
    folder.mkdir()
    return PipPackages(folder, site.folder) if installer == "pip" else Packages(folder, site.folder)


def wait_for(home: Home, condition: Callable[[dict[str, Any]], bool], *, tenant: str = "acme") -> dict[str, Any]:
    """Wait until the host's instances, by plugin id, are so."""
    ends = time.monotonic() + 60
    while True:
        instances = {one["plugin_id"]: one for one in home.ask("list")["instances"] if one["tenant_id"] == tenant}
        if condition(instances):
            return instances
        assert time.monotonic() < ends, json.dumps(instances, indent=1)
        time.sleep(0.1)


def is_active(plugin_id: str) -> Callable[[dict[str, Any]], bool]:
    return lambda found: plugin_id in found and found[plugin_id]["state"] == "active"


def ask(host: Host, plugin_id: str) -> Any:
    with host.connect() as line:
        return line.ask("call", plugin_id=plugin_id, method="version", tenant="acme")["result"]


@pytest.mark.slow
def test_a_package_is_started_when_it_is_installed_and_unloaded_when_it_is_removed(
    home: Home, packages: Packages
) -> None:
    home.tenant("acme")
    with home.serve() as host:
        packages.install(packages.wheel("fibre", "1.0"))
        wait_for(home, is_active("fibre"))
        assert ask(host, "fibre") == ["word of 1.0", "1.0"]
        packages.uninstall("fibre")
        wait_for(home, lambda found: "fibre" not in found)
        packages.install(packages.wheel("fibre", "2.0"))
        wait_for(home, is_active("fibre"))
        assert ask(host, "fibre") == ["word of 2.0", "2.0"], "nothing of the removed version is left"


def test_an_upgrade_beneath_an_inline_instance_waits_for_a_restart_of_the_host_and_mixes_nothing(
    home: Home, packages: Packages
) -> None:
    packages.install(packages.wheel("fibre", "1.0"))
    home.tenant("acme")
    with home.serve() as host:
        packages.install(packages.wheel("fibre", "2.0"))
        noted = wait_for(home, lambda found: bool(found["fibre"]["notes"]))["fibre"]
        assert "needs a restart of the host" in noted["notes"][0]
        assert (noted["state"], noted["version"]) == ("active", "1.0")
        assert ask(host, "fibre") == ["word of 1.0", "1.0"], "its own modules were loaded before it was active"
        # The operator may have it replaced in place all the same.
        (action,) = home.json("reload", "fibre")["actions"]
        assert action["action"] == "reloaded"
        assert ask(host, "fibre") == ["word of 2.0", "2.0"]
        assert home.ask("list")["instances"][-1]["notes"] == [] or wait_for(home, lambda f: not f["fibre"]["notes"])


JAILED = '[fibre.hosting]\nmode = "jailed"\n'


@pytest.mark.slow
def test_an_upgrade_of_a_jailed_instance_is_swapped_and_rolled_back_when_it_is_not_healthy(
    home: Home, packages: Packages
) -> None:
    if sys.platform != "linux":
        pytest.skip("instances are jailed on Linux")
    packages.install(packages.wheel("fibre", "1.0", manifest=JAILED))
    home.tenant("acme")
    with home.serve() as host:
        assert ask(host, "fibre") == ["word of 1.0", "1.0"]
        packages.install(packages.wheel("fibre", "2.0", manifest=JAILED))
        found = wait_for(home, lambda found: found["fibre"]["version"] == "2.0")["fibre"]
        assert (found["state"], found["notes"]) == ("active", [])
        assert found["isolation"]["mode"] == "jailed"
        assert ask(host, "fibre") == ["word of 2.0", "2.0"]
        packages.install(packages.wheel("fibre", "3.0", manifest=JAILED, activate="raise OSError('no light')"))
        kept = wait_for(home, lambda found: bool(found["fibre"]["notes"]))["fibre"]
        assert "version 3.0 was not taken, the one before goes on" in kept["notes"][0]
        assert "no light" in kept["notes"][0]
        assert (kept["state"], kept["version"]) == ("active", "2.0")
        assert ask(host, "fibre") == ["word of 2.0", "2.0"]
        source = packages.source("fibre", "4.0", manifest=JAILED)
        packages.install("--editable", source)
        wait_for(home, lambda found: found["fibre"]["version"] == "4.0")
        assert ask(host, "fibre") == ["word of 4.0", "4.0"]
        packages.uninstall("fibre")
        wait_for(home, lambda found: "fibre" not in found)


def test_a_version_that_cannot_be_used_leaves_the_one_that_runs(home: Home, packages: Packages) -> None:
    packages.install(packages.wheel("fibre", "1.0"))
    home.tenant("acme")
    with home.serve() as host:
        packages.install(packages.wheel("fibre", "2.0", manifest='core = ">=9"\n'))
        noted = wait_for(home, lambda found: bool(found["fibre"]["notes"]))["fibre"]
        assert "needs core API >=9" in noted["notes"][0]
        assert ask(host, "fibre") == ["word of 1.0", "1.0"]
        packages.install(packages.wheel("fibre", "3.0", activate="raise OSError('no light')"))
        wait_for(home, lambda found: "3.0" in found["fibre"]["notes"][0])
        answer = home.run("reload", "fibre", "--json")
        assert answer.returncode == 1
        assert "no light" in answer.stdout
        assert "the one before goes on" in answer.stdout
        assert ask(host, "fibre")[1] == "1.0"


def test_an_editable_install_is_picked_up_and_edits_are_seen_with_watch(home: Home, packages: Packages) -> None:
    if importlib.util.find_spec("setuptools") is None:
        pytest.skip("setuptools is not installed here")
    if importlib.util.find_spec("watchfiles") is None:
        pytest.skip("watchfiles is not installed here")
    packages.install(packages.wheel("first", "1.0"))
    home.tenant("acme")
    with home.serve("--watch") as host:
        source = packages.source("fibre", "1.0")
        packages.install("--editable", source)
        wait_for(home, is_active("fibre"))
        assert ask(host, "fibre") == ["word of 1.0", "1.0"]
        host.wait_for(f"{source}/vendor_fibre")
        (source / "vendor_fibre" / "words.py").write_text("WORD = 'edited'\n")
        host.wait_for("fibre@acme was edited and reloaded")
        assert ask(host, "fibre") == ["edited", "1.0"]
        (source / "vendor_fibre" / "__init__.py").write_text("def broken(:\n")
        host.wait_for("fibre@acme was edited and not taken")
        assert ask(host, "fibre") == ["edited", "1.0"]
