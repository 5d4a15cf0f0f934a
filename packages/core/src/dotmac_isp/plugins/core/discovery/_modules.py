"""The modules and files of an installed plugin: loading them ahead, forgetting them, and seeing that they changed.

An upgrade deletes the files beneath what runs, so an instance has all of its own modules before it is active.
"""

from __future__ import annotations

import fnmatch
import importlib
import logging
import os
import pkgutil
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import ModuleType

    from ._discover import InstalledPlugin

__all__ = [
    "Forgotten",
    "are_loaded",
    "changed_file",
    "code_folders",
    "forget_modules",
    "load_own_modules",
    "own_folder",
]

_LOG: Final = logging.getLogger("dotmac.hosting")
#: The plugins whose own modules were loaded ahead, by name, with the module that was the plugin's then.
_AHEAD: Final[dict[str, ModuleType]] = {}
_CODE: Final = (".py", ".so", ".toml")


class Forgotten:
    """Modules that were dropped. They go on working for whoever holds them; `restore` puts them back."""

    def __init__(self, modules: dict[str, ModuleType]) -> None:
        self._modules: Final = modules

    @property
    def names(self) -> list[str]:
        return sorted(self._modules)

    def restore(self) -> None:
        """What came in their place was of no use: whoever imports them gets the old ones again."""
        sys.modules.update(self._modules)


def forget_modules(plugin: InstalledPlugin) -> Forgotten:
    """Drop the plugin's imported modules: those below its entry point's, and whatever else its distribution installed.

    What other packages imported from it stays theirs.
    """
    roots = {plugin.module}
    for path in (plugin.manifest.settings, plugin.manifest.provides):
        if path is not None:
            roots.add(path.partition(":")[0])
    files = _installed_files(plugin.distribution)
    gone = {
        name: module
        for name, module in list(sys.modules.items())
        if any(name == root or name.startswith(f"{root}.") for root in roots)
        or getattr(module, "__file__", None) in files
    }
    for name in gone:
        del sys.modules[name]
    importlib.invalidate_caches()
    return Forgotten(gone)


def are_loaded(module: str) -> bool:
    """Whether the plugin's own modules were loaded ahead already."""
    return module in _AHEAD and _AHEAD[module] is sys.modules.get(module)


def load_own_modules(module: str, without: Sequence[str] = ()) -> list[str]:
    """Import every module below the plugin's package but those that match a pattern; gives the names of those that cannot be.

    What cannot be imported (for want of an optional library, say) is left for the moment when the plugin asks for it.
    """
    package = sys.modules[module]
    failed = []
    for name in _names(list(getattr(package, "__path__", ())), f"{module}.", without):
        try:
            importlib.import_module(name)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the plugin will meet it when it needs the module
            _LOG.debug("%s cannot be imported ahead: %s: %s", name, type(error).__name__, error)
            failed.append(name)
    _AHEAD[module] = package
    return failed


def _names(path: list[str], prefix: str, without: Sequence[str]) -> Iterable[str]:
    for found in pkgutil.iter_modules(path, prefix):
        short = found.name.rpartition(".")[2]
        if short == "__main__" or any(fnmatch.fnmatchcase(found.name, pattern) for pattern in without):
            continue
        yield found.name
        if found.ispkg and found.name in sys.modules:
            yield from _names(list(getattr(sys.modules[found.name], "__path__", ())), f"{found.name}.", without)


def own_folder(plugin: InstalledPlugin) -> Path:
    """The folder with the plugin's code: its package, or the folder of a plain module."""
    return plugin.manifest_path.parent


def code_folders(plugin: InstalledPlugin) -> list[Path]:
    """The folders that an editable install leads to, which nobody had on the path before it was installed; else none."""
    if not plugin.editable:
        return []
    own = own_folder(plugin)
    lines = [line.strip() for file in plugin.path_files for line in _lines(file)]
    roots = [Path(line) for line in lines if line.startswith("/") and own.is_relative_to(line)]
    return roots or [own]


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []


def changed_file(plugin: InstalledPlugin, since: float) -> str | None:
    """The first file of the plugin's code that was written after `since` (Unix time, seconds); `None`: there is none."""
    for file in _own_files(plugin):
        try:
            if file.stat().st_mtime > since:
                return file.name
        except OSError:
            continue
    return None


def _own_files(plugin: InstalledPlugin) -> Iterator[Path]:
    if plugin.manifest_path.name.removesuffix(".toml") == plugin.module.rpartition(".")[2]:
        yield plugin.manifest_path  # a plain module, with its manifest beside it
        yield plugin.manifest_path.with_suffix(".py")
        return
    for folder, folders, names in os.walk(own_folder(plugin)):
        folders[:] = [one for one in folders if one != "__pycache__" and not one.startswith(".")]
        yield from (Path(folder, name) for name in names if name.endswith(_CODE))


def _installed_files(distribution: str) -> set[str]:
    try:
        listed = metadata.files(distribution) or []
    except metadata.PackageNotFoundError:
        return set()
    return {str(Path(str(one.locate()))) for one in listed if one.suffix in {".py", ".so"}}
