"""A device as this plugin sees it, and what its states mean (domain specification, sections 2.1 to 2.3).

Serial numbers are the keys: VOLTHA's ids change when an ONU is deleted or an OLT reboots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from ._errors import DeviceNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["DeviceView", "find_device", "from_proto", "onus_of", "require_device"]

_ADMIN: Final = ("UNKNOWN", "PREPROVISIONED", "ENABLED", "DISABLED", "DOWNLOADING_IMAGE")
_OPER: Final = (
    "UNKNOWN",
    "DISCOVERED",
    "ACTIVATING",
    "TESTING",
    "ACTIVE",
    "FAILED",
    "RECONCILING",
    "RECONCILING_FAILED",
    "REBOOTED",
)
_CONNECT: Final = ("UNKNOWN", "UNREACHABLE", "REACHABLE")


class _Names(dict[int, str]):
    """Names by number; a number that a newer VOLTHA has is named after itself."""

    def __missing__(self, number: int) -> str:
        return f"UNKNOWN_{number}"


_ADMIN_NAMES: Final = _Names(enumerate(_ADMIN))
_OPER_NAMES: Final = _Names(enumerate(_OPER))
_CONNECT_NAMES: Final = _Names(enumerate(_CONNECT))

#: Reasons of an ONU that is ready for flows. What comes before says how far its start has come; what fails is not here.
_READY_REASONS: Final = frozenset(
    {
        "initial-mib-downloaded",
        "tech-profile-config-download-success",
        "tech-profile-config-delete-success",
        "omci-flows-pushed",
        "omci-flows-deleted",
        "onu-reenabled",
    }
)
#: The reason after a power cycle or reboot: the ONU has none of its flows any more, whatever VOLTHA lists (surprise 7).
_EMPTY_REASON: Final = "initial-mib-downloaded"
#: The reason of a disabled ONU whose user ports are locked.
_LOCKED_REASON: Final = "omci-admin-lock"
_SHOWN: Final = 10


class DeviceView(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One OLT or ONU. States are VOLTHA's names; `pon` and `onu_id` are -1 for an OLT."""

    id: str
    is_olt: bool
    device_type: str
    serial: str
    parent_id: str = ""
    host_and_port: str = ""
    mac_address: str = ""
    admin: str = "UNKNOWN"
    oper: str = "UNKNOWN"
    connect: str = "UNKNOWN"
    reason: str = ""
    pon: int = -1
    onu_id: int = -1
    vendor: str = ""
    model: str = ""
    hardware_version: str = ""
    firmware_version: str = ""

    @property
    def kind(self) -> str:
        return "olt" if self.is_olt else "onu"

    @property
    def key(self) -> str:
        """What stays when VOLTHA gives the device another id."""
        return self.serial or self.host_and_port or self.mac_address or self.id

    @property
    def state(self) -> str:
        """The three states, and the reason where there is one, as VOLTHA's own tools print them."""
        states = f"{self.admin}/{self.oper}/{self.connect}"
        return f"{states} {self.reason}" if self.reason else states

    @property
    def is_active(self) -> bool:
        return self.admin == "ENABLED" and self.oper == "ACTIVE" and self.connect == "REACHABLE"

    @property
    def is_ready(self) -> bool:
        """An OLT with its logical device, or an ONU that takes flows."""
        return self.is_active and (bool(self.parent_id) if self.is_olt else self.reason in _READY_REASONS)

    @property
    def is_switched_off(self) -> bool:
        """Disabled, with its adapter done: the ONU's user ports are locked (the reason follows the states by some 30 ms)."""
        if self.admin != "DISABLED" or self.oper == "ACTIVE":
            return False
        return self.is_olt or self.connect != "REACHABLE" or self.reason == _LOCKED_REASON

    @property
    def has_lost_flows(self) -> bool:
        """An ONU that came back from a power cycle or reboot; only deleting and adding its flows brings them back."""
        return not self.is_olt and self.reason == _EMPTY_REASON

    @property
    def status(self) -> str:
        """One word for a person: active, disabled, unreachable, activating, failed, reconciling, rebooting, preprovisioned."""
        if self.admin in ("PREPROVISIONED", "DISABLED"):
            return self.admin.lower()
        if self.oper in ("FAILED", "RECONCILING_FAILED"):
            return "failed"
        if self.connect == "UNREACHABLE":
            return "unreachable"
        names = {"ACTIVE": "active", "RECONCILING": "reconciling", "REBOOTED": "rebooting", "TESTING": "testing"}
        return names.get(self.oper, "activating" if self.admin == "ENABLED" else "unknown")

    def plain(self) -> dict[str, Any]:
        """The device as `discover_devices` gives it."""
        shown: dict[str, Any] = {
            "device_id": self.id,
            "type": self.kind,
            "device_type": self.device_type,
            "serial_number": self.serial,
            "status": self.status,
            "admin_state": self.admin,
            "oper_status": self.oper,
            "connect_status": self.connect,
            "reason": self.reason,
            "parent_id": self.parent_id,
            "vendor": self.vendor,
            "model": self.model,
            "hardware_version": self.hardware_version,
            "firmware_version": self.firmware_version,
        }
        if self.is_olt:
            shown |= {
                "host_and_port": self.host_and_port,
                "mac_address": self.mac_address,
                "logical_device_id": self.parent_id,
            }
        else:
            shown |= {"pon_port": self.pon, "onu_id": self.onu_id}
        return shown


