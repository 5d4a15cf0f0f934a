"""MAC addresses of subscribers for services that wait for one: read from their DHCP requests (section 4.4)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from dotmac_isp.plugins.core.errors import PluginError

from .._errors import VolthaError
from ._dhcp import asked_in
from ._direct import DIRECT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from dotmac_isp.plugins.core.api import PluginAPI

    from .._session import Session
    from .._settings import VolthaSettings
    from ._dhcp import Asked
    from ._stored import ServiceStore, StoredService

__all__ = ["MacLearner", "may_read"]

#: How often it is looked whether a service still waits, in seconds.
_LOOK: Final = 2.0
#: After VOLTHA was away, in seconds.
_PAUSE: Final = 5.0
#: After another reader took the packets, which this one must not take from it at once.
_TAKEN: Final = 60.0


class MacLearner:
    """Reads VOLTHA's packets while a service of ours waits for its subscriber's MAC address, and only then: that stream has one
    reader at a time (section 1.1), and a controller may want it. `learnt` brings in what was found out.
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
        self._pause = _PAUSE

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            if not self._waiting():
                await asyncio.sleep(_LOOK)
                continue
            self._pause = _PAUSE
            reading = self._api.spawn(self._read(), name="voltha packets")
            try:
                while self._waiting() and not reading.done():
                    await asyncio.wait([reading], timeout=_LOOK)
            finally:
                reading.cancel()
                await asyncio.wait([reading])
            if self._waiting():
                await asyncio.sleep(self._pause)

    def _waiting(self) -> list[StoredService]:
        """The services that wait, of those whose flows are ours, where packets may be read."""
        if not may_read(self._api.settings):
            return []
        return [item for item in self._store.index if item.status == "waiting_for_mac" and item.owner == DIRECT]

    async def _read(self) -> None:
        try:
            async for packet in self._session().client.stream("ReceivePacketsIn", opened=lambda: None):
                asked = asked_in(packet)
                if asked is not None:
                    await self._take(asked)
        except VolthaError as error:
            self._api.logger.info("no MAC address is learnt for %g s: %s", self._pause, error.message)
        else:
            # A second caller ends the stream of the first one normally.
            self._pause = _TAKEN
            self._api.logger.warning(
                "another program reads VOLTHA's packets: no MAC address is learnt for %g s;"
                " set_subscriber_mac tells one, learn_mac_addresses = off leaves the packets to the other",
                self._pause,
            )

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


def may_read(settings: VolthaSettings) -> bool:
    """Whether VOLTHA's packets are this plugin's to read."""
    if settings.learn_mac_addresses != "auto":
        return settings.learn_mac_addresses == "on"
    alone = settings.foreign_flows == "refuse"
    return alone and {settings.flow_owner, *settings.flow_owners.values()} == {DIRECT}
