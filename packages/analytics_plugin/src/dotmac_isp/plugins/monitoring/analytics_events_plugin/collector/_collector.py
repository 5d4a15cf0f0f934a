"""The parts of a collector, put together: started in order, stopped in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiohttp import web

from .._wire import ADMIN_SOCKET, short_path
from ..events import MAX_AGE_DAYS
from ..pages import Drawing
from ..spool import Kept, SegmentLog
from ..store import EngineProcess, FixedEndpoint, Store, parse_connection
from ._meta import Meta
from .access import Limits
from .alerts import Alerts
from .customers import Deletions
from .dashboards import Dashboards
from .delivery import Delivery
from .intake import EventIds, Intake, Writer
from .mending import DoubtedHours, Mending
from .reports import Schedules
from .rules import Retention, RuleBook
from .schemas import Quarantine, Schemas
from .sharing import Sharing

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from .sharing import Change

__all__ = ["Collector", "CollectorConfig"]

_LAST_SECONDS: Final = 5.0


class CollectorConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Where a collector listens and keeps things. `port` 0 takes a free one; `database` empty: the embedded engine."""

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 8080
    database: str = ""
    max_age_days: float = MAX_AGE_DAYS
    spool_bytes: int = 4 * 1024**3
    #: What is stored is kept beside for so long and so far, packed: an engine's damaged part is stored again from it. 0 bytes: nothing is.
    kept_bytes: int = 1024**3
    kept_days: float = 7.0
    alert_interval: float = 15.0
    #: Hosts that messages may go to although they are this machine's own.
    notify_hosts: tuple[str, ...] = ()
    #: How long a question waits for what was accepted before it, seconds.
    patience: float = 10.0
    #: How often it tells other collectors before the same server that it is there; they hear of changes twice as often. Seconds.
    beat: float = 2.0


