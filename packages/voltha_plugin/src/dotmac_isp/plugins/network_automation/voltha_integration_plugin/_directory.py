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
        self._listed: list[DeviceView] = []
        self._by_name: dict[str, DeviceView] = {}

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

    async def glimpse(self, wanted: str, *, kind: str, age: float) -> DeviceView:
        """As `require`, but the device may be as it was listed `age` seconds ago: for many that are asked for one by one."""
        devices: list[DeviceView] = await self._reads.recent(("ListDevices", ""), age)
        if self._listed is not devices:
            self._listed = devices
            self._by_name = {name: device for device in devices for name in (device.serial, device.id) if name}
        found = self._by_name.get(wanted)
        return found if found is not None and found.kind == kind else await self.require(wanted, kind=kind)

    async def require(self, wanted: str, *, kind: str) -> DeviceView:
        """The OLT or ONU with this id or serial number; raises `DeviceNotFoundError` that says what is there."""
        found = await self.find(wanted)
        if found is not None and found.kind == kind:
            return found
        return require_device(await self.every(), wanted, kind=kind)
