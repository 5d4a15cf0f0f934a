"""The acceptance scenarios of the domain specification's section 8, by their numbers.

Not here, because they need traffic or what is not VOLTHA's: 13 (a DHCP request that fails), the leases, pings, joins and
authentications within 1 to 6, 21 (ofagent, ONOS, RADIUS), 23 (etcd), 36 (200 iterations of memory). 35 is `test_scale`.
"""

from __future__ import annotations

import asyncio
from pathlib import PurePosixPath
from typing import Any

import pytest
from google.protobuf.empty_pb2 import Empty

from dotmac_isp.plugins.network_automation.voltha_integration_plugin import (
    DeviceNotFoundError,
    RequestRefusedError,
    UnsupportedByVolthaError,
    VolthaError,
)

UP = "ENABLED/ACTIVE/REACHABLE"
AWAY = "ENABLED/DISCOVERED/UNREACHABLE"


# sanity


async def test_01_dt_from_a_bare_olt_to_a_subscriber(network: Any) -> None:
    assert {await network.state(onu) for onu in network.onus} == {(UP, "initial-mib-downloaded")}
    await network.serve(network.onus[0], "dt-1", 900)
    assert await network.state(network.onus[0]) == (UP, "omci-flows-pushed")
    assert len(await network.logical_flows()) == 4
    assert (await network.device_flows(network.olt), await network.device_flows(network.onus[0])) == (2, 2)


async def test_02_att_has_four_data_flows_and_its_traps(network: Any) -> None:
    config = {"workflow": "att", "c_tag": 901, "s_tag": 900, "bandwidth_down": 100_000, "bandwidth_up": 50_000}
    await network.plugin.add_subscriber_flow(network.onus[0], "att-1", config, context=network.place.within(60))
    assert len(await network.logical_flows()) == 6
    assert (await network.state(network.onus[0]))[1] == "omci-flows-pushed"


async def test_03_tt_has_three_services_on_one_port_and_they_go_one_by_one(network: Any) -> None:
    onu = network.onus[0]
    mac = {"mac_address": "2e:60:00:00:00:01"}
    speeds = {"bandwidth_down": 50_000, "bandwidth_up": 20_000}
    wanted = {"tt-hsia": {"c_tag": 901}, "tt-voip": mac, "tt-vod": mac}
    for preset, more in wanted.items():
        config = {"workflow": preset, **speeds, **more}
        await network.plugin.add_subscriber_flow(onu, "tt-1", config, context=network.place.within(60))
    all_flows = len(await network.logical_flows())
    assert all_flows >= 12
    gone = await network.plugin.remove_subscriber_flow(onu, "tt-1", "voip", context=network.place.within(60))
    assert gone["removed"] is True
    assert 0 < len(await network.logical_flows()) < all_flows
    assert (await network.plugin.plan_services())["steps"] == []


async def test_04_fttb_has_its_three_services(network: Any) -> None:
    speeds = {"bandwidth_down": 50_000, "bandwidth_up": 20_000}
    mac = {"mac_address": "2e:60:00:00:00:02"}
    wanted = {
        "fttb-management": mac,
        "fttb-ancp": mac | {"technology_profile": 65},
        "fttb-subscriber": {"c_tag": 101, "s_tag": 3101, "technology_profile": 66},
    }
    for preset, more in wanted.items():
        config = {"workflow": preset, **speeds, **more}
        await network.plugin.add_subscriber_flow(network.onus[0], "dpu-1", config, context=network.place.within(60))
    assert (await network.plugin.plan_services())["steps"] == []


async def test_05_a_subscriber_is_deleted_and_added_again(network: Any) -> None:
    onu = network.onus[0]
    for _ in range(2):
        await network.serve(onu, "again", 900)
        assert len(await network.logical_flows()) == 4
        await network.plugin.remove_subscriber_flow(onu, "again", context=network.place.within(60))
        assert await network.logical_flows() == []
        assert await network.device_flows(onu) == 0
    assert await network.meters() == []


async def test_06_an_onu_is_disabled_and_enabled_and_keeps_its_service(network: Any) -> None:
    onu = network.onus[0]
    await network.serve(onu, "kept", 900)
    await network.plugin.disable_device(onu, context=network.place.within(60))
    await network.until_state(onu, "DISABLED/UNKNOWN/REACHABLE", "omci-admin-lock")
    await network.plugin.enable_device(onu, context=network.place.within(60))
    await network.until_state(onu, UP, "onu-reenabled")
    assert len(await network.logical_flows()) == 4
    assert (await network.plugin.plan_services())["steps"] == []


