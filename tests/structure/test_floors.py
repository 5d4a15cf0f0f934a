"""The shape of the code: floors of core, private modules, vendor libraries, length, shared namespace levels."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CORE = "dotmac_isp.plugins.core"
TOP = "dotmac_isp.plugins"

# Inside core a module imports from its own floor and from those below. A private module that is not named here helps
# the second floor. The surface of core (its `__init__`) shows the manager, so it stands where the manager stands.
FLOORS = {
    **dict.fromkeys(("model", "errors", "config"), 0),
    **dict.fromkeys(("hookspecs", "base", "api", "_scope"), 1),
    **dict.fromkeys(
        (
            "discovery",
            "dependencies",
            "settings",
            "secrets",
            "permissions",
            "licensing",
            "audit",
            "storage",
            "health",
            "telemetry",
        ),
        2,
    ),
    "hosting": 3,
    **dict.fromkeys(("lifecycle", "dispatch"), 4),
    **dict.fromkeys(("manager", "core"), 5),
    "utils": 6,
}
PRIVATE_FLOOR = 2
VENDOR_LIBRARIES = {"grpc", "aiohttp", "hvac", "chdb", "clickhouse_connect"}
LONGEST = 700
SHARED_LEVELS = (
    "dotmac_isp",
    "dotmac_isp/plugins",
    "dotmac_isp/plugins/network_automation",
    "dotmac_isp/plugins/monitoring",
    "dotmac_isp/plugins/secrets",
    "dotmac_isp/sdks",
    "dotmac_isp/sdks/networking",
    "dotmac_isp/sdks/analytics",
)


def module_name(path: Path, source: Path) -> str:
    parts = path.relative_to(source).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules_below(source: Path) -> dict[str, Path]:
    return {module_name(path, source): path for path in sorted(source.rglob("*.py"))}


def is_type_checking(test: ast.expr) -> bool:
    return ast.unparse(test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def statements(tree: ast.AST, *, typing_too: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """The import statements below *tree*, those inside functions too."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and is_type_checking(node.test) and not typing_too:
            for other in node.orelse:
                yield from statements(ast.Module([other], []), typing_too=typing_too)
        else:
            yield from statements(node, typing_too=typing_too)


def base_of(statement: ast.ImportFrom, module: str, path: Path) -> str:
    """The absolute name behind `from … import`, with the dots of a relative import resolved."""
    if not statement.level:
        return statement.module or ""
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    kept = package[: len(package) - (statement.level - 1)]
    return ".".join([*kept, statement.module] if statement.module else kept)


def imports(module: str, path: Path, *, typing_too: bool = False) -> Iterator[tuple[int, str]]:
    """(line, dotted name) for each import; `from a import b` is `a.b`, which may be a module or a name in it."""
    for statement in statements(ast.parse(path.read_text(encoding="utf-8")), typing_too=typing_too):
        if isinstance(statement, ast.Import):
            yield from ((statement.lineno, alias.name) for alias in statement.names)
        else:
            base = base_of(statement, module, path)
            yield from ((statement.lineno, f"{base}.{alias.name}") for alias in statement.names)


def room(dotted: str, known: dict[str, Path]) -> str | None:
    """Which entry of FLOORS a name of core belongs to; None when it is not core's."""
    if dotted == CORE or (dotted.startswith(f"{CORE}.") and ".".join(dotted.split(".")[:4]) not in known):
        return "core"
    for prefix in (CORE, TOP):
        if dotted.startswith(f"{prefix}."):
            first = dotted.removeprefix(f"{prefix}.").split(".")[0]
            return first if first in FLOORS or f"{prefix}.{first}" in known else None
    return None


def floor(name: str) -> int:
    return FLOORS.get(name, PRIVATE_FLOOR)


def upward_imports(source: Path) -> list[str]:
    known = modules_below(source)
    found = []
    for module, path in known.items():
        own = room(module, known)
        if own is None:
            continue
        for line, target in imports(module, path):
            other = room(target, known)
            if other is not None and floor(other) > floor(own):
                found.append(f"{path}:{line}: {own} (floor {floor(own)}) imports {target} (floor {floor(other)})")
    return found


