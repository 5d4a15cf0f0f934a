"""MAC addresses of subscribers for services that wait for one: read from their DHCP requests (section 4.4)."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

from dotmac_isp.plugins.core.errors import PluginError

from .._errors import VolthaError
from ._dhcp import asked_in
from ._direct import DIRECT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from dotmac_isp.plugins.core.api import PluginAPI

    from .._session import Session
    from ._dhcp import Asked
    from ._stored import ServiceStore, StoredService

__all__ = ["MacLearner"]

#: How often it is looked whether a service still waits, in seconds.
_LOOK: Final = 2.0
#: After the stream was taken by another reader, or VOLTHA was away.
_PAUSE: Final = 5.0


class MacLearner:
    """Reads VOLTHA's packets while a service of ours waits for its subscriber's MAC address, and only then: that stream has one
    reader at a time, and a controller may want it. `learnt` brings in what was found out.
    """

    def __init__(
        self,
        api: PluginAPI,
        *,
        store: ServiceStore,
        session: Callable[[], Session],
        learnt: Callable[[StoredService, str], Awaitable[Any]],
    ) -> None:
        self._api: Final = api
        self._store: Final = store
        self._session: Final = session
        self._learnt: Final = learnt

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            if not self._waiting():
                await asyncio.sleep(_LOOK)
                continue
            reading = self._api.spawn(self._read(), name="voltha packets")
            try:
                while self._waiting() and not reading.done():
                    await asyncio.wait([reading], timeout=_LOOK)
            finally:
                reading.cancel()
                await asyncio.wait([reading])
            if self._waiting():
                await asyncio.sleep(_PAUSE)

    def _waiting(self) -> list[StoredService]:
        """The services that wait, of those whose flows are ours."""
        return [item for item in self._store.index if item.status == "waiting_for_mac" and item.owner == DIRECT]

    async def _read(self) -> None:
        with contextlib.suppress(VolthaError):  # away, or taken by another reader
            async for packet in self._session().client.stream("ReceivePacketsIn", opened=lambda: None):
                asked = asked_in(packet)
                if asked is not None:
                    await self._take(asked)

    async def _take(self, asked: Asked) -> None:
        there = [
            item
            for item in self._waiting()
            if (item.place.logical_device_id, item.place.uni_port) == (asked.logical_device_id, asked.port)
        ]
        # Several services on one port are told apart by their VLANs.
        meant = [item for item in there if set(asked.vlans) & {item.service.get("c_tag"), item.service.get("s_tag")}]
        for item in meant or (there if len(there) == 1 else []):
            try:
                await self._learnt(item, asked.mac_address)
            except PluginError as error:
                self._api.logger.warning(
                    "subscriber %r asked from %s, and its service does not follow: %s",
                    item.key.subscriber_id,
                    asked.mac_address,
                    error.message,
                )
