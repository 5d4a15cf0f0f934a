"""Commands that change a device's life, each followed until what it should lead to is seen (sections 2.2, 2.3 and 12.5)."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Final

from voltha_protos import common_pb2, device_pb2

from .._client import identified
from .._device import DeviceView, onus_of
from .._errors import (
    AdapterError,
    DeviceBusyError,
    DeviceNotFoundError,
    RequestRefusedError,
    VolthaUnavailableError,
)
from .._follow import Seen

if TYPE_CHECKING:
    from .._follow import Follower
    from .._session import Session

__all__ = ["delete_device", "reboot_device", "switch_at_olt", "switch_serial"]

_GONE: Final = "gone from VOLTHA"
#: How long one DeleteDevice may take before it is looked at what became of it (an ONU takes 5 s, surprise 20).
_DELETE_LIMIT: Final = 12.0
#: How long after a refusal deleting is asked for again.
_DELETE_AGAIN: Final = 1.0
#: What an ONU shows on its way out or back, seen after RebootDevice.
_GOING: Final = ("rebooting", "stopping-openomci")


async def delete_device(session: Session, device: DeviceView, follower: Follower, *, force: bool) -> dict[str, Any]:
    """Delete a device and wait until it, and an OLT's ONUs, are gone. An ONU that is still connected comes back anew."""
    step = f"{device.kind.upper()} {device.key} to be gone"
    asked = _Asked(session, device, follower)
    await (_force(session, device) if force else asked.ask())

    async def look() -> tuple[Seen, list[DeviceView] | None]:
        await asked.again()
        devices = await session.devices()
        left = [each for each in devices if device.id in (each.id, each.parent_id)]
        if not left:
            return Seen(reached=True, state=_GONE), devices
        onus = sum(not each.is_olt for each in left)
        shown = next((each.state for each in left if each.id == device.id), f"{onus} of its ONUs still there")
        return Seen(reached=False, state=f"{shown}{f' ({asked.trouble})' if asked.trouble else ''}"), None

    devices = await follower.until(step, look)
    anew = next((each for each in devices if not device.is_olt and each.serial == device.serial), None)
    return {
        "device_id": device.id,
        "serial_number": device.serial,
        "deleted": True,
        "forced": force,
        "rediscovered_as": None if anew is None else anew.id,
    }


class _Asked:
    """DeleteDevice, and what VOLTHA said where it did not just do it. One that was refused is asked for again: the device was busy."""

    def __init__(self, session: Session, device: DeviceView, follower: Follower) -> None:
        self._session: Final = session
        self._device: Final = device
        self._follower: Final = follower
        self._again_at = math.inf
        self.trouble = ""

    async def ask(self) -> None:
        limit = max(min(self._follower.remaining, _DELETE_LIMIT), 0.1)
        self._again_at, self.trouble = math.inf, ""
        try:
            await self._session.client.call("DeleteDevice", identified(self._device.id), limit=limit, repeat=False)
        except DeviceNotFoundError:
            return
        except (VolthaUnavailableError, DeviceBusyError, RequestRefusedError, AdapterError) as error:
            # It may be under way all the same, or another delete is, or the device is being reconciled, or the adapter failed, or
            # the ONU has just been rebooted (then nothing comes of it, section 12.5): look, and ask again for what is still there.
            self.trouble, self._again_at = error.message, time.monotonic() + _DELETE_AGAIN

    async def again(self) -> None:
        """Ask once more when it is time for that."""
        if time.monotonic() >= self._again_at:
            await self.ask()


async def _force(session: Session, device: DeviceView) -> None:
    try:
        await session.client.call("ForceDeleteDevice", identified(device.id))
    except (DeviceNotFoundError, RequestRefusedError):
        return  # gone, or a forced delete runs already


