"""The collector as a service of the host: a process of its own that ends with the host."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import TYPE_CHECKING, Any, Final

import msgspec

from dotmac_isp.plugins.core.base import HostService
from dotmac_isp.plugins.core.errors import ConfigurationError, NotReady
from dotmac_isp.plugins.core.model import HealthReport, HealthStatus

from ._parent import child_environment, open_log
from ._version import PRODUCT
from ._wire import ADMIN_SOCKET, HOST_OWNER, short_path, tenant_key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import aiohttp

    from dotmac_isp.plugins.core.api import SecretReader

    from .events import Event

__all__ = ["CollectorService"]

_log: Final = logging.getLogger(__name__)
_DATABASE: Final = "ANALYTICS_DB_CONNECTION"
_API_KEY: Final = "analytics-api-key"
_START_SECONDS: Final = 120.0
_STOP_SECONDS: Final = 25.0
_PROBE_SECONDS: Final = 5.0
_OK: Final = 300


class CollectorService(HostService):
    """Starts a collector on `host:port` with its data below `data_dir`, or joins one of ours that is there."""

    name = "analytics collector"

    def __init__(
        self, *, host: str, port: int, data_dir: Path, database: str = "", notify_hosts: Sequence[str] = ()
    ) -> None:
        self.host = host
        self.port = port
        self._folder = data_dir / "collector"
        #: The connection to a ClickHouse server; empty: the collector has an engine of its own.
        self._database = database
        self._notify_hosts = tuple(notify_hosts)
        self._process: asyncio.subprocess.Process | None = None
        #: It was stopped and not started again.
        self.stopped = False

    @property
    def pid(self) -> int | None:
        """The collector's process id, when this service started it and it runs."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def start(self) -> None:
        """Start or join. Raises `ConfigurationError` when something else has the port, `NotReady` when the collector does not start."""
        self.stopped = False
        if self.port and await self._ours_answers():
            _log.info("an analytics collector answers at %s:%s already and is used", self.host, self.port)
            return
        await self._spawn()

    async def _ours_answers(self) -> bool:
        """Whether a collector of ours is on the port; `False`: nobody is. Raises when it is somebody else."""
        import aiohttp  # noqa: PLC0415

        try:
            async with _session() as session, session.get(self._address("/v1/about")) as response:
                answer = msgspec.json.decode(await response.read())
        except (aiohttp.ClientConnectorError, ConnectionRefusedError):
            return False
        except (aiohttp.ClientError, OSError, TimeoutError, msgspec.DecodeError):
            answer = None
        if isinstance(answer, dict) and answer.get("product") == PRODUCT:
            return True
        raise ConfigurationError(
            f"something else than an analytics collector answers on {self.host}:{self.port}",
            field="analytics_port",
            remedy="Stop it, or choose another port (ANALYTICS_PORT)",
        )

    def _address(self, path: str) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}{path}"

    async def _spawn(self) -> None:
        log_file = self._folder / "collector.log"
        errors = await asyncio.to_thread(open_log, log_file)
        with errors:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                f"{__package__}.collector.main",
                "serve",
                "--with-parent",
                "--host",
                self.host,
                "--port",
                str(self.port),
                "--data",
                str(self._folder),
                *(word for host in self._notify_hosts for word in ("--notify-host", host)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                env={**child_environment(), **({_DATABASE: self._database} if self._database else {})},
            )
        try:
            async with asyncio.timeout(_START_SECONDS):
                await self._ready(self._process, log_file)
        except BaseException:
            await self.stop()
            raise

    async def _ready(self, process: asyncio.subprocess.Process, log_file: Path) -> None:
        line = await process.stdout.readline() if process.stdout is not None else b""
        if not line:
            await process.wait()
            if self.port and await self._ours_answers():
                return  # another host was quicker
            words = (await asyncio.to_thread(log_file.read_text, errors="replace")).strip().splitlines()
            reason = words[-1].removeprefix("dotmac-analytics-collector: ") if words else "it said nothing"
            raise NotReady(f"the analytics collector does not start: {reason}", remedy=f"Its log is {log_file}")
        self.port = int(msgspec.json.decode(line)["port"])

    async def stop(self) -> None:
        """End the collector that was started here; one that was joined goes on."""
        self.stopped = True
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            _log.warning("the analytics collector did not end within %.0f s and is killed", _STOP_SECONDS)
            process.kill()
            await process.wait()

    async def check(self) -> HealthReport:
        """What the collector says about itself; unhealthy when it does not answer, so that the host starts it anew."""
        import aiohttp  # noqa: PLC0415

        try:
            async with _session() as session, session.get(self._address("/v1/health")) as response:
                answer = msgspec.json.decode(await response.read())
        except (aiohttp.ClientError, OSError, TimeoutError, msgspec.DecodeError) as error:
            reason = f"the collector at {self.host}:{self.port} does not answer: {error}"
            return HealthReport(status=HealthStatus.UNHEALTHY, message=reason)
        status = HealthStatus.HEALTHY if answer["status"] == "healthy" else HealthStatus.DEGRADED
        return HealthReport(status=status, message=answer["reason"] or "stores and answers", details=answer)

    async def admit(self, tenant_id: str | None, settings: Any, secrets: SecretReader) -> None:
        """Tell the collector the tenant's key, over a socket that only the owner of the folder can open."""
        del settings
        key = await secrets.get(_API_KEY)
        if key is not None:
            await self._tell(
                "POST", "/admin/keys", {"tenant": tenant_key(tenant_id), "owner": HOST_OWNER, "key": key.reveal()}
            )

    @property
    def is_ours(self) -> bool:
        """Whether the collector listens to this host as its owner."""
        return (self._folder / ADMIN_SOCKET).is_socket()

    async def track(self, tenant_id: str | None, events: Sequence[Event]) -> None:
        """Hand events of a tenant over as the collector's owner. They are on its disk when this returns."""
        await self._tell("POST", "/admin/events", {"tenant": tenant_key(tenant_id), "events": events})

    async def dismiss(self, tenant_id: str | None) -> None:
        """The tenant's key opens nothing any more."""
        await self._tell("DELETE", "/admin/keys", {"tenant": tenant_key(tenant_id), "owner": HOST_OWNER})

    async def _tell(self, method: str, path: str, wish: dict[str, Any]) -> None:
        import aiohttp  # noqa: PLC0415

        socket = self._folder / ADMIN_SOCKET
        if not self.is_ours:
            _log.warning(
                "the collector at %s:%s belongs to somebody else, who must let the key of tenant %s in",
                self.host,
                self.port,
                wish["tenant"],
            )
            return
        try:
            with short_path(socket) as address:
                status = await self._post(method, address, path, wish)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise NotReady(f"the analytics collector does not listen to its owner: {error}") from error
        if status >= _OK:
            raise NotReady(f"the analytics collector answers {status} to its owner")

    async def _post(self, method: str, address: str, path: str, wish: dict[str, Any]) -> int:
        import aiohttp  # noqa: PLC0415

        timeout = aiohttp.ClientTimeout(total=_PROBE_SECONDS)
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(address), timeout=timeout) as session,
            session.request(method, f"http://collector{path}", data=msgspec.json.encode(wish)) as response,
        ):
            return response.status


def _session() -> aiohttp.ClientSession:
    import aiohttp  # noqa: PLC0415

    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_PROBE_SECONDS))
