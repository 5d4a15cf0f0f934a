"""What crashes VOLTHA is never sent: each request of section 12.4 by name, and anything else that can be thought of at random."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from voltha_protos import device_pb2, extensions_pb2, voltha_pb2_grpc
from voltha_protos import openflow_13_pb2 as of

from dotmac_isp.plugins.network_automation.voltha_integration_plugin import ForbiddenRequestError, ServiceConfig
from dotmac_isp.plugins.network_automation.voltha_integration_plugin._guard import admit
from dotmac_isp.plugins.network_automation.voltha_integration_plugin.services._builder import (
    MeterIds,
    Place,
    service_flows,
)
from dotmac_isp.plugins.network_automation.voltha_integration_plugin.services._messages import flow_update

if TYPE_CHECKING:
    from collections.abc import Callable

NNI = 16777216
RPC = "UpdateLogicalDeviceFlowTable"
CONFIG = ServiceConfig.parse({"s_tag": 900, "bandwidth_up": 1000, "bandwidth_down": 1000})
PLACE = Place(olt_serial="o", onu_serial="n", olt_id="o", onu_id="n", logical_device_id="l", uni_port=256, nni_port=NNI)


def valid(index: int) -> Any:
    flows = service_flows(CONFIG, PLACE, MeterIds(0x10000, 0x10000, 0x10000, 0x10000), 0x100)
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
        ("SimulateAlarm", None),
        ("StreamPacketsOut", None),
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


def _oxm(**values: Any) -> Any:
    return of.ofp_oxm_field(oxm_class=of.OFPXMC_OPENFLOW_BASIC, ofb_field=of.ofp_oxm_ofb_field(**values))


def _push(ethertype: int) -> Any:
    return of.ofp_action(type=of.OFPAT_PUSH_VLAN, push=of.ofp_action_push(ethertype=ethertype))


def _set_vlan(vid: int) -> Any:
    field = _oxm(type=of.OFPXMT_OFB_VLAN_VID, vlan_vid=vid)
    return of.ofp_action(type=of.OFPAT_SET_FIELD, set_field=of.ofp_action_set_field(field=field))


def _output(port: int) -> Any:
    return of.ofp_action(type=of.OFPAT_OUTPUT, output=of.ofp_action_output(port=port))


def _goto(table: int) -> Any:
    return of.ofp_instruction(type=of.OFPIT_GOTO_TABLE, goto_table=of.ofp_instruction_goto_table(table_id=table))


def _meter(meter_id: int) -> Any:
    return of.ofp_instruction(type=of.OFPIT_METER, meter=of.ofp_instruction_meter(meter_id=meter_id))


def _metadata(value: int) -> Any:
    write = of.ofp_instruction_write_metadata(metadata=value)
    return of.ofp_instruction(type=of.OFPIT_WRITE_METADATA, write_metadata=write)


def _apply(chosen: list[Any]) -> Any:
    return of.ofp_instruction(
        type=of.OFPIT_APPLY_ACTIONS, actions=of.ofp_instruction_actions(actions=[each for each in chosen if each])
    )


def _mod(command: int, table: int, match: list[Any], steps: list[Any]) -> Any:
    return of.ofp_flow_mod(
        command=command,
        table_id=table,
        priority=1000,
        cookie=1,
        match=of.ofp_match(type=of.OFPMT_OXM, oxm_fields=[field for field in match if field]),
        instructions=[step for step in steps if step],
    )


def _maybe(*values: Any) -> Any:
    return st.sampled_from([None, *values])


# The parts that a working flow is made of, each of them right, wrong or missing: close to what a slip would make.
_match = st.tuples(
    _maybe(*(_oxm(type=of.OFPXMT_OFB_IN_PORT, port=port) for port in (256, 512, NNI, NNI, 256, 99))),
    _maybe(
        _oxm(type=of.OFPXMT_OFB_VLAN_VID, vlan_vid=4096, has_mask=True, vlan_vid_mask=4096),
        _oxm(type=of.OFPXMT_OFB_VLAN_VID, vlan_vid=4996),
        of.ofp_oxm_field(),
    ),
    _maybe(_oxm(type=of.OFPXMT_OFB_METADATA, table_metadata=256)),
).map(list)
_applied = st.tuples(
    _maybe(_push(0x8100), _push(0x8100), _push(0x88A8)),
    _maybe(_set_vlan(4996), _set_vlan(0), _set_vlan(4096)),
    _maybe(of.ofp_action(type=of.OFPAT_POP_VLAN)),
    _maybe(_output(NNI), _output(256), _output(0x7FFFFFFD)),
).map(lambda chosen: _apply(list(chosen)))
_instructions = st.tuples(
    _maybe(_goto(1), _goto(1), _goto(0)),
    _maybe(_meter(0x10000), _meter(0), of.ofp_instruction(type=of.OFPIT_METER)),
    _maybe(*(_metadata(value) for value in (64 << 32, (4096 << 48) + (64 << 32) + 256, 256))),
    st.none() | _applied,
).map(list)
_mods = st.builds(
    _mod,
    st.sampled_from([of.OFPFC_ADD, of.OFPFC_ADD, of.OFPFC_DELETE_STRICT]),
    st.integers(0, 1),
    _match,
    _instructions,
)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
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
        # Refused for another reason or not: what counts is what the simulator says would have crashed.
        with contextlib.suppress(grpc.aio.AioRpcError):
            await voltha_pb2_grpc.VolthaServiceStub(channel).UpdateLogicalDeviceFlowTable(
                update, metadata=[("authorization", token)], timeout=5
            )
    assert simulator.refused_crashes == 0
