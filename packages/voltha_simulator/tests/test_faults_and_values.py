"""What breaks on purpose, what the Extension service answers, and who may call at all."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from google.protobuf import empty_pb2, json_format
from voltha_protos import common_pb2, device_pb2, extensions_pb2, voltha_pb2_grpc
from voltha_protos import openflow_13_pb2 as of

from dotmac_voltha_simulator import ListenError, Simulator

if TYPE_CHECKING:
    from collections.abc import Callable

EMPTY = empty_pb2.Empty()
ONU = "BBSM000a0001"
READY = "ENABLED/ACTIVE/REACHABLE initial-mib-downloaded"
RECORDED = [
    json.loads(line) for line in (Path(__file__).parent / "data" / "flow_replace.jsonl").read_text().splitlines()
]
SERVICE = [
    row["request"] for row in RECORDED if (row.get("tag"), row.get("call")) == ("good", "UpdateLogicalDeviceFlowTable")
]
METERS = [row["request"] for row in RECORDED if row.get("call") == "UpdateLogicalDeviceMeterTable"][:2]


def identity(value: str) -> Any:
    return common_pb2.ID(id=value)


async def install(client: Any, logical_id: str, command: str = "OFPFC_ADD") -> None:
    """The recorded service of the first ONU: two meters, four flows."""
    await install_meters(client, logical_id)
    for request in SERVICE:
        body = {**request, "id": logical_id, "flow_mod": {**request["flow_mod"], "command": command}}
        await client.voltha.UpdateLogicalDeviceFlowTable(json_format.ParseDict(body, of.FlowTableUpdate()))


async def install_meters(client: Any, logical_id: str) -> None:
    for meter in METERS:
        body = {**meter, "id": logical_id}
        await client.voltha.UpdateLogicalDeviceMeterTable(json_format.ParseDict(body, of.MeterModUpdate()))


async def flows(client: Any, logical_id: str) -> int:
    return len((await client.voltha.ListLogicalDeviceFlows(identity(logical_id))).items)


async def test_after_a_power_cycle_a_service_is_back_only_when_it_is_deleted_and_added_again(
    voltha_simulator: Simulator, client: Any
) -> None:
    _, logical_id = await client.ready(voltha_simulator)
    await install(client, logical_id)
    await client.until_state(ONU, "ENABLED/ACTIVE/REACHABLE omci-flows-pushed")
    await voltha_simulator.power_off(ONU)
    assert await client.state(ONU) == "ENABLED/DISCOVERED/UNREACHABLE stopping-openomci"
    await voltha_simulator.power_on(ONU)
    await client.until_state(ONU, READY)
    assert await flows(client, logical_id) == 4
    await install(client, logical_id)
    await asyncio.sleep(0.05)
    assert await client.state(ONU) == READY
    await install(client, logical_id, "OFPFC_DELETE_STRICT")
    await install(client, logical_id)
    await client.until_state(ONU, "ENABLED/ACTIVE/REACHABLE omci-flows-pushed")


async def test_an_onu_that_flaps_gasps_and_returns(voltha_simulator: Simulator, client: Any) -> None:
    await client.ready(voltha_simulator)
    start = len(voltha_simulator.events)
    await voltha_simulator.flap(ONU)
    await client.until_state(ONU, READY)
    found = [event.name for event in voltha_simulator.events[start:]]
    assert found[:2] == ["ONU_DYING_GASP_RAISE_EVENT", "ONU_LOSS_OF_SIGNAL_RAISE_EVENT"]
    assert "ONU_LOSS_OF_SIGNAL_CLEAR_EVENT" in found
    assert "ONU_DYING_GASP_CLEAR_EVENT" not in found


async def test_a_broken_link_to_the_olt_keeps_everything(voltha_simulator: Simulator, client: Any) -> None:
    _, logical_id = await client.ready(voltha_simulator)
    await install(client, logical_id)
    await client.until_state(ONU, "ENABLED/ACTIVE/REACHABLE omci-flows-pushed")
    ids = {device.id for device in await client.devices()}
    await voltha_simulator.cut_olt_link(0)
    await client.until_state("BBSIM_OLT_10", "ENABLED/UNKNOWN/UNREACHABLE")
    assert await client.state(ONU) == "ENABLED/ACTIVE/REACHABLE omci-flows-pushed"
    await voltha_simulator.restore_olt_link(0)
    await client.until_state("BBSIM_OLT_10", "ENABLED/ACTIVE/REACHABLE")
    assert {device.id for device in await client.devices()} == ids
    assert await flows(client, logical_id) == 4


async def test_an_olt_that_is_unreachable_at_first_comes_up_when_its_link_is_there(
    voltha_simulator: Simulator, client: Any
) -> None:
    await voltha_simulator.cut_olt_link(0)
    olt_id = await client.provision_olt(voltha_simulator.olt_addresses[0])
    await asyncio.sleep(0.3)
    assert (await client.voltha.GetDevice(identity(olt_id))).oper_status == 2
    await voltha_simulator.restore_olt_link(0)
    await client.until(lambda devices: any(device.reason == "initial-mib-downloaded" for device in devices))


@pytest.mark.voltha_simulator(time_factor=0.2)
async def test_a_restart_of_the_core_loses_the_flows_and_keeps_meters_and_ids(
    voltha_simulator: Simulator, client: Any, refused: Callable[..., Any]
) -> None:
    olt_id, logical_id = await client.ready(voltha_simulator)
    await install(client, logical_id)
    ids = {device.id for device in await client.devices()}
    stream = client.voltha.ReceiveChangeEvents(EMPTY)
    assert (await stream.read()).HasField("port_status")
    restart = asyncio.ensure_future(voltha_simulator.restart_core())
    await asyncio.sleep(0)
    assert await refused(client.voltha.ListDevices(EMPTY)) == ("UNAVAILABLE", "system is not ready")
    assert await refused(_to_the_end(stream)) == ("UNAVAILABLE", "system is not ready")
    await restart
    assert {device.id for device in await client.devices()} == ids
    assert await flows(client, logical_id) == 0
    assert list((await client.voltha.ListDeviceFlows(identity(olt_id))).items) == []
    assert len((await client.voltha.ListLogicalDeviceMeters(identity(logical_id))).items) == 2
    ports = (await client.voltha.ListLogicalDevicePorts(identity(logical_id))).items
    assert {port.ofp_port.state for port in ports if not port.root_port} == {1}


async def _to_the_end(stream: Any) -> None:
    while await stream.read() is not grpc.aio.EOF:
        pass


async def test_flows_added_while_the_onu_adapter_is_down_are_half_refused_and_half_taken_back(
    voltha_simulator: Simulator, client: Any, refused: Callable[..., Any]
) -> None:
    _, logical_id = await client.ready(voltha_simulator)
    onu = await client.device(ONU)
    await install_meters(client, logical_id)
    await voltha_simulator.stop_adapter("brcm_openomci_onu")
    answers = []
    for request in SERVICE:
        update = json_format.ParseDict({**request, "id": logical_id}, of.FlowTableUpdate())
        try:
            await client.voltha.UpdateLogicalDeviceFlowTable(update)
            answers.append("OK")
        except grpc.aio.AioRpcError as error:
            answers.append(f"{error.code().name} {error.details()}")
    down = f"UNAVAILABLE adapter-connection-down-for-{onu.id}"
    assert answers == [down, "OK", "OK", down]
    assert await flows(client, logical_id) == 2
    subscription = voltha_simulator.subscribe()
    for _ in range(2):
        await asyncio.wait_for(subscription.wait_for("UpdateLogicalDeviceFlowTable"), 10)
    assert await flows(client, logical_id) == 0


async def test_while_an_adapter_is_down_its_devices_look_well_and_take_nothing(
    voltha_simulator: Simulator, client: Any, refused: Callable[..., Any]
) -> None:
    _, logical_id = await client.ready(voltha_simulator)
    onu = await client.device(ONU)
    await voltha_simulator.stop_adapter("brcm_openomci_onu")
    assert await client.state(ONU) == READY
    expected = ("UNAVAILABLE", f"adapter-connection-down-for-{onu.id}")
    assert await refused(install(client, logical_id)) == expected
    expected = ("UNKNOWN", "no connection to 127.0.0.1:50062")
    assert await refused(client.voltha.DisableDevice(identity(onu.id))) == expected
    await voltha_simulator.start_adapter("brcm_openomci_onu")
    await client.until_state(ONU, READY)
    await install(client, logical_id)
    await client.until_state(ONU, "ENABLED/ACTIVE/REACHABLE omci-flows-pushed")


async def test_replies_can_be_made_slow(voltha_simulator: Simulator, client: Any) -> None:
    voltha_simulator.faults.reply_delay = 30
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.voltha.ListDevices(EMPTY, timeout=0.05)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def value(client: Any, request: Any) -> dict[str, Any]:
    answer = await client.extension.GetExtValue(request)
    found: dict[str, Any] = json_format.MessageToDict(answer.response, preserving_proto_field_name=True)
    return found


async def test_optical_levels_distance_and_uni_state_are_plausible_and_always_the_same(
    voltha_simulator: Simulator, client: Any, extension_request: Callable[..., Any]
) -> None:
    olt_id, _ = await client.ready(voltha_simulator)
    onu = await client.device(ONU)
    optical = extension_request(onu.id, onuOpticalInfo={"empty": {}})
    found = (await value(client, optical))["onuOpticalInfo"]
    assert -28 < found["receivedOpticalPower"] < -8
    assert found == (await value(client, optical))["onuOpticalInfo"]
    distance = await value(client, extension_request(olt_id, distance={"onuDeviceId": onu.id}))
    assert 0 < distance["distance"]["distance"] < 20_000
    uni = await value(client, extension_request(onu.id, uniInfo={"uniIndex": 0}))
    assert (uni["uniInfo"]["admState"], uni["uniInfo"]["operState"]) == ("UNLOCKED", "ENABLED")
    power = await value(client, extension_request(olt_id, oltRxPower={"port_label": "pon-0"}))
    assert [entry["onu_sn"] for entry in power["oltRxPower"]["rx_power"]] == [ONU, "BBSM000a0002"]


async def test_what_cannot_be_answered_says_why(
    voltha_simulator: Simulator, client: Any, extension_request: Callable[..., Any], refused: Callable[..., Any]
) -> None:
    olt_id, logical_id = await client.ready(voltha_simulator)
    onu = await client.device(ONU)
    asked = [
        (onu.id, {"uniInfo": {"uniIndex": 9}}, "INVALID_PORT_TYPE"),
        (olt_id, {"uniInfo": {}}, "UNSUPPORTED"),
        (onu.id, {"ethBridgePort": {}}, "UNSUPPORTED"),
        (olt_id, {"oltPonStats": {"portLabel": "pon-0"}}, "UNSUPPORTED"),
        (olt_id, {"oltPortInfo": {"portType": "Port_PON_OLT"}}, "TIMEOUT"),
    ]
    for target, request, reason in asked:
        assert (await value(client, extension_request(target, **request)))["errReason"] == reason
    await voltha_simulator.power_off(ONU)
    off = await value(client, extension_request(onu.id, onuOpticalInfo={"empty": {}}))
    assert off == {"status": "ERROR", "errReason": "TIMEOUT"}
    stats = extension_request(olt_id, onuStatsFromOlt={"onuId": 1})
    expected = ("NOT_FOUND", f"target-id {olt_id}, parent-id {logical_id}")
    assert await refused(client.extension.GetExtValue(stats)) == expected
    old = await client.voltha.GetExtValue(extensions_pb2.ValueSpecifier(id=onu.id))
    assert old.DESCRIPTOR.full_name == "extension.ReturnValues"


async def test_calls_without_the_right_credentials_are_unauthenticated(refused: Callable[..., Any]) -> None:
    async with (
        Simulator(username="operator", password="made-up") as simulator,
        grpc.aio.insecure_channel(simulator.target) as channel,
    ):
        stub: Any = voltha_pb2_grpc.VolthaServiceStub(channel)

        def with_basic(text: str) -> tuple[tuple[str, str], ...]:
            return (("authorization", "Basic " + base64.b64encode(text.encode()).decode()),)

        assert (await refused(stub.ListDevices(EMPTY)))[0] == "UNAUTHENTICATED"
        status, text = await refused(stub.ListDevices(EMPTY, metadata=with_basic("operator:wrong")))
        assert status == "UNAUTHENTICATED"
        assert "made-up" not in text
        stream = stub.ReceiveChangeEvents(EMPTY)
        assert (await refused(stream.read()))[0] == "UNAUTHENTICATED"
        assert list((await stub.ListDevices(EMPTY, metadata=with_basic("operator:made-up"))).items) == []


async def test_a_taken_port_is_named(voltha_simulator: Simulator) -> None:
    with pytest.raises(ListenError, match=rf"cannot listen on 127\.0\.0\.1:{voltha_simulator.port}: the port is taken"):
        await Simulator(listen=voltha_simulator.target).start()


async def test_an_olt_that_restarts_while_its_link_is_cut_starts_anew_when_it_is_back(
    voltha_simulator: Simulator, client: Any
) -> None:
    olt_id, logical_id = await client.ready(voltha_simulator)
    await client.voltha.RebootDevice(identity(olt_id))
    await voltha_simulator.cut_olt_link(0)
    await client.until_state("BBSIM_OLT_10", "ENABLED/UNKNOWN/UNREACHABLE")
    await asyncio.sleep(0.6)
    await voltha_simulator.restore_olt_link(0)
    await client.until_state("BBSIM_OLT_10", "ENABLED/ACTIVE/REACHABLE")
    await client.until_state(ONU, READY)
    assert (await client.device("BBSIM_OLT_10")).parent_id != logical_id


async def test_a_simulator_that_is_stopped_in_the_middle_leaves_no_task_behind() -> None:
    before = asyncio.all_tasks()
    async with Simulator(time_factor=1.0) as simulator, grpc.aio.insecure_channel(simulator.target) as channel:
        stub: Any = voltha_pb2_grpc.VolthaServiceStub(channel)
        made = await stub.CreateDevice(device_pb2.Device(type="openolt", host_and_port="127.0.0.1:9191"))
        await stub.EnableDevice(identity(made.id))
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.DeleteDevice(identity(made.id), timeout=0.05)
    await asyncio.sleep(0.05)
    assert asyncio.all_tasks() == before
    with pytest.raises(RuntimeError, match="make a new one"):
        await simulator.start()


async def test_an_answer_is_lost_after_its_request_was_carried_out(
    client: Any, voltha_simulator: Simulator, refused: Any
) -> None:
    voltha_simulator.faults.lose_answers("CreateDevice")
    device = device_pb2.Device(type="openolt", host_and_port=voltha_simulator.olt_addresses[0])
    assert await refused(client.voltha.CreateDevice(device)) == ("UNAVAILABLE", "error reading from server: EOF")
    (made,) = await client.devices()
    assert made.host_and_port == voltha_simulator.olt_addresses[0]


async def test_a_packet_of_a_subscriber_arrives_with_its_port(client: Any, voltha_simulator: Simulator) -> None:
    _, logical = await client.ready(voltha_simulator)
    stream = client.voltha.ReceivePacketsIn(EMPTY)
    voltha_simulator.packet_in(ONU, b"\x01\x80\xc2\x00\x00\x03")
    packet = await stream.read()
    assert (packet.id, packet.packet_in.data) == (logical, b"\x01\x80\xc2\x00\x00\x03")
    (field,) = packet.packet_in.match.oxm_fields
    assert field.ofb_field.port == 256
    stream.cancel()
    with pytest.raises(LookupError, match="has no UNI 7"):
        voltha_simulator.packet_in(ONU, b"", uni=7)


async def test_reconciling_may_fail_and_is_told(client: Any, voltha_simulator: Simulator) -> None:
    await client.ready(voltha_simulator)
    voltha_simulator.faults.reconciling_fails = True
    subscription = voltha_simulator.subscribe()
    await voltha_simulator.stop_adapter("brcm_openomci_onu")
    await voltha_simulator.start_adapter("brcm_openomci_onu")
    await subscription.wait_for("ONU_RECONCILE_FAILED", onu_serial_number=ONU)
    assert await client.state(ONU) == "ENABLED/RECONCILING_FAILED/REACHABLE reconciling-canceled"


async def test_a_stack_with_a_pace_configures_no_more_services_than_that(client: Any) -> None:
    """29 services a second one after the other, 104 to 116 with 64 at once: what was measured (section 12.7)."""
    async with Simulator(olts=1, pons=1, onus=1, pace=100.0) as paced:
        stack = paced._stack
        waits = [stack.paced(0.03) for _ in range(50)]
        assert waits[0] == pytest.approx(0.03, abs=0.001)
        assert waits[-1] == pytest.approx(0.03 + 0.49, abs=0.05)
        await asyncio.sleep(1.0)
        assert stack.paced(0.03) == pytest.approx(0.03, abs=0.001)  # idle again
    with pytest.raises(ValueError, match="pace must be 0"):
        Simulator(pace=-1)
