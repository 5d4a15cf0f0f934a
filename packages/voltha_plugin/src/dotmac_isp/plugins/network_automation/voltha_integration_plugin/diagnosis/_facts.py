"""Collecting the facts of a diagnosis: at most nine calls to VOLTHA, and three of them only when nothing else was found."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from .._client import identified
from .._errors import DeviceNotFoundError, VolthaError
from ..metrics._measure import measure_onu
from ..services._flow import pon_port_no
from ..services._installer import missing_on_devices
from ._rules import Facts, decide

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .._device import DeviceView
    from .._session import Session
    from ..events._alarm import Alarm
    from ..services._stored import StoredService

__all__ = ["collect_facts"]

_DISABLED = 3
_MEASURE_LIMIT = 6.0


async def collect_facts(
    session: Session, subscriber_id: str, items: Sequence[StoredService], alarms: Iterable[Alarm] | None
) -> Facts:
    """The facts about a subscriber's services on one ONU. `alarms` is `None` when alarms are not known."""
    if not items:
        return Facts(subscriber_id=subscriber_id)
    first = items[0]
    facts = Facts(
        subscriber_id=subscriber_id,
        services=tuple(item.state for item in items),
        olt_serial=first.place.olt_serial,
        onu_serial=first.key.onu_serial,
        flows=sum(len(item.flows) for item in items),
    )
    try:
        facts = await _with_devices(session, facts, alarms)
        olt, onu = facts.olt, facts.onu
        if onu is not None and olt is not None and olt.is_active and onu.is_active:
            facts = await _with_flows(session, facts, (olt, onu), items)
            if decide(facts).finding in ("nothing_found", "alarms"):
                facts = await _with_line(session, facts, onu, first.key.uni)
    except VolthaError as error:
        return msgspec.structs.replace(facts, trouble=error.message)
    return facts


async def _with_devices(session: Session, facts: Facts, alarms: Iterable[Alarm] | None) -> Facts:
    devices = await session.devices()
    olt = next((device for device in devices if device.is_olt and device.key == facts.olt_serial), None)
    onu = next((device for device in devices if not device.is_olt and device.serial == facts.onu_serial), None)
    found: dict[str, Any] = {"olt": olt, "onu": onu, "alarms_known": alarms is not None}
    raised: dict[str, tuple[str, ...]] = {}
    pon_alarms: tuple[str, ...] = ()
    for alarm in alarms or ():
        subject = alarm.subject
        if subject.serial:
            raised[subject.serial] = (*raised.get(subject.serial, ()), alarm.name)
        elif onu is not None and (subject.olt_id, subject.port) == (onu.parent_id, f"pon-{onu.pon}"):
            pon_alarms = (*pon_alarms, alarm.name)
    if onu is not None and olt is not None:
        found["neighbours"] = tuple(
            each for each in devices if each.parent_id == olt.id and each.pon == onu.pon and each.id != onu.id
        )
        found["pon_enabled"] = await _is_pon_enabled(session, olt, onu)
    return msgspec.structs.replace(facts, alarms=raised, pon_alarms=pon_alarms, **found)


async def _is_pon_enabled(session: Session, olt: DeviceView, onu: DeviceView) -> bool:
    ports = (await session.client.call("ListDevicePorts", identified(olt.id))).items
    number = pon_port_no(onu.pon)
    return not any(port.port_no == number and port.admin_state == _DISABLED for port in ports)


async def _with_flows(
    session: Session, facts: Facts, devices: tuple[DeviceView, DeviceView], items: Sequence[StoredService]
) -> Facts:
    try:
        logical, olt, onu, meters = await asyncio.gather(
            session.logical_flows(devices[0].parent_id),
            session.device_flows(devices[0].id),
            session.device_flows(devices[1].id),
            session.meters(devices[0].parent_id),
        )
    except DeviceNotFoundError:
        return facts  # it went while we looked; the devices' states say the rest
    flows = [flow for item in items for flow in item.flows]
    wanted = {meter.id: meter.bands for item in items for meter in item.meters}
    return msgspec.structs.replace(
        facts,
        missing_logical=sum(logical.cookies.get(flow.id) != flow.cookie for flow in flows),
        missing_on_devices=len(missing_on_devices(flows, olt.cookies, onu.cookies)),
        missing_meters=tuple(sorted(wanted.keys() - meters.keys())),
        wrong_meters=tuple(
            sorted(number for number in wanted.keys() & meters.keys() if wanted[number] != meters[number])
        ),
    )


async def _with_line(session: Session, facts: Facts, onu: DeviceView, uni: int) -> Facts:
    found = await measure_onu(session, onu, _MEASURE_LIMIT, uni=uni)
    values = {sample.name: sample.value for sample in found.samples}

    def switch(name: str) -> bool | None:
        return bool(values[name]) if name in values else None

    return msgspec.structs.replace(
        facts,
        measured=bool(values),
        onu_receive_dbm=values.get("voltha_onu_receive_power_dbm"),
        olt_receive_dbm=values.get("voltha_olt_receive_power_dbm"),
        uni_unlocked=switch("voltha_uni_unlocked"),
        uni_up=switch("voltha_uni_up"),
    )
