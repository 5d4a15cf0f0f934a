"""What is checked and how. `nox` runs all of it, `nox -s core` one package, `nox --list` shows what there is.

Arguments behind `--` go to pytest (or to the demo, or to the benchmarks): `nox -s core-3.12 -- -k manifest`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import nox

if sys.version_info < (3, 11):  # noqa: UP036 - nox itself runs on older ones, and `tomllib` would say less
    sys.exit("nox must run on Python 3.11 or newer here, because the packages do: python3.11 -m pip install 'nox[uv]'")

import tomllib

ROOT = Path(__file__).parent
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
CONSTRAINTS = ("--constraints", "constraints.txt", "--build-constraints", "constraints.txt")
# Slow suites have a session of their own, so that `nox` stays something that one runs before each push.
NOT_SLOW = ("-m", "not slow")
NO_TESTS_COLLECTED = 5

os.environ["UV_PYTHON_DOWNLOADS"] = "never"
nox.needs_version = ">=2026.10"
nox.options.default_venv_backend = "uv"
nox.options.download_python = "never"
nox.options.reuse_venv = "yes"
# Otherwise nox fails in CI where it skips on a desk: a Python that is not there is named in the summary in both.
nox.options.error_on_missing_interpreters = False
if len(sys.argv) == 1:
    # The whole run: the sessions wait for servers more than they compute. A chosen session shows its output as it comes.
    nox.options.parallel = 2
    nox.options.allow_parallel = True


@dataclass(frozen=True)
class Package:
    """One distribution of the workspace, as its pyproject.toml describes it."""

    folder: Path
    distribution: str
    requires: tuple[str, ...]
    extras: dict[str, list[str]]
    test_group: tuple[str, ...]
    build_requires: tuple[str, ...]

    @classmethod
    def read(cls, pyproject: Path) -> Package:
        table = tomllib.loads(pyproject.read_text(encoding="utf-8"))
        project = table["project"]
        return cls(
            folder=pyproject.parent,
            distribution=project["name"],
            requires=tuple(project.get("dependencies", ())),
            extras=project.get("optional-dependencies", {}),
            test_group=tuple(table.get("dependency-groups", {}).get("test", ())),
            build_requires=tuple(table["build-system"]["requires"]),
        )

    def editable(self, *, extras: bool) -> tuple[str, str]:
        wanted = f"[{','.join(self.extras)}]" if extras and self.extras else ""
        return ("--editable", f"./{self.folder.relative_to(ROOT).as_posix()}{wanted}")

    def test_tools(self) -> tuple[str, ...]:
        return ("--group", f"{self.folder / 'pyproject.toml'}:test") if self.test_group else ()


PACKAGES = {path.parent.name: Package.read(path) for path in sorted(ROOT.glob("packages/*/pyproject.toml"))}


def name_of(requirement: str) -> str:
    """The distribution a requirement asks for, normalised: `Foo_bar[x]>=1` is `foo-bar`."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^A-Za-z0-9._-]", requirement.strip(), maxsplit=1)[0]).lower()


def workspace_requirements(package: Package) -> list[Package]:
    """The packages of this checkout that *package* and its tests need, however far away."""
    by_distribution = {name_of(other.distribution): other for other in PACKAGES.values()}
    waiting = [*package.requires, *package.test_group, *(line for lines in package.extras.values() for line in lines)]
    found: dict[str, Package] = {}
    while waiting:
        name = name_of(waiting.pop())
        other = by_distribution.get(name)
        if other is None or other is package or name in found:
            continue
        found[name] = other
        waiting.extend(other.requires)
    return list(found.values())


