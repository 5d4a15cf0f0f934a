"""What `collect_metrics` gives: counts of the tenant, and per resource what was measured now and what VOLTHA published last."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from .._device import DeviceView, onus_of
from .._errors import VolthaError
from .._status import describe
from ..events._network import Network
from ._measure import Measured, measure_more, measure_onu

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .._session import Session
    from ._kpi import LatestValues
    from ._prometheus import Sample

__all__ = ["collect", "count_devices"]

#: ONUs asked at a time; each request occupies the ONU's management channel.
_AT_ONCE: Final = 16
_PER_ONU: Final = 8.0
_PORT_KINDS: Final = ("nni", "pon")


async def collect(
    session: Session,
    latest: LatestValues,
    resource_ids: Sequence[str],
    *,
    more: Sequence[str] = (),
    note: Callable[[str, Sequence[Sample]], None] = lambda _, __: None,
) -> dict[str, Any]:
    """Measure the resources named (ids or serial numbers). Without any: all devices, but then none is asked on demand.

    `more` are further values to ask for; `note` keeps what was measured.

    A resource that cannot be measured has `errors`; it never fails the others.
    """
    devices = await session.devices()
    network = Network(devices)
    latest.keep_only({device.id for device in devices})
    slots = asyncio.Semaphore(_AT_ONCE)

    async def measured(name: str) -> dict[str, Any]:
        device = network.find(name)
        if device is None:
            return {"samples": [], "errors": {"device": f"VOLTHA has no device {name!r}"}}
        async with slots:
            found = await _on_demand(session, device, more)
        note(device.key, found.samples)
        return _entry(device, found, latest)

    names = list(dict.fromkeys(resource_ids))
    if names:
        entries = dict(zip(names, await asyncio.gather(*map(measured, names)), strict=True))
    else:
        entries = {device.key: _entry(device, Measured(), latest) for device in devices}
    return {**count_devices(devices), "resources": entries}


def count_devices(devices: Sequence[DeviceView]) -> dict[str, Any]:
    """How many OLTs and ONUs there are, and are active."""
    olts = [device for device in devices if device.is_olt]
    onus = [device for device in devices if not device.is_olt]
    return {
        "voltha_olts": len(olts),
        "voltha_olts_active": sum(olt.is_active for olt in olts),
        "voltha_onus": len(onus),
        "voltha_onus_active": sum(onu.is_active for onu in onus),
    }


async def _on_demand(session: Session, device: DeviceView, more: Sequence[str]) -> Measured:
    try:
        found = await (_measure_olt(session, device) if device.is_olt else measure_onu(session, device, _PER_ONU))
        if more and device.is_active:
            await measure_more(session, device, more, found)
    except VolthaError as error:
        found = Measured()
        found.errors["device"] = error.message
    return found


async def _measure_olt(session: Session, olt: DeviceView) -> Measured:
    found = Measured()
    onus = onus_of(await session.devices(), olt)
    found.add("voltha_olt_onus", len(onus))
    found.add("voltha_olt_onus_active", sum(onu.is_active for onu in onus))
    ports = (await describe(session, olt, ()))["ports"]
    for kind in _PORT_KINDS:
        found.add("voltha_olt_ports", sum(port["type"] == kind for port in ports), type=kind)
    for port in ports:
        if port["type"] in _PORT_KINDS:
            found.add("voltha_olt_port_up", port["oper_status"] == "ACTIVE", port=port["label"], type=port["type"])
    return found


def _entry(device: DeviceView, found: Measured, latest: LatestValues) -> dict[str, Any]:
    now = {sample.key for sample in found.samples}
    named = {sample.name for sample in found.samples}
    published = [sample for sample in latest.of(device.id) if sample.key not in now and sample.name not in named]
    return {
        "device_id": device.id,
        "serial_number": device.serial,
        "type": device.kind,
        "status": device.status,
        "up": int(device.is_active),
        "samples": [sample.plain() for sample in (*found.samples, *published)],
        "errors": found.errors,
    }
