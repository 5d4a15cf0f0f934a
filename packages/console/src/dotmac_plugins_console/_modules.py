"""Forgetting a distribution's modules, so that the version that pip has put there is the one that runs next."""

from __future__ import annotations

import importlib
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dotmac_isp.plugins.core.discovery import InstalledPlugin

__all__ = ["forget_modules"]


def forget_modules(plugin: InstalledPlugin) -> list[str]:
    """Drop the plugin's imported modules: those below its entry point's, and whatever else its distribution installed.

    What other packages imported from it stays theirs. Gives the names.
    """
    roots = {plugin.module}
    for path in (plugin.manifest.settings, plugin.manifest.provides):
        if path is not None:
            roots.add(path.partition(":")[0])
    files = _files(plugin.distribution)
    gone = [
        name
        for name, module in list(sys.modules.items())
        if any(name == root or name.startswith(f"{root}.") for root in roots)
        or getattr(module, "__file__", None) in files
    ]
    for name in gone:
        del sys.modules[name]
    importlib.invalidate_caches()
    return gone


def _files(distribution: str) -> set[str]:
    try:
        listed = metadata.files(distribution) or []
    except metadata.PackageNotFoundError:
        return set()
    return {str(Path(str(one.locate()))) for one in listed if one.suffix in {".py", ".so"}}
