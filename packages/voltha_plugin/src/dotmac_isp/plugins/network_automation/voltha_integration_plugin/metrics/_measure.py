"""Asking devices for values on demand, by the Extension service (section 6.3, surprises 2 and 33).

Only what was seen to be safe is asked for; `_guard` refuses the rest. An ONU is asked one thing after the other and may take a few
seconds; what it does not answer is an error beside its other values.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from voltha_protos import extensions_pb2

from .._client import identified
from .._errors import VolthaError
from ._ask import ask_value
from ._prometheus import Sample
from ._values import VALUES, samples_from, value_plain

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from .._device import DeviceView
    from .._session import Session

__all__ = ["Measured", "measure_more", "measure_onu"]

_UNI: Final = 2  # Port.ETHERNET_UNI
_CALL_LIMIT: Final = 4.0
_OPTICAL: Final = (
    ("receivedOpticalPower", "voltha_onu_receive_power_dbm", 1.0),
    ("meanOpticalLaunchPower", "voltha_onu_transmit_power_dbm", 1.0),
    ("powerFeedVoltage", "voltha_onu_supply_voltage_volts", 1.0),
    ("laserBiasCurrent", "voltha_onu_laser_bias_current_amperes", 0.001),
    ("temperature", "voltha_onu_temperature_celsius", 1.0),
)


class Measured:
    """What was measured of one device, and why the rest was not."""

    def __init__(self) -> None:
        self.samples: Final[list[Sample]] = []
        self.errors: Final[dict[str, str]] = {}

    def add(self, name: str, value: float, **labels: str) -> None:
        self.samples.append(Sample(name=name, value=float(value), labels=labels, at=time.time()))


async def measure_more(session: Session, device: DeviceView, names: Sequence[str], found: Measured) -> None:
    """Ask for further values of `VALUES` that need no options; what is not answered is an error beside the others."""
    for name in names:
        kind = VALUES.get(name)
        if kind is None or kind.device != device.kind:
            continue
        try:
            response = await ask_value(session, kind.request(device, {}), limit=kind.limit)
        except VolthaError as error:
            found.errors[name] = error.message
        else:
            found.samples.extend(samples_from(kind, value_plain(kind, response), {}))


async def measure_onu(session: Session, onu: DeviceView, limit: float, *, uni: int | None = None) -> Measured:
    """Optical levels at both ends, distance, and the state of each user port of an ONU, within `limit` seconds.

    With `uni` (from 1) only what three calls give: the levels, and that port.
    """
    found = Measured()
    if not onu.is_active:
        found.errors["onu"] = f"not asked: it is {onu.status} ({onu.state})"
        return found
    steps: list[tuple[str, Callable[[Session, DeviceView, Measured], Awaitable[None]]]]
    steps = [("optical", _optical), ("olt_receive", _olt_receive)]
    steps += [("distance", _distance), ("uni", _unis)] if uni is None else [("uni", partial(_uni, uni=uni))]
    waiting = [name for name, _ in steps]
    try:
        async with asyncio.timeout(limit):
            for name, step in steps:
                try:
                    await step(session, onu, found)
                except VolthaError as error:
                    found.errors[name] = error.message
                waiting.remove(name)
    except TimeoutError:
        found.errors.update(dict.fromkeys(waiting, "no answer in time"))
    return found


async def _ask(session: Session, device_id: str, **wanted: Any) -> Any:
    request = extensions_pb2.SingleGetValueRequest(targetId=device_id, request=extensions_pb2.GetValueRequest(**wanted))
    return await ask_value(session, request, limit=_CALL_LIMIT)


async def _optical(session: Session, onu: DeviceView, found: Measured) -> None:
    wanted = extensions_pb2.GetOnuPonOpticalInfo(empty={})
    info = (await _ask(session, onu.id, onuOpticalInfo=wanted)).onuOpticalInfo
    for field, name, factor in _OPTICAL:
        found.add(name, getattr(info, field) * factor)


async def _olt_receive(session: Session, onu: DeviceView, found: Measured) -> None:
    wanted = extensions_pb2.GetOltRxPowerRequest(port_label=f"pon-{onu.pon}", onu_sn=onu.serial)
    for power in (await _ask(session, onu.parent_id, oltRxPower=wanted)).oltRxPower.rx_power:
        if power.onu_sn == onu.serial and power.status == "success":
            found.add("voltha_olt_receive_power_dbm", power.rx_power, port=f"pon-{onu.pon}")
            return
    raise VolthaError("the OLT receives nothing of this ONU")


async def _distance(session: Session, onu: DeviceView, found: Measured) -> None:
    wanted = extensions_pb2.GetDistanceRequest(onuDeviceId=onu.id)
    found.add("voltha_onu_distance_meters", (await _ask(session, onu.parent_id, distance=wanted)).distance.distance)


async def _unis(session: Session, onu: DeviceView, found: Measured) -> None:
    ports: Sequence[Any] = (await session.client.call("ListDevicePorts", identified(onu.id))).items
    for index in range(sum(port.type == _UNI for port in ports)):
        await _uni(session, onu, found, uni=index + 1)


async def _uni(session: Session, onu: DeviceView, found: Measured, *, uni: int) -> None:
    wanted = extensions_pb2.GetOnuUniInfoRequest(uniIndex=uni - 1)
    info = (await _ask(session, onu.id, uniInfo=wanted)).uniInfo
    response = extensions_pb2.GetOnuUniInfoResponse
    found.add("voltha_uni_unlocked", info.admState == response.UNLOCKED, uni=str(uni))
    found.add("voltha_uni_up", info.operState == response.ENABLED, uni=str(uni))
