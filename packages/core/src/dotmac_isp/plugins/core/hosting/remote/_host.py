"""A jailed process as the place of an instance."""

from __future__ import annotations

import asyncio
import contextvars
import enum
import sys
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ...errors import DiscoveryError, ProcessEndedError
from ...model import tenant_label
from ._child import Bundle
from ._describe import MethodShape
from ._identity import Identity
from ._process import JailedProcess
from ._proxy import plugin_class
from ._service import ApiService

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ...base import BasePlugin
    from ...discovery import InstalledPlugin
    from .._inline import InlineAPI
    from .._tasks import TaskOwner

__all__ = ["JailedHost", "Nursery"]


class Nursery(msgspec.Struct, kw_only=True):
    """What the jailed instances of one host share."""

    zygote: Any  # Zygote; msgspec needs run-time types
    fence: Any  # Fence
    tasks: Any  # TaskKeeper
    #: Seconds between two signs of life, and of silence after which a process counts as hung.
    beat: float = 2.0
    silence: float = 20.0
    generations: int = 0

    def next_generation(self) -> int:
        """A number that no process of this host has had."""
        self.generations += 1
        return self.generations


class JailedHost:
    """One life of an instance, in a process of its own."""

    mode: Final = "jailed"

    def __init__(
        self,
        nursery: Nursery,
        plugin: InstalledPlugin,
        tenant_id: str | None,
        *,
        owner: TaskOwner,
        cell: Any,
        data_dir: Path,
        values: Mapping[str, Any] | None,
        preload: tuple[str, ...],
        ways_out: Callable[[Mapping[str, Any]], list[tuple[str, int, str]]],
        ended: Callable[[str], None],
    ) -> None:
        self._nursery: Final = nursery
        self._plugin: Final = plugin
        self._tenant_id: Final = tenant_id
        self._owner: Final = owner
        self._cell: Final = cell
        self._data_dir: Final = data_dir
        self._values: Final = values
        self._preload: Final = preload
        self._ways_out: Final = ways_out
        self._ended: Final = ended
        self._process: JailedProcess | None = None
        self._left: tuple[str, ...] = ()

    @property
    def gone(self) -> bool:
        return self._process is not None and not self._alive

    def prepare(self) -> None:
        """Nothing: no code of the plugin runs in this process."""

    @property
    def isolation(self) -> dict[str, Any]:
        found: dict[str, Any] = {"mode": self.mode, **self._cell.isolation()}
        if self._process is not None:
            found["pid"] = self._process.pid
        return found

    async def make(self, api: InlineAPI) -> BasePlugin:
        process = self._process = self._new_process(api)
        # Apart from the step that asks for it: what the host makes for the process (its connections, the broker's work) must
        # not count as the plugin's own work, which ends with each stop.
        await asyncio.create_task(self._begin(process), context=contextvars.Context())
        name, shapes, _ = await process.peer.call("make", (), {})
        try:
            methods = msgspec.convert(shapes, tuple[MethodShape, ...])
        except msgspec.ValidationError as error:
            raise DiscoveryError(
                f"the process of {self._plugin.id} describes its methods wrongly: {error}", plugin_id=self._plugin.id
            ) from None
        return plugin_class(self._plugin.id, name, methods)(api, process.peer)

    async def _begin(self, process: JailedProcess) -> None:
        report = await process.start(self._nursery.zygote, preload=self._preload)
        await self._cell.judge(report)

    def _new_process(self, api: InlineAPI) -> JailedProcess:
        nursery, plugin = self._nursery, self._plugin
        identity = Identity(
            plugin_id=plugin.id,
            version=plugin.version,
            tenant_id=self._tenant_id,
            generation=nursery.next_generation(),
        )
        bundle = Bundle(
            identity=identity,
            plugin=plugin,
            settings=None if self._values is None else plain_settings(self._values),
            data_dir=self._data_dir,
            log_level=api.logger.getEffectiveLevel(),
            beat=nursery.beat,
            without=plugin.manifest.hosting.without,
        )
        return JailedProcess(
            bundle,
            ApiService(api, nursery.tasks, self._owner),
            nursery.fence,
            known=self._own_class,
            silence=nursery.silence,
            cell=self._cell,
            ended=self._ended,
        )

    def _own_class(self, module: str, qualname: str) -> type[BaseException] | None:
        """A class of the plugin's own modules, where somebody has imported it here."""
        own = self._plugin.module
        if module != own and not module.startswith(f"{own}."):
            return None
        loaded = sys.modules.get(module)
        kind = None if loaded is None else vars(loaded).get(qualname)
        return kind if isinstance(kind, type) and issubclass(kind, Exception) else None

    @property
    def _peer(self) -> Any:
        if self._process is None:
            raise ProcessEndedError(f"{self._plugin.id} for tenant {tenant_label(self._tenant_id)} has no process")
        return self._process.peer

    @property
    def tasks(self) -> int:
        """How many tasks the plugin has running in its process."""
        return 0 if self._process is None else self._process.tasks

    @property
    def pid(self) -> int | None:
        """The process's number, as this host sees it."""
        return None if self._process is None else self._process.pid

    async def change_settings(self, settings: Any) -> bool:
        values = None if settings is None else settings.model_dump()
        if not self._cell.same_ways(self._ways_out(values or {})):
            return False  # its ways out were fixed before it was let go: another process can have others
        await self._peer.call("settings", (None if values is None else plain_settings(values),), {})
        return True

    async def run_cleanups(self) -> None:
        if self._alive:
            await self._peer.call("cleanups", (), {})

    async def end_tasks(self, patience: float) -> list[str]:
        if not self._alive:
            return []
        try:
            return [str(name)[:200] for name in await self._peer.call("end_tasks", (patience,), {})]
        except ProcessEndedError:
            return []

    @property
    def _alive(self) -> bool:
        return self._process is not None and not self._process.reason and self._process.peer.link is not None

    async def close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            await process.close()
        else:
            await self._cell.close()


def plain_settings(values: Any) -> Any:
    """Settings as values that cross; their model makes of them what they were."""
    if isinstance(values, dict):
        return {key: plain_settings(value) for key, value in values.items()}
    if isinstance(values, list | tuple | set | frozenset):
        return type(values)(plain_settings(value) for value in values)
    if hasattr(values, "get_secret_value"):
        return values.get_secret_value()
    return values.value if isinstance(values, enum.Enum) else values
