"""Tiny distributions on disk, as pip would leave them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

MANIFEST = '[{id}]\nname = "Plugin {id}"\n{more}'
CLASS = "from dotmac_isp.plugins.core.base import BasePlugin\n\nclass Plugin(BasePlugin):\n    pass\n"

Install = Callable[..., Path]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that stands for site-packages; modules imported from it are forgotten afterwards."""
    folder = tmp_path / "site"
    folder.mkdir()
    before = set(sys.modules)
    path = list(sys.path)
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if name.split(".")[0].startswith(("vendor", "plain_")):
            del sys.modules[name]


@pytest.fixture
def install(site: Path) -> Install:
    """Put a distribution there: `install("dist", "plugin_id", package="vendor_x", manifest="…", code="…")`."""

    def put(
        distribution: str,
        plugin_id: str,
        *,
        package: str | None = None,
        module: str | None = None,
        version: str = "1.2",
        manifest: str | None = "",
        code: str = CLASS,
        requires: tuple[str, ...] = (),
        attribute: str = "Plugin",
    ) -> Path:
        target = package or module or f"vendor_{plugin_id}"
        folder = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        needs = "".join(f"Requires-Dist: {one}\n" for one in requires)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n{needs}")
        (folder / "entry_points.txt").write_text(f"[dotmac_isp.plugins]\n{plugin_id} = {target}:{attribute}\n")
        place = site.joinpath(*target.split("."))
        if module:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.with_suffix(".py").write_text(code)
            table = place.with_suffix(".toml")
        else:
            place.mkdir(parents=True, exist_ok=True)
            (place / "__init__.py").write_text(code)
            table = place / "dotmac-plugin.toml"
        if manifest is not None:
            table.write_text(MANIFEST.format(id=plugin_id, more=manifest))
        return table

    return put
