"""What the reference host does by itself when something on the disk changes: packages that pip installs, code that a developer edits."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dotmac_isp.plugins.core.discovery import InstallWatch, own_folder
from dotmac_isp.plugins.core.manager import BulkResult

from ._errors import HostError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dotmac_isp.plugins.core.discovery import InstalledPlugin
    from dotmac_isp.plugins.core.manager import InstallChange
    from dotmac_isp.plugins.core.model import InstanceRef

    from ._administration import Administration

__all__ = ["follow_code", "follow_installs", "plugins_of"]

_LOG: Final = logging.getLogger("dotmac.host")
_LOOK: Final = 0.5


async def follow_installs(administration: Administration, *, interval: float = _LOOK) -> None:
    """Follow `pip install`, upgrades and `pip uninstall`, as long as the host runs."""
    watch = InstallWatch()
    while True:
        await asyncio.sleep(interval)
        if not watch.changed():
            continue
        try:
            for change in await _follow(administration):
                _LOG.info("installed packages changed: %s", change)
        except Exception:  # noqa: BLE001 - the next change is followed all the same
            _LOG.exception("what was installed could not be followed")


async def follow_code(administration: Administration) -> None:
    """Reload plugins whose files are edited, as long as the host runs. Raises `HostError` without watchfiles."""
    try:
        from watchfiles import awatch  # noqa: PLC0415 - an optional extra
    except ImportError:
        raise HostError(
            "--watch needs the package watchfiles",
            remedy='python -m pip install "dotmac-plugins-console[watch]"',
        ) from None
    while True:
        plugins = dict(administration.manager.discovery.plugins)
        folders = sorted({str(own_folder(one)) for one in plugins.values()})
        if not folders:
            await asyncio.sleep(1)
            continue
        before, watching = await asyncio.to_thread(_states, folders), False
        async for changes in awatch(*folders, step=100, rust_timeout=1000, yield_on_timeout=True):
            paths = [path for _, path in changes]
            if not watching:
                watching = True
                _LOG.info("watching %s", ", ".join(folders))
                # What was edited before the watch was in place is told by nobody else.
                paths += await asyncio.to_thread(_edited_since, before, folders)
            edited = plugins_of(paths, plugins)
            if edited:
                await _reload(administration, edited)
            if administration.manager.discovery.plugins.keys() != plugins.keys():
                break  # others were installed: watch them as well


def _states(folders: Iterable[str]) -> dict[str, int]:
    """When each file was written last."""
    found = {}
    for folder in folders:
        for path in Path(folder).rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                found[str(path)] = path.stat().st_mtime_ns
    return found


def _edited_since(before: Mapping[str, int], folders: Iterable[str]) -> list[str]:
    return [path for path, written in _states(folders).items() if before.get(path) != written]


async def _follow(administration: Administration) -> list[InstallChange]:
    async with administration.reloading:
        changes = await administration.manager.follow_installs()
        for change in changes:
            if change.what == "removed":
                administration.bring_up.forget_plugin(change.plugin_id)
        new = [change.plugin_id for change in changes if change.what == "found"]
        if new:
            await administration.bring_up.plugins(new)
        return changes


async def _renew(administration: Administration, edited: list[str]) -> BulkResult:
    """Let the instances take over with what their files are now."""
    manager = administration.manager
    async with administration.reloading:
        manager.rediscover()
        results: dict[InstanceRef, Any] = {}
        for plugin_id in edited:
            if plugin_id in manager.discovery.plugins:
                results.update(await manager.renew_code(plugin_id))
        return BulkResult(results)


async def _reload(administration: Administration, edited: list[str]) -> None:
    try:
        results = await _renew(administration, edited)
    except Exception:  # noqa: BLE001 - the developer's next edit may be better
        _LOG.exception("%s could not be reloaded", ", ".join(edited))
        return
    for ref, error in results.failed.items():
        _LOG.error("%s was edited and not taken: %s", ref, error)
    for ref in results.succeeded:
        _LOG.info("%s was edited and reloaded", ref)


def plugins_of(paths: Iterable[str], plugins: Mapping[str, InstalledPlugin]) -> list[str]:
    """The plugins to which code or manifests at these paths belong."""
    code = [Path(path) for path in paths if path.endswith((".py", ".toml", ".so"))]
    return sorted(
        plugin_id
        for plugin_id, plugin in plugins.items()
        if any(path.is_relative_to(own_folder(plugin)) for path in code)
    )
