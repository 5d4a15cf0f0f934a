"""`/metrics` and `/healthz` over HTTP."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from ._errors import HostUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MetricsServer"]

_OK: Final = 200
_NOT_NOW: Final = 503


class MetricsServer:
    """Serves numbers for Prometheus, and for load balancers and supervisors whether the host is well.

    `render` gives the page of `/metrics`; `health` the facts of `/healthz`, whose `ready` decides between 200 and 503.
    """

    def __init__(
        self, host: str, port: int, *, render: Callable[[], bytes], health: Callable[[], dict[str, Any]]
    ) -> None:
        self._host: Final = host
        self._port: Final = port
        self._render: Final = render
        self._health: Final = health
        self._runner: web.AppRunner | None = None

    async def start(self) -> str:
        """Listen, and give the URL. Raises `HostUnavailableError` when the address cannot be had."""
        application = web.Application()
        application.router.add_get("/metrics", self._metrics)
        application.router.add_get("/healthz", self._healthz)
        self._runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError as error:
            await self.stop()
            raise HostUnavailableError(
                f"metrics cannot be served at {self._host}:{self._port}: {error.strerror or error}",
                remedy="Give another address with --metrics HOST:PORT; port 0 picks a free one",
            ) from error
        host, port = self._runner.addresses[0][:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/metrics"

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _metrics(self, _request: web.Request) -> web.Response:
        # In a thread: a page for thousands of instances takes long to write.
        page = await asyncio.to_thread(self._render)
        headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        return web.Response(body=page, headers=headers)

    async def _healthz(self, _request: web.Request) -> web.Response:
        facts = self._health()
        return web.json_response(facts, status=_OK if facts["ready"] else _NOT_NOW)
