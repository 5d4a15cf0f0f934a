"""Where an instance lives: the small protocol that its lifecycle speaks, and the host's own process as the first such place."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..discovery import are_loaded, load_class, load_own_modules

if TYPE_CHECKING:
    from ..base import BasePlugin
    from ..discovery import InstalledPlugin
    from ._inline import InlineAPI

__all__ = ["Host", "InlineHost"]


class Host(Protocol):
    """Where one life of an instance is. `ended` is called when that place is gone without having been asked, with the reason."""

    @property
    def mode(self) -> str:
        """`inline` or `jailed`."""

    @property
    def isolation(self) -> dict[str, Any]:
        """What keeps it apart, as plain data; see `docs/operators.md`."""

    @property
    def tasks(self) -> int:
        """How many tasks the plugin has that are not in this process."""

    @property
    def gone(self) -> bool:
        """Whether the place is not there any more, so that no step can be taken in it."""

    def prepare(self) -> None:
        """Do what is the host's own work before the object can be made. Raises `DiscoveryError`."""

    async def make(self, api: InlineAPI) -> BasePlugin:
        """Make the plugin's object, or what stands for it. Raises `DiscoveryError`, or what the constructor raised."""

    async def change_settings(self, settings: Any) -> bool:
        """`api.settings` is this from now on. `False`: the place cannot follow them, the instance must be made anew."""

    async def run_cleanups(self) -> None:
        """Run what the plugin registered with `api.on_cleanup`, the last first."""

    async def end_tasks(self, patience: float) -> list[str]:
        """End the tasks of the plugin that are not in this process; gives the names of those that ignore it."""

    async def close(self) -> None:
        """Let the place go, with all that it holds. Always ends."""


class InlineHost:
    """The host's own process."""

    mode: Final = "inline"

    def __init__(self, plugin: InstalledPlugin) -> None:
        self._plugin: Final = plugin
        self._kind: type[BasePlugin] | None = None
        self._api: InlineAPI | None = None

    @property
    def tasks(self) -> int:
        return 0

    @property
    def gone(self) -> bool:
        return False

    def prepare(self) -> None:
        self._kind = load_class(self._plugin)

    @property
    def isolation(self) -> dict[str, Any]:
        return {
            "mode": self.mode,
            "guarantees": {},
            "detail": "in the host's own process: the fence, the deadlines and the watch only",
        }

    async def make(self, api: InlineAPI) -> BasePlugin:
        self._api = api
        assert self._kind is not None  # noqa: S101 - prepare comes first
        plugin = self._plugin
        if not are_loaded(plugin.module):
            # On a thread: reading dozens of modules must not hold up the other instances.
            await asyncio.to_thread(load_own_modules, plugin.module, plugin.manifest.hosting.without)
        return self._kind(api)

    async def change_settings(self, settings: Any) -> bool:
        if self._api is not None:
            self._api.settings = settings
        return True

    async def run_cleanups(self) -> None:
        if self._api is not None:
            await self._api.run_cleanups()

    async def end_tasks(self, patience: float) -> list[str]:  # noqa: ARG002 - they are all in this process
        return []

    async def close(self) -> None:
        if self._api is not None:
            self._api.ended = True
