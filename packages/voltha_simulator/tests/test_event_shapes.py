"""Every device event has the category, context and key that was recorded for its name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voltha_protos import common_pb2, device_pb2, events_pb2

from dotmac_voltha_simulator._events.alarms import ONU_ALARMS

if TYPE_CHECKING:
    from dotmac_voltha_simulator import PublishedEvent, Simulator

RECORDED: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "events.json").read_text())
ONU = "BBSM000a0001"


def shape(event: PublishedEvent) -> dict[str, Any]:
    header = event.message.header
    return {
        "category": events_pb2.EventCategory.Types.Name(header.category),
        "sub_category": events_pb2.EventSubCategory.Types.Name(header.sub_category),
        "context": sorted(event.context),
        "keyed": bool(event.key),
        "description": event.message.device_event.description,
    }


async def test_each_event_of_a_life_with_alarms_looks_as_recorded(voltha_simulator: Simulator, client: Any) -> None:
    olt_id, _ = await client.ready(voltha_simulator)
    for alarm in sorted(ONU_ALARMS):
        await voltha_simulator.raise_alarm(alarm, ONU)
        await voltha_simulator.clear_alarm(alarm, ONU)
    await voltha_simulator.raise_alarm("OLT_LOSS_OF_SIGNAL", "BBSIM_OLT_10/pon-0")
    await voltha_simulator.clear_alarm("OLT_LOSS_OF_SIGNAL", "BBSIM_OLT_10/pon-0")
    await client.voltha.SimulateAlarm(device_pb2.SimulateAlarmRequest(id=olt_id))
    await client.voltha.DisableDevice(common_pb2.ID(id=olt_id))
    await voltha_simulator.cut_olt_link(0)
    await client.until_state("BBSIM_OLT_10", "DISABLED/UNKNOWN/UNREACHABLE")
    await client.voltha.ForceDeleteDevice(common_pb2.ID(id=olt_id))
    differences = {}
    seen = set()
    for event in voltha_simulator.events:
        if event.name in RECORDED and event.context.get("is-root") != "false":
            seen.add(event.name)
            if shape(event) != RECORDED[event.name]:
                differences[event.name] = (shape(event), RECORDED[event.name])
    assert differences == {}
    assert RECORDED.keys() - seen <= NOT_SIMULATED


#: seen in the recordings, not sent by the simulator
NOT_SIMULATED = {"ONU_UPDATE_COMMUNICATION_FAILED", "ONU_OMCI_COMMUNICATION_FAILURE_CONFIG"}
