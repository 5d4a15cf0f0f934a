"""An instance's own process, from the moment after the fork: locked down first, then the plugin, then calls until the host lets go."""

from __future__ import annotations

import asyncio
import functools
import gc
import importlib
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..._scope import CallScope
from ...discovery import InstalledPlugin, load_class, load_own_modules, load_settings_model
from ...telemetry import instance_logger
from .._fence import Fence
from .._inline import InlineAPI
from .._tasks import TaskKeeper
from .._told import told
from ._child_api import RemoteHooks, RemoteMetrics, RemoteSecrets, RemoteStorage
from ._codec import from_plain
from ._describe import MethodShape, describe
from ._identity import Identity, check_same
from ._peer import Peer
from ._said_log import forward_logs
from ._sync import Asking

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from ...base import BasePlugin
    from .._fence import Running

__all__ = ["Bundle", "run_instance"]

#: How often silence of the host may be looked at before this process takes itself to be forgotten.
_SILENT_BEATS: Final = 60
LEFT_ALONE: Final = 0
FAILED: Final = 70
MIXED_UP: Final = 77


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """What an instance is told by its supervisor once it has said who it is."""

    identity: Identity
    plugin: InstalledPlugin
    #: The settings as plain values; the plugin's model checks them again here.
    settings: dict[str, Any] | None
    data_dir: Path
    log_level: int
    beat: float
    #: Patterns of its own modules that are not loaded ahead.
    without: tuple[str, ...] = ()


class Confinement:
    """How this process was locked down, and its ways out. What is said here is what the jail achieved, before any plugin code."""

    def __init__(
        self, report: Any, grpc_target: Callable[[str, int], tuple[str, list[tuple[str, Any]]]] | None
    ) -> None:
        self.report: Final = report
        self.grpc_target: Final = grpc_target


