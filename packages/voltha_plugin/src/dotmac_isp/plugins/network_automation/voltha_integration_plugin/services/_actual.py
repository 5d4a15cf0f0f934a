"""What VOLTHA has of the services that are stored: few large lists for each OLT, and where asked for each ONU's own list."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from .._device import DeviceView
from .._errors import DeviceNotFoundError
from .._session import FlowTable
from ._plan import ActualOlt

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._session import Session
    from ._stored import StoredService

__all__ = ["Actual", "read_actual"]

#: ONUs whose lists are asked for at once.
_AT_ONCE: Final = 32


class Actual(msgspec.Struct, frozen=True):
    """Devices by serial number, what is listed for each OLT (by serial number), and flows on ONUs (by serial number)."""

    devices: Mapping[str, DeviceView]
    olts: Mapping[str, ActualOlt]
    tables: Mapping[str, FlowTable]
    onus: Mapping[str, Mapping[int, int]]

    def olt_of(self, item: StoredService) -> ActualOlt | None:
        """The OLT on which the service's ONU is now, else the one on which it was."""
        onu = self.devices.get(item.key.onu_serial)
        for olt in self.olts.values():
            if onu is not None and olt.device.id == onu.parent_id:
                return olt
        return self.olts.get(item.place.olt_serial)


async def read_actual(
    session: Session, items: Iterable[StoredService], *, with_onus: bool, olts: Iterable[str] = ()
) -> Actual:
    """Look at what concerns these services, and these OLTs (by serial number), now."""
    wanted = list(items)
    devices = {device.key: device for device in await session.devices()}
    serials = {item.key.onu_serial for item in wanted}
    parents = {device.parent_id for serial, device in devices.items() if serial in serials}
    named = {item.place.olt_serial for item in wanted} | set(olts)
    concerned = [
        device
        for device in devices.values()
        if device.is_olt and device.parent_id and (device.id in parents or device.key in named)
    ]
    found = await asyncio.gather(*(_read_olt(session, device) for device in concerned))
    listed = {olt.device.key: (olt, table) for olt, table in (each for each in found if each is not None)}
    onus = await _read_onus(session, devices, serials) if with_onus else {}
    return Actual(
        devices=devices,
        olts={serial: olt for serial, (olt, _) in listed.items()},
        tables={serial: table for serial, (_, table) in listed.items()},
        onus=onus,
    )


async def _read_olt(session: Session, device: DeviceView) -> tuple[ActualOlt, FlowTable] | None:
    try:
        logical, own, meters = await asyncio.gather(
            session.logical_flows(device.parent_id), session.device_flows(device.id), session.meters(device.parent_id)
        )
    except DeviceNotFoundError:
        return None  # it went while we looked
    made = ActualOlt(device=device, logical=logical.cookies, on_olt=own.cookies, meters=meters, unis=logical.sources)
    return made, logical


async def _read_onus(
    session: Session, devices: Mapping[str, DeviceView], serials: Iterable[str]
) -> dict[str, Mapping[int, int]]:
    gate = asyncio.Semaphore(_AT_ONCE)
    found: dict[str, Mapping[int, int]] = {}

    async def read(serial: str, device_id: str) -> None:
        async with gate:
            try:
                found[serial] = (await session.device_flows(device_id)).cookies
            except DeviceNotFoundError:
                return

    ready: list[tuple[str, Any]] = [(serial, devices[serial]) for serial in serials if serial in devices]
    await asyncio.gather(*(read(serial, device.id) for serial, device in ready))
    return found
