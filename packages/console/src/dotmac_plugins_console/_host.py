"""The reference host application: what `dotmac-plugins serve` runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from typing import TYPE_CHECKING, Any, Final

import msgspec

from dotmac_isp.plugins.core.manager import PluginManager
from dotmac_isp.plugins.core.model import InstanceRef, PluginState

from ._administration import Administration, HostFacts
from ._bring_up import status_of
from ._control import Control
from ._errors import HostError
from ._following import follow_code, follow_installs
from ._lock import HostLock
from ._places import SOCKET, find_home, prepare_home
from ._report import StartReport
from ._server import ControlServer
from ._signals import Signals
from ._start import Start
from ._who import Who

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from ._bring_up import Outcome

__all__ = ["HostOptions", "run_host"]

_LOG: Final = logging.getLogger("dotmac.host")


class HostOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What `serve` was told."""

    home: Any = None  # Path | None; msgspec needs run-time types
    environment: str | None = None
    metrics: tuple[str, int] | None = None
    storage_url: str | None = None
    log_level: str = "INFO"
    json_logs: bool = False
    safe_mode: str | None = None
    required: tuple[str, ...] = ()
    #: Follow what pip installs and removes.
    installs: bool = True
    #: Reload plugins whose files are edited.
    watch: bool = False


async def run_host(options: HostOptions, say: Callable[[str], None]) -> None:
    """Run until a signal says stop. Raises `PluginError` when the host cannot start, or a required plugin does not run."""
    home = find_home(options.home)
    prepare_home(home)
    with HostLock(home):
        await _Host(home, options, say).run()


