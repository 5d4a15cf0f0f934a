"""Desired state: what is stored is brought back into VOLTHA after whatever happened, once, by one host; `plan` only says so."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from voltha_protos import common_pb2, voltha_pb2_grpc
from voltha_protos import openflow_13_pb2 as of

from dotmac_isp.plugins.core.model import PluginContext
from dotmac_isp.plugins.network_automation.voltha_integration_plugin import (
    ServiceBusyError,
    ServiceConfigError,
    ServiceConflictError,
    VolthaIntegrationPlugin,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

SPEED = {"bandwidth_down": 100000, "bandwidth_up": 50000}
SERVICE = {"s_tag": 900, **SPEED}
ATT = {"workflow": "att", "c_tag": 901, "s_tag": 900, **SPEED}
LOGIN = [("authorization", "Basic ZGV2X3VzZXI6ZGV2X3Bhc3M=")]


class Beside:
    """Somebody else who looks at VOLTHA, and meddles."""

    def __init__(self, stub: Any) -> None:
        self._stub = stub

    async def call(self, rpc: str, request: Any) -> Any:
        return await getattr(self._stub, rpc)(request, metadata=LOGIN)

    async def logical(self) -> str:
        listed = await self.call("ListLogicalDevices", Empty())
        return str(listed.items[0].id)

    async def flows(self) -> list[Any]:
        return list((await self.call("ListLogicalDeviceFlows", common_pb2.ID(id=await self.logical()))).items)

    async def meters(self) -> int:
        return len((await self.call("ListLogicalDeviceMeters", common_pb2.ID(id=await self.logical()))).items)

    async def on_devices(self) -> int:
        devices = (await self.call("ListDevices", Empty())).items
        lists = [await self.call("ListDeviceFlows", common_pb2.ID(id=device.id)) for device in devices]
        return sum(len(each.items) for each in lists)

    async def delete(self, flow: Any) -> None:
        mod = of.ofp_flow_mod(
            command=of.OFPFC_DELETE_STRICT, table_id=flow.table_id, priority=flow.priority, match=flow.match
        )
        update = of.FlowTableUpdate(id=await self.logical(), flow_mod=mod)
        await self.call("UpdateLogicalDeviceFlowTable", update)


@pytest.fixture
async def beside(active_olt: tuple[Any, str]) -> AsyncIterator[Beside]:
    simulator, _ = active_olt
    async with grpc.aio.insecure_channel(simulator.target) as channel:
        yield Beside(voltha_pb2_grpc.VolthaServiceStub(channel))


async def until(look: Callable[[], Any], limit: float = 20.0) -> None:
    """Until something is so; the other end is the real plugin."""
    end = time.monotonic() + limit
    while not await look():
        assert time.monotonic() < end, "it never came"
        await asyncio.sleep(0.05)


async def steps(plugin: VolthaIntegrationPlugin) -> list[tuple[str, str]]:
    plan = await plugin.plan_services()
    return [(step["subscriber_id"], step["action"]) for step in plan["steps"]]


async def test_what_is_in_order_needs_nothing(plugin: VolthaIntegrationPlugin, beside: Beside, simulator: Any) -> None:
    await plugin.add_subscriber_flow(simulator.serial_numbers[0], "sub-1", SERVICE)
    await plugin.add_subscriber_flow(simulator.serial_numbers[1], "sub-2", ATT)
    before = [flow.SerializeToString() for flow in await beside.flows()]
    plan = await plugin.plan_services()
    assert (plan["checked"], plan["in_order"], plan["steps"], plan["orphans"], plan["foreign"]) == (2, 2, [], [], {})
    report = await plugin.reconcile_services()
    assert (report["repaired"], report["failed"]) == ([], [])
    assert [flow.SerializeToString() for flow in await beside.flows()] == before


async def test_a_plan_says_what_is_missing_and_changes_nothing_and_a_repair_brings_it_back(
    plugin: VolthaIntegrationPlugin, beside: Beside, simulator: Any, host: Any
) -> None:
    await plugin.add_subscriber_flow(simulator.serial_numbers[1], "sub-2", ATT)
    gone = (await beside.flows())[0]
    await beside.delete(gone)
    plan = await plugin.plan_services()
    [step] = plan["steps"]
    assert (step["action"], step["subscriber_id"]) == ("add", "sub-2")
    assert "1 of its 6 flows" in step["reason"]
    assert len(await beside.flows()) == 5, "a plan only looks"
    report = await plugin.reconcile_services(simulator.serial_numbers[1])
    assert [each["subscriber_id"] for each in report["repaired"]] == ["sub-2"]
    assert len(await beside.flows()) == 6
    assert await steps(plugin) == []
    await host.hooks.wait_for("subscriber_service_repaired")


async def test_a_service_comes_back_after_the_power_cycle_of_its_onu(
    plugin: VolthaIntegrationPlugin, beside: Beside, simulator: Any
) -> None:
    serial = simulator.serial_numbers[0]
    await plugin.add_subscriber_flow(serial, "sub-1", ATT)
    await simulator.power_off(serial)
    assert await steps(plugin) == [("sub-1", "wait")]
    await simulator.power_on(serial)
    await plugin.provision_onu("BBSIM_OLT_10", None, None, serial)
    status = await plugin.get_device_status(serial)
    assert status is not None
    assert (status["reason"], len(await beside.flows())) == ("initial-mib-downloaded", 6), "the core thinks all is well"
    assert await steps(plugin) == [("sub-1", "reinstall")]
    await plugin.reconcile_services()
    status = await plugin.get_device_status(serial)
    assert status is not None
    assert (status["reason"], len(await beside.flows())) == ("omci-flows-pushed", 6)
    assert await steps(plugin) == []


async def test_everything_comes_back_after_a_restart_of_the_core(
    plugin: VolthaIntegrationPlugin, beside: Beside, simulator: Any
) -> None:
    for index, serial in enumerate(simulator.serial_numbers[:4]):
        await plugin.add_subscriber_flow(serial, f"sub-{index}", {**ATT, "c_tag": 901 + index})
    devices = await beside.on_devices()
    await simulator.restart_core()
    assert await beside.flows() == []
    report = await plugin.reconcile_services()
    assert (len(report["repaired"]), report["failed"]) == (4, [])
    assert (len(await beside.flows()), await beside.on_devices(), await beside.meters()) == (24, devices, 2)


async def test_services_follow_their_onus_through_a_reboot_of_the_olt(
    plugin: VolthaIntegrationPlugin, beside: Beside, simulator: Any
) -> None:
    serial = simulator.serial_numbers[0]
    before = await plugin.add_subscriber_flow(serial, "sub-1", SERVICE)
    await plugin.reboot_device("BBSIM_OLT_10", context=PluginContext.within(60))
    await plugin.provision_onu("BBSIM_OLT_10", None, None, serial, context=PluginContext.within(60))
    assert (await beside.flows(), await beside.meters()) == ([], 0)

    async def ready() -> bool:
        return await steps(plugin) == [("sub-1", "reinstall")]

    await until(ready)
    report = await plugin.reconcile_services()
    assert ([each["action"] for each in report["repaired"]], report["failed"]) == (["reinstall"], [])
    [after] = await plugin.list_subscribers()
    assert (after["status"], after["device_id"] != before["device_id"]) == ("active", True)
    assert (len(await beside.flows()), await beside.meters()) == (4, 2)
    assert (await plugin.remove_subscriber_flow(serial, "sub-1"))["flows"] == 4


async def test_the_reconciler_needs_no_command(
    make_host: Callable[..., Any], plugin: VolthaIntegrationPlugin, beside: Beside, target: Any, simulator: Any
) -> None:
    host = make_host(target, reconcile="repair", reconcile_interval=0.3, device_monitoring_interval=0.2)
    await plugin.deactivate()
    second = VolthaIntegrationPlugin(host)
    await second.activate()
    try:
        serial = simulator.serial_numbers[0]
        await second.add_subscriber_flow(serial, "sub-1", SERVICE)
        await beside.delete((await beside.flows())[0])
        await host.hooks.wait_for("subscriber_service_repaired")
        assert len(await beside.flows()) == 4
        await simulator.flap(serial, 5)
        await host.hooks.wait_for("subscriber_service_repaired", 2)
        status = await second.get_device_status(serial)
        assert status is not None
        assert status["reason"] == "omci-flows-pushed"
    finally:
        await second.deactivate()


async def test_only_reporting_changes_nothing(
    make_host: Callable[..., Any], plugin: VolthaIntegrationPlugin, beside: Beside, target: Any, simulator: Any
) -> None:
    await plugin.add_subscriber_flow(simulator.serial_numbers[0], "sub-1", SERVICE)
    await plugin.deactivate()
    await beside.delete((await beside.flows())[0])
    host = make_host(target, reconcile="report", reconcile_interval=0.1)
    second = VolthaIntegrationPlugin(host)
    await second.activate()
    try:
        [drift, *_] = await host.hooks.wait_for("subscriber_service_drift", 2)
        assert "1 of its 4 flows" in drift.attributes["reason"]
        assert len(await beside.flows()) == 3
    finally:
        await second.deactivate()


async def test_what_a_killed_host_left_unfinished_is_finished_by_another_once_its_claim_lapsed(
    make_host: Callable[..., Any],
    plugin: VolthaIntegrationPlugin,
    host: Any,
    beside: Beside,
    target: Any,
    simulator: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = await plugin.add_subscriber_flow(simulator.serial_numbers[0], "sub-1", SERVICE)

    def half(value: Any) -> Any:
        [service] = value["services"]
        service |= {"state": "adding", "claim": "a host that was killed", "claimed_until": time.time() + 1.0}
        return value

    await host.storage.update("subscriber/sub-1", half)
    for flow in (await beside.flows())[1:]:
        await beside.delete(flow)
    assert await steps(plugin) == [("sub-1", "wait")]
    with pytest.raises(ServiceBusyError, match="claim lapses"):
        await plugin.suspend_subscriber(simulator.serial_numbers[0], "sub-1", context=PluginContext.within(0.3))
    again = await plugin.add_subscriber_flow(simulator.serial_numbers[0], "sub-1", SERVICE)
    assert (again["created"], again["flows"]) == (True, made["flows"])
    assert (len(await beside.flows()), await beside.on_devices(), await beside.meters()) == (4, 4, 2)


async def test_two_hosts_with_one_store_never_both_repair(
    make_host: Callable[..., Any], plugin: VolthaIntegrationPlugin, beside: Beside, target: Any, simulator: Any
) -> None:
    other = VolthaIntegrationPlugin(make_host(target))
    await other.activate()
    try:
        for index, serial in enumerate(simulator.serial_numbers[:4]):
            await plugin.add_subscriber_flow(serial, f"sub-{index}", {**SERVICE, "s_tag": 900 + index})
        for flow in await beside.flows():
            await beside.delete(flow)
        results = await asyncio.gather(plugin.reconcile_services(), other.reconcile_services(), return_exceptions=True)
        refused = [each for each in results if isinstance(each, ServiceBusyError)]
        repaired = [each for each in results if isinstance(each, dict)]
        assert (len(refused), len(repaired)) == (1, 1)
        assert len(repaired[0]["repaired"]) == 4
        assert len(await beside.flows()) == 16
    finally:
        await other.deactivate()


async def test_a_host_learns_of_the_services_that_another_host_adds(
    make_host: Callable[..., Any], plugin: VolthaIntegrationPlugin, beside: Beside, target: Any, simulator: Any
) -> None:
    other = VolthaIntegrationPlugin(make_host(target))
    await other.activate()
    try:
        await plugin.add_subscriber_flow(simulator.serial_numbers[0], "sub-1", SERVICE)

        async def known() -> bool:
            metrics = await other.get_metrics()
            return metrics["voltha_subscriber_services"] == 1

        await until(known)
        with pytest.raises(ServiceConflictError, match="sub-1"):
            await other.add_subscriber_flow(simulator.serial_numbers[1], "sub-2", SERVICE)
    finally:
        await other.deactivate()


async def test_flows_that_no_service_has_are_shown_and_taken_away_only_when_asked(
    plugin: VolthaIntegrationPlugin, host: Any, beside: Beside, simulator: Any
) -> None:
    await plugin.add_subscriber_flow(simulator.serial_numbers[0], "sub-1", SERVICE)
    await plugin.add_subscriber_flow(simulator.serial_numbers[1], "sub-2", {**SERVICE, "s_tag": 901})
    await host.storage.delete("subscriber/sub-1")

    async def noticed() -> bool:
        return len((await plugin.plan_services())["orphans"]) == 4

    await until(noticed)
    assert (await plugin.reconcile_services())["orphans_removed"] == 0
    report = await plugin.reconcile_services(remove_orphans=True)
    assert (report["orphans_removed"], len(await beside.flows())) == (4, 4)


async def test_a_flow_that_somebody_else_took_is_left_and_told(
    plugin: VolthaIntegrationPlugin, beside: Beside, simulator: Any
) -> None:
    await plugin.add_subscriber_flow(simulator.serial_numbers[0], "sub-1", SERVICE)
    flow = next(each for each in await beside.flows() if each.table_id == 1)
    mod = of.ofp_flow_mod(
        cookie=4711, table_id=1, priority=flow.priority, match=flow.match, instructions=flow.instructions
    )
    await beside.call("UpdateLogicalDeviceFlowTable", of.FlowTableUpdate(id=await beside.logical(), flow_mod=mod))
    report = await plugin.reconcile_services()
    assert [each["reason"] for each in report["blocked"]] == ["1 of its flows are somebody else's now (cookies 0x1267)"]
    assert {each.cookie for each in await beside.flows()} >= {4711}


async def test_a_suspended_service_stays_out_and_keeps_its_tag(
    plugin: VolthaIntegrationPlugin, beside: Beside, simulator: Any
) -> None:
    first, second = simulator.serial_numbers[:2]
    before = await plugin.add_subscriber_flow(first, "sub-1", SERVICE)
    suspended = await plugin.suspend_subscriber(first, "sub-1")
    assert (suspended["changed"], suspended["services"][0]["status"]) == (True, "suspended")
    assert (await beside.flows(), await beside.meters()) == ([], 0)
    assert not (await plugin.suspend_subscriber(first, "sub-1"))["changed"]
    assert (await plugin.reconcile_services())["repaired"] == []
    with pytest.raises(ServiceConflictError, match="sub-1"):
        await plugin.add_subscriber_flow(second, "sub-2", SERVICE)
    changed = await plugin.change_subscriber_speed(first, "sub-1", {"bandwidth_down": 7000})
    assert (changed["status"], changed["service"]["downstream"]) == ("suspended", {"eir": 7000})
    restored = await plugin.restore_subscriber(first, "sub-1")
    assert restored["services"][0]["flows"] == before["flows"]
    assert (len(await beside.flows()), await beside.meters()) == (4, 2)
    assert not (await plugin.restore_subscriber(first, "sub-1"))["changed"]


async def test_another_speed_is_other_meters_on_the_same_flows(
    plugin: VolthaIntegrationPlugin, beside: Beside, simulator: Any
) -> None:
    first, second = simulator.serial_numbers[:2]
    before = await plugin.add_subscriber_flow(first, "sub-1", ATT)
    await plugin.add_subscriber_flow(second, "sub-2", {**ATT, "c_tag": 902})
    after = await plugin.change_subscriber_speed(first, "sub-1", {"bandwidth_down": 7000, "bandwidth_up": 700})
    assert after["changed"]
    assert [flow["id"] for flow in after["flows"]] == [flow["id"] for flow in before["flows"]]
    assert (len(await beside.flows()), await beside.meters()) == (12, 4), "the other subscriber keeps the old meters"
    assert not (await plugin.change_subscriber_speed(first, "sub-1", {"bandwidth_down": 7000}))["changed"]
    await plugin.change_subscriber_speed(second, "sub-2", {"bandwidth_down": 7000, "bandwidth_up": 700})
    assert await beside.meters() == 2


async def test_three_services_live_on_one_user_port_and_go_one_by_one(
    plugin: VolthaIntegrationPlugin, beside: Beside, simulator: Any
) -> None:
    serial, other = simulator.serial_numbers[:2]
    mac = "02:00:00:00:00:01"
    await plugin.add_subscriber_flow(serial, "sub-1", {"workflow": "tt-hsia", "c_tag": 900, **SPEED})
    waiting = await plugin.add_subscriber_flow(serial, "sub-1", {"workflow": "tt-voip", **SPEED})
    assert (waiting["status"], len(await beside.flows())) == ("waiting_for_mac", 5)
    voip = await plugin.set_subscriber_mac(serial, "sub-1", mac, "voip")
    await plugin.add_subscriber_flow(serial, "sub-1", {"workflow": "tt-vod", "mac_address": mac, **SPEED})
    assert (voip["status"], len(await beside.flows())) == ("active", 15)
    with pytest.raises(ServiceConflictError, match=r"service 'voip' of subscriber 'sub-1'.*mac_address"):
        await plugin.add_subscriber_flow(other, "sub-2", {"workflow": "tt-voip", "mac_address": mac, **SPEED})
    await plugin.add_subscriber_flow(other, "sub-2", {"workflow": "tt-voip", "mac_address": mac[:-1] + "2", **SPEED})
    assert await steps(plugin) == []
    gone = await plugin.remove_subscriber_flow(serial, "sub-1", "voip")
    assert (gone["services"], gone["flows"]) == (1, 5)
    assert await steps(plugin) == [], "the reason tells of the removal, and the others are in place (surprise 36)"
    gone = await plugin.remove_subscriber_flow(serial, "sub-1")
    assert (gone["services"], gone["flows"]) == (2, 10)
    assert simulator.refused_crashes == 0


async def test_one_scheduler_takes_one_speed(plugin: VolthaIntegrationPlugin, beside: Beside, simulator: Any) -> None:
    serial = simulator.serial_numbers[0]
    await plugin.add_subscriber_flow(
        serial, "sub-1", {"workflow": "fttb-subscriber", "c_tag": 101, "s_tag": 3101, **SPEED}
    )
    mac = {"mac_address": "02:00:00:00:00:01"}
    with pytest.raises(ServiceConflictError, match=r"technology profile 64.*other speeds"):
        await plugin.add_subscriber_flow(
            serial, "sub-1", {"workflow": "fttb-management", "bandwidth_down": 1, "bandwidth_up": 1, **mac}
        )
    await plugin.add_subscriber_flow(serial, "sub-1", {"workflow": "fttb-management", **SPEED, **mac})
    await plugin.add_subscriber_flow(serial, "sub-1", {"workflow": "fttb-ancp", **SPEED, **mac})
    assert (len(await beside.flows()), await beside.meters()) == (13, 2)
    assert await steps(plugin) == []


async def test_traps_at_the_uplink_are_kept_as_services_are(
    plugin: VolthaIntegrationPlugin, beside: Beside, simulator: Any
) -> None:
    made = await plugin.set_uplink_traps("BBSIM_OLT_10", ["dhcp", "lldp", "igmp"])
    assert made["traps"] == ["lldp", "dhcp", "igmp"]
    listed = await beside.flows()
    assert {6416862919329787925, 3879232177049521699} < {flow.id for flow in listed}, "as they were recorded"
    assert await beside.on_devices() == 3
    assert (await plugin.plan_services())["orphans"] == []
    await beside.delete(listed[0])
    assert [each["olt_serial_number"] for each in (await plugin.plan_services())["uplinks"]] == ["BBSIM_OLT_10"]
    await plugin.reconcile_services()
    assert len(await beside.flows()) == 3
    await plugin.set_uplink_traps("BBSIM_OLT_10", ["lldp"])
    assert (len(await beside.flows()), [each["traps"] for each in await plugin.list_uplink_traps()]) == (1, [["lldp"]])
    await plugin.reboot_device("BBSIM_OLT_10", context=PluginContext.within(60))
    await plugin.provision_olt(simulator.olt_addresses[0], context=PluginContext.within(60))
    assert await beside.flows() == []
    await plugin.reconcile_services()
    assert len(await beside.flows()) == 1
    await plugin.set_uplink_traps("BBSIM_OLT_10", [])
    assert (await beside.flows(), await plugin.list_uplink_traps()) == ([], [])
    with pytest.raises(ServiceConfigError, match="no trap 'arp'"):
        await plugin.set_uplink_traps("BBSIM_OLT_10", ["arp"])
    assert simulator.refused_crashes == 0
