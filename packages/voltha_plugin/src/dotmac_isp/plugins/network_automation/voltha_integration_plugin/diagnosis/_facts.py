"""Collecting the facts of a diagnosis: at most twelve calls to VOLTHA, and three of them only when nothing else was found."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from .._client import identified
from .._device import DeviceView
from .._errors import DeviceNotFoundError, VolthaError
from ..events._alarm import Alarm
from ..metrics._measure import measure_onu
from ..services._flow import pon_port_no
from ..services._installer import missing_on_devices
from ..topology._plant import Plant
from ._rules import Facts, decide

if TYPE_CHECKING:
    from .._session import FlowTable, Session
    from ..services._flow import FlowSpec
    from ..services._stored import StoredService

__all__ = ["Known", "collect_facts"]

_DISABLED = 3
_MEASURE_LIMIT = 6.0


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What is known without asking: the devices as they were seen last, the plant, and what administration did.

    `alarms` is `None` when alarms are not known; `recent` are the failures reported once, by serial number.
    """

    devices: Sequence[DeviceView] = ()
    alarms: Sequence[Alarm] | None = None
    plant: Plant = msgspec.field(default_factory=Plant)
    deactivated: frozenset[str] = frozenset()
    not_admitted: frozenset[str] = frozenset()
    recent: Mapping[str, Sequence[str]] = msgspec.field(default_factory=dict)


async def collect_facts(session: Session, subscriber_id: str, items: Sequence[StoredService], known: Known) -> Facts:
    """The facts about a subscriber's services on one ONU, with at most twelve calls to VOLTHA and none that changes anything."""
    if not items:
        return Facts(subscriber_id=subscriber_id)
    first = items[0]
    serial = first.key.onu_serial
    wanted = [item for item in items if item.wanted]
    facts = Facts(
        subscriber_id=subscriber_id,
        services=tuple(item.status for item in items),
        olt_serial=first.place.olt_serial,
        onu_serial=serial,
        flows=sum(len(item.flows) for item in wanted),
        deactivated=serial in known.deactivated,
        not_admitted=serial in known.not_admitted,
        recent=tuple(known.recent.get(serial, ())),
    )
    try:
        facts = await _with_devices(session, facts, known)
        olt, onu = facts.olt, facts.onu
        if onu is not None and olt is not None and onu.parent_id == olt.id and olt.is_active and onu.is_active:
            facts = await _with_flows(session, facts, (olt, onu), wanted)
            if decide(facts).finding in ("nothing_found", "alarms"):
                facts = await _with_line(session, facts, onu, first.key.uni)
    except VolthaError as error:
        return msgspec.structs.replace(facts, trouble=error.message)
    return facts


async def _with_devices(session: Session, facts: Facts, known: Known) -> Facts:
    """OLT, ONU and the ONU's neighbours: two small questions when it works, the whole list when it does not."""
    olt, onu = await _asked(session, facts, known.devices)
    devices: Sequence[DeviceView] = known.devices
    if olt is None or onu is None or not onu.is_active:
        devices = await session.devices()
        olt = next((each for each in devices if each.is_olt and each.key == facts.olt_serial), None)
        onu = next((each for each in devices if not each.is_olt and each.serial == facts.onu_serial), None)
    found: dict[str, Any] = {"olt": olt, "onu": onu, "alarms_known": known.alarms is not None}
    raised: dict[str, tuple[str, ...]] = {}
    pon_alarms: tuple[str, ...] = ()
    for alarm in known.alarms or ():
        subject = alarm.subject
        if subject.serial:
            raised[subject.serial] = (*raised.get(subject.serial, ()), alarm.name)
        elif onu is not None and (subject.olt_id, subject.port) == (onu.parent_id, f"pon-{onu.pon}"):
            pon_alarms = (*pon_alarms, alarm.name)
    if onu is not None and olt is not None and onu.parent_id == olt.id:
        neighbours = [
            each for each in devices if each.parent_id == olt.id and each.pon == onu.pon and each.id != onu.id
        ]
        found["neighbours"] = tuple(neighbours)
        found["splitters"] = _splitters(known.plant, onu, neighbours)
        found["pon_enabled"] = await _is_pon_enabled(session, olt, onu)
    return msgspec.structs.replace(facts, alarms=raised, pon_alarms=pon_alarms, **found)


async def _asked(
    session: Session, facts: Facts, devices: Sequence[DeviceView]
) -> tuple[DeviceView | None, DeviceView | None]:
    """The OLT and the ONU now, where the ids that they had last still are theirs."""
    ids = {each.key: each.id for each in devices if each.key in (facts.olt_serial, facts.onu_serial)}
    if len(ids) != 2:  # noqa: PLR2004 - OLT and ONU
        return None, None
    olt, onu = await asyncio.gather(*(session.client.device(ids[key]) for key in (facts.olt_serial, facts.onu_serial)))
    same = olt is not None and onu is not None and (olt.key, onu.serial) == (facts.olt_serial, facts.onu_serial)
    return (olt, onu) if same else (None, None)


def _splitters(plant: Plant, onu: DeviceView, neighbours: Sequence[DeviceView]) -> dict[str, tuple[str, ...]]:
    """The splitters between the ONU and its PON, nearest first, and which neighbours are behind each too."""
    chains = {each.serial: plant.behind(each.serial) for each in neighbours}
    return {
        splitter: tuple(serial for serial, chain in chains.items() if splitter in chain)
        for splitter in plant.behind(onu.serial)
    }


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
    owned = any(item.owner == "direct" for item in items)
    wanted = {meter.id: meter.bands for item in items for meter in item.meters}
    return msgspec.structs.replace(
        facts,
        missing_logical=sum(logical.cookies.get(flow.id) != flow.cookie for flow in flows),
        missing_on_devices=len(missing_on_devices(flows, olt.cookies, onu.cookies)),
        controlled="" if owned or not items else items[0].owner,
        wrong_profiles=_wrong_profiles(flows, logical),
        missing_meters=tuple(sorted(wanted.keys() - meters.keys())),
        wrong_meters=tuple(
            sorted(number for number in wanted.keys() & meters.keys() if wanted[number] != meters[number])
        ),
    )


def _wrong_profiles(flows: Sequence[FlowSpec], table: FlowTable) -> tuple[int, ...]:
    """The technology profiles that listed flows of a service carry instead of its own."""
    wanted = {flow.id: profile for flow in flows if (profile := _profile(flow.write_metadata or 0))}
    wrong = {
        profile
        for flow_id, written in table.written(wanted.keys()).items()
        if (profile := _profile(written)) != wanted[flow_id]
    }
    return tuple(sorted(wrong))


def _profile(metadata: int) -> int:
    return metadata >> 32 & 0xFFFF


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
