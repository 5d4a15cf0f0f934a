"""The devices by every name that an event may call them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._device import DeviceView
    from ._notice import Subject

__all__ = ["Network"]


class Network:
    """The devices as they were listed last, by id, by serial number, and ONUs by place (OLT's id, PON, ONU id)."""

    def __init__(self, devices: Iterable[DeviceView] = ()) -> None:
        self.devices: Final = list(devices)
        self._by_id: Final = {device.id: device for device in self.devices}
        self._by_serial: Final = {device.serial: device for device in self.devices if device.serial}
        self._by_logical: Final = {device.parent_id: device for device in self.devices if device.is_olt}
        self._by_place: Final = {
            (device.parent_id, device.pon, device.onu_id): device for device in self.devices if not device.is_olt
        }
        #: What events of an ONU were about before, by its serial number.
        self.subjects: Final[dict[str, Subject]] = {}

    def find(self, name: str) -> DeviceView | None:
        """The device with this id or serial number; an id wins."""
        return self._by_id.get(name) or self._by_serial.get(name)

    def olt(self, name: str) -> DeviceView | None:
        """The OLT with this id, serial number, or logical device id."""
        found = self.find(name)
        return found if found is not None and found.is_olt else self._by_logical.get(name)

    def at(self, olt_id: str, pon: int, onu_id: int) -> DeviceView | None:
        """The ONU at a place."""
        return self._by_place.get((olt_id, pon, onu_id))
