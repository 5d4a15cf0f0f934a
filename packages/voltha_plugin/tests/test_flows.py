"""Flows, their ids, and the messages made of them, against the specification's vectors and recorded answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dotmac_isp.plugins.network_automation.voltha_integration_plugin import ServiceConfig
from dotmac_isp.plugins.network_automation.voltha_integration_plugin._guard import admit
from dotmac_isp.plugins.network_automation.voltha_integration_plugin.services._builder import (
    MeterIds,
    Place,
    cookie_base,
    service_flows,
)
from dotmac_isp.plugins.network_automation.voltha_integration_plugin.services._flow import (
    FlowSpec,
    device_flows,
    metadata,
    pon_port_no,
    uni_parts,
    uni_port_no,
)
from dotmac_isp.plugins.network_automation.voltha_integration_plugin.services._messages import flow_update

NNI = 16777216


def place(uni_port: int = 256, nni_port: int = NNI) -> Place:
    return Place(
        olt_serial="BBSIM_OLT_10",
        onu_serial="BBSM000a0001",
        olt_id="olt",
        onu_id="onu",
        logical_device_id="logical",
        uni_port=uni_port,
        nni_port=nni_port,
    )


def service(s_tag: int = 900, technology_profile: int = 64) -> ServiceConfig:
    return ServiceConfig.parse(
        {"s_tag": s_tag, "technology_profile": technology_profile, "bandwidth_up": 50000, "bandwidth_down": 100000}
    )


def flows_of(made: ServiceConfig, where: Place) -> tuple[FlowSpec, ...]:
    return service_flows(made, where, MeterIds(0x10001, 0x10001, 0x10002, 0x10002), cookie_base("a"))


def device_flow_id(flow: FlowSpec) -> int:
    [(side, number)] = device_flows(flow)
    assert side == flow.side
    return number


def test_flow_ids_are_those_of_the_specification() -> None:
    plain = FlowSpec(table=0, priority=1000, cookie=1, in_port=256, vlan=4096, vlan_mask=4096)
    inner = FlowSpec(table=0, priority=1000, cookie=1, in_port=NNI, metadata_match=901, vlan=0x1384)
    assert plain.id == 0x9063F71F1C71F013
    assert inner.id == 0x2EA0DDF7712A43AF


def test_the_four_flows_have_the_ids_that_a_real_voltha_gave_them() -> None:
    flows = flows_of(service(), place())
    assert [flow.id for flow in flows] == [
        10404431277149253651,
        2724385557089557560,
        16344671946825027470,
        14803451118597222445,
    ]


def test_the_device_flows_have_the_ids_that_a_real_voltha_gave_them() -> None:
    flows = flows_of(service(), place())
    assert [flow.side for flow in flows] == ["onu", "olt", "olt", "onu"]
    assert [device_flow_id(flow) for flow in flows[1:]] == [
        5459608568215720437,
        3726613195366313758,
        18222609002984604235,
    ]


def test_device_flows_of_another_pon_and_onu_have_recorded_ids_too() -> None:
    second = flows_of(service(s_tag=897), place(uni_port=512))
    assert device_flow_id(second[1]) == 3852022244364660861
    far = flows_of(service(s_tag=903), place(uni_port=66048))
    assert device_flow_id(far[2]) == 1619473432671939605


def test_the_messages_say_what_section_12_1_says() -> None:
    up0, up1, down0, down1 = (flow_update("logical", flow, "add").flow_mod for flow in flows_of(service(), place()))
    assert [step.type for step in up0.instructions] == [1, 6, 2]
    assert up0.instructions[2].write_metadata.metadata == 64 << 32
    push, tag, out = up1.instructions[2].actions.actions
    assert (push.push.ethertype, tag.set_field.field.ofb_field.vlan_vid, out.output.port) == (0x8100, 4996, NNI)
    assert up1.instructions[1].write_metadata.metadata == 64 << 32, "an inner tag would make it double tagged"
    assert down0.instructions[2].write_metadata.metadata == (4096 << 48) + (64 << 32) + 256
    assert [field.ofb_field.type for field in down1.match.oxm_fields] == [0, 2, 6]
    assert down1.match.oxm_fields[1].ofb_field.table_metadata == 256
    assert {mod.match.type for mod in (up0, up1, down0, down1)} == {1}


def test_ports_and_metadata_are_numbered_as_voltha_does() -> None:
    assert uni_port_no(0, 1, 0) == 256
    assert uni_port_no(1, 2, 1) == 66049
    assert uni_parts(66049) == (1, 2, 1)
    assert pon_port_no(1) == 536870913
    assert metadata(technology_profile=64, egress_port=256, inner_vlan=901) == 253609228894208256


services = st.builds(service, st.integers(1, 4094), st.integers(64, 255))
places = st.builds(
    place,
    st.builds(uni_port_no, st.integers(0, 15), st.integers(1, 255), st.integers(0, 15)),
    st.integers(1 << 24, (2 << 24) - 1),
)


@given(services, places)
def test_whatever_the_service_says_its_messages_pass_the_guard(made: ServiceConfig, where: Place) -> None:
    for flow in flows_of(made, where):
        admit("UpdateLogicalDeviceFlowTable", flow_update("logical", flow, "add"))
        admit("UpdateLogicalDeviceFlowTable", flow_update("logical", flow, "delete"))


@given(services, places)
def test_the_four_flows_never_collide_with_each_other(made: ServiceConfig, where: Place) -> None:
    flows = flows_of(made, where)
    assert len({flow.id for flow in flows}) == len({flow.cookie for flow in flows}) == 4
    assert all(0 < flow.cookie < 1 << 63 for flow in flows)


@given(st.integers(1, 4094), st.integers(1, 4094), places, places)
def test_services_share_a_flow_id_only_with_the_same_tag_or_port(a: int, b: int, one: Place, other: Place) -> None:
    first = {flow.id for flow in flows_of(service(a), one)}
    second = {flow.id for flow in flows_of(service(b), other)}
    same_tag = a == b and one.nni_port == other.nni_port
    assert bool(first & second) == (same_tag or one.uni_port == other.uni_port)


def test_cookies_differ_by_every_part_of_the_service() -> None:
    assert cookie_base("a", "bc") != cookie_base("ab", "c")
    assert cookie_base("t1", "s") >> 56 == 0x5D
    assert cookie_base("t1", "s") >> 40 == cookie_base("t1", "other") >> 40 != cookie_base("t2", "s") >> 40


@pytest.mark.parametrize("command", ["add", "delete"])
def test_commands_touch_exactly_one_flow(command: str) -> None:
    update = flow_update("logical", flows_of(service(), place())[0], command, xid=7)  # type: ignore[arg-type]
    assert update.flow_mod.command == {"add": 0, "delete": 4}[command]
    assert (update.id, update.xid) == ("logical", 7)
