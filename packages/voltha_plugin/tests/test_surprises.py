"""Surprises that a real VOLTHA had in store (the recordings' numbers): the simulator has them too, and the plugin lives with them."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from google.protobuf.empty_pb2 import Empty
from voltha_protos import common_pb2, device_pb2, extensions_pb2, voltha_pb2_grpc
from voltha_protos import openflow_13_pb2 as of

from dotmac_isp.plugins.core.model import PluginContext
from dotmac_isp.plugins.network_automation.voltha_integration_plugin import (
    DeviceNotFoundError,
    RequestRefusedError,
    ServiceConfigError,
    VolthaError,
    VolthaIntegrationPlugin,
)
from dotmac_voltha_simulator import Simulator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

pytestmark = pytest.mark.skipif(
    bool(os.environ.get("VOLTHA_TEST_TARGET")), reason="restarts cores and adapters, which only the simulator lets do"
)

SERVICE = {"s_tag": 900, "bandwidth_down": 100000, "bandwidth_up": 50000}
LOGIN = [("authorization", "Basic ZGV2X3VzZXI6ZGV2X3Bhc3M=")]
OLT = "BBSIM_OLT_10"


class Asked:
    """VOLTHA as another client sees it."""

    def __init__(self, stub: Any) -> None:
        self._stub = stub

    async def call(self, rpc: str, request: Any) -> Any:
        return await getattr(self._stub, rpc)(request, metadata=LOGIN)

    async def send_packet(self, packet: Any) -> None:
        async def packets() -> AsyncIterator[Any]:
            yield packet

        await self._stub.StreamPacketsOut(packets(), metadata=LOGIN)

    async def refused(self, rpc: str, request: Any) -> tuple[str, str]:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.call(rpc, request)
        return caught.value.code().name, caught.value.details() or ""

    async def logical(self) -> Any:
        listed = await self.call("ListLogicalDevices", Empty())
        return common_pb2.ID(id=listed.items[0].id)

    async def flows(self) -> list[Any]:
        return list((await self.call("ListLogicalDeviceFlows", await self.logical())).items)

    async def device_flows(self) -> dict[str, int]:
        """How many flows the core knows on each device, by serial number."""
        found = {}
        for device in (await self.call("ListDevices", Empty())).items:
            listed = await self.call("ListDeviceFlows", common_pb2.ID(id=device.id))
            found[device.serial_number] = len(listed.items)
        return found

    async def unis(self) -> dict[str, int]:
        """The state of each UNI's logical port."""
        listed = await self.call("ListLogicalDevicePorts", await self.logical())
        return {port.ofp_port.name: port.ofp_port.state for port in listed.items if not port.root_port}

    async def device(self, serial: str) -> Any:
        devices = (await self.call("ListDevices", Empty())).items
        return next(device for device in devices if device.serial_number == serial)


@pytest.fixture
async def asked(simulator: Simulator) -> AsyncIterator[Asked]:
    async with grpc.aio.insecure_channel(simulator.target) as channel:
        yield Asked(voltha_pb2_grpc.VolthaServiceStub(channel))


async def until(look: Callable[[], Awaitable[bool]], limit: float = 20.0) -> None:
    """Until something is so; the other end is a real server."""
    end = time.monotonic() + limit
    while not await look():
        assert time.monotonic() < end, "it never came"
        await asyncio.sleep(0.02)


async def test_19_an_olt_that_no_adapter_owns_keeps_its_address_and_the_refusal_is_told(
    plugin: VolthaIntegrationPlugin, asked: Asked
) -> None:
    made = await plugin.create_olt("192.0.2.1:9191")
    update = device_pb2.UpdateDevice(id=made["device_id"], host_and_port="192.0.2.2:9191")
    assert await asked.refused("UpdateDevice", update) == ("UNKNOWN", "endpoint-cannot-be-empty")
    with pytest.raises(RequestRefusedError, match="endpoint-cannot-be-empty") as caught:
        await plugin.change_olt_address(made["device_id"], "192.0.2.2:9191")
    assert "enable it first" in (caught.value.remedy or "")
    [olt] = await plugin.discover_devices()
    assert olt["host_and_port"] == "192.0.2.1:9191"
    assert (await plugin.delete_device(made["device_id"]))["deleted"] is True


