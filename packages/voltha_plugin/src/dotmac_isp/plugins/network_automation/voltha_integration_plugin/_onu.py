"""Following an ONU, which VOLTHA discovers by itself, until it takes flows (domain specification, section 2.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from ._device import DeviceView, onus_of
from ._errors import ServiceConfigError, WrongPlaceError
from ._follow import Follower, Seen
from ._olt import enable
from .services._flow import pon_port_no

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._session import Session

__all__ = ["OnuPlace", "judge_onu", "pon_index", "provision_onu"]

_PONS: Final = 256
_SHOWN: Final = 8


class OnuPlace(msgspec.Struct, frozen=True, kw_only=True):
    """Where the caller says that the ONU is; `None`: wherever."""

    serial: str
    pon: int | None = None
    onu_id: int | None = None


def pon_index(value: object) -> int | None:
    """A PON port as its index: from 0, as port number (536870912 and up), or as label (`pon-0`, `pon-536870912`)."""
    if value is None:
        return None
    text = str(value).removeprefix("pon-")
    number = int(text) if text.isdecimal() and not isinstance(value, bool) else -1
    index = number - pon_port_no(0) if number >= pon_port_no(0) else number
    if 0 <= index < _PONS:
        return index
    raise ServiceConfigError(
        f"pon_port is {value!r}", remedy="Give the PON's index from 0, or its port number from 536870912"
    )


async def provision_onu(session: Session, olt: DeviceView, wanted: OnuPlace, follower: Follower) -> dict[str, Any]:
    """Wait until the ONU is there, enable it where it was disabled, and follow it until it is ready for flows."""
    step = f"ONU {wanted.serial} below OLT {olt.key} to be ENABLED/ACTIVE/REACHABLE and ready for flows"
    enabled: set[str] = set()

    async def look() -> tuple[Seen, DeviceView | None]:
        devices = await session.devices()
        onu = judge_onu(devices, olt, wanted)
        if onu is None:
            return Seen(reached=False, state=_absent(devices, olt)), None
        if onu.admin == "DISABLED" and onu.id not in enabled:
            await enable(session, onu)
            enabled.add(onu.id)
        return Seen(reached=onu.is_ready, state=onu.state), onu

    onu = await follower.until(step, look)
    return {**onu.plain(), "parent_serial_number": olt.serial, "enabled": bool(enabled)}


def judge_onu(devices: Sequence[DeviceView], olt: DeviceView, wanted: OnuPlace) -> DeviceView | None:
    """The ONU, or `None` while VOLTHA has not discovered it; raises `WrongPlaceError` when it is somewhere else."""
    onu = next((each for each in devices if not each.is_olt and each.serial == wanted.serial), None)
    if onu is None:
        return None
    if onu.parent_id != olt.id:
        parent = next((each for each in devices if each.id == onu.parent_id), None)
        where = f"OLT {parent.key}" if parent is not None else f"device {onu.parent_id}"
        raise _elsewhere(onu, f"below OLT {olt.key}", where)
    if wanted.pon is not None and onu.pon != wanted.pon:
        raise _elsewhere(onu, f"on PON {wanted.pon}", f"OLT {olt.key}")
    if wanted.onu_id is not None and onu.onu_id != wanted.onu_id:
        raise _elsewhere(onu, f"ONU id {wanted.onu_id}", f"OLT {olt.key}")
    return onu


def _elsewhere(onu: DeviceView, asked: str, where: str) -> WrongPlaceError:
    return WrongPlaceError(
        f"ONU {onu.serial} is not {asked}: it is on {where}, PON {onu.pon}, with ONU id {onu.onu_id} ({onu.state})",
        remedy="Ask for it there, or correct the records: VOLTHA assigns ONU ids, the fibre decides the PON",
    )


def _absent(devices: Sequence[DeviceView], olt: DeviceView) -> str:
    now = next((each for each in devices if each.id == olt.id), olt)
    serials = [each.serial for each in onus_of(devices, olt)]
    more = ", …" if len(serials) > _SHOWN else ""
    there = f"{len(serials)} ONUs there: {', '.join(serials[:_SHOWN])}{more}" if serials else "no ONU there"
    return f"not discovered (OLT {now.state}; {there})"
