"""Requests that end a process of the real VOLTHA are refused with a text that says so, and counted (section 12.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import json_format
from voltha_protos import openflow_13_pb2 as of

if TYPE_CHECKING:
    from collections.abc import Callable

    from dotmac_voltha_simulator import Simulator

UNI, NNI = 256, 16777216
BASIC = "OFPXMC_OPENFLOW_BASIC"
GOTO = {"type": 1, "goto_table": {"table_id": 1}}
METER = {"type": 6, "meter": {"meter_id": 1}}


def matching(port: int) -> dict[str, Any]:
    return {"type": "OFPMT_OXM", "oxm_fields": [{"oxm_class": BASIC, "ofb_field": {"port": port}}]}


def metadata(value: int) -> dict[str, Any]:
    return {"type": 2, "write_metadata": {"metadata": str(value)}}


def pushing(ethertype: int, vid: int) -> dict[str, Any]:
    tag = {"oxm_class": BASIC, "ofb_field": {"type": "OFPXMT_OFB_VLAN_VID", "vlan_vid": vid}}
    actions = [
        {"type": "OFPAT_PUSH_VLAN", "push": {"ethertype": ethertype}},
        {"type": "OFPAT_SET_FIELD", "set_field": {"field": tag}},
        {"output": {"port": NNI}},
    ]
    return {"type": 4, "actions": {"actions": actions}}


UP = metadata((4096 << 48) | (64 << 32))
DEADLY = {
    "no flow_mod": None,
    "no match": {"table_id": 0, "priority": 1, "instructions": [GOTO, METER, UP]},
    "upstream table 0 without a meter": {"match": matching(UNI), "instructions": [GOTO, UP]},
    "upstream table 0 with meter 0": {"match": matching(UNI), "instructions": [GOTO, {"type": 6, "meter": {}}, UP]},
    "downstream table 0 without an egress port": {
        "match": matching(NNI),
        "instructions": [GOTO, METER, metadata((4096 << 48) | (64 << 32))],
    },
    "downstream table 0 without write_metadata": {"match": matching(NNI), "instructions": [GOTO, METER]},
    "push VLAN 0x88a8": {"table_id": 1, "match": matching(UNI), "instructions": [METER, UP, pushing(0x88A8, 4996)]},
    "set VLAN 0 after a push": {"table_id": 1, "match": matching(UNI), "instructions": [METER, UP, pushing(0x8100, 0)]},
}


@pytest.mark.parametrize("mod", DEADLY.values(), ids=DEADLY.keys())
async def test_a_flow_that_would_end_a_process_is_refused_and_leaves_nothing(
    voltha_simulator: Simulator, client: Any, refused: Callable[..., Any], mod: dict[str, Any] | None
) -> None:
    _, logical_id = await client.ready(voltha_simulator)
    body: dict[str, Any] = {"id": logical_id} if mod is None else {"id": logical_id, "flow_mod": {"cookie": 1, **mod}}
    update = json_format.ParseDict(body, of.FlowTableUpdate())
    status, text = await refused(client.voltha.UpdateLogicalDeviceFlowTable(update))
    assert status == "INVALID_ARGUMENT"
    assert text.startswith("the real VOLTHA would crash: ")
    assert voltha_simulator.refused_crashes == 1
    assert voltha_simulator._stack.logical[logical_id].flows == {}


@pytest.mark.parametrize(
    "wanted", [{"oltRxPower": {}}, {"oltPonStats": {"portId": 1}}, {"oltNniStats": {"portId": 1}}], ids=str
)
async def test_a_value_request_that_would_end_the_olt_adapter_is_refused(
    voltha_simulator: Simulator,
    client: Any,
    refused: Callable[..., Any],
    extension_request: Callable[..., Any],
    wanted: dict[str, Any],
) -> None:
    olt_id, _ = await client.ready(voltha_simulator)
    status, text = await refused(client.extension.GetExtValue(extension_request(olt_id, **wanted)))
    assert (status, text.split(":")[0]) == ("INVALID_ARGUMENT", "the real VOLTHA would crash")
    assert voltha_simulator.refused_crashes == 1


async def test_a_client_that_behaves_is_counted_nothing(voltha_simulator: Simulator, client: Any) -> None:
    await client.ready(voltha_simulator)
    assert voltha_simulator.refused_crashes == 0