async def test_21_after_a_restart_of_the_core_ports_look_down_and_services_are_installed_all_the_same(
    plugin: VolthaIntegrationPlugin, active_olt: Any, asked: Asked
) -> None:
    simulator, logical = active_olt
    serial, other = simulator.serial_numbers[:2]
    await plugin.add_subscriber_flow(serial, "sub-1", SERVICE)
    before = await plugin.get_device_status(serial)
    await simulator.restart_core()

    assert await asked.flows() == []
    assert set((await asked.device_flows()).values()) == {0}
    assert set((await asked.unis()).values()) == {of.OFPPS_LINK_DOWN}
    assert (await asked.logical()).id == logical
    assert len((await asked.call("ListLogicalDeviceMeters", await asked.logical())).items) == 2

    now = await plugin.get_device_status(serial)
    assert before is not None
    assert now is not None
    assert (now["device_id"], now["status"]) == (before["device_id"], "active")
    assert len((await plugin.reconcile_services())["repaired"]) == 1
    assert (await plugin.add_subscriber_flow(other, "sub-2", {**SERVICE, "s_tag": 901}))["status"] == "active"
    assert len(await asked.flows()) == 8
    assert set((await asked.unis()).values()) == {of.OFPPS_LINK_DOWN}, "they stay so until an ONU is activated anew"


async def test_22_a_flow_that_a_restarted_core_has_forgotten_can_be_deleted(
    plugin: VolthaIntegrationPlugin, active_olt: Any, asked: Asked
) -> None:
    simulator, logical = active_olt
    serial = simulator.serial_numbers[0]
    await plugin.add_subscriber_flow(serial, "sub-1", SERVICE)
    [first, *_] = await asked.flows()
    await simulator.restart_core()
    mod = of.ofp_flow_mod(
        command=of.OFPFC_DELETE_STRICT, table_id=first.table_id, priority=first.priority, match=first.match
    )
    await asked.call("UpdateLogicalDeviceFlowTable", of.FlowTableUpdate(id=logical, flow_mod=mod))

    await plugin.remove_subscriber_flow(serial, "sub-1")
    assert await plugin.list_subscribers() == []
    assert (await plugin.add_subscriber_flow(serial, "sub-1", SERVICE))["status"] == "active"
    assert len(await asked.flows()) == 4


async def test_23_an_adapter_that_is_down_shows_only_in_what_fails_and_nothing_half_stays(
    plugin: VolthaIntegrationPlugin, active_olt: Any, asked: Asked
) -> None:
    simulator, _ = active_olt
    serial = simulator.serial_numbers[0]
    onu = await asked.device(serial)
    await simulator.stop_adapter("brcm_openomci_onu")

    now = await asked.device(serial)
    assert (now.oper_status, now.connect_status) == (onu.oper_status, onu.connect_status)
    listed = {adapter.type for adapter in (await asked.call("ListAdapters", Empty())).items}
    assert "brcm_openomci_onu" in listed
    code, words = await asked.refused("DisableDevice", common_pb2.ID(id=onu.id))
    assert (code, words.partition(" to ")[0]) == ("UNKNOWN", "no connection")
    with pytest.raises(VolthaError):
        await plugin.add_subscriber_flow(serial, "sub-1", SERVICE, PluginContext.within(20))
    assert await plugin.list_subscribers() == []

    await simulator.start_adapter("brcm_openomci_onu")
    await plugin.provision_onu(OLT, None, None, serial)
    await plugin.reconcile_services(remove_orphans=True)
    assert await asked.flows() == []
    assert (await plugin.add_subscriber_flow(serial, "sub-1", SERVICE))["status"] == "active"
    assert len(await asked.flows()) == 4


async def test_an_onu_that_was_just_rebooted_is_deleted_when_it_is_back(
    plugin: VolthaIntegrationPlugin, active_olt: Any
) -> None:
    simulator, _ = active_olt
    serial = simulator.serial_numbers[0]
    await plugin.reboot_device(serial, wait=False)
    assert (await plugin.delete_device(serial, context=PluginContext.within(30)))["deleted"] is True