async def test_07_an_olt_is_disabled_and_enabled(network: Any) -> None:
    await network.plugin.disable_device(network.olt, context=network.place.within(60))
    await network.until_state(network.olt, "DISABLED/UNKNOWN/REACHABLE")
    for onu in network.onus:
        await network.until_state(onu, AWAY, "stopping-openomci")
    await network.plugin.enable_device(network.olt, context=network.place.within(60))
    for serial in (network.olt, *network.onus):
        await network.until_state(serial, UP)


async def test_08_and_28_an_olt_is_deleted_with_all_of_it_and_added_again(network: Any) -> None:
    await network.serve(network.onus[0], "first", 900)
    await network.plugin.remove_subscriber_flow(network.onus[0], "first", context=network.place.within(60))
    await network.plugin.delete_device(network.olt, context=network.place.within(60))
    assert list((await network.call("ListDevices", Empty())).items) == []
    assert list((await network.call("ListLogicalDevices", Empty())).items) == []
    made = await network.plugin.create_olt(network.place.olt)
    assert (await network.plugin.get_device_status(made["device_id"]) or {})["status"] == "preprovisioned"
    assert list((await network.call("ListLogicalDevices", Empty())).items) == []
    await network.bring_up()
    await network.serve(network.onus[0], "second", 900)
    assert len(await network.logical_flows()) == 4


async def test_09_onus_and_olt_are_disabled_then_all_is_deleted(network: Any) -> None:
    for onu in network.onus:
        await network.plugin.disable_device(onu, context=network.place.within(60))
        await network.until_state(onu, "DISABLED/UNKNOWN/REACHABLE")
    await network.plugin.disable_device(network.olt, context=network.place.within(60))
    for onu in network.onus:
        await network.until_state(onu, "DISABLED/DISCOVERED/UNREACHABLE")
    await network.plugin.delete_device(network.olt, context=network.place.within(60))
    assert await network.plugin.discover_devices() == []


async def test_10_a_pon_is_disabled_and_enabled(network: Any) -> None:
    tree = await network.plugin.list_ports(network.olt)
    assert any(port["label"] == "pon-0" for port in tree)
    behind = [onu for onu in network.onus if (await network.plugin.get_device_status(onu) or {})["pon_port"] == 0]
    await network.plugin.disable_port(network.olt, 0, context=network.place.within(60))
    for onu in behind:
        await network.until_state(onu, AWAY)
    await network.plugin.enable_port(network.olt, 0, context=network.place.within(60))
    for onu in behind:
        await network.until_state(onu, UP)


async def test_11_a_deleted_onu_is_found_again_with_a_new_id(network: Any) -> None:
    onu = network.onus[0]
    before = (await network.plugin.get_device_status(onu) or {})["device_id"]
    await network.plugin.delete_device(onu, context=network.place.within(60))
    after = await network.plugin.provision_onu(network.olt, None, None, onu, context=network.place.within(120))
    assert after["device_id"] != before
    await network.serve(onu, "found-again", 900)


async def test_12_another_speed_is_in_the_meters(network: Any) -> None:
    onu = network.onus[0]
    await network.serve(onu, "faster", 900)
    await network.plugin.change_subscriber_speed(
        onu, "faster", {"bandwidth_down": 300_000, "bandwidth_up": 150_000}, context=network.place.within(60)
    )
    rates = {band.rate for meter in await network.meters() for band in meter.config.bands}
    assert {300_000, 150_000} <= rates
    assert not {100_000, 50_000} & rates
    assert len(await network.logical_flows()) == 4


async def test_14_ports_peers_and_logical_ports_tell_of_every_onu(network: Any) -> None:
    ports = await network.plugin.list_ports(network.olt)
    assert {port["label"] for port in ports} >= {"nni-0", "pon-0"}
    logical = await network.plugin.inspect_logical_device(network.olt, "ports")
    assert len(logical) >= 1 + len(network.onus)
    listed = {each["serial_number"] for each in await network.listed("onu")}
    assert listed == set(network.onus)


# failure and recovery


async def test_15_an_olt_reboots_and_its_services_are_repaired(network: Any) -> None:
    await network.serve(network.onus[0], "through-reboot", 900)
    back = await network.plugin.reboot_device(network.olt, context=network.place.within(360))
    assert back["logical_device_id"] != network.logical
    await network.until(network._onus_are_ready, 360)
    await repaired(network, 1)


