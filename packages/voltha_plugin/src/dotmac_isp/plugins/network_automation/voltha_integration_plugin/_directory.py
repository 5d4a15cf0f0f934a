"""Finding devices by id or serial number without listing thousands of them each time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ._device import DeviceView, require_device

if TYPE_CHECKING:
    from ._client import VolthaClient
    from ._shared_reads import SharedReads

__all__ = ["Directory"]


class Directory:
    """Remembers which id a serial number had last; asks VOLTHA whether it still has it."""

    def __init__(self, client: VolthaClient, reads: SharedReads) -> None:
        self._client: Final = client
        self._reads: Final = reads
        self._ids: dict[str, str] = {}

    async def every(self) -> list[DeviceView]:
        """All devices as VOLTHA lists them now."""
        devices: list[DeviceView] = await self._reads.fresh(("ListDevices", ""))
        self._ids = {device.serial: device.id for device in devices if device.serial}
        return devices

    async def find(self, wanted: str) -> DeviceView | None:
        """The device with this id or serial number, or `None`."""
        device = await self._client.device(self._ids.get(wanted, wanted))
        if device is not None and wanted in (device.id, device.serial):
            return device
        return next((each for each in await self.every() if each.serial == wanted), None)

    async def require(self, wanted: str, *, kind: str) -> DeviceView:
        """The OLT or ONU with this id or serial number; raises `DeviceNotFoundError` that says what is there."""
        found = await self.find(wanted)
        if found is not None and found.kind == kind:
            return found
        return require_device(await self.every(), wanted, kind=kind)
