"""What is in each wheel, and that no file is in two."""

from __future__ import annotations

import configparser
import itertools
import re
import tomllib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Wheel

PLUGINS = "dotmac_isp.plugins"
NAMESPACES = re.compile(
    r"dotmac_isp(/plugins(/(network_automation|monitoring|secrets))?|/sdks(/(networking|analytics))?)?"
)


def source_files(folder: Path) -> set[str]:
    source = folder / "src"
    files = (path for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(source).as_posix() for path in files}


def entry_points(wheel: Wheel) -> Iterator[tuple[str, str, str]]:
    """(group, name, target) for each entry point of the wheel."""
    parser = configparser.ConfigParser(delimiters=("=",))
    parser.optionxform = str
    parser.read_string(wheel.record("entry_points.txt") or "")
    for group in parser.sections():
        yield from ((group, name, target) for name, target in parser[group].items())


def module_file(wheel: Wheel, module: str) -> str | None:
    path = module.replace(".", "/")
    return next((name for name in (f"{path}/__init__.py", f"{path}.py") if name in wheel.shipped), None)


def manifest_of(wheel: Wheel, module: str) -> str | None:
    """Where the host looks for the manifest: the first regular package on the path, else beside the module."""
    parts = module.split(".")
    for length in range(1, len(parts) + 1):
        folder = "/".join(parts[:length])
        if f"{folder}/__init__.py" in wheel.shipped:
            return f"{folder}/dotmac-plugin.toml"
    return "/".join(parts) + ".toml"


def test_a_wheel_holds_exactly_what_is_below_src(wheel: Wheel) -> None:
    assert wheel.shipped == source_files(wheel.folder)


def test_a_wheel_leaves_the_shared_namespace_levels_open(wheel: Wheel) -> None:
    regular = [name.removesuffix("/__init__.py") for name in wheel.shipped if name.endswith("/__init__.py")]
    assert [name for name in regular if NAMESPACES.fullmatch(name)] == []


def test_a_wheel_holds_no_tests(wheel: Wheel) -> None:
    names = [PurePosixPath(name) for name in wheel.shipped]
    assert [name for name in names if "tests" in name.parts or name.name.startswith(("test_", "conftest"))] == []


def test_every_outermost_package_of_a_wheel_says_that_it_is_typed(wheel: Wheel) -> None:
    regular = {name.removesuffix("/__init__.py") for name in wheel.shipped if name.endswith("/__init__.py")}
    outermost = [name for name in regular if not any(name.startswith(f"{other}/") for other in regular)]
    assert [name for name in outermost if f"{name}/py.typed" not in wheel.shipped] == []


def test_the_metadata_says_what_a_person_needs_before_installing(wheel: Wheel) -> None:
    metadata = wheel.metadata
    project = tomllib.loads((wheel.folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (metadata["Name"], metadata["Version"]) == (project["name"], project["version"])
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Summary"]
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert len(metadata.get_payload()) > 200, "README.md says next to nothing"


def test_every_requirement_has_a_lower_bound_and_no_address(wheel: Wheel) -> None:
    for requirement in wheel.metadata.get_all("Requires-Dist", []):
        assert re.search(r">=|==|~=", requirement), requirement
        assert " @ " not in requirement, requirement


def test_every_entry_point_leads_to_a_module_of_its_own_wheel(wheel: Wheel) -> None:
    assert [target for _, _, target in entry_points(wheel) if not module_file(wheel, target.partition(":")[0])] == []


def test_every_plugin_of_a_wheel_has_its_table_in_a_manifest(wheel: Wheel) -> None:
    for group, name, target in entry_points(wheel):
        if group == PLUGINS:
            manifest = manifest_of(wheel, target.partition(":")[0])
            assert manifest in wheel.shipped
            assert name in tomllib.loads(wheel.text(manifest))


def test_no_file_belongs_to_two_wheels(wheels: list[Wheel]) -> None:
    for one, other in itertools.combinations(wheels, 2):
        assert one.shipped & other.shipped == set(), f"{one.path.name} and {other.path.name}"