async def test_16_a_lost_connection_to_the_olt_changes_nothing(network: Any) -> None:
    simulator = network.place.simulated("cut the connection between adapter and OLT")
    await network.serve(network.onus[0], "kept", 900)
    before = sorted(flow.id for flow in await network.logical_flows())
    await simulator.cut_olt_link()
    await network.until_state(network.olt, "ENABLED/UNKNOWN/UNREACHABLE")
    await simulator.restore_olt_link()
    await network.until_state(network.olt, UP)
    assert sorted(flow.id for flow in await network.logical_flows()) == before


async def test_17_a_rebooted_onu_has_its_service_again_after_a_repair(network: Any) -> None:
    onu = network.onus[0]
    await network.serve(onu, "back", 900)
    await network.plugin.reboot_device(onu, context=network.place.within(180))
    assert (await network.state(onu))[1] == "initial-mib-downloaded"
    await repaired(network, 1)
    assert (await network.state(onu))[1] == "omci-flows-pushed"


@pytest.mark.parametrize("adapter", ["openolt", "brcm_openomci_onu"], ids=["18-openolt", "19-openonu"])
async def test_an_adapter_restarts_and_new_services_work(network: Any, adapter: str) -> None:
    simulator = network.place.simulated(f"restart the adapter {adapter}")
    await network.serve(network.onus[0], "before", 900)
    await simulator.stop_adapter(adapter)
    await simulator.start_adapter(adapter)
    for serial in (network.olt, *network.onus):
        await network.until_state(serial, UP)
    await network.serve(network.onus[1], "after", 901)
    assert len(await network.logical_flows()) == 8


async def test_20_the_core_restarts_and_services_are_repaired(network: Any) -> None:
    simulator = network.place.simulated("restart rw_core")
    await network.serve(network.onus[0], "through-core", 900)
    ids = {each["device_id"] for each in await network.plugin.discover_devices()}
    await simulator.restart_core()
    assert {each["device_id"] for each in await network.plugin.discover_devices()} == ids
    await repaired(network, 1)


async def test_22_an_onu_without_power_while_it_is_configured_keeps_nothing_half(network: Any) -> None:
    simulator = network.place.simulated("switch an ONU's power off")
    onu = network.onus[0]
    await simulator.power_off(onu)
    with pytest.raises(VolthaError):
        await network.serve(onu, "dark", 900)
    await simulator.power_on(onu)
    await network.until_state(onu, UP, "initial-mib-downloaded")
    await network.serve(onu, "lit", 900)
    assert len(await network.logical_flows()) == 4


async def repaired(network: Any, services: int) -> None:
    async def so() -> bool:
        report = await network.plugin.reconcile_services()
        return int(report["in_order"]) == services

    await network.until(so, 120)
    assert len(await network.logical_flows()) == 4 * services
    assert (await network.plugin.plan_services())["steps"] == []


# errors


async def test_24_the_same_olt_twice_is_one_olt(bare: Any) -> None:
    first = await bare.plugin.create_olt(bare.place.olt)
    second = await bare.plugin.create_olt(bare.place.olt)
    assert first["device_id"] == second["device_id"]
    await bare.bring_up()
    third = await bare.plugin.provision_olt(bare.place.olt, context=bare.place.within(60))
    assert (third["device_id"], third["created"]) == (first["device_id"], False)


@pytest.mark.parametrize("method", ["enable_device", "disable_device", "reboot_device"])
async def test_25_and_27_what_is_no_device_is_not_found(bare: Any, method: str) -> None:
    with pytest.raises(DeviceNotFoundError):
        await getattr(bare.plugin, method)("00000000-0000-4000-8000-000000000000")


async def test_26_an_olt_that_is_not_enabled_cannot_be_disabled(bare: Any) -> None:
    made = await bare.plugin.create_olt(bare.place.olt)
    with pytest.raises(RequestRefusedError, match="PREPROVISIONED"):
        await bare.plugin.disable_device(made["device_id"], context=bare.place.within(30))


# upgrade, alarms, performance


async def test_30_and_31_onu_software(network: Any, image: str) -> None:
    onu = network.onus[0]
    slots = await network.plugin.list_images(onu)
    assert slots
    with pytest.raises(VolthaError):
        await network.plugin.download_image(onu, "NO_SUCH_IMAGE", "http://127.0.0.1:1/nothing")
    if not image:
        network.lacks("a software image (VOLTHA_TEST_IMAGE)")
    version = PurePosixPath(image).stem
    for step in (
        network.plugin.download_image(onu, version, image, context=network.place.within(600)),
        network.plugin.activate_image(onu, version, context=network.place.within(600)),
        network.plugin.commit_image(onu, version, context=network.place.within(600)),
    ):
        await step
    assert version in str(await network.plugin.list_images(onu))


