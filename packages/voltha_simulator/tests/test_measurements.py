"""KPI events and counters, as recorded (files 08 and 09; surprises 33 and 35)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import json_format
from voltha_protos import common_pb2, extensions_pb2

if TYPE_CHECKING:
    from dotmac_voltha_simulator import Simulator

pytestmark = pytest.mark.voltha_simulator(olts=1, pons=2, onus=1, time_factor=0.01)
FIRST, OTHER = "BBSM000a0001", "BBSM000a0101"


async def switched_on(client: Any, device_id: str, *groups: str, seconds: int) -> Any:
    """Read, change as a whole, send: the way that a client has to go (surprise 32)."""
    configs = await client.voltha.ListDevicePmConfigs(common_pb2.ID(id=device_id))
    for group in configs.groups:
        if group.group_name in groups:
            group.enabled, group.group_freq = True, seconds
    if not groups:
        configs.default_freq = seconds
    await client.voltha.UpdateDevicePmConfigs(configs)
    return configs


def slices(event: Any) -> list[dict[str, Any]]:
    body = json_format.MessageToDict(event.message.kpi_event2, preserving_proto_field_name=True)
    return list(body["slice_data"])


async def kpi(subscription: Any, title: str) -> Any:
    """The next event with this title."""
    while True:
        event = await subscription.get()
        if event.name == "kpi_event2" and slices(event)[0]["metadata"]["title"] == title:
            return event


async def test_an_onu_publishes_the_groups_that_were_switched_on(client: Any, voltha_simulator: Simulator) -> None:
    await client.ready(voltha_simulator)
    onu = await client.device(FIRST)
    subscription = voltha_simulator.subscribe()
    await switched_on(client, onu.id, "PON_Optical", "UNI_Status", seconds=10)
    event = await kpi(subscription, "PON_Optical")
    header = event.message.header
    assert header.id.startswith("Voltha.openolt.STATS.")
    assert event.key == str(header.raised_ts.seconds)
    (optical,) = slices(event)
    metadata = optical["metadata"]
    assert metadata["logical_device_id"] == metadata["device_id"] == onu.id  # as the adapter has it
    assert metadata["context"] == {"devicetype": "brcm_openomci_onu", "intfID": "0", "onuID": "1"}
    assert set(optical["metrics"]) == {"ani_g_instance_id", "transmit_power_dBm", "receive_power_dBm"}
    status = slices(await kpi(subscription, "UNI_Status"))
    assert [one["metrics"]["me_class_id"] for one in status] == [264.0, 11.0]
    await client.voltha.DisableDevice(common_pb2.ID(id=onu.id))
    await kpi(subscription, "PON_Optical")  # goes on while the ONU is disabled


async def test_an_olt_publishes_its_ports_and_an_nni_without_any_metric(
    client: Any, voltha_simulator: Simulator
) -> None:
    olt, _ = await client.ready(voltha_simulator)
    subscription = voltha_simulator.subscribe()
    await switched_on(client, olt, seconds=10)
    (nni,) = slices(await kpi(subscription, "NNIStats"))
    assert "metrics" not in nni
    seen = [slices(await kpi(subscription, "PONStats"))[0] for _ in range(4)]
    ports: dict[str, list[float]] = {}
    for one in seen:
        ports.setdefault(one["metadata"]["context"]["portlabel"], []).append(one["metrics"]["RxPackets"])
    assert set(ports) == {"pon-0", "pon-1"}
    assert all(first < second for first, second in ports.values())


@pytest.mark.parametrize(
    ("target", "request_", "expected"),
    [
        ("onu", {"onuInfo": {}}, ("OK", {"onuCounters"})),
        ("onu", {"onuInfo": {"uniIndex": 5}}, "INVALID_REQ_TYPE"),
        ("olt", {"onuInfo": {}}, "UNSUPPORTED"),
        ("onu", {"onuOmciStats": {"empty": {}}}, ("OK", {"onuOmciStats"})),
        ("onu", {"fecHistory": {"empty": {}}}, ("OK", {"fecHistory"})),
        ("onu", {"onuAllocGemStats": {"empty": {}}}, ("OK", {"onuAllocGemStatsResponse"})),
        ("olt", {"onuPonInfo": {"onu_id": 1}}, ("OK", {"onuPonCounters"})),
        ("olt", {"onuPonInfo": {"intf_id": 9, "onu_id": 9}}, "INVALID_DEVICE"),
        ("onu", {"onuStatsFromOlt": {"onuId": 1}}, ("OK", {"onuStatsFromOltResponse"})),
        ("olt", {"offloadedAppsStats": {}}, ("OK", {"offloadedAppsStats"})),
        ("olt", {"subAppsStats": {}}, "INVALID_DEVICE_ID"),
        ("olt", {"ethBridgePort": {}}, "UNSUPPORTED"),
    ],
)
async def test_counters_are_answered_as_recorded(
    client: Any, voltha_simulator: Simulator, target: str, request_: dict[str, Any], expected: Any
) -> None:
    olt, _ = await client.ready(voltha_simulator)
    asked = {"targetId": olt if target == "olt" else (await client.device(FIRST)).id, "request": request_}
    answer = await client.extension.GetExtValue(json_format.ParseDict(asked, extensions_pb2.SingleGetValueRequest()))
    body = json_format.MessageToDict(answer, preserving_proto_field_name=True)["response"]
    if isinstance(expected, str):
        assert (body["status"], body["errReason"]) == ("ERROR", expected)
    else:
        assert (body["status"], set(body) - {"status", "errReason"}) == expected


async def test_a_reset_leaves_zeros_and_an_onu_that_is_off_answers_what_its_adapter_knows(
    client: Any, voltha_simulator: Simulator
) -> None:
    await client.ready(voltha_simulator)
    onu = (await client.device(OTHER)).id

    async def ask(**body: Any) -> Any:
        request = json_format.ParseDict({"targetId": onu, "request": body}, extensions_pb2.SingleGetValueRequest())
        return (await client.extension.GetExtValue(request)).response

    assert (await ask(onuInfo={})).onuCounters.upstream.octets == 101
    assert (await ask(onuInfo={"reset": True})).onuCounters.upstream.octets == 0
    await voltha_simulator.power_off(OTHER)
    assert (await ask(onuOmciStats={"empty": {}})).status == extensions_pb2.GetValueResponse.OK
    assert (await ask(onuInfo={})).errReason == extensions_pb2.GetValueResponse.TIMEOUT
