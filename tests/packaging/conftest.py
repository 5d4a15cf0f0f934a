"""Real builds and real environments: wheels by `uv build`, fresh environments by `uv venv`, removal by pip."""

from __future__ import annotations

import email.parser
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from email.message import Message

CONSTRAINTS = "constraints.txt"
# Not for what runs in a fresh environment: it finds its own modules, and leaves compiled files behind as it would anywhere.
OURS = {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "UV_PYTHON", "VIRTUAL_ENV"}
# Imports modules, then loads what the distributions announce. pytest's own plug-ins need pytest: not in these.
CONSUMER = """
import importlib, importlib.metadata as metadata, sys
modules, distributions = (words.split() for words in sys.argv[1:])
for module in modules:
    importlib.import_module(module)
for distribution in distributions:
    for entry_point in metadata.distribution(distribution).entry_points:
        if entry_point.group not in {"pytest11", "dotmac_isp.commands"}:  # loaded by pytest, and by the console
            entry_point.load()
"""


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """The output of *command*; its whole output is the failure when it fails."""
    environment = {key: value for key, value in os.environ.items() if key not in OURS}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment | {"UV_PYTHON_DOWNLOADS": "never"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
    )
    if done.returncode:
        pytest.fail(f"{' '.join(str(word) for word in command)}\n{done.stdout}", pytrace=False)
    return done.stdout


@dataclass(frozen=True)
class Wheel:
    """One built wheel and the folder of the package that it was built from."""

    path: Path
    folder: Path

    @property
    def names(self) -> list[str]:
        with zipfile.ZipFile(self.path) as archive:
            return [name for name in archive.namelist() if not name.endswith("/")]

    @property
    def shipped(self) -> set[str]:
        """The files that land in site-packages, without the wheel's own records."""
        return {name for name in self.names if not name.split("/")[0].endswith(".dist-info")}

    def text(self, name: str) -> str:
        with zipfile.ZipFile(self.path) as archive:
            return archive.read(name).decode("utf-8")

    def record(self, name: str) -> str | None:
        """The text of `<name>` in the `.dist-info` folder."""
        found = [path for path in self.names if path.endswith(f".dist-info/{name}")]
        return self.text(found[0]) if found else None

    @property
    def metadata(self) -> Message:
        return email.parser.Parser().parsestr(self.record("METADATA") or "")

    @property
    def distribution(self) -> str:
        return str(self.metadata["Name"])

    def requirements(self) -> list[Requirement]:
        """What it needs always: the extras are left out."""
        found = [Requirement(line) for line in self.metadata.get_all("Requires-Dist", [])]
        return [line for line in found if line.marker is None or line.marker.evaluate({"extra": ""})]

    @property
    def surfaces(self) -> list[str]:
        """The regular packages in it that are public: importing them needs no extra."""
        packages = [name.removesuffix("/__init__.py") for name in self.shipped if name.endswith("/__init__.py")]
        return sorted(name.replace("/", ".") for name in packages if "/_" not in f"/{name}")


class Environment:
    """A fresh virtual environment with pip."""

    def __init__(self, folder: Path, uv: str, checkout: Path) -> None:
        self.folder, self._uv, self._checkout = folder, uv, checkout
        run(uv, "venv", "--quiet", "--seed", "--python", sys.executable, folder)
        self.python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"

    def install(self, *what: str | Path) -> None:
        constraints = ("--constraints", CONSTRAINTS, "--build-constraints", CONSTRAINTS)
        run(self._uv, "pip", "install", "--quiet", "--python", self.python, *constraints, *what, cwd=self._checkout)

    def uninstall(self, distribution: str) -> None:
        run(self.python, "-m", "pip", "uninstall", "--yes", "--quiet", distribution)

    def use(self, wheels: Iterable[Wheel]) -> None:
        """Import the public packages of *wheels* and load their entry points, far from the checkout."""
        wheels = list(wheels)
        modules = " ".join(module for wheel in wheels for module in wheel.surfaces)
        distributions = " ".join(wheel.distribution for wheel in wheels)
        run(self.python, "-W", "error", "-c", CONSUMER, modules, distributions, cwd=self.folder)

    @property
    def site_packages(self) -> Path:
        return Path(run(self.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())


@pytest.fixture(scope="session")
def uv() -> str:
    found = os.environ.get("UV") or shutil.which("uv")
    if not found:
        pytest.skip("uv builds the wheels, and it is not on this machine's path: python -m pip install uv")
    return found


@pytest.fixture(scope="session")
def build(uv: str, checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Wheel]:
    """Builds the sdist of a package, and from that its wheel: once, also when it fails."""
    built: dict[Path, Wheel] = {}
    tried: set[Path] = set()

    def build_once(folder: Path) -> Wheel:
        if folder not in built:
            if folder in tried:
                pytest.fail(f"{folder.name} did not build: the first test that needed it shows why", pytrace=False)
            tried.add(folder)
            target = tmp_path_factory.mktemp(folder.name)
            run(uv, "build", "--build-constraints", checkout / CONSTRAINTS, "--out-dir", target, folder)
            built[folder] = Wheel(next(target.glob("*.whl")), folder)
        return built[folder]

    return build_once


@pytest.fixture(scope="session")
def wheel(build: Callable[[Path], Wheel], package_folder: Path) -> Wheel:
    """The wheel of the package that the test is about."""
    return build(package_folder)


@pytest.fixture(scope="session")
def wheels(build: Callable[[Path], Wheel], package_folders: list[Path]) -> list[Wheel]:
    """The wheels of all packages; what depends on another comes before it."""
    return dependents_first([build(folder) for folder in package_folders])


@pytest.fixture(scope="session")
def with_requirements(build: Callable[[Path], Wheel], package_folders: list[Path]) -> Callable[[Wheel], list[Wheel]]:
    """A wheel and those of this checkout that it needs, however far away."""
    folders = {}
    for folder in package_folders:
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        folders[canonicalize_name(project["name"])] = folder

    def closure(wheel: Wheel) -> list[Wheel]:
        found = {wheel.folder: wheel}
        waiting = [wheel]
        while waiting:
            for requirement in waiting.pop().requirements():
                folder = folders.get(canonicalize_name(requirement.name))
                if folder is not None and folder not in found:
                    found[folder] = build(folder)
                    waiting.append(found[folder])
        return list(found.values())

    return closure


@pytest.fixture
def environment(uv: str, checkout: Path, tmp_path: Path) -> Environment:
    return Environment(tmp_path / "environment", uv, checkout)


def dependents_first(wheels: list[Wheel]) -> list[Wheel]:
    waiting = {canonicalize_name(wheel.distribution): wheel for wheel in wheels}
    order: list[Wheel] = []
    while waiting:
        needed = {canonicalize_name(line.name) for wheel in waiting.values() for line in wheel.requirements()}
        free = [name for name in waiting if name not in needed]
        assert free, f"these packages need each other: {', '.join(waiting)}"
        order += [waiting.pop(name) for name in free]
    return order