async def test_offloading_is_taken_by_an_olt_and_nothing_unknown_is_sent(
    plugin: VolthaIntegrationPlugin, active_olt: Any
) -> None:
    simulator, _ = active_olt
    taken = await plugin.set_offload(OLT, {"dhcpv4": True, "access_node_id": "north-1"})
    assert (taken["enableDHCPv4RA"], taken["enableDHCPv6RA"], taken["accessNodeID"]) == (True, False, "north-1")
    for apps in ({"smtp": True}, {}):
        with pytest.raises(ServiceConfigError):
            await plugin.set_offload(OLT, apps)
    with pytest.raises(DeviceNotFoundError, match="OLT"):
        await plugin.set_offload(simulator.serial_numbers[0], {"dhcpv4": True})
    serial = simulator.serial_numbers[0]
    told = await plugin.set_onu_offload(serial, 1, circuit_id="north-1/1", remote_id="sub-1")
    assert (told["uni"], told["circuit_id"], told["remote_id"]) == (1, "north-1/1", "sub-1")
    with pytest.raises(ServiceConfigError, match="user port 0"):
        await plugin.set_onu_offload(serial, 0)


@pytest.mark.parametrize("adapter", ["openolt", "brcm_openomci_onu"])
async def test_24_a_clean_restart_of_an_adapter_keeps_all_services(
    plugin: VolthaIntegrationPlugin, active_olt: Any, asked: Asked, adapter: str
) -> None:
    simulator, _ = active_olt
    serial, other = simulator.serial_numbers[:2]
    await plugin.add_subscriber_flow(serial, "sub-1", SERVICE)
    before = await asked.device_flows()
    await simulator.stop_adapter(adapter)
    await simulator.start_adapter(adapter)
    restarted = OLT if adapter == "openolt" else serial
    seen = [event.message.device_event.context for event in simulator.events]
    assert "RECONCILING" in [each["oper-state"] for each in seen if each.get("serial-number") == restarted]

    async def back() -> bool:
        return bool((await asked.device(restarted)).oper_status == common_pb2.OperStatus.ACTIVE)

    await until(back)
    assert await asked.device_flows() == before
    assert (await plugin.plan_services())["steps"] == []
    assert (await plugin.add_subscriber_flow(other, "sub-2", {**SERVICE, "s_tag": 901}))["status"] == "active"


async def test_24_onus_that_their_adapter_gave_up_are_named_and_come_back_with_their_olt(
    plugin: VolthaIntegrationPlugin, active_olt: Any
) -> None:
    simulator, _ = active_olt
    serial = simulator.serial_numbers[0]
    await plugin.add_subscriber_flow(serial, "sub-1", SERVICE)
    simulator.faults.reconciling_fails = True
    await simulator.stop_adapter("brcm_openomci_onu")
    await simulator.start_adapter("brcm_openomci_onu")

    async def given_up() -> bool:
        status = await plugin.get_device_status(serial)
        return status is not None and (status["oper_status"], status["reason"]) == (
            "RECONCILING_FAILED",
            "reconciling-canceled",
        )

    await until(given_up)
    assert (await plugin.diagnose("sub-1"))["finding"] == "onu_stuck"

    simulator.faults.reconciling_fails = False
    await plugin.reboot_device(OLT, context=PluginContext.within(60))
    await plugin.provision_onu(OLT, None, None, serial, context=PluginContext.within(60))
    await plugin.reconcile_services()
    assert (await plugin.plan_services())["steps"] == []


async def test_27_an_olt_that_reboots_takes_its_onus_along_at_once_and_is_followed_to_its_end(
    plugin: VolthaIntegrationPlugin, active_olt: Any
) -> None:
    simulator, logical = active_olt
    start = len(simulator.events)
    back = await plugin.reboot_device(OLT, context=PluginContext.within(60))
    assert (back["status"], back["logical_device_id"] != logical) == ("active", True)
    told = [event.message.device_event for event in simulator.events[start:]]
    states = [event.context for event in told if "DEVICE_STATE_CHANGE" in event.device_event_name]
    assert states[0]["connect-state"] == "UNREACHABLE"
    assert states[0]["serial-number"] != OLT, "the ONUs are the first to go"
    olt = [(each["oper-state"], each["connect-state"]) for each in states if each["serial-number"] == OLT]
    assert olt == [
        ("UNKNOWN", "UNREACHABLE"),
        ("REBOOTED", "REACHABLE"),
        ("UNKNOWN", "UNREACHABLE"),
        ("ACTIVE", "REACHABLE"),
    ]
    lost = [event.device_event_name for event in told if "OLT_COMMUNICATION_FAILURE" in event.device_event_name]
    assert [name.removeprefix("OLT_COMMUNICATION_FAILURE_") for name in lost] == [
        "RAISE_EVENT",
        "RAISE_EVENT",
        "CLEAR_EVENT",
    ]


