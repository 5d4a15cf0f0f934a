"""Asking VOLTHA for what a topology needs: one list of devices, and two lists of ports for each OLT."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from .._client import identified
from .._errors import VolthaError
from .._status import device_port
from ..services._flow import pon_port_no

if TYPE_CHECKING:
    from .._device import DeviceView
    from .._session import Session

__all__ = ["read_ports"]

_PON_FIRST: Final = pon_port_no(0)

Ports = tuple[list[dict[str, Any]], dict[str, list[int]]]


async def read_ports(session: Session, olts: list[DeviceView]) -> dict[str, Ports]:
    """By OLT id: its ports, and the UNIs (from 1) of each ONU id. An OLT whose ports cannot be read has none."""
    read = await asyncio.gather(*(_ports_of(session, olt) for olt in olts))
    return {olt.id: ports for olt, ports in zip(olts, read, strict=True)}


async def _ports_of(session: Session, olt: DeviceView) -> Ports:
    try:
        items = (await session.client.call("ListDevicePorts", identified(olt.id))).items
        own = [device_port(port) | {"index": port.port_no - _PON_FIRST} for port in items]
        unis: dict[str, list[int]] = {}
        for port in await session.logical_ports(olt.parent_id) if olt.parent_id else ():
            number = port.ofp_port.name.rpartition("-")[2]
            if port.device_id != olt.id and number.isdigit():
                unis.setdefault(port.device_id, []).append(int(number))
    except VolthaError:
        return [], {}
    return own, unis
