"""Keeps the embedded engine's process alive: starts it, notices its death, starts it again, closes it cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import random
import secrets
import sys
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from .._parent import child_environment, open_log
from .._tasks import ended

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Endpoint", "EngineProcess", "FixedEndpoint"]

_log: Final = logging.getLogger(__name__)
_START_SECONDS: Final = 90.0
_STOP_SECONDS: Final = 15.0
_BACKOFF_FIRST: Final = 0.2
_BACKOFF_MOST: Final = 30.0
_HEALTHY_AFTER: Final = 60.0
_PATIENCE: Final = 20.0


class Endpoint(Protocol):
    """Where the engine answers right now. `generation` changes when a client must connect anew."""

    generation: int

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def options(self) -> dict[str, Any]:
        """Arguments for clickhouse-connect; waits while the engine is being started."""

    def describe(self) -> dict[str, Any]: ...


class FixedEndpoint:
    """An existing server."""

    generation = 1

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options

    async def start(self) -> None:
        """Nothing to start: the server is somebody else's."""

    async def stop(self) -> None:
        """Nothing to stop."""

    async def options(self) -> dict[str, Any]:
        return self._options

    def describe(self) -> dict[str, Any]:
        return {"engine": "server", "host": self._options["host"], "port": self._options["port"]}


class EngineProcess:
    """chDB in a child of this process.

    `start` raises `RuntimeError` when the engine is not installed or does not come up the first time. An engine that does not answer
    for `patience` seconds, although its process is there, is killed and started again.
    """

    def __init__(self, path: Path, log_file: Path, *, patience: float = _PATIENCE) -> None:
        self._path = path
        self._patience = patience
        self._log_file = log_file
        self._password = secrets.token_urlsafe(24)
        self._process: asyncio.subprocess.Process | None = None
        self._up = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self._port = 0
        self.generation = 0
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        """The child's process id while it runs."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def start(self) -> None:
        if importlib.util.find_spec("chdb") is None:
            raise RuntimeError(
                "the embedded engine is not installed. Run: pip install 'dotmac-plugin-analytics[embedded]' "
                "(about 180 MB to download, 535 MB on disk), or name a ClickHouse server in ANALYTICS_DB_CONNECTION"
            )
        await self._launch()
        self._tasks = [
            asyncio.create_task(self._supervise(), name="engine supervisor"),
            asyncio.create_task(self._watch(), name="engine watch"),
        ]

    async def _launch(self) -> None:
        with open_log(self._log_file) as errors:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                f"{__package__}._child",
                "--path",
                str(self._path),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                env=child_environment(),
            )
        try:
            async with asyncio.timeout(_START_SECONDS):
                self._port = await self._greet(self._process)
        except BaseException:
            await self._end()
            raise
        self.generation += 1
        self._up.set()

    async def _greet(self, process: asyncio.subprocess.Process) -> int:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the engine's process has no pipes")
        with contextlib.suppress(ConnectionError):
            process.stdin.write(self._password.encode() + b"\n")
            await process.stdin.drain()
        line = await process.stdout.readline()
        if not line:
            code = await process.wait()
            raise RuntimeError(f"the embedded engine ended at once (exit code {code}): {self._last_words()}")
        return int(msgspec.json.decode(line)["port"])

    def _last_words(self) -> str:
        lines = self._log_file.read_text(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "it said nothing"

    async def _supervise(self) -> None:
        delay = _BACKOFF_FIRST
        loop = asyncio.get_running_loop()
        while self._process is not None:
            started = loop.time()
            code = await self._process.wait()
            if self._stopping:
                return
            self._up.clear()
            self.restarts += 1
            delay = _BACKOFF_FIRST if loop.time() - started > _HEALTHY_AFTER else delay
            _log.warning("the embedded engine ended (exit code %s); starting it again in %.1f s", code, delay)
            delay = await self._relaunch(delay)

    async def _relaunch(self, delay: float) -> float:
        while True:
            await asyncio.sleep(delay * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
            delay = min(delay * 2, _BACKOFF_MOST)
            try:
                await self._launch()
            except (OSError, RuntimeError, TimeoutError, ValueError) as error:
                _log.error("the embedded engine does not start: %s; next try in %.1f s", error, delay)
            else:
                return delay

    async def _watch(self) -> None:
        """Ask the process now and then whether it is there; one that hangs is killed, and the supervisor starts another."""
        import aiohttp  # noqa: PLC0415

        timeout = aiohttp.ClientTimeout(total=self._patience)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                await asyncio.sleep(self._patience / 4)
                await self._up.wait()
                asked = self._process
                try:
                    async with session.get(f"http://127.0.0.1:{self._port}/ping") as answer:
                        await answer.read()
                except TimeoutError:
                    if asked is not None and asked is self._process and asked.returncode is None:
                        _log.warning("the embedded engine does not answer for %.0f s and is killed", self._patience)
                        asked.kill()
                except aiohttp.ClientError:
                    continue  # it ended; the supervisor knows

    async def options(self) -> dict[str, Any]:
        await self._up.wait()
        return {
            "host": "127.0.0.1",
            "port": self._port,
            "username": "default",
            "password": self._password,
            "database": "default",
        }

    def describe(self) -> dict[str, Any]:
        return {"engine": "embedded", "pid": self.pid, "restarts": self.restarts, "up": self._up.is_set()}

    async def stop(self) -> None:
        """Let the engine close its files, then make sure that it is gone."""
        self._stopping = True
        await self._end()
        for task in self._tasks:
            await ended(task)
        self._up.clear()

    async def _end(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            _log.warning("the embedded engine did not close within %.0f s and is killed", _STOP_SECONDS)
            process.kill()
            await process.wait()