async def test_34_the_older_call_for_values_has_none_and_the_plugin_has_them_all_the_same(
    plugin: VolthaIntegrationPlugin, active_olt: Any, asked: Asked
) -> None:
    simulator, _ = active_olt
    serial = simulator.serial_numbers[0]
    onu, olt = await asked.device(serial), await asked.device(OLT)
    kind = extensions_pb2.ValueType.DISTANCE
    answer = await asked.call("GetExtValue", extensions_pb2.ValueSpecifier(id=onu.id, value=kind))
    assert (answer.Unsupported, answer.Distance, answer.Set) == (kind, 0, 0)
    code, _ = await asked.refused("GetExtValue", extensions_pb2.ValueSpecifier(id=olt.id, value=kind))
    assert code == "ABORTED"
    optical = await plugin.get_value(serial, "onu_pon_optical_info")
    assert optical["samples"]


async def test_41_an_image_of_the_older_calls_looks_loaded_and_is_not_activated(
    plugin: VolthaIntegrationPlugin, active_olt: Any, asked: Asked
) -> None:
    simulator, _ = active_olt
    serial = simulator.serial_numbers[0]
    onu = await asked.device(serial)
    image = device_pb2.ImageDownload(id=onu.id, name="small.img", url="http://127.0.0.1:9", image_version="L1")
    await asked.call("DownloadImage", image)
    assert await asked.refused("GetImageDownloadStatus", image) == ("UNKNOWN", "unImplemented")
    done = device_pb2.ImageDownload.DOWNLOAD_SUCCEEDED
    assert (await asked.call("GetImageDownload", image)).download_state == done
    with pytest.raises(RequestRefusedError):
        await plugin.activate_image(serial, "L1", context=PluginContext.within(20))
    after = await asked.device(serial)
    assert (after.oper_status, after.reason) == (onu.oper_status, onu.reason), "it was not restarted"


async def test_42_a_packet_that_no_port_takes_is_well_received_and_only_told_on_the_bus(
    plugin: VolthaIntegrationPlugin, active_olt: Any, asked: Asked
) -> None:
    simulator, logical = active_olt
    subscription = simulator.subscribe()
    await asked.send_packet(of.PacketOut(id=logical, packet_out=of.ofp_packet_out(data=b"\0" * 64)))
    await subscription.wait_for("StreamPacketsOut")
    subscription.close()
    assert (await plugin.health_check()).details["state"] == "ready"


async def test_43_of_four_unis_one_gets_a_service_and_the_others_are_taken_back_as_a_whole(
    make_host: Any,
) -> None:
    async with Simulator(
        olts=1, pons=1, onus=1, unis=4, time_factor=0.05, username="dev_user", password="dev_pass"
    ) as simulator:
        serial = simulator.serial_numbers[0]
        plugin = VolthaIntegrationPlugin(make_host(_Place(simulator)))
        await plugin.activate()
        async with grpc.aio.insecure_channel(simulator.target) as channel:
            asked = Asked(voltha_pb2_grpc.VolthaServiceStub(channel))
            await plugin.provision_olt(simulator.olt_addresses[0])
            await plugin.provision_onu(OLT, None, None, serial)

            async def first_is_live() -> bool:
                return sorted((await asked.unis()).values()) == [1, 1, 1, 4]

            await until(first_is_live)
            assert (await plugin.add_subscriber_flow(serial, "sub-1", SERVICE))["status"] == "active"
            with pytest.raises(VolthaError):
                await plugin.add_subscriber_flow(
                    serial, "sub-2", {**SERVICE, "s_tag": 901, "uni": 2}, PluginContext.within(20)
                )
            assert [each["subscriber_id"] for each in await plugin.list_subscribers()] == ["sub-1"]
            assert len(await asked.flows()) == 4
        await plugin.deactivate()


class _Place:
    def __init__(self, simulator: Simulator) -> None:
        self.host, _, port = simulator.target.rpartition(":")
        self.port = int(port)