@pytest.mark.parametrize(
    "alarm",
    ["ONU_LOSS_OF_SIGNAL", "ONU_DRIFT_OF_WINDOW", "ONU_LOSS_OF_BURST", "ONU_SIGNAL_DEGRADE", "ONU_STARTUP_FAIL"],
)
async def test_32_an_alarm_is_raised_and_cleared(network: Any, alarm: str) -> None:
    simulator = network.place.simulated("raise an alarm")
    onu = network.onus[0]

    async def active() -> bool:
        return any(each["name"] == alarm for each in await network.plugin.active_alarms(onu))

    async def over() -> bool:
        return not await active()

    await simulator.raise_alarm(alarm, onu)
    await network.until(active, 60)
    await simulator.clear_alarm(alarm, onu)
    await network.until(over, 60)


async def test_33_the_discovery_of_onus_is_told(network: Any) -> None:
    if not network.place.kafka:
        network.lacks("Kafka (VOLTHA_TEST_KAFKA)")

    async def told() -> bool:
        return any(event.event_type.startswith("onu_") for event in network.host.hooks.events)

    await network.until(told, 60)


async def test_34_performance_configuration_is_changed_and_read_again(network: Any) -> None:
    onu = network.onus[0]
    before = await network.plugin.get_pm_config(onu)
    change = {"groups": {"PON_Optical": {"enabled": True, "freq": 30}}}
    after = await network.plugin.set_pm_config(onu, change)
    assert after["groups"]["PON_Optical"]["freq"] == 30
    assert after["groups"].keys() == before["groups"].keys()
    await network.plugin.disable_device(onu, context=network.place.within(60))
    await network.plugin.enable_device(onu, context=network.place.within(60))
    assert (await network.plugin.get_pm_config(onu))["groups"]["PON_Optical"]["freq"] == 30


async def test_values_on_demand_are_answered_or_named_as_missing(network: Any) -> None:
    missing = []
    for value in ("onu_pon_optical_info", "unistatus", "onu_omci_stats", "onu_distance"):
        try:
            assert await network.plugin.get_value(network.onus[0], value)
        except UnsupportedByVolthaError:
            missing.append(value)
    if missing:
        network.lacks(f"the values {', '.join(missing)}; the others are there")


async def test_an_onu_is_deactivated_at_its_olt(network: Any) -> None:
    onu = network.onus[0]
    try:
        await network.plugin.disable_onu(onu, context=network.place.within(60))
    except VolthaError as error:
        if "unknown method" in str(error).lower() or "unimplemented" in str(error).lower():
            network.lacks("DisableOnuDevice")
        raise
    await network.until_state(onu, AWAY)
    await network.plugin.enable_onu(onu, context=network.place.within(60))
    await network.until_state(onu, UP)


# scale and robustness


async def test_35_all_onus_are_served_in_bulk_and_freed_again(network: Any) -> None:
    items: list[dict[str, Any]] = [
        {
            "device_id": onu,
            "subscriber_id": f"bulk-{number}",
            "service": {"workflow": "dt", "s_tag": 900 + number, "bandwidth_down": 100_000, "bandwidth_up": 50_000},
        }
        for number, onu in enumerate(network.onus)
    ]
    await finished(network, await network.plugin.start_bulk("add", items))
    assert len(await network.logical_flows()) == 4 * len(items)
    gone = [{key: item[key] for key in ("device_id", "subscriber_id")} for item in items]
    await finished(network, await network.plugin.start_bulk("remove", gone))
    assert await network.logical_flows() == []
    assert await network.meters() == []


async def finished(network: Any, job: dict[str, Any]) -> None:
    async def so() -> bool:
        return bool((await network.plugin.bulk_status(job["job"]))["finished"])

    await network.until(so, 600)
    status = await network.plugin.bulk_status(job["job"])
    assert status["failed"] == 0, status


async def test_37_quick_enable_and_disable_end_where_the_last_one_says(network: Any) -> None:
    onu = network.onus[0]
    for _ in range(3):
        await network.plugin.disable_device(onu, context=network.place.within(60))
        await network.plugin.enable_device(onu, context=network.place.within(60))
    await network.until_state(onu, UP)
    await asyncio.gather(*(network.plugin.enable_device(onu, context=network.place.within(60)) for _ in range(4)))
    assert (await network.state(onu))[0] == UP
