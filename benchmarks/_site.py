"""Distributions on disk as pip leaves them: a `….dist-info` folder, a package, a manifest."""

from __future__ import annotations

import compileall
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["compiled", "put_distribution", "put_plugin"]

GROUP = "dotmac_isp.plugins"
_MANIFEST = """\
[{id}]
name = "Plugin {id}"
description = "Made for a benchmark"
category = "network_automation"
core = ">=0.1,<1"
python = ">=3.11"
permissions = ["network.fiber.manage"]
{more}
[{id}.secrets]
optional = ["{id}-password"]
[{id}.features.provisioning]
permission = "network.olt.configure"
methods = ["provision_olt"]
"""


def put_distribution(site: Path, name: str, entry_points: str = "", *, version: str = "1.2.3") -> Path:
    """A distribution's metadata, of about the size that wheels have."""
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {name}",
        f"Version: {version}",
        "Summary: made for a benchmark",
        "Requires-Python: >=3.11",
        *(f"Requires-Dist: made-up-{number}>={number}" for number in range(8)),
        "",
        "A description. " * 100,
    ]
    (folder / "METADATA").write_text("\n".join(lines), encoding="utf-8")
    (folder / "INSTALLER").write_text("pip\n", encoding="utf-8")
    (folder / "RECORD").write_text(f"{folder.name}/METADATA,,\n{folder.name}/RECORD,,\n", encoding="utf-8")
    if entry_points:
        (folder / "entry_points.txt").write_text(entry_points, encoding="utf-8")
    return folder


def put_plugin(site: Path, plugin_id: str, code: str, *, more: str = "") -> None:
    """A plugin in a package of its own: the class `Plugin` in `vendor_<id>`. `more` goes into its manifest."""
    put_distribution(site, f"vendor-{plugin_id}", f"[{GROUP}]\n{plugin_id} = vendor_{plugin_id}:Plugin\n")
    package = site / f"vendor_{plugin_id}"
    package.mkdir()
    (package / "__init__.py").write_text(code, encoding="utf-8")
    (package / "dotmac-plugin.toml").write_text(_MANIFEST.format(id=plugin_id, more=more), encoding="utf-8")


def compiled(site: Path) -> None:
    """Compile what is there, as an installer does."""
    compileall.compile_dir(site, quiet=2)