def private_imports(sources: list[Path]) -> list[str]:
    """Where a package imports a private module, or a private name, of another package of the checkout."""
    owner = {module: source for source in sources for module in modules_below(source)}
    found = []
    for source in sources:
        for module, path in modules_below(source).items():
            for line, target in imports(module, path, typing_too=True):
                parts = target.split(".")
                prefixes = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
                home = next((owner[prefix] for prefix in prefixes if prefix in owner), None)
                private = any(part.startswith("_") and not part.endswith("__") for part in parts)
                if private and home is not None and home != source:
                    found.append(f"{path}:{line}: {target} is private to {home.parent.name}")
    return found


@pytest.fixture
def core_source(checkout: Path) -> Path:
    return checkout / "packages" / "core" / "src"


@pytest.fixture
def sources(package_folders: list[Path]) -> list[Path]:
    return [folder / "src" for folder in package_folders]


def test_core_imports_only_from_its_own_floor_and_those_below(core_source: Path) -> None:
    assert upward_imports(core_source) == []


def test_every_public_module_of_core_has_a_floor(core_source: Path) -> None:
    known = modules_below(core_source)
    rooms = {room(module, known) for module in known if module not in {"", CORE}} - {None}
    assert {name for name in rooms if name and not name.startswith("_")} <= FLOORS.keys()


def test_core_imports_no_vendor_library(core_source: Path) -> None:
    found = [
        f"{path}:{line}: {target}"
        for module, path in modules_below(core_source).items()
        for line, target in imports(module, path, typing_too=True)
        if target.split(".")[0] in VENDOR_LIBRARIES
    ]
    assert found == []


def test_no_package_imports_what_is_private_to_another(sources: list[Path]) -> None:
    assert private_imports(sources) == []


def test_no_module_is_longer_than_a_person_reads_in_one_sitting(package_folder: Path) -> None:
    lengths = {
        str(path.relative_to(package_folder)): len(path.read_text(encoding="utf-8").splitlines())
        for path in package_folder.rglob("*.py")
    }
    assert {path: length for path, length in lengths.items() if length > LONGEST} == {}


def test_no_shared_namespace_level_is_a_regular_package(package_folder: Path) -> None:
    assert [level for level in SHARED_LEVELS if (package_folder / "src" / level / "__init__.py").exists()] == []


def write(source: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return source


@pytest.mark.parametrize(
    "statement",
    [
        "from dotmac_isp.plugins.core.manager import PluginManager",
        "from dotmac_isp.plugins.core import manager",
        "from dotmac_isp.plugins.core import PluginManager",
        "from . import manager",
        "from .manager import PluginManager",
        "import dotmac_isp.plugins.core.manager",
        "def late() -> None:\n    from .manager import PluginManager",
        "from dotmac_isp.plugins.utils import anything",
    ],
)
def test_an_import_from_a_floor_above_is_seen(tmp_path: Path, statement: str) -> None:
    core = "dotmac_isp/plugins/core"
    files = {f"{core}/__init__.py": "", f"{core}/manager.py": "", f"{core}/settings.py": statement}
    source = write(tmp_path, {**files, "dotmac_isp/plugins/utils/__init__.py": ""})
    assert len(upward_imports(source)) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .manager import PluginManager",
        "from .model import Plugin",
        "from . import errors",
        "from ._helper import help",
        "from dotmac_isp.plugins.core.secrets import Secret",
    ],
)
def test_an_import_from_below_or_for_types_only_is_left_alone(tmp_path: Path, statement: str) -> None:
    names = ("__init__", "manager", "model", "errors", "_helper", "secrets")
    files = {f"dotmac_isp/plugins/core/{name}.py": "" for name in names}
    source = write(tmp_path, {**files, "dotmac_isp/plugins/core/settings.py": statement})
    assert upward_imports(source) == []


def test_a_private_import_across_packages_is_seen_and_one_inside_is_not(tmp_path: Path) -> None:
    one = write(tmp_path / "one" / "src", {"pkg/one/_inner.py": "", "pkg/one/outer.py": "from ._inner import x"})
    two = write(tmp_path / "two" / "src", {"pkg/two.py": "from pkg.one._inner import x\nfrom pkg.one.outer import _y"})
    assert len(private_imports([one, two])) == 2