class _Host:
    def __init__(self, home: Path, options: HostOptions, say: Callable[[str], None]) -> None:
        self._home: Final = home
        self._options: Final = options
        self._say: Final = say
        self._phase = "starting"
        self._manager: Final = PluginManager(
            home=home,
            environment=options.environment,
            storage_url=options.storage_url,
            safe_mode=options.safe_mode,
            required=options.required,
        )
        facts = HostFacts(lasting=True, home=str(home), environment=options.environment)
        self._administration = Administration(self._manager, facts, phase=lambda: self._phase)
        self._started: Final = asyncio.Event()
        self._tasks: Final[set[asyncio.Task[None]]] = set()
        self._signals: Final = Signals(reload=lambda: self._run(self._reload()))
        self._stack: Final = contextlib.AsyncExitStack()

    async def run(self) -> None:
        """Start, wait, stop."""
        self._start_logging(str)
        with self._signals:
            try:
                await self._or_stop(self._start())
                await self._signals.stop.wait()
            finally:
                await self._stop()

    async def _or_stop(self, work: Coroutine[Any, Any, None]) -> None:
        """Do the work, but let a signal end it. What is under way is cancelled then."""
        task = asyncio.create_task(work, name="dotmac: start")
        stopped = asyncio.create_task(self._signals.stop.wait(), name="dotmac: stop signal")
        try:
            await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            task.cancel()
            stopped.cancel()
            await asyncio.wait({task, stopped})
        if not task.cancelled():
            task.result()

    async def _start(self) -> None:
        manager = self._manager
        await manager.start()
        self._stack.push_async_callback(self._stop_manager)
        self._start_logging(manager.redact)
        url = await self._start_metrics()
        if url is not None:
            facts = msgspec.structs.replace(self._administration.facts, metrics=url)
            self._administration.facts = facts
        control = ControlServer(
            self._home / SOCKET,
            Control(self._administration).answer,
            redact=manager.redact,
        )
        await control.start()
        self._stack.push_async_callback(control.close)
        report = StartReport(self._administration, control.path, self._say)
        report.begin()
        bring_up = self._administration.bring_up
        tenants = bring_up.configured_tenants()
        start = Start(bring_up, tenants, report.tell, required=self._options.required)
        outcomes = await start.enough()
        self._check_required(outcomes)
        self._phase = "running"
        self._started.set()
        report.end(outcomes, start.missing())
        if not start.done:
            self._run(start.rest(), "start what takes long")
        if self._options.installs:
            self._run(follow_installs(self._administration), "follow installs")
        if self._options.watch:
            self._run(follow_code(self._administration), "follow code")

    async def _start_metrics(self) -> str | None:
        if self._options.metrics is None:
            return None
        from ._metrics import MetricsServer  # noqa: PLC0415 - aiohttp only where it is asked for

        host, port = self._options.metrics
        server = MetricsServer(host, port, render=self._manager.telemetry.render, health=self._health)
        url = await server.start()
        self._stack.push_async_callback(server.stop)
        return url

    def _start_logging(self, redact: Callable[[str], str]) -> None:
        from dotmac_isp.plugins.core.telemetry import configure_logging  # noqa: PLC0415 - loads structlog

        configure_logging(json=self._options.json_logs, level=self._options.log_level, redact=redact)

    def _check_required(self, outcomes: list[Outcome]) -> None:
        """A required plugin must run for every tenant that it is not switched off for."""
        down = [one for one in outcomes if one.result == "down" and one.plugin_id in {"", *self._options.required}]
        if self._options.required and down:
            raise HostError(
                f"a required plugin does not run: {'; '.join(map(str, down))}",
                type="RequiredPluginError",
                remedy="Put that right, or start without --require to look at it with dotmac-plugins show",
            )
        up = {one.plugin_id for one in outcomes if one.result == "up"}
        suspended = {one.plugin_id for one in outcomes if one.state == PluginState.SUSPENDED.value}
        for plugin_id in self._options.required:
            off = [one for one in outcomes if one.plugin_id == plugin_id]
            if off and plugin_id not in up | suspended:
                raise HostError(
                    f"a required plugin runs for no tenant: {'; '.join(map(str, off))}", type="RequiredPluginError"
                )

    def _health(self) -> dict[str, Any]:
        if not self._manager.running:
            return {"ready": False, "phase": self._phase, "states": {}, "required_down": []}
        bring_up = self._administration.bring_up
        down = sorted(
            str(ref) for ref in bring_up.wanted if ref.plugin_id in self._options.required and not self._is_active(ref)
        )
        return {
            "ready": self._phase == "running" and not down,
            "phase": self._phase,
            "states": self._manager.statistics().states,
            "required_down": down,
        }

    def _is_active(self, ref: InstanceRef) -> bool:
        status = status_of(self._manager, ref)
        return status is not None and status.state in {PluginState.ACTIVE, PluginState.SUSPENDED}

    def _run(self, work: Coroutine[Any, Any, None], name: str = "reload") -> None:
        task = asyncio.get_running_loop().create_task(work, name=f"dotmac: {name}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _LOG.error("%s: %s", task.get_name(), error)

    async def _reload(self) -> None:
        """SIGHUP. What cannot be read changes nothing; while the host starts, it waits until it is up."""
        await self._started.wait()
        try:
            result = await self._administration.reload(Who(os.geteuid()))
        except Exception as error:  # noqa: BLE001 - told, and the host goes on as it was
            _LOG.error("reload: nothing was changed: %s", error)
            self._manager.audit.record("reload", "failed", detail=f"by SIGHUP: {error}")
            return
        for action in result["actions"]:
            where = f"{action['plugin_id'] or 'every plugin'}@{action['tenant_id'] or '-'}"
            _LOG.info("reload: %s %s: %s", action["action"], where, action["reason"])
        _LOG.info("reload: done, %d instances unchanged", result["unchanged"])
        self._manager.audit.record("reload", "done", detail="by SIGHUP")

    async def _stop(self) -> None:
        self._phase = "stopping"
        for task in list(self._tasks):
            task.cancel()
        await self._stack.aclose()

    async def _stop_manager(self) -> None:
        """Stop the plugins; a second signal cuts their time short, and the store is closed all the same."""
        stopping = asyncio.create_task(self._manager.stop(), name="dotmac: stop plugins")
        hurry = asyncio.create_task(self._signals.hurry.wait(), name="dotmac: hurry signal")
        await asyncio.wait({stopping, hurry}, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if not stopping.done():
            self._say("stopping without waiting for plugins")
            stopping.cancel()
            await asyncio.wait({stopping})
        if not stopping.cancelled():
            stopping.result()
