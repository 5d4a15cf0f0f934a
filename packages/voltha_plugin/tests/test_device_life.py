"""Commands on OLTs and ONUs: each is followed to its end, and asking twice is no error."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from dotmac_isp.plugins.core.model import PluginContext
from dotmac_isp.plugins.network_automation.voltha_integration_plugin import (
    DeviceNotFoundError,
    RequestRefusedError,
    ServiceConfigError,
    StateTimeoutError,
    VolthaError,
    VolthaIntegrationPlugin,
)
from dotmac_voltha_simulator import Simulator

if TYPE_CHECKING:
    from collections.abc import Callable


async def test_an_olt_is_deleted_with_its_onus_and_comes_back_when_it_is_created_again(
    plugin: VolthaIntegrationPlugin, active_olt: Any, target: Any
) -> None:
    simulator, logical = active_olt
    gone = await plugin.delete_device("BBSIM_OLT_10")
    assert (gone["deleted"], gone["forced"]) == (True, False)
    assert await plugin.discover_devices() == []
    assert await plugin.delete_device("BBSIM_OLT_10") == {
        "device_id": "BBSIM_OLT_10",
        "serial_number": "",
        "deleted": False,
        "forced": False,
        "rediscovered_as": None,
    }
    olt = await plugin.provision_olt(target.olts[0], context=PluginContext.within(60))
    assert olt["created"] is True
    assert olt["logical_device_id"] != logical
    assert simulator.refused_crashes == 0


async def test_a_device_that_is_busy_is_asked_to_go_again(plugin: VolthaIntegrationPlugin, active_olt: Any) -> None:
    simulator, _ = active_olt
    onu = await plugin.get_device_status(simulator.serial_numbers[0])
    words = f"device-cannot-process-request-{onu['device_id']}"
    simulator.faults.refuse("DeleteDevice", "UNKNOWN", words, times=2)
    gone = await plugin.delete_device(simulator.serial_numbers[0], context=PluginContext.within(20))
    assert gone["deleted"] is True


async def test_a_deletion_that_fails_again_and_again_says_what_voltha_said(
    plugin: VolthaIntegrationPlugin, active_olt: Any
) -> None:
    simulator, _ = active_olt
    serial = simulator.serial_numbers[0]
    simulator.faults.refuse("DeleteDevice", "ABORTED", "the adapter lost its mind", times=100)
    with pytest.raises(StateTimeoutError, match="the adapter lost its mind"):
        await plugin.delete_device(serial, context=PluginContext.within(3))
    assert (await plugin.get_device_status(serial))["status"] == "active"
    simulator.faults.refuse("DeleteDevice", "OK", times=0)


async def test_a_command_that_is_refused_is_told_with_its_reason(
    plugin: VolthaIntegrationPlugin, active_olt: Any
) -> None:
    simulator, _ = active_olt
    simulator.faults.refuse("DisableDevice", "UNKNOWN", "no connection to 10.0.0.9:50061")
    with pytest.raises(VolthaError, match=r"no connection to 10\.0\.0\.9:50061"):
        await plugin.disable_device(simulator.serial_numbers[0])
    assert (await plugin.disable_device(simulator.serial_numbers[0]))["status"] != "active"


async def test_an_olt_with_64_onus_is_deleted_because_change_events_are_read(make_host: Callable[..., Any]) -> None:
    async with Simulator(olts=1, pons=1, onus=64, time_factor=0.02) as simulator:
        host, _, port = simulator.target.rpartition(":")
        plugin = VolthaIntegrationPlugin(make_host(SimpleNamespace(host=host, port=int(port))))
        await plugin.activate()
        await plugin.provision_olt(simulator.olt_addresses[0])
        await plugin.provision_onu("BBSIM_OLT_10", None, None, simulator.serial_numbers[-1])
        assert (await plugin.delete_device("BBSIM_OLT_10", context=PluginContext.within(30)))["deleted"] is True
        assert simulator.unread_change_events < 100
        await plugin.deactivate()


async def test_a_reader_that_was_pushed_out_reads_again_while_an_olt_is_deleted(
    make_host: Callable[..., Any], target: Any, active_olt: Any
) -> None:
    """Without the setting nobody reads; deleting reads all the same (surprise 4)."""
    host = make_host(target, tenant="tenant_2", read_change_events=False)
    other = VolthaIntegrationPlugin(host)
    await other.activate()
    assert (await other.delete_device("BBSIM_OLT_10", context=PluginContext.within(30)))["deleted"] is True
    await other.deactivate()


async def test_an_onu_that_is_deleted_is_discovered_again_with_another_id(
    plugin: VolthaIntegrationPlugin, active_olt: Any
) -> None:
    simulator, _ = active_olt
    serial = simulator.serial_numbers[0]
    before = (await plugin.get_device_status(serial) or {})["device_id"]
    assert (await plugin.delete_device(serial))["deleted"] is True
    onu = await plugin.provision_onu("BBSIM_OLT_10", None, None, serial)
    assert onu["device_id"] != before
    assert (await plugin.get_device_status(before)) is None
    forced = await plugin.delete_device(serial, force=True)
    assert (forced["deleted"], forced["forced"]) == (True, True)


async def test_a_reboot_of_an_onu_is_followed_until_it_is_back(
    plugin: VolthaIntegrationPlugin, active_olt: Any
) -> None:
    simulator, _ = active_olt
    serial = simulator.serial_numbers[1]
    back = await plugin.reboot_device(serial, context=PluginContext.within(60))
    assert (back["status"], back["reason"], back["rebooted"]) == ("active", "initial-mib-downloaded", True)


async def test_a_reboot_of_an_olt_is_followed_until_it_has_a_new_logical_device(
    plugin: VolthaIntegrationPlugin, active_olt: Any
) -> None:
    _, logical = active_olt
    back = await plugin.reboot_device("BBSIM_OLT_10", context=PluginContext.within(120))
    assert back["status"] == "active"
    assert back["logical_device_id"] != logical
    assert back["former_logical_device_id"] == logical


async def test_a_reboot_that_does_not_end_in_time_says_where_it_hangs(
    plugin: VolthaIntegrationPlugin, active_olt: Any
) -> None:
    simulator, _ = active_olt
    onu = simulator.serial_numbers[0]
    with pytest.raises(StateTimeoutError, match=f"ONU {onu} to go down and come back") as caught:
        await plugin.reboot_device(onu, context=PluginContext.within(0.3))
    assert caught.value.state
    assert (await plugin.reboot_device(onu, wait=False))["followed"] is False


async def test_devices_are_switched_by_name_and_twice_is_no_error(
    plugin: VolthaIntegrationPlugin, active_olt: Any
) -> None:
    simulator, _ = active_olt
    serial = simulator.serial_numbers[2]
    for _ in range(2):
        assert (await plugin.disable_device(serial))["status"] == "disabled"
    for _ in range(2):
        assert (await plugin.enable_device(serial))["reason"] == "onu-reenabled"
    assert (await plugin.disable_device("BBSIM_OLT_10"))["status"] == "disabled"
    assert (await plugin.enable_device("BBSIM_OLT_10"))["status"] == "active"
    with pytest.raises(DeviceNotFoundError, match="NOPE00000000"):
        await plugin.enable_device("NOPE00000000")


async def test_an_onu_is_deactivated_at_its_olt_by_id_and_by_serial_number(
    plugin: VolthaIntegrationPlugin, active_olt: Any
) -> None:
    simulator, _ = active_olt
    serial = simulator.serial_numbers[0]
    for by_serial in (False, True):
        for _ in range(2):
            assert (await plugin.disable_onu(serial, by_serial=by_serial))["status"] == "unreachable"
        for _ in range(2):
            assert (await plugin.enable_onu(serial, by_serial=by_serial))["status"] == "active"
    assert (await plugin.disable_onu_serial("BBSIM_OLT_10", 0, serial))["status"] == "unreachable"
    assert (await plugin.enable_onu_serial("BBSIM_OLT_10", "pon-0", serial))["status"] == "active"
    with pytest.raises(DeviceNotFoundError):
        await plugin.disable_onu_serial("BBSIM_OLT_10", 0, "BBSM00ffffff")
    with pytest.raises(ServiceConfigError, match="serial_number is 'x'"):
        await plugin.disable_onu_serial("BBSIM_OLT_10", 0, "x")
    with pytest.raises(DeviceNotFoundError, match="is an OLT"):
        await plugin.disable_onu("BBSIM_OLT_10")


async def test_ports_and_address_of_an_olt_are_changed(
    plugin: VolthaIntegrationPlugin, active_olt: Any, target: Any
) -> None:
    port = await plugin.disable_port("BBSIM_OLT_10", 1)
    assert (port["label"], port["admin_state"]) == ("pon-1", "DISABLED")
    assert (await plugin.enable_port("BBSIM_OLT_10", "pon-1"))["oper_status"] == "ACTIVE"
    same = await plugin.change_olt_address("BBSIM_OLT_10", target.olts[0])
    assert same["host_and_port"] == target.olts[0]
    with pytest.raises(ServiceConfigError, match="host_and_port"):
        await plugin.change_olt_address("BBSIM_OLT_10", "not an address")


async def test_an_olt_is_created_by_its_mac_address_and_stays_preprovisioned(
    plugin: VolthaIntegrationPlugin, target: Any
) -> None:
    made = await plugin.create_olt("0A:0A:0A:0A:0A:FE")
    assert (made["status"], made["mac_address"], made["created"]) == ("preprovisioned", "0a:0a:0a:0a:0a:fe", True)
    assert (await plugin.create_olt("0a:0a:0a:0a:0a:fe"))["created"] is False
    with pytest.raises(RequestRefusedError, match="PREPROVISIONED"):
        await plugin.disable_device(made["device_id"])
    assert (await plugin.delete_device(made["device_id"]))["deleted"] is True


async def test_an_address_where_nothing_answers_is_named_as_the_step_that_hangs(
    plugin: VolthaIntegrationPlugin,
) -> None:
    with pytest.raises(StateTimeoutError, match="ENABLED/ACTIVATING") as caught:
        await plugin.provision_olt("192.0.2.1:9191", context=PluginContext.within(1))
    assert "logical device" in caught.value.step
    assert (await plugin.delete_device((await plugin.discover_devices())[0]["device_id"]))["deleted"] is True


async def test_what_voltha_lists_is_shown_as_plain_data(plugin: VolthaIntegrationPlugin, active_olt: Any) -> None:
    assert "VOLTHA at" in (await plugin.voltha_version())["target"]
    assert {each["type"] for each in await plugin.list_adapters()} == {"openolt", "brcm_openomci_onu"}
    assert {each["id"] for each in await plugin.list_device_types()} == {"openolt", "brcm_openomci_onu"}
    ports = await plugin.list_ports("BBSIM_OLT_10")
    assert [port["type"] for port in ports] == ["nni", "pon", "pon"]
    (logical,) = await plugin.list_logical_devices()
    assert logical["id"] == active_olt[1]
    for name in ("BBSIM_OLT_10", logical["id"]):
        assert len(await plugin.inspect_logical_device(name, "ports")) == 5
    assert await plugin.inspect_logical_device("BBSIM_OLT_10", "meters") == []
    assert await plugin.list_device_flows("BBSIM_OLT_10") == await plugin.list_device_groups("BBSIM_OLT_10") == []


async def test_admission_by_list_lets_only_listed_onus_work(
    make_host: Callable[..., Any], target: Any, simulator: Simulator
) -> None:
    host = make_host(target, onu_admission="allow-list", device_monitoring_interval=0.1)
    plugin = VolthaIntegrationPlugin(host)
    await plugin.activate()
    allowed, other, elsewhere = simulator.serial_numbers[0], simulator.serial_numbers[1], simulator.serial_numbers[2]
    await plugin.allow_onu(allowed, note="house 1")
    await plugin.allow_onu(elsewhere, olt="BBSIM_OLT_10", pon_port=0)
    await plugin.provision_olt(target.olts[0])
    await host.hooks.wait_for("onu_rejected", 3)
    rejected = {event.serial_number: event.message for event in host.hooks.events if event.event_type == "onu_rejected"}
    assert set(rejected) == set(simulator.serial_numbers[1:4])
    assert "PON 0, and is on OLT BBSIM_OLT_10, PON 1" in rejected[elsewhere]
    assert (await plugin.provision_onu("BBSIM_OLT_10", None, None, allowed))["status"] == "active"
    waiting = {onu["serial_number"] for onu in await plugin.list_waiting_onus()}
    assert waiting == set(simulator.serial_numbers[1:4])
    assert [entry["serial_number"] for entry in await plugin.list_allowed_onus()] == sorted([allowed, elsewhere])

    await plugin.allow_onu(other)
    await host.hooks.wait_for("onu_admitted")
    status = await plugin.provision_onu("BBSIM_OLT_10", None, None, other)
    assert status["status"] == "active"
    assert (await plugin.forbid_onu(other))["removed"] is True
    assert (await plugin.get_device_status(other) or {})["admin_state"] == "DISABLED"
    with pytest.raises(ServiceConfigError, match="serial_number"):
        await plugin.allow_onu("BBSM")
    await plugin.deactivate()


async def test_an_instance_knows_its_admissions_again_after_a_restart(
    make_host: Callable[..., Any], target: Any, simulator: Simulator
) -> None:
    first = VolthaIntegrationPlugin(make_host(target))
    await first.activate()
    await first.allow_onu(simulator.serial_numbers[0])
    await first.deactivate()
    second = VolthaIntegrationPlugin(make_host(target))
    await second.activate()
    assert [entry["serial_number"] for entry in await second.list_allowed_onus()] == [simulator.serial_numbers[0]]
    await second.deactivate()


async def test_a_device_that_hangs_is_told_once_with_its_name_and_again_when_it_is_over(
    make_host: Callable[..., Any], target: Any
) -> None:
    host = make_host(target, stuck_after=0.3, device_monitoring_interval=0.1)
    plugin = VolthaIntegrationPlugin(host)
    await plugin.activate()
    made = await plugin.create_olt("192.0.2.1:9191")
    with pytest.raises(StateTimeoutError):
        await plugin.enable_device(made["device_id"], context=PluginContext.within(0.5))
    (event,) = await host.hooks.wait_for("device_stuck")
    assert event.attributes["name"] == "olt_does_not_answer"
    assert (await plugin.stuck_devices())[0]["remedy"].startswith("Check host_and_port")
    await plugin.delete_device(made["device_id"])
    await host.hooks.wait_for("device_unstuck")
    assert await plugin.stuck_devices() == []
    await plugin.deactivate()


async def test_two_stacks_of_a_tenant_are_one_network(make_host: Callable[..., Any], target: Any) -> None:
    async with Simulator(
        olts=1, pons=1, onus=1, time_factor=0.05, username="dev_user", password="dev_pass", first_olt="127.0.0.1:9391"
    ) as second:
        there, _, port = second.target.rpartition(":")
        stacks = {
            "north": {"voltha_host": there, "voltha_port": int(port)},
            "south": {"voltha_host": "127.0.0.1", "voltha_port": 9},
        }
        plugin = VolthaIntegrationPlugin(make_host(target, voltha_stacks=stacks, connect_timeout=0.5, retry_time=0.1))
        await plugin.activate()
        assert [(each["name"], each["connected"]) for each in await plugin.list_stacks()] == [
            ("default", True),
            ("north", True),
            ("south", False),
        ]
        made = await plugin.create_olt("192.0.2.7:9191", stack="north")
        assert made["device_id"] in [each["device_id"] for each in await plugin.discover_devices()]
        assert (await plugin.delete_device(made["device_id"]))["deleted"] is True
        report = await plugin.health_check()
        assert report.details["stacks"]["south"]["state"] == "unreachable"
        assert report.details["stacks"]["north"]["state"] == "ready"
        with pytest.raises(DeviceNotFoundError, match="there are default, north, south"):
            await plugin.provision_olt("192.0.2.7:9191", stack="west")
        await plugin.deactivate()
