"""The moment at which a plugin's code is imported, behind a fence: whatever happens in it becomes a `DiscoveryError`."""

from __future__ import annotations

import importlib
import site
from importlib import metadata
from typing import TYPE_CHECKING, Any

from ..base import BasePlugin
from ..errors import DiscoveryError

if TYPE_CHECKING:
    from types import ModuleType

    from ..settings import PluginSettings
    from ._discover import InstalledPlugin

__all__ = ["load_class", "load_provider", "load_settings_model"]


def load_class(plugin: InstalledPlugin) -> type[BasePlugin]:
    """Import the plugin's class. Raises `DiscoveryError` for whatever goes wrong, `SystemExit` included."""
    loaded = _attribute(plugin, plugin.module, plugin.class_name)
    if not (isinstance(loaded, type) and issubclass(loaded, BasePlugin)):
        raise DiscoveryError(
            f"{plugin.module}:{plugin.class_name} of {plugin.distribution} is {_what(loaded)}, not a plugin class",
            plugin_id=plugin.id,
            remedy="It must be a subclass of dotmac_isp.plugins.core.base.BasePlugin",
        )
    missing = sorted(getattr(loaded, "__abstractmethods__", ()))
    if missing:
        raise DiscoveryError(
            f"{plugin.module}:{plugin.class_name} of {plugin.distribution} lacks {', '.join(missing)}",
            plugin_id=plugin.id,
            remedy="Its author must define them; the base class demands them",
        )
    return loaded


def load_settings_model(plugin: InstalledPlugin) -> type[PluginSettings] | None:
    """Import the settings model that the manifest names; `None` when it names none. Raises `DiscoveryError`."""
    if plugin.manifest.settings is None:
        return None
    from ..settings import PluginSettings  # noqa: PLC0415 - pydantic loads with the first settings

    module, _, name = plugin.manifest.settings.partition(":")
    loaded = _attribute(plugin, module, name)
    if not (isinstance(loaded, type) and issubclass(loaded, PluginSettings)):
        raise DiscoveryError(
            f"{plugin.manifest_path}: {plugin.id}.settings names {plugin.manifest.settings}, which is {_what(loaded)}",
            plugin_id=plugin.id,
            remedy="It must be a subclass of dotmac_isp.plugins.core.settings.PluginSettings",
        )
    return loaded


def load_provider(plugin: InstalledPlugin) -> ModuleType | None:
    """Import the module with the package's provider hooks; `None` when the manifest names none. Raises `DiscoveryError`."""
    if plugin.manifest.provides is None:
        return None
    return _module(plugin, plugin.manifest.provides)


def _what(thing: object) -> str:
    return f"the class {thing.__qualname__}" if isinstance(thing, type) else f"of type {type(thing).__name__}"


def _attribute(plugin: InstalledPlugin, module: str, name: str) -> Any:
    loaded = _module(plugin, module)
    try:
        return getattr(loaded, name)
    except AttributeError:
        raise DiscoveryError(
            f"{module} of {plugin.distribution} has no {name!r}",
            plugin_id=plugin.id,
            remedy=f"Reinstall it, or ask its author: python -m pip install --force-reinstall {plugin.distribution}",
        ) from None


def _module(plugin: InstalledPlugin, module: str) -> ModuleType:
    """Import behind the fence. A `KeyboardInterrupt` is fenced too: asyncio never raises one into a running import."""
    try:
        for file in plugin.path_files:
            site.addpackage(str(file.parent), file.name, None)
        return importlib.import_module(module)
    except ImportError as error:
        raise _import_failed(plugin, module, error) from error
    except BaseException as error:  # plugin code: nothing of it may take the host down
        told = f"{type(error).__name__}({error})" if str(error) else type(error).__name__
        what = "ended the program" if isinstance(error, SystemExit) else "failed"
        raise DiscoveryError(
            f"importing {module} of {plugin.distribution} {what}: {told}",
            plugin_id=plugin.id,
            remedy="A module must only define things when it is imported; its author must move this into initialize()",
        ) from error


def _import_failed(plugin: InstalledPlugin, module: str, error: ImportError) -> DiscoveryError:
    lacking = error.name if isinstance(error, ModuleNotFoundError) and error.name else None
    what = f"the module {lacking!r} is missing" if lacking else str(error)
    wanted = _uninstalled(plugin.distribution)
    install = f"python -m pip install {' '.join(repr(one) for one in wanted)}" if wanted else ""
    again = f"python -m pip install --upgrade --force-reinstall {plugin.distribution}"
    return DiscoveryError(
        f"importing {module} of {plugin.distribution} failed: {what}",
        plugin_id=plugin.id,
        remedy=f"Install what it requires: {install or again}",
    )


def _uninstalled(distribution: str) -> list[str]:
    """The declared requirements that are not installed; empty when nothing is declared or nothing is known."""
    from packaging.requirements import InvalidRequirement, Requirement  # noqa: PLC0415 - only for errors

    try:
        declared = [Requirement(text) for text in metadata.requires(distribution) or ()]
    except (metadata.PackageNotFoundError, InvalidRequirement):
        return []
    needed = (one for one in declared if one.marker is None or one.marker.evaluate({"extra": ""}))
    return [f"{one.name}{one.specifier}" for one in needed if not _is_installed(one.name)]


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
