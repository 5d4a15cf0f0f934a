"""What crashes VOLTHA is never sent: each request of section 12.4 by name, and anything else that can be thought of at random."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from voltha_protos import device_pb2, extensions_pb2, voltha_pb2_grpc
from voltha_protos import openflow_13_pb2 as of

from dotmac_isp.plugins.network_automation.voltha_integration_plugin import ForbiddenRequestError, ServiceConfig
from dotmac_isp.plugins.network_automation.voltha_integration_plugin._guard import admit
from dotmac_isp.plugins.network_automation.voltha_integration_plugin._messages import flow_update
from dotmac_isp.plugins.network_automation.voltha_integration_plugin._service import Place, single_tagged_flows

if TYPE_CHECKING:
    from collections.abc import Callable

NNI = 16777216
RPC = "UpdateLogicalDeviceFlowTable"
CONFIG = ServiceConfig.parse({"s_tag": 900, "bandwidth_up": 1000, "bandwidth_down": 1000})
PLACE = Place(olt_serial="o", onu_serial="n", olt_id="o", onu_id="n", logical_device_id="l", uni_port=256, nni_port=NNI)


def valid(index: int) -> Any:
    flows = single_tagged_flows(CONFIG, PLACE, up_meter=0x10000, down_meter=0x10000, cookie=0x100)
    return flow_update("l", flows[index], "add")


def drop(mod: Any, kind: int) -> None:
    kept = [step for step in mod.instructions if step.type != kind]
    del mod.instructions[:]
    mod.instructions.extend(kept)


def actions(mod: Any) -> Any:
    return next(step for step in mod.instructions if step.type == of.OFPIT_APPLY_ACTIONS).actions.actions


def no_match(update: Any) -> None:
    update.flow_mod.ClearField("match")


def no_flow(update: Any) -> None:
    update.ClearField("flow_mod")


def no_meter(update: Any) -> None:
    drop(update.flow_mod, of.OFPIT_METER)


def meter_zero(update: Any) -> None:
    for step in update.flow_mod.instructions:
        if step.type == of.OFPIT_METER:
            step.meter.meter_id = 0


def no_metadata(update: Any) -> None:
    drop(update.flow_mod, of.OFPIT_WRITE_METADATA)


def no_egress(update: Any) -> None:
    for step in update.flow_mod.instructions:
        if step.type == of.OFPIT_WRITE_METADATA:
            step.write_metadata.metadata = 64 << 32


def wrong_ethertype(update: Any) -> None:
    actions(update.flow_mod)[0].push.ethertype = 0x88A8


def vlan_zero(update: Any) -> None:
    actions(update.flow_mod)[1].set_field.field.ofb_field.vlan_vid = 0


def push_alone(update: Any) -> None:
    del actions(update.flow_mod)[1]


def modify(update: Any) -> None:
    update.flow_mod.command = of.OFPFC_MODIFY


def delete_all(update: Any) -> None:
    update.flow_mod.command = of.OFPFC_DELETE


def empty_instruction(update: Any) -> None:
    update.flow_mod.instructions.add(type=of.OFPIT_METER)


def no_mask(update: Any) -> None:
    field = update.flow_mod.match.oxm_fields[-1].ofb_field
    field.ClearField("vlan_vid_mask")
    field.has_mask = True


def no_port(update: Any) -> None:
    del update.flow_mod.match.oxm_fields[0]


@pytest.mark.parametrize(
    ("flow", "spoil"),
    [
        (0, no_match),
        (0, no_flow),
        (0, no_meter),
        (0, meter_zero),
        (2, no_metadata),
        (2, no_egress),
        (1, wrong_ethertype),
        (1, vlan_zero),
        (1, push_alone),
        (0, modify),
        (0, delete_all),
        (3, empty_instruction),
        (0, no_mask),
        (0, no_port),
    ],
)
def test_a_flow_that_would_do_harm_is_refused(flow: int, spoil: Callable[[Any], None]) -> None:
    update = valid(flow)
    admit(RPC, update)
    spoil(update)
    with pytest.raises(ForbiddenRequestError):
        admit(RPC, update)


def test_traps_from_the_uplink_need_no_subscriber_port() -> None:
    update = valid(2)
    del update.flow_mod.instructions[:]
    output = of.ofp_action(type=of.OFPAT_OUTPUT, output=of.ofp_action_output(port=0xFFFFFFFD))
    update.flow_mod.instructions.add(type=of.OFPIT_APPLY_ACTIONS, actions=of.ofp_instruction_actions(actions=[output]))
    admit(RPC, update)


@pytest.mark.parametrize(
    ("rpc", "request_"),
    [
        ("UpdateDevicePmConfigs", device_pb2.PmConfigs(id="x")),
        ("GetExtValue", extensions_pb2.ValueSpecifier()),
        ("ActivateImage", device_pb2.DeviceImageRequest()),
        ("DeleteDevice", None),
        ("ReceiveChangeEvents", None),
    ],
)
def test_calls_that_the_plugin_does_not_make_are_refused(rpc: str, request_: Any) -> None:
    with pytest.raises(ForbiddenRequestError, match=rpc):
        admit(rpc, request_)


def meter(**values: Any) -> Any:
    bands = values.pop("bands", [of.ofp_meter_band_header(type=of.OFPMBT_DROP, rate=1000, burst_size=100)])
    return of.MeterModUpdate(id="l", meter_mod=of.ofp_meter_mod(bands=bands, **{"meter_id": 0x10000, **values}))


@pytest.mark.parametrize(
    "update",
    [
        of.MeterModUpdate(id="l"),
        meter(meter_id=1),
        meter(meter_id=1, command=of.OFPMC_DELETE),
        meter(command=of.OFPMC_MODIFY),
        meter(bands=[]),
        meter(bands=[of.ofp_meter_band_header(type=of.OFPMBT_DROP, rate=0)]),
        meter(bands=[of.ofp_meter_band_header(type=of.OFPMBT_DROP, rate=1)] * 4),
        meter(bands=[of.ofp_meter_band_header(rate=1000)]),
    ],
)
def test_meters_that_fail_later_or_are_not_ours_are_refused(update: Any) -> None:
    admit("UpdateLogicalDeviceMeterTable", meter())
    with pytest.raises(ForbiddenRequestError):
        admit("UpdateLogicalDeviceMeterTable", update)


_ports = st.sampled_from([0, 256, 512, NNI, NNI + 1, 0x7FFFFFFD, 99])
_vids = st.sampled_from([0, 1, 900, 4096, 4996])


def _oxm(**values: Any) -> Any:
    return of.ofp_oxm_field(oxm_class=of.OFPXMC_OPENFLOW_BASIC, ofb_field=of.ofp_oxm_ofb_field(**values))


_fields = st.one_of(
    st.builds(lambda port: _oxm(type=of.OFPXMT_OFB_IN_PORT, port=port), _ports),
    st.builds(lambda vid: _oxm(type=of.OFPXMT_OFB_VLAN_VID, vlan_vid=vid), _vids),
    st.builds(lambda value: _oxm(type=of.OFPXMT_OFB_METADATA, table_metadata=value), _ports),
    st.just(of.ofp_oxm_field()),
)
_actions = st.one_of(
    st.builds(
        lambda kind: of.ofp_action(type=of.OFPAT_PUSH_VLAN, push=of.ofp_action_push(ethertype=kind)),
        st.sampled_from([0x8100, 0x88A8, 0]),
    ),
    st.builds(
        lambda vid: of.ofp_action(
            type=of.OFPAT_SET_FIELD,
            set_field=of.ofp_action_set_field(field=_oxm(type=of.OFPXMT_OFB_VLAN_VID, vlan_vid=vid)),
        ),
        _vids,
    ),
    st.just(of.ofp_action(type=of.OFPAT_POP_VLAN)),
    st.builds(lambda port: of.ofp_action(type=of.OFPAT_OUTPUT, output=of.ofp_action_output(port=port)), _ports),
)
_steps = st.one_of(
    st.builds(
        lambda table: of.ofp_instruction(
            type=of.OFPIT_GOTO_TABLE, goto_table=of.ofp_instruction_goto_table(table_id=table)
        ),
        st.integers(0, 2),
    ),
    st.builds(
        lambda meter_id: of.ofp_instruction(type=of.OFPIT_METER, meter=of.ofp_instruction_meter(meter_id=meter_id)),
        st.sampled_from([0, 1, 0x10000]),
    ),
    st.builds(
        lambda value: of.ofp_instruction(
            type=of.OFPIT_WRITE_METADATA, write_metadata=of.ofp_instruction_write_metadata(metadata=value)
        ),
        st.sampled_from([0, 64 << 32, (4096 << 48) + (64 << 32) + 256, 256]),
    ),
    st.builds(
        lambda chosen: of.ofp_instruction(
            type=of.OFPIT_APPLY_ACTIONS, actions=of.ofp_instruction_actions(actions=chosen)
        ),
        st.lists(_actions, max_size=4),
    ),
    st.just(of.ofp_instruction(type=of.OFPIT_METER)),
)
_mods = st.builds(
    lambda command, table, fields, steps: of.ofp_flow_mod(
        command=command,
        table_id=table,
        priority=1000,
        cookie=1,
        match=of.ofp_match(type=of.OFPMT_OXM, oxm_fields=fields),
        instructions=steps,
    ),
    st.sampled_from([of.OFPFC_ADD, of.OFPFC_DELETE_STRICT]),
    st.integers(0, 1),
    st.lists(_fields, min_size=1, max_size=3),
    st.lists(_steps, max_size=4),
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(mod=_mods)
@example(mod=of.ofp_flow_mod())
async def test_nothing_that_passes_the_guard_ends_a_process_of_voltha(mod: Any, active_olt: tuple[Any, str]) -> None:
    simulator, logical = active_olt
    update = of.FlowTableUpdate(id=logical, flow_mod=mod)
    try:
        admit(RPC, update)
    except ForbiddenRequestError:
        return
    token = "Basic ZGV2X3VzZXI6ZGV2X3Bhc3M="
    async with grpc.aio.insecure_channel(simulator.target) as channel:
        try:
            await voltha_pb2_grpc.VolthaServiceStub(channel).UpdateLogicalDeviceFlowTable(
                update, metadata=[("authorization", token)], timeout=5
            )
        except grpc.aio.AioRpcError as answer:
            assert "crash" not in (answer.details() or "").lower()
    assert simulator.refused_crashes == 0