def from_proto(device: Any) -> DeviceView:
    """The view of a `device.Device`. Made by the thousand: attributes of a message cost most, so each is read once."""
    if device.root:
        return DeviceView(
            id=device.id,
            is_olt=True,
            device_type=device.type,
            serial=device.serial_number,
            parent_id=device.parent_id,
            host_and_port=device.host_and_port,
            mac_address=device.mac_address,
            admin=_ADMIN_NAMES[device.admin_state],
            oper=_OPER_NAMES[device.oper_status],
            connect=_CONNECT_NAMES[device.connect_status],
            reason=device.reason,
            vendor=device.vendor,
            model=device.model,
            hardware_version=device.hardware_version,
            firmware_version=device.firmware_version,
        )
    place = device.proxy_address
    return DeviceView(
        id=device.id,
        is_olt=False,
        device_type=device.type,
        serial=device.serial_number,
        parent_id=device.parent_id,
        admin=_ADMIN_NAMES[device.admin_state],
        oper=_OPER_NAMES[device.oper_status],
        connect=_CONNECT_NAMES[device.connect_status],
        reason=device.reason,
        pon=place.channel_id,
        onu_id=place.onu_id,
        vendor=device.vendor,
        model=device.model,
        hardware_version=device.hardware_version,
        firmware_version=device.firmware_version,
    )


def find_device(devices: Iterable[DeviceView], wanted: str) -> DeviceView | None:
    """The device with this id or serial number; an id wins."""
    by_serial: DeviceView | None = None
    for device in devices:
        if device.id == wanted:
            return device
        if device.serial and device.serial == wanted:
            by_serial = device
    return by_serial


def require_device(devices: Iterable[DeviceView], wanted: str, *, kind: str) -> DeviceView:
    """The OLT or ONU with this id or serial number; raises `DeviceNotFoundError` that says what is there instead."""
    known = list(devices)
    what = kind.upper()
    found = find_device(known, wanted)
    if found is not None and found.kind == kind:
        return found
    if found is not None:
        raise DeviceNotFoundError(f"{wanted!r} is an {found.kind.upper()}, and an {what} is needed here")
    names = [device.key for device in known if device.kind == kind]
    more = ", …" if len(names) > _SHOWN else ""
    there = f"VOLTHA has {', '.join(names[:_SHOWN])}{more}" if names else f"VOLTHA has no {what}"
    raise DeviceNotFoundError(
        f"no {what} with the id or serial number {wanted!r}; {there}",
        remedy="Serial numbers stay; ids change when an ONU is deleted or an OLT reboots",
    )


def onus_of(devices: Iterable[DeviceView], olt: DeviceView) -> list[DeviceView]:
    """The ONUs below an OLT."""
    return [device for device in devices if not device.is_olt and device.parent_id == olt.id]
