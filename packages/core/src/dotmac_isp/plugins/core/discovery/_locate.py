"""Where a plugin's manifest is, from its module path and without executing anything (design, decision 4).

`dotmac-plugin.toml` in the first regular package on the path; where the whole path is namespaces and the module a plain file,
`<module>.toml` beside it. The folders are walked as the import system would walk them.
"""
# ruff: noqa: PTH112, PTH113, PTH118 - texts: pathlib would take half of the time of a discovery

from __future__ import annotations

import ast
import os
import sys
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder, all_suffixes
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ._manifest import PACKAGE_MANIFEST
from ._scan import path_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from importlib.metadata import Distribution

__all__ = ["locate", "locate_editable"]

_SUFFIXES: Final = tuple(dict.fromkeys([".py", *all_suffixes()]))
_OF_PYTHON: Final = (BuiltinImporter, FrozenImporter, PathFinder)


def locate(module: str, roots: Iterable[str], mapped: Mapping[str, str] | None = None) -> Path | None:
    """The manifest's path, or `None` when no such module is below the roots. The manifest itself need not be there.

    `mapped` gives folders or files of modules that an editable install maps one by one.
    """
    parts = module.split(".")
    portions = list(roots)
    for depth, part in enumerate(parts):
        last = depth == len(parts) - 1
        candidates = [os.path.join(portion, part) for portion in portions]
        extra = (mapped or {}).get(".".join(parts[: depth + 1]))
        if extra is not None:
            candidates.insert(0, extra.removesuffix(".py"))
        portions = []
        for folder in candidates:
            if os.path.isdir(folder):
                if _has_source(os.path.join(folder, "__init__")):
                    return Path(folder, PACKAGE_MANIFEST)
                portions.append(folder)
            if last and _has_source(folder):
                return Path(f"{folder}.toml")
    return None


def _has_source(stem: str) -> bool:
    return any(os.path.isfile(stem + suffix) for suffix in _SUFFIXES)


def locate_editable(module: str, source: Distribution, roots: Sequence[str]) -> tuple[Path | None, tuple[Path, ...]]:
    """Find the manifest of an editable install that the path alone does not show, and the `.pth` files that load it.

    Three ways are known: folders in the distribution's `.pth` files (also new ones, which this process has not read yet),
    the table in setuptools' finder module (read as data), and finders that are in `sys.meta_path` already.
    """
    files = path_files(source)
    folders: list[str] = []
    mapped: dict[str, str] = {}
    for file in files:
        for line in _lines(file):
            if line.startswith(("import ", "import\t")):
                mapped.update(_setuptools_table(file, line))
            else:
                folders.append(str(Path(file.parent, line)))
    path = locate(module, [*folders, *roots], mapped)
    if path is not None:
        return path, tuple(files)
    return _ask_finders(module), ()


def _lines(file: Path) -> Iterator[str]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return
    yield from (line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#"))


def _setuptools_table(file: Path, line: str) -> dict[str, str]:
    """`MAPPING` of `__editable___<name>_finder.py`, which the `.pth` line would import."""
    name = line.removeprefix("import").partition(";")[0].strip()
    try:
        tree = ast.parse(Path(file.parent, f"{name}.py").read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return {}
    for statement in tree.body:
        target = statement.target if isinstance(statement, ast.AnnAssign) else None
        if isinstance(target, ast.Name) and target.id == "MAPPING":
            value = statement.value if isinstance(statement, ast.AnnAssign) else None
            return _text_table(value) if value is not None else {}
    return {}


def _text_table(node: ast.expr) -> dict[str, str]:
    try:
        table: Any = ast.literal_eval(node)
    except ValueError:
        return {}
    return {str(key): str(value) for key, value in table.items()} if isinstance(table, dict) else {}


def _ask_finders(module: str) -> Path | None:
    """Ask other finders level by level: that needs no import of a parent, so no code of the plugin runs."""
    search: list[str] | None = None
    names = module.split(".")
    for depth in range(1, len(names) + 1):
        spec = _spec(".".join(names[:depth]), search)
        if spec is None:
            return None
        if spec.submodule_search_locations is None:
            return Path(spec.origin).with_suffix(".toml") if spec.origin and depth == len(names) else None
        search = list(spec.submodule_search_locations)
        if spec.origin:
            return Path(spec.origin).with_name(PACKAGE_MANIFEST)
    return None


def _spec(name: str, search: list[str] | None) -> Any:
    for finder in sys.meta_path:
        if finder not in _OF_PYTHON and hasattr(finder, "find_spec"):
            spec = finder.find_spec(name, search)
            if spec is not None:
                return spec
    return None