def run_instance(identity: Identity, lines: tuple[socket.socket, socket.socket], confinement: Confinement) -> None:
    """Serve the instance until the host lets go. Ends the process."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(_serve(identity, lines, confinement))
    except BaseException:  # noqa: BLE001 - whatever it is, nothing of the zygote may go on here
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(FAILED)


async def _serve(identity: Identity, lines: tuple[socket.socket, socket.socket], confinement: Confinement) -> None:
    calls, questions = lines
    here = _Instance(identity, Asking(questions), confinement)
    peer = await Peer(here, here.fence, here.lost).connect(calls)
    here.peer = peer
    said = [msgspec.to_builtins(identity), msgspec.to_builtins(confinement.report)]
    told_back = await peer.call("hello", tuple(said), {})
    bundle = from_plain(told_back, Bundle)
    try:
        check_same(identity, msgspec.to_builtins(bundle.identity))
    except Exception as error:  # noqa: BLE001 - the other side is not ours: nothing may be done for it
        peer.event("log", 40, "dotmac.hosting", told(error), ["", ""], {})
        await asyncio.sleep(0)
        os._exit(MIXED_UP)
    here.begin(bundle)
    await asyncio.get_running_loop().create_future()  # `lost` ends the process


class _Instance:
    """The doors of this process, and what is behind them."""

    def __init__(self, identity: Identity, questions: Asking, confinement: Confinement) -> None:
        self._identity: Final = identity
        self._questions: Final = questions
        self._confinement: Final = confinement
        self._loop: Final = asyncio.get_running_loop()
        self.fence: Final = Fence(self._loop)
        self._tasks: Final = TaskKeeper(self._loop, self._report)
        self._owner: Final = self._tasks.owner()
        self._doors: Final[dict[str, Callable[..., Any]]] = {
            "make": self._make,
            "settings": self._change_settings,
            "end_tasks": self._end_tasks,
            "cleanups": self._run_cleanups,
        }
        self._begun: Final = asyncio.Event()
        self._own: Final = frozenset({"end_tasks", "settings"})
        self._model: Any = None
        self._api: InlineAPI | None = None
        self.peer: Peer = None  # type: ignore[assignment]  # set before anything comes in

    def begin(self, bundle: Bundle) -> None:
        """The host has said what is to be done here."""
        self._bundle = bundle
        self._loop.set_debug(False)
        self._tasks.install()
        forward_logs(self.peer, self._loop, bundle.log_level)
        self._begun.set()
        self._beat()

    # Doors

    def find(self, name: str) -> Callable[..., Any] | None:
        return self._doors.get(name)

    def scope(self, name: str, request_id: str) -> CallScope:
        operation = name.removeprefix("plugin.")
        owner = None if name in self._own else self._owner
        return CallScope(self._identity.plugin_id, self._identity.tenant_id, operation, request_id, owner)

    def began(self, running: Running, scope: CallScope) -> None:
        self._tasks.adopt(running.task, scope)

    def event(self, name: str, arguments: list[Any]) -> None:
        """The host says nothing but that it is there."""

    def lost(self, error: Exception | None) -> None:  # noqa: ARG002 - whatever it was
        """The host let go, or is gone."""
        os._exit(LEFT_ALONE)

    # behind them

    async def _make(self) -> list[Any]:
        """Make the plugin's object; gives what the supervisor needs to make one that stands for it."""
        await self._begun.wait()  # the order may be here before the answer to our hello was looked at
        bundle = self._bundle
        kind = load_class(bundle.plugin)
        self._model = load_settings_model(bundle.plugin)
        api = self._api = self._make_api(bundle)
        plugin = kind(api)
        # Before it works: from now on the files beneath it may be replaced.
        left = load_own_modules(bundle.plugin.module, bundle.without)
        shapes = describe(plugin, bundle.plugin.id)
        self._open(plugin, shapes)
        gc.freeze()
        return [kind.__name__, [msgspec.to_builtins(shape) for shape in shapes], left]

    def _open(self, plugin: BasePlugin, shapes: list[MethodShape]) -> None:
        self._doors.update({f"plugin.{shape.name}": getattr(plugin, shape.name) for shape in shapes})

    def _make_api(self, bundle: Bundle) -> InlineAPI:
        peer, identity = self.peer, self._identity
        return _API(
            info=bundle.plugin.info,
            tenant_id=identity.tenant_id,
            settings=self._settings(bundle.settings),
            secrets=RemoteSecrets(peer),
            storage=RemoteStorage(peer),
            logger=instance_logger(identity.plugin_id, identity.tenant_id),
            metrics=RemoteMetrics(peer),
            hooks=RemoteHooks(peer),
            data_dir=bundle.data_dir,
            report=self._report,
            count_licensed=functools.partial(self._questions.ask, "count_licensed"),
            owner=self._owner,
            secret_changed=self._secret_changed if bundle.plugin.manifest.category == "secrets" else None,
            way_out=self._confinement.grpc_target,
        )

    def _settings(self, values: dict[str, Any] | None) -> Any:
        return None if self._model is None else self._model(**(values or {}))

    def _change_settings(self, values: dict[str, Any] | None) -> None:
        if self._api is not None:
            self._api.settings = self._settings(values)

    async def _run_cleanups(self) -> None:
        if self._api is not None:
            await self._api.run_cleanups()

    async def _end_tasks(self, patience: float) -> list[str]:
        return [task.get_name() for task in await self._owner.end(patience=patience)]

    def _secret_changed(self, name: str, tenant_id: str | None) -> None:
        self._loop.call_soon_threadsafe(self.peer.event, "secret_changed", name, tenant_id)

    def _report(self, scope: CallScope, error: BaseException) -> None:
        self.peer.event("report", scope.operation, type(error).__name__, told(error))

    def _beat(self) -> None:
        now = self._loop.time()
        self.peer.event("beat", len(self._owner.running()))
        self._loop.call_later(self._bundle.beat, self._beat)
        if now - self.peer.link.heard_at > _SILENT_BEATS * self._bundle.beat:
            os._exit(LEFT_ALONE)


class _API(InlineAPI):
    """`PluginAPI` of an instance in a process of its own: as inline, but that gRPC goes the way that the jail gives it."""

    def __init__(
        self, *, way_out: Callable[[str, int], tuple[str, list[tuple[str, Any]]]] | None, **parts: Any
    ) -> None:
        super().__init__(**parts)
        self._way_out: Final = way_out

    def grpc_target(self, host: str, port: int) -> tuple[str, list[tuple[str, Any]]]:
        return super().grpc_target(host, port) if self._way_out is None else self._way_out(host, port)


def warm_up(modules: list[str]) -> dict[str, str]:
    """Import what instances will need; gives what could not be imported, and why."""
    failed = {}
    for name in modules:
        try:
            importlib.import_module(name)
        except BaseException as error:  # noqa: BLE001 - the zygote must live whatever a module does
            failed[name] = f"{type(error).__name__}: {told(error)}"
    return failed


def take_path(path: list[str]) -> None:
    """See the modules that the supervisor sees."""
    if sys.path != path:
        sys.path[:] = path
        importlib.invalidate_caches()