def show_pyenv_versions() -> None:
    """Let pyenv's shims answer for every Python that it has installed, not only for the one that is selected."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    installed = [path.name for path in sorted(root.glob("versions/3.*")) if path.name.rpartition(".")[0] in PYTHONS]
    if installed:
        os.environ.setdefault("PYENV_VERSION", ":".join(installed))


def newest_python() -> str | None:
    """The newest Python of this machine: the newest libraries often refuse an older one. None is nox's own."""
    for version in reversed(PYTHONS):
        try:
            subprocess.run([f"python{version}", "-c", ""], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return version
    return None


show_pyenv_versions()


def install(session: nox.Session, package: Package, *arguments: str) -> None:
    """*package* from this checkout with all its extras, what it needs of this checkout, and what its tests need."""
    needed = [flag for other in workspace_requirements(package) for flag in other.editable(extras=False)]
    session.install(*arguments, *package.editable(extras=True), *needed, *package.test_tools())


def install_everything(session: nox.Session, *arguments: str, tests: bool = True) -> None:
    """All packages of this checkout, editable, with all their extras."""
    flags = [flag for package in PACKAGES.values() for flag in package.editable(extras=True)]
    if tests:
        flags += [flag for package in PACKAGES.values() for flag in package.test_tools()]
    session.install(*CONSTRAINTS, *arguments, *flags)


def test_tool_versions(package: Package) -> list[str]:
    """The lines of constraints.txt for what only the tests of *package* ask for: a test tool's age proves nothing."""
    shipped = {name_of(line) for lines in (package.requires, *package.extras.values()) for line in lines}
    tools = {name_of(line) for line in package.test_group} - shipped
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if name_of(line) in tools]


def root_group(name: str) -> tuple[str, str]:
    return ("--group", f"{ROOT / 'pyproject.toml'}:{name}")


def run_pytest(session: nox.Session, *arguments: str) -> None:
    """pytest on the paths in *arguments*, or on those that the person named behind `--`."""
    if any(Path(word.partition("::")[0]).exists() for word in session.posargs):
        arguments = tuple(word for word in arguments if not Path(word).exists())
    session.run("pytest", *arguments, *session.posargs)


def tests_of(package: Package) -> str:
    return str((package.folder / "tests").relative_to(ROOT))


def add_package_session(package: Package) -> None:
    """A session for *package*, named after its folder, on every Python that this machine may have."""

    def package_session(session: nox.Session) -> None:
        install(session, package, *CONSTRAINTS)
        run_pytest(session, tests_of(package), *NOT_SLOW)

    package_session.__doc__ = f"The tests of {package.distribution}."
    nox.session(package_session, name=package.folder.name, python=PYTHONS)


