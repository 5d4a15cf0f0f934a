"""What `from package import *` gives: each regular package says it, and all of it is there.

That the names are sorted is ruff's business (RUF022), in the lint session.
"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest


def surfaces() -> list[tuple[str, Path]]:
    """(module, `__init__.py`) of each regular package that is public: no part of its name starts with `_`."""
    found = []
    for source in sorted(Path(__file__).resolve().parents[2].glob("packages/*/src")):
        for path in sorted(source.rglob("__init__.py")):
            parts = path.parent.relative_to(source).parts
            if not any(part.startswith("_") for part in parts):
                found.append((".".join(parts), path))
    return found


SURFACES = [pytest.param(module, path, id=module) for module, path in surfaces()]


@pytest.mark.parametrize(("module", "path"), SURFACES)
def test_a_package_with_content_says_what_is_public(module: str, path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    content = [node for node in tree.body if not isinstance(node, ast.Expr)]
    future = [node for node in content if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    if len(content) > len(future):
        assert hasattr(importlib.import_module(module), "__all__"), f"{module} has no __all__"


@pytest.mark.parametrize(("module", "path"), SURFACES)
def test_every_name_that_a_package_promises_is_there(module: str, path: Path) -> None:
    imported = importlib.import_module(module)
    names = list(getattr(imported, "__all__", ()))
    assert len(names) == len(set(names)), f"{module}.__all__ names something twice"
    assert [name for name in names if name.startswith("_") and name != "__version__"] == []
    assert [name for name in names if not hasattr(imported, name)] == []
