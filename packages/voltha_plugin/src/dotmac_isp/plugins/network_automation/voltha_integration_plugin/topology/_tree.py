"""The network as a tree: stack, OLT, PON, ONU, UNI, subscriber. Plain data, and pure: `Work` collects what goes in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._device import DeviceView, onus_of
from ._plant import Plant

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..events._alarm import Alarm
    from ..services._stored import StoredService

__all__ = ["build_topology"]


def build_topology(
    stack: str,
    devices: Sequence[DeviceView],
    ports: Mapping[str, tuple[Sequence[Mapping[str, Any]], Mapping[str, Sequence[int]]]],
    services: Sequence[StoredService],
    alarms: Iterable[Alarm] = (),
    plant: Plant | None = None,
) -> dict[str, Any]:
    """The tree. `ports` gives for an OLT's id its device ports and the UNIs (from 1) of each ONU id.

    Services of ONUs that VOLTHA does not have (any more) are listed under `unplaced`.
    """
    plant = plant or Plant()
    raised: dict[str, int] = {}
    for alarm in alarms:
        name = alarm.subject.serial or f"{alarm.subject.olt_id}/{alarm.subject.port}"
        raised[name] = raised.get(name, 0) + 1
    by_onu: dict[str, list[StoredService]] = {}
    for service in services:
        by_onu.setdefault(service.key.onu_serial, []).append(service)
    olts = [
        _olt(olt, onus_of(devices, olt), ports.get(olt.id, ((), {})), by_onu, raised, plant)
        for olt in sorted(devices, key=lambda device: device.key)
        if olt.is_olt
    ]
    known = {device.serial for device in devices}
    unplaced = [
        _subscriber(item) | {"onu": serial} for serial in sorted(by_onu.keys() - known) for item in by_onu[serial]
    ]
    return {"stack": stack, "olts": olts, "unplaced": unplaced}


def _olt(
    olt: DeviceView,
    onus: Sequence[DeviceView],
    ports: tuple[Sequence[Mapping[str, Any]], Mapping[str, Sequence[int]]],
    services: Mapping[str, list[StoredService]],
    raised: Mapping[str, int],
    plant: Plant,
) -> dict[str, Any]:
    own, unis = ports
    indexes = {onu.pon for onu in onus} | {port["index"] for port in own if port["type"] == "pon"}
    states = {port["index"]: port["oper_status"] for port in own if port["type"] == "pon"}
    pons = [
        {
            "pon": index,
            "label": f"pon-{index}",
            "status": states.get(index, "UNKNOWN").lower(),
            "alarms": raised.get(f"{olt.id}/pon-{index}", 0),
            "splitters": [splitter.plain() for splitter in plant.of_pon(olt.key, index)],
            "onus": [
                _onu(onu, unis.get(onu.id, ()), services.get(onu.serial, []), raised) | _place(onu, plant)
                for onu in sorted(onus, key=lambda onu: (onu.onu_id, onu.key))
                if onu.pon == index
            ],
        }
        for index in sorted(indexes)
    ]
    uplinks = [{"label": port["label"], "status": port["oper_status"].lower()} for port in own if port["type"] == "nni"]
    return {
        "name": olt.key,
        "device_id": olt.id,
        "serial_number": olt.serial,
        "host_and_port": olt.host_and_port,
        "status": olt.status,
        "alarms": raised.get(f"{olt.id}/", 0),
        "uplinks": uplinks,
        "pons": pons,
        **_place(olt, plant),
    }


def _place(device: DeviceView, plant: Plant) -> dict[str, Any]:
    place = plant.places.get(device.key)
    return {} if place is None else place.plain()


def _onu(
    onu: DeviceView, unis: Iterable[int], services: Sequence[StoredService], raised: Mapping[str, int]
) -> dict[str, Any]:
    numbers = sorted({*unis, *(item.key.uni for item in services)})
    return {
        "name": onu.key,
        "device_id": onu.id,
        "serial_number": onu.serial,
        "onu_id": onu.onu_id,
        "status": onu.status,
        "reason": onu.reason,
        "alarms": raised.get(onu.serial, 0),
        "unis": [
            {"uni": number, "subscribers": [_subscriber(item) for item in services if item.key.uni == number]}
            for number in numbers
        ],
    }


def _subscriber(item: StoredService) -> dict[str, Any]:
    return {
        "subscriber_id": item.key.subscriber_id,
        "name": item.key.name,
        "technology_profile": item.service.get("technology_profile", 64),
        "s_tag": item.service.get("s_tag"),
        "status": item.state,
    }