@nox.session
def lint(session: nox.Session) -> None:
    """ruff (rules and format) on everything; mypy, strict, on what ships, on the examples and on the benchmarks."""
    install_everything(session, *root_group("lint"))
    sources = [str(package.folder.relative_to(ROOT) / "src") for package in PACKAGES.values()]
    scripts = [folder for folder in ("examples", "benchmarks") if any(ROOT.glob(f"{folder}/**/*.py"))]
    commands = [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy", *sources]]
    commands += [["mypy", folder] for folder in scripts]
    session.env["MYPYPATH"] = os.pathsep.join(sources)
    failed = [" ".join(command) for command in commands if not passes(session, command)]
    if failed:
        session.error(f"failed: {'; '.join(failed)}")


def passes(session: nox.Session, command: list[str]) -> bool:
    """Whether *command* succeeds; what comes after it is to be seen in the same run."""
    try:
        session.run(*command)
    except nox.command.CommandFailed:
        return False
    return True


for _package in PACKAGES.values():
    add_package_session(_package)


@nox.session(python=newest_python())
@nox.parametrize("folder", list(PACKAGES), ids=list(PACKAGES))
def newest(session: nox.Session, folder: str) -> None:
    """A package's tests with the newest versions that its requirements allow, whatever constraints.txt says."""
    package = PACKAGES[folder]
    install(session, package, "--upgrade", "--resolution", "highest")
    session.run("uv", "pip", "freeze", "--exclude-editable")
    run_pytest(session, tests_of(package), *NOT_SLOW)


@nox.session(python=PYTHONS[0])
@nox.parametrize("folder", list(PACKAGES), ids=list(PACKAGES))
def lowest(session: nox.Session, folder: str) -> None:
    """A package's tests with the oldest versions that its requirements allow: the lower bounds are promises."""
    package = PACKAGES[folder]
    tools = (
        Path(session.virtualenv.location) / "test-tools.txt"
    )  # not create_tmp: its long path would become TMPDIR, too long for sockets
    tools.write_text("\n".join(test_tool_versions(package)), encoding="utf-8")
    install(session, package, "--upgrade", "--resolution", "lowest-direct", "--constraints", str(tools))
    session.run("uv", "pip", "freeze", "--exclude-editable")
    run_pytest(session, tests_of(package), *NOT_SLOW)


@nox.session(allow_parallel=False)
def cross(session: nox.Session) -> None:
    """What crosses packages: the specification's examples, end to end, wrong inputs, the structure of the code."""
    install_everything(session, *root_group("demo"))
    session.env["UV"] = shutil.which(nox.virtualenv.UV) or nox.virtualenv.UV
    run_pytest(session, "tests", "--ignore=tests/packaging", *NOT_SLOW)


@nox.session
def packaging(session: nox.Session) -> None:
    """The wheels: what is in them, and that they install, import and uninstall alone and together."""
    session.install(*CONSTRAINTS, *root_group("packaging"))
    session.env["UV"] = shutil.which(nox.virtualenv.UV) or nox.virtualenv.UV
    run_pytest(session, "tests/packaging", *NOT_SLOW)


@nox.session(default=False)
def slow(session: nox.Session) -> None:
    """The tests marked slow, of all packages and of what crosses them. None is no failure."""
    install_everything(session, *root_group("demo"))
    session.run("pytest", "-m", "slow", *session.posargs, success_codes=[0, NO_TESTS_COLLECTED])


@nox.session(default=False)
def machine(session: nox.Session) -> None:
    """The jail in an emulated Debian with control groups of version 2; see tests/machines/machine.py for what it needs."""
    site = session.create_tmp()
    session.run(
        *("uv", "pip", "install", "--quiet", "--target", site, "--python-version", "3.11", *CONSTRAINTS),
        *("./packages/core[jail]", "--group", "packages/core/pyproject.toml:test"),
        external=True,
    )
    session.run("python", "tests/machines/machine.py", site, *session.posargs)


@nox.session(default=False)
def demo(session: nox.Session) -> None:
    """A simulated fibre network, two tenants, events, a report and a dashboard: the product at work."""
    install_everything(session, *root_group("demo"), tests=False)
    session.run("python", "examples/fibre_network_demo.py", *session.posargs)


@nox.session(default=False)
def benchmarks(session: nox.Session) -> None:
    """The figures of benchmarks/, as ratios against other libraries in the same run."""
    install_everything(session, *root_group("benchmarks"), tests=False)
    session.run("python", "benchmarks/run.py", *session.posargs)


@nox.session(default=False)
def constraints(session: nox.Session) -> None:
    """Write constraints.txt anew, with the newest versions that work together on every supported Python."""
    everything = [flag for package in PACKAGES.values() for flag in package.editable(extras=True)]
    groups = [flag for package in PACKAGES.values() for flag in package.test_tools()]
    for name in tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]:
        groups += root_group(name)
    ours = [f"--no-emit-package={package.distribution}" for package in PACKAGES.values()]
    build_tools = {line for package in PACKAGES.values() for line in package.build_requires}
    requirements = Path(session.virtualenv.location) / "requirements.in"
    requirements.write_text(
        "\n".join([*sorted(build_tools), *(f"--editable {flag}" for flag in everything if flag != "--editable")]),
        encoding="utf-8",
    )
    session.run(
        "uv",
        "pip",
        "compile",
        "--universal",
        "--upgrade",
        "--python-version",
        PYTHONS[0],
        "--no-header",
        "--no-annotate",
        "--quiet",
        *ours,
        *groups,
        "--output-file",
        "constraints.txt",
        str(requirements),
    )
