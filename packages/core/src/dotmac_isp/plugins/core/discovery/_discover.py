"""The inventory of installed plugins, and what is wrong with those that cannot be used."""

from __future__ import annotations

import functools
import importlib
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from ..errors import DiscoveryError
from ._locate import locate, locate_editable
from ._manifest import API_VERSION, Manifest, in_range, read_manifest
from ._scan import Found, is_editable, scan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..model import PluginInfo

__all__ = ["GROUP", "Discovery", "InstalledPlugin", "Problem", "discover"]

#: The entry-point group of plugins; the entry point's name is the plugin's id.
GROUP: Final = "dotmac_isp.plugins"


class InstalledPlugin(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin that can be used here, as far as its manifest tells. None of its code has run."""

    id: str
    manifest: Manifest
    module: str
    class_name: str
    distribution: str
    version: str
    editable: bool
    manifest_path: Path
    #: Which installation it is: another one after the same version was installed again.
    stamp: tuple[int, int] = (0, 0)
    #: `.pth` files of an editable install that `load_class` reads when this process has not.
    path_files: tuple[Path, ...] = ()

    @property
    def info(self) -> PluginInfo:
        return self.manifest.info(distribution=self.distribution, editable=self.editable)


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Why an installed plugin is left out (`error`), or what the operator should know (`warning`)."""

    plugin_id: str
    distribution: str
    message: str
    remedy: str | None = None
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        return f"{self.message}. {self.remedy}" if self.remedy else self.message


class Discovery(msgspec.Struct, frozen=True, kw_only=True):
    """What `discover` found: usable plugins by id, in the order of ids, and problems."""

    plugins: Mapping[str, InstalledPlugin]
    problems: tuple[Problem, ...] = ()

    def problem(self, plugin_id: str) -> Problem | None:
        """The first error that concerns this id."""
        return next((one for one in self.problems if one.plugin_id == plugin_id and one.severity == "error"), None)


def discover(*, path: Sequence[str] | None = None, blocked: Mapping[str, str] | None = None) -> Discovery:
    """Find the installed plugins without importing them. Sees what pip installed or removed since the last call.

    `path` stands for `sys.path`. `blocked` gives versions that must not load: plugin id -> `"range | reason"`.
    A plugin that cannot be used becomes a `Problem` and never stops the others.
    """
    importlib.invalidate_caches()
    by_id: dict[str, list[Found]] = {}
    unreadable: list[tuple[str, str]] = []
    for found in scan(GROUP, path, unreadable=unreadable):
        by_id.setdefault(found.name, []).append(found)
    plugins: dict[str, InstalledPlugin] = {}
    problems = [_unreadable(name, reason) for name, reason in unreadable]
    roots = tuple(sys.path if path is None else path)
    for plugin_id, candidates in sorted(by_id.items()):
        try:
            plugin = _examine(plugin_id, candidates, roots)
            _check_fits(plugin, (blocked or {}).get(plugin_id))
            plugins[plugin_id] = plugin
        except DiscoveryError as error:
            names = " and ".join(dict.fromkeys(one.distribution for one in candidates))
            problem = Problem(plugin_id=plugin_id, distribution=names, message=error.message, remedy=error.remedy)
            problems.append(problem)
    return Discovery(plugins=MappingProxyType(plugins), problems=tuple(problems))


def _unreadable(distribution: str, reason: str) -> Problem:
    return Problem(
        plugin_id="",
        distribution=distribution,
        message=f"the entry points of {distribution} cannot be read: {reason}",
        remedy=f"Reinstall it: python -m pip install --force-reinstall {distribution}",
    )


def _examine(plugin_id: str, candidates: Sequence[Found], roots: tuple[str, ...]) -> InstalledPlugin:
    found = candidates[0]
    if len(candidates) > 1:
        raise _duplicate(plugin_id, candidates)
    module, class_name = _target(found)
    editable = is_editable(found.source)
    manifest_path = locate(module, (found.location,)) or locate(module, roots)
    files: tuple[Path, ...] = ()
    if manifest_path is None:
        manifest_path, files = locate_editable(module, found.source, roots)
    if manifest_path is None:
        raise DiscoveryError(
            f"the entry point of {plugin_id!r} names the module {module}, which {found.distribution} does not have",
            plugin_id=plugin_id,
            remedy=f"Reinstall it: python -m pip install --force-reinstall {found.distribution}",
        )
    return InstalledPlugin(
        id=plugin_id,
        manifest=read_manifest(manifest_path, plugin_id, version=found.version),
        module=module,
        class_name=class_name,
        distribution=found.distribution,
        version=found.version,
        editable=editable,
        manifest_path=manifest_path,
        stamp=found.stamp,
        path_files=files,
    )


def _target(found: Found) -> tuple[str, str]:
    module, colon, rest = found.value.partition(":")
    class_name = rest.partition("[")[0].strip()
    module = module.strip()
    if colon and class_name.isidentifier() and all(part.isidentifier() for part in module.split(".")):
        return module, class_name
    raise DiscoveryError(
        f"the entry point {found.name!r} of {found.distribution} is {found.value!r}",
        plugin_id=found.name,
        remedy="It must be 'package.module:Class'",
    )


def _duplicate(plugin_id: str, candidates: Sequence[Found]) -> DiscoveryError:
    names = list(dict.fromkeys(one.distribution for one in candidates))
    if len(names) == 1:
        return DiscoveryError(
            f"{names[0]} has the entry point {plugin_id!r} {len(candidates)} times",
            plugin_id=plugin_id,
            remedy="None of them is used; its author must give each plugin an id of its own",
        )
    return DiscoveryError(
        f"{' and '.join(f'{one.distribution} {one.version}' for one in candidates)} all provide the plugin {plugin_id!r}",
        plugin_id=plugin_id,
        remedy=f"None of them is used; uninstall all but one: python -m pip uninstall {' or '.join(names)}",
    )


@functools.cache
def _python() -> str:
    return platform.python_version()


def _check_fits(plugin: InstalledPlugin, blocked: str | None) -> None:
    manifest = plugin.manifest
    named = f"{plugin.id} {manifest.version} ({plugin.distribution})"
    upgrade = f"python -m pip install --upgrade {plugin.distribution}"
    if not in_range(API_VERSION, manifest.core):
        raise DiscoveryError(
            f"{named} needs core API {manifest.core}; this is {API_VERSION}",
            plugin_id=plugin.id,
            remedy=f"Install a version that fits: {upgrade} dotmac-plugins-core",
        )
    if not in_range(_python(), manifest.python):
        raise DiscoveryError(
            f"{named} needs Python {manifest.python}; this is {_python()}",
            plugin_id=plugin.id,
            remedy=f"Run the host with such a Python, or install a version that fits: {upgrade}",
        )
    if blocked is not None:
        _check_blocked(plugin, blocked, named)


def _check_blocked(plugin: InstalledPlugin, blocked: str, named: str) -> None:
    versions, _, reason = (part.strip() for part in blocked.partition("|"))
    try:
        is_blocked = in_range(plugin.manifest.version, versions)
    except ValueError:
        raise DiscoveryError(
            f"the blocked versions of {plugin.id!r} are {versions!r}, which is no version range",
            plugin_id=plugin.id,
            remedy="Write a range such as '<1.2' (PEP 440); until then the plugin is left out",
        ) from None
    if is_blocked:
        raise DiscoveryError(
            f"{named} is blocked here ({versions or 'every version'}){f': {reason}' if reason else ''}",
            plugin_id=plugin.id,
            remedy=f"Install another version: python -m pip install '{plugin.distribution}' in one that is not blocked",
        )
