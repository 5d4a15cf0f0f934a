"""Bringing an OLT into VOLTHA and up, and changing it (domain specification, section 2.2)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from voltha_protos import device_pb2

from ._client import identified
from ._device import onus_of
from ._errors import (
    DeviceNotFoundError,
    DuplicateDeviceError,
    RequestRefusedError,
    ServiceConfigError,
    ServiceConflictError,
    UnsupportedByVolthaError,
    VolthaError,
)
from ._follow import Follower, Seen
from .services._flow import is_nni

if TYPE_CHECKING:
    from ._device import DeviceView
    from ._session import Session

__all__ = [
    "change_address",
    "check_address",
    "check_olt_address",
    "create_olt",
    "enable",
    "is_mac",
    "provision_olt",
    "switch_pon",
]

_ADDRESS: Final = re.compile(
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?):(?P<port>\d{1,5})"
)
_LAST_PORT: Final = 65535
_MAC: Final = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")


def check_address(value: object) -> str:
    """An OLT's `host:port` as it is, or `ServiceConfigError`. VOLTHA itself takes any text and then dials it for ever."""
    match = _ADDRESS.fullmatch(value) if isinstance(value, str) else None
    if match is None or not 1 <= int(match["port"]) <= _LAST_PORT:
        raise ServiceConfigError(
            f"host_and_port is {str(value)[:60]!r}",
            remedy="Give the OLT's address as host:port, for example 10.0.0.5:9191",
        )
    return match.string


def is_mac(address: str) -> bool:
    """Whether an OLT's address is its MAC address."""
    return _MAC.fullmatch(address) is not None


def check_olt_address(value: object) -> str:
    """An OLT's `host:port` or MAC address as VOLTHA knows it, or `ServiceConfigError`."""
    if isinstance(value, str) and is_mac(value):
        return value.lower()
    return check_address(value)


async def create_olt(session: Session, address: str, device_type: str) -> tuple[DeviceView, bool]:
    """Create the OLT where it is not there; gives it and whether it was made."""
    address = check_olt_address(address)
    await _require_type(session, device_type)
    return await _find_or_create(session, address, device_type)


async def provision_olt(session: Session, address: str, device_type: str, follower: Follower) -> dict[str, Any]:
    """Create the OLT where it is not there, enable it where it is not enabled, and follow it until it works."""
    olt, created = await create_olt(session, address, device_type)
    if olt.admin in ("PREPROVISIONED", "DISABLED"):
        await enable(session, olt)
    olt, nni_ports = await follower.until(
        f"OLT {address} to be ENABLED/ACTIVE/REACHABLE with its logical device and uplink",
        lambda: _look(session, olt.id),
    )
    onus = onus_of(await session.devices(), olt)
    return {**olt.plain(), "created": created, "nni_ports": nni_ports, "onus": len(onus)}


async def _require_type(session: Session, device_type: str) -> None:
    """VOLTHA does not look at the type before it is enabled (surprises 17 and 18), so it is looked at here."""
    try:
        await session.client.call("GetDeviceType", identified(device_type))
    except DeviceNotFoundError:
        types = sorted(item.id for item in (await session.client.call("ListDeviceTypes")).items)
        raise ServiceConfigError(
            f"VOLTHA has no adapter for device type {device_type!r}; it has {', '.join(types) or 'none'}",
            remedy="Correct device_type, or start the adapter",
        ) from None


async def _find_or_create(session: Session, address: str, device_type: str) -> tuple[DeviceView, bool]:
    olt = await _by_address(session, address)
    created = False
    if olt is None:
        try:
            where = {"mac_address": address} if is_mac(address) else {"host_and_port": address}
            request = device_pb2.Device(type=device_type, **where)
            made = await session.client.call("CreateDevice", request)
            created = True
            olt = await session.client.device(made.id)
        except DuplicateDeviceError:  # somebody was quicker, or our own first try was carried out and its answer lost
            olt = await _by_address(session, address)
    if olt is None:
        raise DuplicateDeviceError(f"VOLTHA says that {address} is pre-provisioned already, and lists no OLT with it")
    if olt.device_type != device_type:
        raise ServiceConflictError(
            f"{address} is in VOLTHA already as {olt.device_type or 'a device without type'}, not {device_type}",
            remedy="Ask with that type, or delete the device first",
        )
    return olt, created


async def _by_address(session: Session, address: str) -> DeviceView | None:
    return next((each for each in await session.devices() if each.is_olt and _is_at(each, address)), None)


def _is_at(olt: DeviceView, address: str) -> bool:
    # An OLT that works brings its own MAC address, whatever it was created with.
    return address in (olt.host_and_port, olt.mac_address.lower())


async def enable(session: Session, device: DeviceView) -> None:
    """Enable a device; one that is enabled meanwhile is fine."""
    try:
        await session.client.call("EnableDevice", identified(device.id))
    except RequestRefusedError as error:
        if "already-enabled" not in error.details:
            raise


async def _look(session: Session, olt_id: str) -> tuple[Seen, tuple[DeviceView, list[int]] | None]:
    olt = await session.client.device(olt_id)
    if olt is None:
        return Seen(reached=False, state="gone from VOLTHA"), None
    if not olt.is_ready:
        return Seen(reached=False, state=olt.state), None
    try:
        ports = await session.logical_ports(olt.parent_id)
    except VolthaError as error:
        return Seen(reached=False, state=f"{olt.state}, logical device: {error.message}"), None
    uplinks = sorted(port.ofp_port.port_no for port in ports if is_nni(port.ofp_port.port_no))
    if not uplinks:
        return Seen(reached=False, state=f"{olt.state}, no uplink port yet"), None
    return Seen(reached=True, state=olt.state), (olt, uplinks)


async def change_address(session: Session, olt: DeviceView, address: str, follower: Follower) -> None:
    """Tell VOLTHA the OLT's new address and wait until the device has it."""
    if olt.host_and_port == address:
        return
    await session.client.call("UpdateDevice", device_pb2.UpdateDevice(id=olt.id, host_and_port=address))

    async def look() -> tuple[Seen, bool]:
        now = await session.client.device(olt.id)
        if now is None:
            return Seen(reached=False, state="gone from VOLTHA"), False
        return Seen(reached=now.host_and_port == address, state=f"{now.host_and_port} {now.state}"), True

    await follower.until(f"OLT {olt.key} to have the address {address}", look)


async def switch_pon(session: Session, olt: DeviceView, pon_port: int, *, enabled: bool, follower: Follower) -> None:
    """Enable or disable a PON port and wait until the port says so."""
    rpc = "EnablePort" if enabled else "DisablePort"
    try:
        await session.client.call(rpc, device_pb2.Port(device_id=olt.id, port_no=pon_port))
    except (RequestRefusedError, UnsupportedByVolthaError) as error:
        raise ServiceConfigError(
            f"OLT {olt.key} has no PON port {pon_port} that can be switched: {error.message}"
        ) from error

    async def look() -> tuple[Seen, bool]:
        ports = (await session.client.call("ListDevicePorts", identified(olt.id))).items
        port = next((each for each in ports if each.port_no == pon_port), None)
        if port is None:
            return Seen(reached=False, state="port not listed"), False
        on = port.admin_state == _ENABLED and (port.oper_status == _ACTIVE)
        off = port.admin_state == _DISABLED
        return Seen(reached=on if enabled else off, state=f"admin {port.admin_state}, oper {port.oper_status}"), True

    await follower.until(f"PON port {pon_port} of OLT {olt.key} to be {'enabled' if enabled else 'disabled'}", look)


_ENABLED, _DISABLED, _ACTIVE = 2, 3, 4
