"""Subscriber services against a running VOLTHA: brought up, seen on the devices, changed, shared, repaired, taken back, removed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from voltha_protos import common_pb2, voltha_pb2_grpc
from voltha_protos import openflow_13_pb2 as of

from dotmac_isp.plugins.core.model import PluginContext
from dotmac_isp.plugins.network_automation.voltha_integration_plugin import (
    DeviceNotFoundError,
    NoRouteError,
    RequestRefusedError,
    ServiceConfigError,
    ServiceConflictError,
    StateTimeoutError,
    VolthaError,
    VolthaIntegrationPlugin,
)

if TYPE_CHECKING:
    from collections.abc import Callable

SERVICE = {"s_tag": 900, "bandwidth_down": 100000, "bandwidth_up": 50000}
LOGIN = [("authorization", "Basic ZGV2X3VzZXI6ZGV2X3Bhc3M=")]


class Witness:
    """Looks at VOLTHA beside the plugin."""

    def __init__(self, stub: Any, logical: str, simulator: Any) -> None:
        self.stub = stub
        self.logical = common_pb2.ID(id=logical)
        self.simulator = simulator
        self.serials = simulator.serial_numbers[:4]

    async def flows(self) -> list[Any]:
        return list((await self.stub.ListLogicalDeviceFlows(self.logical, metadata=LOGIN)).items)

    async def until_flows(self) -> None:
        for _ in range(1000):
            if await self.flows():
                return
        raise AssertionError("no flow came")

    async def meters(self) -> list[int]:
        listed = await self.stub.ListLogicalDeviceMeters(self.logical, metadata=LOGIN)
        return sorted(item.config.meter_id for item in listed.items)

    async def device_flows(self) -> int:
        devices = (await self.stub.ListDevices(Empty(), metadata=LOGIN)).items
        lists = [await self.stub.ListDeviceFlows(common_pb2.ID(id=device.id), metadata=LOGIN) for device in devices]
        return sum(len(each.items) for each in lists)

    async def send(self, mod: Any) -> None:
        update = of.FlowTableUpdate(id=self.logical.id, flow_mod=mod)
        await self.stub.UpdateLogicalDeviceFlowTable(update, metadata=LOGIN)


@pytest.fixture
async def witness(active_olt: tuple[Any, str]) -> Any:
    simulator, logical = active_olt
    async with grpc.aio.insecure_channel(simulator.target) as channel:
        yield Witness(voltha_pb2_grpc.VolthaServiceStub(channel), logical, simulator)


async def test_a_service_is_installed_seen_and_remembered(plugin: VolthaIntegrationPlugin, witness: Witness) -> None:
    serial = witness.serials[0]
    made = await plugin.add_subscriber_flow(serial, "sub-1", SERVICE)
    assert (made["created"], made["status"], made["uni_port"]) == (True, "active", 256)
    listed = await witness.flows()
    assert sorted(str(flow.id) for flow in listed) == sorted(flow["id"] for flow in made["flows"])
    assert await witness.device_flows() == 4
    assert await witness.meters() == sorted(meter["id"] for meter in made["meters"])
    assert min(await witness.meters()) >= 0x10000
    status = await plugin.get_device_status(serial)
    assert status is not None
    assert (status["reason"], status["subscribers"]) == ("omci-flows-pushed", ["sub-1"])
    [remembered] = await plugin.list_subscribers()
    assert remembered["service"] == {
        "s_tag": 900,
        "technology_profile": 64,
        "uni": 1,
        "upstream": {"eir": 50000},
        "downstream": {"eir": 100000},
    }
    assert witness.simulator.refused_crashes == 0


async def test_asking_twice_adds_nothing(plugin: VolthaIntegrationPlugin, witness: Witness) -> None:
    first = await plugin.add_subscriber_flow(witness.serials[0], "sub-1", SERVICE)
    before = [flow.SerializeToString() for flow in await witness.flows()]
    again = await plugin.add_subscriber_flow(first["device_id"], "sub-1", SERVICE)
    assert not again["created"]
    assert again["flows"] == first["flows"]
    assert [flow.SerializeToString() for flow in await witness.flows()] == before
    assert len(await plugin.list_subscribers()) == 1


async def test_asking_twice_at_once_is_asking_once(plugin: VolthaIntegrationPlugin, witness: Witness) -> None:
    results = await asyncio.gather(
        *(plugin.add_subscriber_flow(witness.serials[0], "sub-1", SERVICE) for _ in range(3))
    )
    assert sorted(each["created"] for each in results) == [False, False, True]
    assert len(await witness.flows()) == 4


async def test_removal_takes_away_just_what_was_installed(plugin: VolthaIntegrationPlugin, witness: Witness) -> None:
    for index, serial in enumerate(witness.serials[:2]):
        await plugin.add_subscriber_flow(serial, f"sub-{index}", {**SERVICE, "s_tag": 900 + index})
    meters = await witness.meters()
    assert len(meters) == 2, "equal bands share a meter"
    removed = await plugin.remove_subscriber_flow(witness.serials[0], "sub-0")
    assert removed == {"subscriber_id": "sub-0", "removed": True, "services": 1, "flows": 4, "meters": 0}
    assert await witness.meters() == meters, "another subscriber uses them"
    assert len(await witness.flows()) == 4
    assert await witness.device_flows() == 4
    last = await plugin.remove_subscriber_flow(witness.serials[1], "sub-1")
    assert (last["flows"], last["meters"]) == (4, 2)
    assert (await witness.flows(), await witness.meters(), await witness.device_flows()) == ([], [], 0)
    assert await plugin.list_subscribers() == []


async def test_removing_what_is_not_there_is_no_error(plugin: VolthaIntegrationPlugin, witness: Witness) -> None:
    assert (await plugin.remove_subscriber_flow(witness.serials[0], "nobody"))["removed"] is False
    await plugin.add_subscriber_flow(witness.serials[0], "sub-1", SERVICE)
    assert (await plugin.remove_subscriber_flow(witness.serials[1], "sub-1"))["removed"] is False
    with pytest.raises(DeviceNotFoundError, match=witness.serials[0]):
        await plugin.remove_subscriber_flow("NOSUCH", "sub-1")
    assert len(await witness.flows()) == 4


async def test_other_values_replace_the_service(plugin: VolthaIntegrationPlugin, witness: Witness) -> None:
    first = await plugin.add_subscriber_flow(witness.serials[0], "sub-1", SERVICE)
    for change in ({"bandwidth_down": 200000}, {"s_tag": 901}, {"technology_profile": 65}):
        made = await plugin.add_subscriber_flow(witness.serials[0], "sub-1", {**SERVICE, **change})
        assert made["created"]
    assert len(await witness.flows()) == 4
    assert await witness.device_flows() == 4
    assert await witness.meters() == sorted(meter["id"] for meter in made["meters"])
    assert made["meters"] == first["meters"]
    [remembered] = await plugin.list_subscribers()
    assert remembered["service"]["technology_profile"] == 65


async def test_a_tag_that_another_subscriber_has_is_refused(plugin: VolthaIntegrationPlugin, witness: Witness) -> None:
    await plugin.add_subscriber_flow(witness.serials[0], "sub-1", SERVICE)
    with pytest.raises(ServiceConflictError, match=r"'sub-1'.*tag 900"):
        await plugin.add_subscriber_flow(witness.serials[1], "sub-2", SERVICE)
    with pytest.raises(ServiceConflictError, match="'sub-1'"):
        await plugin.add_subscriber_flow(witness.serials[0], "sub-2", {**SERVICE, "s_tag": 901})
    assert len(await witness.flows()) == 4
    assert len(await plugin.list_subscribers()) == 1


async def test_of_two_that_want_one_tag_at_once_one_gets_it(plugin: VolthaIntegrationPlugin, witness: Witness) -> None:
    results = await asyncio.gather(
        *(plugin.add_subscriber_flow(serial, f"sub-{serial}", SERVICE) for serial in witness.serials),
        return_exceptions=True,
    )
    assert [type(each) for each in results].count(dict) == 1
    assert [type(each) for each in results].count(ServiceConflictError) == 3
    assert len(await witness.flows()) == 4


async def test_a_flow_of_somebody_else_is_not_overwritten(plugin: VolthaIntegrationPlugin, witness: Witness) -> None:
    made = await plugin.add_subscriber_flow(witness.serials[0], "sub-1", SERVICE)
    foreign = next(
        flow for flow in await witness.flows() if flow.table_id == 0 and flow.match.oxm_fields[0].ofb_field.port != 256
    )
    await plugin.remove_subscriber_flow(witness.serials[0], "sub-1")
    await witness.stub.UpdateLogicalDeviceMeterTable(
        of.MeterModUpdate(
            id=witness.logical.id,
            meter_mod=of.ofp_meter_mod(
                flags=5, meter_id=1, bands=[of.ofp_meter_band_header(type=of.OFPMBT_DROP, rate=9, burst_size=9)]
            ),
        ),
        metadata=LOGIN,
    )
    for step in foreign.instructions:
        if step.type == of.OFPIT_METER:
            step.meter.meter_id = 1
    await witness.send(
        of.ofp_flow_mod(cookie=4711, priority=foreign.priority, match=foreign.match, instructions=foreign.instructions)
    )
    with pytest.raises(ServiceConflictError, match="0x1267"):
        await plugin.add_subscriber_flow(witness.serials[0], "sub-1", SERVICE)
    assert [flow.cookie for flow in await witness.flows()] == [4711]
    assert await witness.meters() == [1]
    assert made["created"]


async def test_a_service_that_an_adapter_refuses_is_rolled_back(
    plugin: VolthaIntegrationPlugin, witness: Witness
) -> None:
    witness.simulator.faults.adapters_down.add("brcm_openomci_onu")
    with pytest.raises(VolthaError):
        await plugin.add_subscriber_flow(witness.serials[0], "sub-1", SERVICE, context=PluginContext.within(3))
    witness.simulator.faults.adapters_down.clear()
    assert await plugin.list_subscribers() == []
    assert (await witness.flows(), await witness.meters()) == ([], [])
    assert (await plugin.add_subscriber_flow(witness.serials[0], "sub-1", SERVICE))["created"]


async def test_a_change_that_is_refused_leaves_the_service_as_it_was(
    plugin: VolthaIntegrationPlugin, witness: Witness
) -> None:
    before = await plugin.add_subscriber_flow(witness.serials[0], "sub-1", SERVICE)
    await plugin.add_subscriber_flow(witness.serials[1], "sub-2", {**SERVICE, "s_tag": 950})
    with pytest.raises(ServiceConflictError):
        await plugin.add_subscriber_flow(witness.serials[0], "sub-1", {**SERVICE, "s_tag": 950})
    [after] = await plugin.list_subscribers(witness.serials[0])
    assert after["flows"] == before["flows"]
    assert len(await witness.flows()) == 8


async def test_a_cancelled_call_leaves_nothing_behind(plugin: VolthaIntegrationPlugin, witness: Witness) -> None:
    call = asyncio.create_task(plugin.add_subscriber_flow(witness.serials[0], "sub-1", SERVICE))
    await witness.until_flows()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (await witness.flows(), await witness.meters(), await witness.device_flows()) == ([], [], 0)
    assert await plugin.list_subscribers() == []


async def test_what_an_onu_lost_in_a_power_cycle_is_installed_again(
    plugin: VolthaIntegrationPlugin, witness: Witness
) -> None:
    serial = witness.serials[0]
    first = await plugin.add_subscriber_flow(serial, "sub-1", SERVICE)
    await witness.simulator.flap(serial)
    await plugin.provision_onu("BBSIM_OLT_10", None, None, serial)
    status = await plugin.get_device_status(serial)
    assert status is not None
    assert status["flows_lost"]
    again = await plugin.add_subscriber_flow(serial, "sub-1", SERVICE)
    assert again["created"]
    assert again["flows"] == first["flows"]
    status = await plugin.get_device_status(serial)
    assert status is not None
    assert (status["reason"], status["flows_lost"]) == ("omci-flows-pushed", False)
    assert len(await witness.flows()) == 4


async def test_a_disabled_onu_gets_no_service(plugin: VolthaIntegrationPlugin, witness: Witness) -> None:
    assert await plugin.configure_device(witness.serials[0], {"enabled": False})
    with pytest.raises(RequestRefusedError, match="is disabled"):
        await plugin.add_subscriber_flow(witness.serials[0], "sub-1", SERVICE)
    assert await witness.flows() == []


async def test_an_onu_without_power_says_what_hangs(plugin: VolthaIntegrationPlugin, witness: Witness) -> None:
    await witness.simulator.power_off(witness.serials[0])
    with pytest.raises(StateTimeoutError, match="UNREACHABLE"):
        await plugin.add_subscriber_flow(witness.serials[0], "sub-1", SERVICE, context=PluginContext.within(1))
    assert await plugin.list_subscribers() == []


@pytest.mark.parametrize(
    ("device", "subscriber", "config", "error"),
    [
        ("NOSUCH", "s", SERVICE, DeviceNotFoundError),
        ("BBSIM_OLT_10", "s", SERVICE, DeviceNotFoundError),
        ("BBSM000a0001", "", SERVICE, VolthaError),
        ("BBSM000a0001", "a\nb", SERVICE, VolthaError),
        ("BBSM000a0001", "s" * 257, SERVICE, VolthaError),
        ("BBSM000a0001", "s", {"s_tag": 0}, ServiceConfigError),
        ("BBSM000a0001", "s", {**SERVICE, "uni": 5}, NoRouteError),
    ],
)
async def test_a_wrong_request_changes_nothing(
    plugin: VolthaIntegrationPlugin,
    witness: Witness,
    device: str,
    subscriber: str,
    config: dict[str, Any],
    error: type[Exception],
) -> None:
    with pytest.raises(error):
        await plugin.add_subscriber_flow(device, subscriber, config)
    assert (await witness.flows(), await witness.meters()) == ([], [])


async def test_a_host_that_restarts_still_knows_its_subscribers(
    plugin: VolthaIntegrationPlugin, witness: Witness, make_host: Callable[..., Any], target: Any
) -> None:
    await plugin.add_subscriber_flow(witness.serials[0], "sub-1", SERVICE)
    await plugin.deactivate()
    second = VolthaIntegrationPlugin(make_host(target))
    await second.activate()
    try:
        assert [each["subscriber_id"] for each in await second.list_subscribers()] == ["sub-1"]
        with pytest.raises(ServiceConflictError):
            await second.add_subscriber_flow(witness.serials[1], "sub-2", SERVICE)
        assert not (await second.add_subscriber_flow(witness.serials[0], "sub-1", SERVICE))["created"]
        assert (await second.remove_subscriber_flow(witness.serials[0], "sub-1"))["meters"] == 2
        assert await witness.meters() == []
    finally:
        await second.deactivate()


async def test_tenants_on_one_olt_do_not_see_or_harm_each_other(
    plugin: VolthaIntegrationPlugin, witness: Witness, make_host: Callable[..., Any], target: Any
) -> None:
    other = VolthaIntegrationPlugin(make_host(target, tenant="tenant_2"))
    await other.activate()
    try:
        await plugin.add_subscriber_flow(witness.serials[0], "sub-1", SERVICE)
        await other.add_subscriber_flow(witness.serials[1], "sub-1", {**SERVICE, "s_tag": 901})
        with pytest.raises(ServiceConflictError, match="cookie"):
            await other.add_subscriber_flow(witness.serials[1], "sub-1", SERVICE)
        assert [each["serial_number"] for each in await other.list_subscribers()] == [witness.serials[1]]
        await plugin.remove_subscriber_flow(witness.serials[0], "sub-1")
        assert len(await witness.flows()) == 4
        assert len(await witness.meters()) == 2
    finally:
        await other.deactivate()


async def test_flows_that_the_core_forgot_are_added_again(plugin: VolthaIntegrationPlugin, witness: Witness) -> None:
    made = await plugin.add_subscriber_flow(witness.serials[0], "sub-1", SERVICE)
    for flow in await witness.flows():
        await witness.send(
            of.ofp_flow_mod(
                command=of.OFPFC_DELETE_STRICT, table_id=flow.table_id, priority=flow.priority, match=flow.match
            )
        )
    assert await witness.flows() == []
    again = await plugin.add_subscriber_flow(witness.serials[0], "sub-1", SERVICE)
    assert again["created"]
    assert again["flows"] == made["flows"]
    assert len(await witness.flows()) == 4


async def test_many_subscribers_at_once_all_get_their_service(
    plugin: VolthaIntegrationPlugin, witness: Witness
) -> None:
    results = await asyncio.gather(
        *(
            plugin.add_subscriber_flow(serial, f"sub-{index}", {**SERVICE, "s_tag": 900 + index})
            for index, serial in enumerate(witness.serials)
        )
    )
    assert all(each["created"] for each in results)
    assert len(await witness.flows()) == 16
    assert len(await witness.meters()) == 2
    await asyncio.gather(
        *(plugin.remove_subscriber_flow(serial, f"sub-{index}") for index, serial in enumerate(witness.serials))
    )
    assert (await witness.flows(), await witness.meters(), await witness.device_flows()) == ([], [], 0)