class Collector:
    """One running collector.

    `start` raises `RuntimeError` when another collector has the data folder or the engine is missing, `OSError` when the port is taken.
    """

    def __init__(self, config: CollectorConfig) -> None:
        self.config = config
        self.started_at = time.time()
        self.port = 0
        self._lock_fd = -1
        self._stack = contextlib.AsyncExitStack()
        folder = config.data_dir
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock()
        self.store = self._store()
        self.meta = Meta(folder, shared=self.store.shared)
        self.sharing = Sharing(self.meta, self.store, beat=config.beat)
        self.limits = Limits(time.monotonic)
        self.kept = Kept(folder / "kept", max_bytes=config.kept_bytes, max_days=config.kept_days)
        self.intake = Intake(
            SegmentLog(folder / "spool", max_bytes=config.spool_bytes, on_release=self.kept.take),
            EventIds(folder / "ids.sqlite"),
            max_age_days=config.max_age_days,
            on_new=self._wake,
        )
        self.mending = Mending(self)
        self.hours = DoubtedHours(self)
        self.writer = Writer(self.intake, self.store, folder, doubted=self.mending.doubt, doubled=self.hours.doubt)
        self.delivery = Delivery(frozenset(config.notify_hosts))
        self.alerts = Alerts(
            self.meta, self.store, self.sharing, interval=config.alert_interval, delivery=self.delivery
        )
        self.dashboards = Dashboards(self.meta)
        self.drawing = Drawing()
        self.schedules = Schedules(
            self.meta, self.store, self.sharing, delivery=self.delivery, drawing=self.drawing, cache=folder / "cache"
        )
        self.schemas = Schemas(self.meta)
        self.quarantine = Quarantine(folder / "quarantine.sqlite", shared=self.meta if self.store.shared else None)
        self.rules = RuleBook(self.meta, max_age_days=config.max_age_days)
        self.retention = Retention(self.rules, self.store, self.kept, self.sharing)
        self.deletions = Deletions(
            self.meta,
            self.store,
            self.writer,
            self.quarantine,
            self.kept,
            self.sharing,
            self.hours,
        )
        self._follow()

    def _follow(self) -> None:
        """Who is to know when another collector changed a document."""
        heard: dict[str, Callable[[Change], None]] = {
            "secret": self.meta.heard_secret,
            "key": self.meta.keys.heard,
            "rules": self.rules.heard,
            "schema": self.schemas.heard,
            "quarantine": self.quarantine.heard,
            "dashboard": self.dashboards.heard,
            "share": self.dashboards.heard_link,
            "report_schedule": self.schedules.heard,
            "deletion": self.deletions.heard,
            "deletion cleared": self.deletions.heard,
            **self.alerts.followed,
        }
        for kind, then in heard.items():
            self.sharing.follow(kind, then)

    def _wake(self) -> None:
        self.writer.wake()

    def _store(self) -> Store:
        if not self.config.database:
            return Store(EngineProcess(self.config.data_dir / "engine", self.config.data_dir / "engine.log"))
        connection = parse_connection(self.config.database)
        return Store(FixedEndpoint(connection.options), connection.layout, walls=connection.walls)

    def _lock(self) -> None:
        """One collector for a data folder: the engine allows one process, and the spool one writer."""
        path = self.config.data_dir / "collector.lock"
        self._lock_fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = path.read_text().strip() or "unknown"
            os.close(self._lock_fd)
            raise RuntimeError(
                f"another collector (process {holder}) uses {self.config.data_dir}; stop it, or give this one another folder"
            ) from None
        os.ftruncate(self._lock_fd, 0)
        os.write(self._lock_fd, str(os.getpid()).encode())

    async def start(self) -> None:
        """Bind the port first (the cheapest thing that can fail), then open everything; requests wait until it is open."""
        from ._routes import admin_app, public_app  # noqa: PLC0415 - they need this class

        self._stack.callback(os.close, self._lock_fd)
        self._stack.callback(self.meta.close)
        self._stack.push_async_callback(self.drawing.close)
        self._stack.callback(self.quarantine.close)
        try:
            bound = await self._bind()
            await self._open()
            await self._listen(public_app(self), bound)
            await self._listen_admin(admin_app(self))
        except BaseException:
            await self.stop()
            raise

    async def _open(self) -> None:
        self._stack.push_async_callback(self.intake.close)
        await asyncio.to_thread(self.intake.log.open)
        await self.intake.recover()
        self._stack.push_async_callback(self.store.stop)
        if isinstance(self.store.endpoint, EngineProcess):
            await self.store.start()
        self._stack.push_async_callback(self.writer.close)
        self.writer.start()
        self._stack.push_async_callback(self.writer.drained, _LAST_SECONDS)
        for work in (self.sharing, self.retention, self.deletions, self.mending, self.hours):
            self._stack.push_async_callback(work.close)
            work.start()
        self._stack.push_async_callback(self.alerts.close)
        self.alerts.start()
        self._stack.push_async_callback(self.schedules.close)
        self.schedules.start()

    async def _bind(self) -> socket.socket:
        """Take the port without listening yet: whoever calls meanwhile is refused, not left waiting."""
        found = await asyncio.get_running_loop().getaddrinfo(
            self.config.host, self.config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, address = sorted(found, key=lambda item: item[0] != socket.AF_INET)[0]
        bound = socket.socket(family, kind, protocol)
        self._stack.callback(bound.close)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind(address)
        except OSError as error:
            raise OSError(
                error.errno, f"{self.config.host}:{self.config.port} cannot be used: {error.strerror}"
            ) from None
        self.port = int(bound.getsockname()[1])
        return bound

    async def _listen(self, app: web.Application, bound: socket.socket) -> None:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=5.0)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.SockSite(runner, bound).start()

    async def _listen_admin(self, app: web.Application) -> None:
        path = self.config.data_dir / ADMIN_SOCKET
        path.unlink(missing_ok=True)
        address = self._stack.enter_context(short_path(path))
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        previous = os.umask(0o177)
        try:
            await web.UnixSite(runner, address).start()
        finally:
            os.umask(previous)
        self._stack.callback(path.unlink, missing_ok=True)

    async def stop(self) -> None:
        """Stop listening, let the writer finish what it can in a moment, close the engine. What is left waits on disk."""
        await self._stack.aclose()

    async def settled(self) -> bool:
        """Wait until what was accepted so far can be seen by queries; `False` when the engine is not keeping up or away."""
        return await self.writer.drained(self.config.patience)

    def changes(self) -> object:
        """Something else whenever new events may have become visible."""
        if isinstance(self.store.endpoint, EngineProcess):
            return self.writer.stored_events
        return time.monotonic()  # other collectors write to the same server

    def describe(self) -> dict[str, Any]:
        return {
            "uptime_seconds": round(time.time() - self.started_at, 1),
            "spool_bytes": self.intake.log.size,
            **self.writer.describe(),
            **self.mending.describe(),
            **self.sharing.describe(),
            **self.store.endpoint.describe(),
        }

    async def __aenter__(self) -> Collector:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
