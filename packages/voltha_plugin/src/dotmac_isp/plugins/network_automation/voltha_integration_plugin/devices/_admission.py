"""Which ONUs may work: those on a list, or all. Pure; VOLTHA itself lets every ONU in that it discovers (section 2.3)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from .._device import DeviceView
from .._errors import ServiceConfigError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping


__all__ = ["Admission", "AdmissionAction", "check_serial", "judge_admission"]

_SERIAL: Final = re.compile(r"[A-Za-z0-9]{4}[0-9A-Fa-f]{8}")


class Admission(msgspec.Struct, frozen=True, kw_only=True):
    """One serial number that is allowed, perhaps only below one OLT and on one PON. `note` is the operator's."""

    serial: str
    olt_serial: str = ""
    pon: int | None = None
    note: str = ""

    def allows(self, olt_serial: str, pon: int) -> bool:
        """Whether an ONU may be at that place."""
        return self.olt_serial in ("", olt_serial) and self.pon in (None, pon)

    def plain(self) -> dict[str, Any]:
        """The entry as `list_allowed_onus` gives it."""
        return {
            "serial_number": self.serial,
            "olt_serial_number": self.olt_serial,
            "pon_port": self.pon,
            "note": self.note,
        }


class AdmissionAction(msgspec.Struct, frozen=True):
    """What has to be done with an ONU, and why."""

    what: Literal["reject", "admit"]
    onu: DeviceView
    why: str


def check_serial(serial: object) -> str:
    """An ONU's serial number as it is; raises `ServiceConfigError` (section 1.1: four letters and eight hexadecimal digits)."""
    if isinstance(serial, str) and _SERIAL.fullmatch(serial):
        return serial
    raise ServiceConfigError(
        f"serial_number is {str(serial)[:40]!r}",
        remedy="Give an ONU's serial number: four characters of its vendor and eight hexadecimal digits, BBSM000a0001 say",
    )


def judge_admission(
    devices: Iterable[DeviceView], allowed: Mapping[str, Admission] | None, rejected: Collection[str]
) -> list[AdmissionAction]:
    """What has to be done so that only allowed ONUs work; `allowed` is `None` when all are.

    `rejected` are the serial numbers that were disabled for this reason: only they are enabled again when they become
    allowed, so that an ONU which an operator disabled stays so.
    """
    known = list(devices)
    olts = {device.id: device.key for device in known if device.is_olt}
    actions: list[AdmissionAction] = []
    for onu in known:
        if onu.is_olt or onu.parent_id not in olts:
            continue
        why_not = _why_not(onu, olts[onu.parent_id], allowed)
        if why_not and onu.admin == "ENABLED":
            actions.append(AdmissionAction("reject", onu, why_not))
        elif not why_not and onu.admin == "DISABLED" and onu.serial in rejected:
            actions.append(AdmissionAction("admit", onu, "it is allowed now"))
    return actions


def _why_not(onu: DeviceView, olt_serial: str, allowed: Mapping[str, Admission] | None) -> str:
    if allowed is None:
        return ""
    entry = allowed.get(onu.serial)
    if entry is None:
        return "its serial number is not allowed"
    if entry.allows(olt_serial, onu.pon):
        return ""
    where = f"OLT {entry.olt_serial or olt_serial}" + ("" if entry.pon is None else f", PON {entry.pon}")
    return f"it is allowed on {where}, and is on OLT {olt_serial}, PON {onu.pon}"
