"""Reaching a host: the one that runs where there is one, else a short-lived one of our own."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any, Final

from ._client import find_running
from ._places import find_home

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from ._client import RunningHost
    from ._short_lived import ShortLivedHost

__all__ = ["Connection", "connect", "open_host"]


@contextlib.asynccontextmanager
async def open_host(
    home: Path | None = None, *, environment: str | None = None
) -> AsyncIterator[RunningHost | ShortLivedHost]:
    """The host to ask. A short-lived one uses `DOTMAC_ENVIRONMENT` and `DOTMAC_STORAGE`, as `serve` does."""
    place = find_home(home)
    host: RunningHost | ShortLivedHost | None = await find_running(place)
    if host is None:
        from ._short_lived import ShortLivedHost  # noqa: PLC0415 - loads the runtime

        host = await ShortLivedHost(
            place,
            environment=environment or os.environ.get("DOTMAC_ENVIRONMENT") or None,
            storage_url=os.environ.get("DOTMAC_STORAGE") or None,
        ).open()
    try:
        yield host
    finally:
        await host.close()


class Connection:
    """A host, asked on behalf of one tenant. Made by `connect`."""

    def __init__(self, host: RunningHost | ShortLivedHost, tenant: str | None, deadline: float | None) -> None:
        self._host: Final = host
        self._tenant: Final = tenant
        self._deadline: Final = deadline

    @property
    def how(self) -> str:
        """Which host is asked, for people: "asked the running host (pid 123)"."""
        return self._host.how

    async def call(self, plugin_id: str, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call a public method of the tenant's instance; arguments and the result are plain JSON values.

        Raises `HostError` with the type, message and remedy of what the plugin or the host raised.
        """
        given = {"plugin_id": plugin_id, "method": method, "args": list(args), "kwargs": kwargs}
        return await self.request("call", {**given, "tenant": self._tenant, "deadline": self._deadline})

    async def request(
        self, method: str, params: Mapping[str, Any] | None = None, progress: Callable[[str], None] = lambda _: None
    ) -> Any:
        """Any method of the control interface, as it is. Raises `HostError`."""
        return await self._host.request(method, params or {}, progress)


@contextlib.asynccontextmanager
async def connect(
    tenant: str | None = None, *, home: Path | None = None, deadline: float | None = None, announce: bool = True
) -> AsyncIterator[Connection]:
    """Reach plugins of a tenant (`None`: the system tenant) from a command.

    Goes to the running host of `home` (default: `DOTMAC_HOME`), else to a short-lived one in this process, which starts the
    plugins that are called and stops them at the end. `announce` says on stderr which it was. `deadline` (seconds) holds for
    each call; without one the host's default applies.
    """
    async with open_host(home) as host:
        if announce:
            sys.stderr.write(f"{host.how}\n")
        yield Connection(host, tenant, deadline)
