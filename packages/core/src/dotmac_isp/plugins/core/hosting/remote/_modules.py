"""Loading all of a plugin's own modules at once: an upgrade deletes the files beneath a process that runs."""

from __future__ import annotations

import fnmatch
import importlib
import logging
import pkgutil
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["load_own_modules"]

_LOG: Final = logging.getLogger("dotmac.hosting")


def load_own_modules(module: str, without: Sequence[str]) -> list[str]:
    """Import every module below the plugin's package but those that match a pattern; gives the names of those that cannot be.

    What cannot be imported (for want of an optional library, say) is left for the moment when the plugin asks for it.
    """
    package = sys.modules[module]
    failed = []
    for name in _names(list(getattr(package, "__path__", ())), f"{module}.", without):
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001 - whatever it is, the plugin will meet it when it needs the module
            _LOG.debug("%s cannot be imported ahead: %s: %s", name, type(error).__name__, error)
            failed.append(name)
    return failed


def _names(path: list[str], prefix: str, without: Sequence[str]) -> Iterable[str]:
    for found in pkgutil.iter_modules(path, prefix):
        short = found.name.rpartition(".")[2]
        if short == "__main__" or any(fnmatch.fnmatchcase(found.name, pattern) for pattern in without):
            continue
        yield found.name
        if found.ispkg and found.name in sys.modules:
            yield from _names(list(getattr(sys.modules[found.name], "__path__", ())), f"{found.name}.", without)
