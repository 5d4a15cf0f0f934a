"""The pure parts: flow ids by the hash of section 4.5, device flows, meters' bands, port numbers, sizes."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from voltha_protos import openflow_13_pb2 as of

from dotmac_voltha_simulator import Simulator, flow_id
from dotmac_voltha_simulator._devices.ports import pon_number, uni_number, uni_parts
from dotmac_voltha_simulator._flows.decompose import Topology, decompose
from dotmac_voltha_simulator._flows.rules import bands_are_valid
from dotmac_voltha_simulator._serving.refusal import RefusedError

TOPOLOGY = Topology("olt", {16777216: "olt", 256: "onu"})


def match(*fields: dict[str, Any]) -> Any:
    made = of.ofp_match(type=of.OFPMT_OXM)
    for field in fields:
        made.oxm_fields.add(oxm_class=of.OFPXMC_OPENFLOW_BASIC, ofb_field=of.ofp_oxm_ofb_field(**field))
    return made


VECTORS = [
    (10000, ({"port": 16777216}, {"type": 5, "eth_type": 0x88CC}), 0x590D46D3BF073015),
    (
        1000,
        ({"port": 256}, {"type": 6, "vlan_vid": 4096, "has_mask": True, "vlan_vid_mask": 4096}),
        0x9063F71F1C71F013,
    ),
    (
        1000,
        ({"port": 16777216}, {"type": 2, "table_metadata": 901}, {"type": 6, "vlan_vid": 0x1384}),
        0x2EA0DDF7712A43AF,
    ),
]


@pytest.mark.parametrize(("priority", "fields", "expected"), VECTORS)
def test_a_flow_id_is_the_hash_that_the_real_core_computes(
    priority: int, fields: tuple[dict[str, Any], ...], expected: int
) -> None:
    assert flow_id(0, priority, match(*fields)) == expected
    assert flow_id(0, priority, match(*reversed(fields))) == expected


def test_a_mask_that_is_announced_and_missing_is_refused() -> None:
    with pytest.raises(RefusedError, match="hasMask set to true, but no mask present"):
        flow_id(0, 1, match({"type": 6, "vlan_vid": 4096, "has_mask": True}))


@given(st.permutations(range(4)), st.integers(0, 4095))
def test_the_order_of_the_match_fields_never_changes_the_id(order: list[int], vlan: int) -> None:
    fields = [{"port": 256}, {"type": 6, "vlan_vid": vlan}, {"type": 5, "eth_type": 2048}, {"type": 10, "ip_proto": 17}]
    assert flow_id(0, 1000, match(*(fields[place] for place in order))) == flow_id(0, 1000, match(*fields))


def flow(body: dict[str, Any]) -> Any:
    return json_format.ParseDict(body, of.ofp_flow_stats())


def test_an_upstream_flow_of_table_0_becomes_a_flow_of_the_onu_out_to_its_pon() -> None:
    logical = of.ofp_flow_stats(priority=1000, cookie=7, match=match({"port": 256}))
    logical.instructions.add(type=of.OFPIT_GOTO_TABLE).goto_table.table_id = 1
    logical.instructions.add(type=of.OFPIT_METER).meter.meter_id = 3
    (found,) = decompose(logical, TOPOLOGY)
    assert found.device_id == "onu"
    assert [instruction.type for instruction in found.flow.instructions] == [4, 6]
    assert found.flow.instructions[0].actions.actions[0].output.port == 536870912
    assert found.flow.match.oxm_fields[1].ofb_field.tunnel_id == 256
    assert found.flow.cookie == 7


@pytest.mark.parametrize(
    ("port", "target", "text"),
    [
        (9999, 0, "no downstream route from:9999 to:0 :no route"),
        (256, 12345, "no route from:256 to:12345 for egress port 12345 not found no route"),
    ],
)
def test_a_flow_without_a_way_is_refused_with_the_text_of_the_core(port: int, target: int, text: str) -> None:
    logical = of.ofp_flow_stats(table_id=1, match=match({"port": port}))
    output = of.ofp_action(type=of.OFPAT_OUTPUT, output=of.ofp_action_output(port=target))
    logical.instructions.add(
        type=of.OFPIT_APPLY_ACTIONS, actions=of.ofp_instruction_actions(actions=[output] if target else [])
    )
    with pytest.raises(RefusedError) as caught:
        decompose(logical, TOPOLOGY)
    assert caught.value.details == text


@pytest.mark.parametrize(
    ("bands", "valid"),
    [
        ([(30000, 0)], True),
        ([(30000, 10)], True),
        ([(5, 1), (9, 1)], True),
        ([(5, 0), (5, 0)], True),
        ([(5, 0), (9, 0)], False),
        ([(5, 1), (9, 0)], False),
        ([(600, 30), (101000, 60), (100000, 0)], True),
        ([(1, 1), (2, 1), (3, 1)], False),
        ([], False),
        ([(4, 1), (3, 1), (2, 1), (1, 1)], False),
    ],
)
def test_meter_bands_are_read_as_the_olt_adapter_reads_them(bands: list[tuple[int, int]], valid: bool) -> None:
    made = [of.ofp_meter_band_header(rate=rate, burst_size=burst) for rate, burst in bands]
    assert bands_are_valid(made) is valid


@given(st.integers(0, 255), st.integers(1, 255), st.integers(0, 15))
def test_a_uni_number_names_its_pon_onu_and_place(pon: int, onu: int, uni: int) -> None:
    assert uni_parts(uni_number(pon, onu, uni)) == (pon, onu, uni)


def test_port_numbers_are_those_of_the_specification() -> None:
    assert (uni_number(0, 1, 0), uni_number(1, 2, 1), pon_number(3)) == (256, 66049, 536870915)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"pons": 17}, "pons must be between 1 and 16, not 17"),
        ({"unis": 0}, "unis must be between 1 and 16, not 0"),
        ({"time_factor": 0}, "the time factor must be above 0"),
        ({"listen": "nowhere"}, "'nowhere' is not host:port"),
        ({"username": "u"}, "username and password belong together"),
    ],
)
def test_a_size_or_setting_that_makes_no_sense_is_named(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Simulator(**wrong)
