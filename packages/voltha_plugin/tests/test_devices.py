"""OLTs and ONUs against a running VOLTHA: provisioned, followed, configured, and what is said when something hangs or is wrong."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dotmac_isp.plugins.core.model import PluginContext
from dotmac_isp.plugins.network_automation.voltha_integration_plugin import (
    DeviceNotFoundError,
    DuplicateDeviceError,
    ServiceConfigError,
    ServiceConflictError,
    StateTimeoutError,
    VolthaIntegrationPlugin,
    WrongPlaceError,
)


async def test_an_olt_comes_up_and_asking_twice_is_no_error(plugin: VolthaIntegrationPlugin, target: Any) -> None:
    olt = await plugin.provision_olt(target.olts[0], "openolt")
    assert (olt["status"], olt["created"], olt["type"]) == ("active", True, "olt")
    assert olt["logical_device_id"]
    assert olt["nni_ports"] == [16777216]
    again = await plugin.provision_olt(target.olts[0])
    assert (again["device_id"], again["created"]) == (olt["device_id"], False)
    assert [each["type"] for each in await plugin.discover_devices()].count("olt") == 1


async def test_an_olt_that_two_ask_for_at_once_is_created_once(plugin: VolthaIntegrationPlugin, target: Any) -> None:
    results = await asyncio.gather(*(plugin.provision_olt(target.olts[0]) for _ in range(4)))
    assert len({each["device_id"] for each in results}) == 1
    assert [each["created"] for each in results].count(True) == 1


async def test_a_disabled_olt_is_enabled_again(plugin: VolthaIntegrationPlugin, target: Any) -> None:
    olt = await plugin.provision_olt(target.olts[0])
    assert await plugin.configure_device(olt["serial_number"], {"enabled": False}) is True
    status = await plugin.get_device_status(olt["device_id"])
    assert status is not None
    assert status["status"] == "disabled"
    assert (await plugin.provision_olt(target.olts[0]))["status"] == "active"


async def test_an_unknown_device_type_is_said_before_anything_is_created(
    plugin: VolthaIntegrationPlugin, target: Any
) -> None:
    with pytest.raises(ServiceConfigError, match=r"'openollt'.*openolt"):
        await plugin.provision_olt(target.olts[0], "openollt")
    assert await plugin.discover_devices() == []
    with pytest.raises(ServiceConfigError, match="host:port"):
        await plugin.provision_olt("somewhere")


async def test_an_olt_of_another_type_is_a_conflict(plugin: VolthaIntegrationPlugin, target: Any) -> None:
    await plugin.provision_olt(target.olts[0])
    with pytest.raises(ServiceConflictError, match="openolt"):
        await plugin.provision_olt(target.olts[0], "brcm_openomci_onu")


async def test_an_olt_that_does_not_answer_says_which_step_hangs(plugin: VolthaIntegrationPlugin, target: Any) -> None:
    if target.simulator is None:
        pytest.skip("a real VOLTHA would go on dialling for ever")
    with pytest.raises(StateTimeoutError, match=r"127\.0\.0\.1:9.*ENABLED/ACTIVATING/UNKNOWN"):
        await plugin.provision_olt("127.0.0.1:9", context=PluginContext.within(1.5))


async def test_onus_are_followed_until_they_take_flows(plugin: VolthaIntegrationPlugin, target: Any) -> None:
    olt = await plugin.provision_olt(target.olts[0])
    serials = target.simulator.serial_numbers[:4] if target.simulator else [await first_onu(plugin)]
    for parent in (olt["device_id"], olt["serial_number"]):
        onus = [await plugin.provision_onu(parent, None, None, serial) for serial in serials]
    assert {onu["status"] for onu in onus} == {"active"}
    assert {onu["parent_serial_number"] for onu in onus} == {olt["serial_number"]}
    one = onus[0]
    again = await plugin.provision_onu(olt["device_id"], one["pon_port"], one["onu_id"], one["serial_number"])
    assert again["device_id"] == one["device_id"]
    assert await plugin.provision_onu(olt["device_id"], 536870912 + one["pon_port"], None, one["serial_number"])


async def first_onu(plugin: VolthaIntegrationPlugin) -> str:
    while True:
        for device in await plugin.discover_devices():
            if device["type"] == "onu":
                return str(device["serial_number"])
        await asyncio.sleep(0.5)


async def test_an_onu_at_the_wrong_place_says_where_it_is(plugin: VolthaIntegrationPlugin, target: Any) -> None:
    first = await plugin.provision_olt(target.olts[0])
    serial = await first_onu(plugin)
    onu = await plugin.provision_onu(first["device_id"], None, None, serial)
    with pytest.raises(WrongPlaceError, match=f"PON {onu['pon_port']}, with ONU id {onu['onu_id']}"):
        await plugin.provision_onu(first["device_id"], onu["pon_port"] + 1, None, serial)
    with pytest.raises(WrongPlaceError, match=f"ONU id {onu['onu_id']}"):
        await plugin.provision_onu(first["device_id"], onu["pon_port"], onu["onu_id"] + 50, serial)
    with pytest.raises(ServiceConfigError, match="pon_port"):
        await plugin.provision_onu(first["device_id"], "uni-1", None, serial)


async def test_an_onu_that_is_not_there_says_what_is(plugin: VolthaIntegrationPlugin, target: Any) -> None:
    olt = await plugin.provision_olt(target.olts[0])
    serial = await first_onu(plugin)
    with pytest.raises(StateTimeoutError, match=rf"ONU ABSENT00000001.*not discovered.*{serial}"):
        await plugin.provision_onu(olt["device_id"], 0, None, "ABSENT00000001", context=PluginContext.within(2))
    with pytest.raises(DeviceNotFoundError, match=olt["serial_number"]):
        await plugin.provision_onu("NOSUCHOLT", 0, None, serial)


async def test_a_disabled_onu_is_enabled_by_provisioning_it(plugin: VolthaIntegrationPlugin, target: Any) -> None:
    olt = await plugin.provision_olt(target.olts[0])
    serial = await first_onu(plugin)
    await plugin.provision_onu(olt["device_id"], None, None, serial)
    assert await plugin.configure_device(serial, {"enabled": False}) is True
    status = await plugin.get_device_status(serial)
    assert status is not None
    assert (status["status"], status["reason"]) == ("disabled", "omci-admin-lock")
    onu = await plugin.provision_onu(olt["device_id"], None, None, serial)
    assert (onu["status"], onu["enabled"]) == ("active", True)


async def test_a_pon_port_is_switched_and_its_onus_go_and_come(plugin: VolthaIntegrationPlugin, target: Any) -> None:
    olt = await plugin.provision_olt(target.olts[0])
    serial = await first_onu(plugin)
    onu = await plugin.provision_onu(olt["device_id"], None, None, serial)
    assert await plugin.configure_device(olt["device_id"], {"pon_ports": {onu["pon_port"]: False}}) is True
    status = await plugin.get_device_status(olt["serial_number"])
    assert status is not None
    port = next(each for each in status["ports"] if each["port_no"] == 536870912 + onu["pon_port"])
    assert port["admin_state"] == "DISABLED"
    assert await plugin.configure_device(olt["device_id"], {"pon_ports": {str(onu["pon_port"]): True}}) is True
    assert (await plugin.provision_onu(olt["device_id"], None, None, serial))["status"] == "active"
    with pytest.raises(ServiceConfigError, match="no PON port"):
        await plugin.configure_device(olt["device_id"], {"pon_ports": {200: False}})


async def test_what_voltha_does_not_know_is_not_mine(plugin: VolthaIntegrationPlugin) -> None:
    assert await plugin.get_device_status("nope") is None
    assert await plugin.configure_device("nope", {"enabled": True}) is None
    assert await plugin.discover_devices() == []


async def test_what_voltha_refuses_arrives_as_it_is(plugin: VolthaIntegrationPlugin, target: Any) -> None:
    olt = await plugin.provision_olt(target.olts[0])
    if target.simulator is None:
        pytest.skip("needs a second OLT")
    other = await plugin.provision_olt(target.olts[1])
    with pytest.raises(DuplicateDeviceError, match="address already in use"):
        await plugin.configure_device(other["device_id"], {"host_and_port": olt["host_and_port"]})
    assert await plugin.configure_device(other["device_id"], {"host_and_port": target.olts[1]}) is True


async def test_the_status_of_an_olt_counts_its_onus(plugin: VolthaIntegrationPlugin, active_olt: Any) -> None:
    status = await plugin.get_device_status("BBSIM_OLT_10")
    assert status is not None
    assert (status["onus"], status["onus_active"], status["ready"]) == (4, 4, True)
    pons = [port for port in status["ports"] if port["type"] == "pon"]
    assert [port["onus_active"] for port in sorted(pons, key=lambda port: port["port_no"])] == [2, 2]
