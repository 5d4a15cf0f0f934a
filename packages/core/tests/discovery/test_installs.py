"""Real installs: wheels and editable installs of two build backends, found from outside and in the environment itself."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from dotmac_isp.plugins.core.discovery import discover, load_class

HATCHLING = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "vendor-real"
version = "2.0"
[project.entry-points."dotmac_isp.plugins"]
real = "vendor_real_ns.area.real:Plugin"
[tool.hatch.build.targets.wheel]
packages = ["src/vendor_real_ns"]
[tool.hatch.build]
dev-mode-dirs = ["src"]
"""
SETUPTOOLS = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "vendor-real"
version = "2.0"
[project.entry-points."dotmac_isp.plugins"]
real = "vendor_real_ns.area.real:Plugin"
[tool.setuptools]
packages = ["vendor_real_ns", "vendor_real_ns.area", "vendor_real_ns.area.real"]
[tool.setuptools.package-data]
"vendor_real_ns.area.real" = ["*.toml"]
[tool.setuptools.package-dir]
"vendor_real_ns" = "code"
"""
CODE = "from dotmac_isp.plugins.core.base import BasePlugin\nclass Plugin(BasePlugin):\n    pass\n"


@pytest.fixture(params=["hatchling", "setuptools"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed here")
    if shutil.which("uv") is None and not Path(sys.prefix, "bin", "uv").exists():
        pytest.skip("uv is not installed here")
    folder = tmp_path / "project"
    code = folder / ("src/vendor_real_ns" if request.param == "hatchling" else "code") / "area" / "real"
    code.mkdir(parents=True)
    (code / "__init__.py").write_text(CODE)
    (code / "dotmac-plugin.toml").write_text('[real]\nname = "Real"\n')
    (folder / "pyproject.toml").write_text(HATCHLING if request.param == "hatchling" else SETUPTOOLS)
    return folder


def install(project: Path, target: Path, *options: str) -> None:
    uv = shutil.which("uv") or str(Path(sys.prefix, "bin", "uv"))
    command = [uv, "pip", "install", "--quiet", "--offline", "--no-deps", "--no-build-isolation"]
    command += ["--python", sys.executable, "--target", str(target), *options, str(project)]
    subprocess.run(command, check=True, capture_output=True, text=True)


@pytest.mark.parametrize("options", [(), ("--editable",)], ids=["wheel", "editable"])
def test_a_running_process_finds_and_loads_what_was_just_installed(
    project: Path, site: Path, options: tuple[str, ...]
) -> None:
    install(project, site, *options)
    found = discover(path=[str(site)])
    assert found.problems == ()
    plugin = found.plugins["real"]
    assert plugin.editable is bool(options)
    assert plugin.version == "2.0"
    assert (plugin.manifest_path.is_relative_to(project)) is bool(options)
    assert not any(name.startswith("vendor_real_ns") for name in sys.modules)
    assert load_class(plugin).__module__ == "vendor_real_ns.area.real"


class Mapped:
    """A finder as editable installs of some build backends put it into `sys.meta_path`."""

    def __init__(self, folders: dict[str, Path], files: dict[str, Path]) -> None:
        self._folders = folders
        self._files = files

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name in self._folders:
            spec = ModuleSpec(name, None, is_package=True)
            spec.submodule_search_locations = [str(self._folders[name])]
            return spec
        if name in self._files:
            return importlib.util.spec_from_file_location(name, self._files[name])
        return None


@pytest.mark.parametrize("package", [True, False], ids=["package", "module"])
def test_a_finder_that_is_installed_already_is_asked_without_importing_anything(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: bool
) -> None:
    source = tmp_path / "elsewhere"
    source.mkdir()
    code = source / ("__init__.py" if package else "odd.py")
    code.write_text("raise RuntimeError('this code must not run')\n")
    manifest = source / ("dotmac-plugin.toml" if package else "odd.toml")
    manifest.write_text('[odd]\nname = "Odd"\n')
    info = site / "vendor_odd-1.0.dist-info"
    info.mkdir()
    (info / "entry_points.txt").write_text("[dotmac_isp.plugins]\nodd = vendor_ns.odd:Plugin\n")
    finder = Mapped({"vendor_ns": source}, {"vendor_ns.odd": code})
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, finder])
    assert discover(path=[str(site)]).plugins["odd"].manifest_path == manifest
    monkeypatch.setattr(sys, "meta_path", sys.meta_path[:-1])
    (problem,) = discover(path=[str(site)]).problems
    assert "which vendor-odd does not have" in problem.message