async def reboot_device(
    session: Session, device: DeviceView, follower: Follower, *, wait: bool = True
) -> dict[str, Any]:
    """Reboot a device and wait until it went and came back. One that is rebooting already is followed, not asked again.

    An OLT comes back with another logical device and its ONUs with other ids; services on both have to be pushed anew.
    """
    was_asked = await _ask_reboot(session, device)
    if not wait:
        return {**device.plain(), "rebooted": was_asked, "followed": False}
    went = not was_asked

    async def look() -> tuple[Seen, DeviceView | None]:
        nonlocal went
        now = await _same(session, device)
        if now is None:
            went = True
            return Seen(reached=False, state="not listed"), None
        went = went or _has_gone(device, now)
        word = "" if went else ", has not gone down yet"
        return Seen(reached=went and _is_back(device, now), state=f"{now.state}{word}"), now

    back = await follower.until(f"{device.kind.upper()} {device.key} to go down and come back", look)
    onus = len(onus_of(await session.devices(), back)) if back.is_olt else None
    shown = {**back.plain(), "rebooted": was_asked, "followed": True, "former_logical_device_id": device.parent_id}
    return shown | ({} if onus is None else {"onus": onus})


async def _ask_reboot(session: Session, device: DeviceView) -> bool:
    try:
        await session.client.call("RebootDevice", identified(device.id), repeat=False)
    except RequestRefusedError:
        if device.connect == "REACHABLE" and device.oper not in ("REBOOTED", "UNKNOWN"):
            raise
        return False  # it is down: the reboot is under way, or it comes up anyway
    return True


async def _same(session: Session, device: DeviceView) -> DeviceView | None:
    """The device now, by id, else by serial number: after an OLT's reboot ONUs have other ids."""
    now = await session.client.device(device.id)
    if now is not None or device.is_olt or not device.serial:
        return now
    return await session.directory.find(device.serial)


def _has_gone(before: DeviceView, now: DeviceView) -> bool:
    if now.id != before.id or now.connect == "UNREACHABLE" or now.oper in ("REBOOTED", "DISCOVERED", "ACTIVATING"):
        return True
    if now.is_olt:
        return bool(now.parent_id) and now.parent_id != before.parent_id
    return now.reason in _GOING


def _is_back(before: DeviceView, now: DeviceView) -> bool:
    if before.admin == "DISABLED":
        return now.admin == "DISABLED" and now.connect == "REACHABLE"
    if (
        now.is_olt
    ):  # until the logical device is another one, the OLT only has not noticed that it is down (surprise 27)
        return now.is_ready and now.parent_id != before.parent_id
    return now.is_ready


async def switch_at_olt(
    session: Session, onu: DeviceView, follower: Follower, *, enabled: bool, serial: bool = False
) -> dict[str, Any]:
    """Let the OLT deactivate or activate an ONU (PLOAM), named by its id or by serial number on its PON."""
    if serial:
        await switch_serial(session, onu.parent_id, onu.pon, onu.serial, enabled=enabled)
    else:
        await _switch(session, "OnuDevice", identified(onu.id), enabled=enabled)

    async def look() -> tuple[Seen, DeviceView | None]:
        now = await _same(session, onu)
        if now is None:
            return Seen(reached=False, state=_GONE), None
        return Seen(reached=now.is_active if enabled else now.connect != "REACHABLE", state=now.state), now

    word = "active again" if enabled else "deactivated by the OLT"
    now = await follower.until(f"ONU {onu.serial} to be {word}", look)
    return {**now.plain(), "enabled_at_olt": enabled}


async def switch_serial(session: Session, olt_id: str, pon: int, serial: str, *, enabled: bool) -> None:
    """Deactivate or activate a serial number on a PON."""
    port = device_pb2.Port(device_id=olt_id, port_no=pon)
    request = device_pb2.OnuSerialNumberOnOLTPon(
        olt_device_id=common_pb2.ID(id=olt_id), port=port, serial_number=serial
    )
    await _switch(session, "OnuSerialNumber", request, enabled=enabled)


async def _switch(session: Session, kind: str, request: Any, *, enabled: bool) -> None:
    rpc = f"{'Enable' if enabled else 'Disable'}{kind}"
    try:
        await session.client.call(rpc, request)
    except RequestRefusedError as error:
        if "device-already-" not in error.details:
            raise
