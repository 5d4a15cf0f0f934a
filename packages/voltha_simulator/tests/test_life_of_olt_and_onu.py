"""OLTs and ONUs come up, go away and come back as recorded (domain specification, sections 2, 3 and 12.5)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import empty_pb2
from voltha_protos import common_pb2, device_pb2, logical_device_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

    from dotmac_voltha_simulator import Simulator

EMPTY = empty_pb2.Empty()
ONU = "BBSM000a0001"
READY = "ENABLED/ACTIVE/REACHABLE initial-mib-downloaded"


def identity(value: str) -> Any:
    return common_pb2.ID(id=value)


async def test_an_olt_is_created_enabled_and_brings_its_onus_up(voltha_simulator: Simulator, client: Any) -> None:
    olt_id, logical_id = await client.ready(voltha_simulator)
    devices = {device.serial_number: device for device in await client.devices()}
    assert sorted(devices) == ["BBSIM_OLT_10", ONU, "BBSM000a0002", "BBSM000a0101", "BBSM000a0102"]
    olt, onu = devices["BBSIM_OLT_10"], devices["BBSM000a0102"]
    assert (olt.root, olt.vendor, olt.model, olt.mac_address) == (True, "BBSim", "asfvolt16", "0a:0a:0a:0a:0a:0a")
    assert (onu.parent_id, onu.parent_port_no, onu.vendor, onu.model) == (olt_id, 536870913, "BBSM", "v0.0.1")
    assert (onu.proxy_address.device_id, onu.proxy_address.channel_id, onu.proxy_address.onu_id) == (olt_id, 1, 2)
    logical = await client.voltha.GetLogicalDevice(identity(logical_id))
    assert (logical.datapath_id, logical.root_device_id) == (0x0A0A0A0A0A0A, olt_id)


async def test_ports_peers_and_logical_ports_give_the_fibre_tree(voltha_simulator: Simulator, client: Any) -> None:
    olt_id, logical_id = await client.ready(voltha_simulator)
    ports = {port.label: port for port in (await client.voltha.ListDevicePorts(identity(olt_id))).items}
    assert {label: port.port_no for label, port in ports.items()} == {
        "nni-0": 16777216,
        "pon-0": 536870912,
        "pon-1": 536870913,
    }
    onu = await client.device("BBSM000a0101")
    assert onu.id in [peer.device_id for peer in ports["pon-1"].peers]
    own = {port.label: port for port in (await client.voltha.ListDevicePorts(identity(onu.id))).items}
    assert own["pon-536870913"].peers[0].device_id == olt_id
    assert own["uni-65792"].ofp_port.name == "BBSM000a0101-1"
    logical = {port.id: port for port in (await client.voltha.ListLogicalDevicePorts(identity(logical_id))).items}
    assert sorted(logical) == ["nni-16777216", "uni-256", "uni-512", "uni-65792", "uni-66048"]
    assert logical["nni-16777216"].root_port
    assert [port.ofp_port.state for port in logical.values()] == [4] * 5


async def test_states_and_reasons_of_an_onu_come_in_the_recorded_order(
    voltha_simulator: Simulator, client: Any, reasons: dict[str, list[str]]
) -> None:
    await client.ready(voltha_simulator)
    assert reasons[ONU] == [
        "",
        "activating-onu",
        "starting-openomci",
        "discovery-mibsync-complete",
        "initial-mib-downloaded",
    ]
    changes = [
        "/".join(event.context[key] for key in ("admin-state", "oper-state", "connect-state"))
        for event in voltha_simulator.events
        if event.name == "DEVICE_STATE_CHANGE_RAISE_EVENT" and event.context["serial-number"] == ONU
    ]
    assert changes == [
        "PREPROVISIONED/UNKNOWN/UNKNOWN",
        "ENABLED/ACTIVATING/UNKNOWN",
        "ENABLED/DISCOVERED/REACHABLE",
        "ENABLED/ACTIVATING/REACHABLE",
        "ENABLED/ACTIVATING/UNKNOWN",
        "ENABLED/ACTIVE/REACHABLE",
    ]


async def test_an_olt_at_an_address_where_nothing_answers_stays_activating(client: Any) -> None:
    olt_id = await client.provision_olt("127.0.0.1:7")
    await asyncio.sleep(0.3)
    device = await client.voltha.GetDevice(identity(olt_id))
    assert (device.admin_state, device.oper_status, device.connect_status) == (2, 2, 0)


@pytest.mark.parametrize(
    ("device", "text"),
    [
        ({}, "no-device-info-present; MAC or HOSTIP&PORT"),
        ({"type": "openolt", "ipv4_address": "127.0.0.1"}, "no-device-info-present; MAC or HOSTIP&PORT"),
        ({"type": "openolt", "host_and_port": "127.0.0.1:9191"}, "device is already pre-provisioned"),
    ],
)
async def test_a_device_without_address_or_already_there_is_refused(
    client: Any, refused: Callable[..., Any], device: dict[str, str], text: str
) -> None:
    await client.voltha.CreateDevice(device_pb2.Device(type="openolt", host_and_port="127.0.0.1:9191"))
    assert await refused(client.voltha.CreateDevice(device_pb2.Device(**device))) == ("UNKNOWN", text)


async def test_whatever_a_client_creates_is_stored_as_sent_but_preprovisioned(client: Any) -> None:
    sent = device_pb2.Device(type="nosuchtype", mac_address="zz", reason="abc", oper_status=4, admin_state=2)
    made = await client.voltha.CreateDevice(sent)
    assert (made.root, made.admin_state, made.oper_status, made.reason, made.mac_address) == (True, 1, 4, "abc", "zz")


async def test_commands_in_the_wrong_state_are_refused_with_the_recorded_text(
    voltha_simulator: Simulator, client: Any, refused: Callable[..., Any]
) -> None:
    voltha = client.voltha
    odd = await voltha.CreateDevice(device_pb2.Device(type="nosuchtype", host_and_port="127.0.0.1:1"))
    expected = ("UNKNOWN", "adapter-not-registered-for-device-type nosuchtype")
    assert await refused(voltha.EnableDevice(identity(odd.id))) == expected
    expected = ("FAILED_PRECONDITION", f"deviceId:{odd.id}, invalid-admin-state:PREPROVISIONED")
    assert await refused(voltha.DisableDevice(identity(odd.id))) == expected
    olt_id, logical_id = await client.ready(voltha_simulator)
    expected = ("FAILED_PRECONDITION", f"cannot-enable-an-already-enabled-device: {olt_id}")
    assert await refused(voltha.EnableDevice(identity(olt_id))) == expected
    assert await refused(voltha.DeleteDevice(identity(logical_id))) == ("NOT_FOUND", logical_id)
    update = device_pb2.UpdateDevice(id=odd.id, host_and_port="127.0.0.1:2")
    assert await refused(voltha.UpdateDevice(update)) == ("UNKNOWN", "endpoint-cannot-be-empty")
    status, text = await refused(voltha.RebootDevice(identity(odd.id)))
    assert status == "FAILED_PRECONDITION"
    assert text.endswith("is in operstatus:UNKNOWN ,connect-status:UNKNOWN")


async def test_disabling_and_enabling_an_onu_ends_in_onu_reenabled(voltha_simulator: Simulator, client: Any) -> None:
    _, logical_id = await client.ready(voltha_simulator)
    onu = await client.device(ONU)
    await client.voltha.DisableDevice(identity(onu.id))
    await client.until_state(ONU, "DISABLED/UNKNOWN/REACHABLE omci-admin-lock")
    wanted = logical_device_pb2.LogicalPortId(id=logical_id, port_id="uni-256")
    port = await client.voltha.GetLogicalDevicePort(wanted)
    assert (port.ofp_port.config, port.ofp_port.state) == (1, 1)
    await client.voltha.EnableDevice(identity(onu.id))
    await client.until_state(ONU, "ENABLED/ACTIVE/REACHABLE onu-reenabled")
    port = await client.voltha.GetLogicalDevicePort(wanted)
    assert (port.ofp_port.config, port.ofp_port.state) == (0, 4)


async def test_disabling_an_olt_takes_its_onus_down_and_enabling_brings_them_back(
    voltha_simulator: Simulator, client: Any
) -> None:
    olt_id, logical_id = await client.ready(voltha_simulator)
    before = {device.id for device in await client.devices()}
    await client.voltha.DisableDevice(identity(olt_id))
    await client.until_state("BBSIM_OLT_10", "DISABLED/UNKNOWN/REACHABLE")
    assert await client.state(ONU) == "ENABLED/DISCOVERED/UNREACHABLE stopping-openomci"
    await client.voltha.EnableDevice(identity(olt_id))
    await client.until_state("BBSIM_OLT_10", "ENABLED/ACTIVE/REACHABLE")
    await client.until_state(ONU, READY)
    assert {device.id for device in await client.devices()} == before
    assert (await client.voltha.GetLogicalDevice(identity(logical_id))).id == logical_id


async def test_a_disabled_pon_takes_only_its_own_onus_down(voltha_simulator: Simulator, client: Any) -> None:
    olt_id, _ = await client.ready(voltha_simulator)
    port = device_pb2.Port(device_id=olt_id, port_no=536870913)
    await client.voltha.DisablePort(port)
    await client.until_state("BBSM000a0101", "ENABLED/DISCOVERED/UNREACHABLE stopping-openomci")
    assert await client.state(ONU) == READY
    await client.voltha.EnablePort(port)
    await client.until_state("BBSM000a0101", READY)


async def test_only_pon_ports_can_be_disabled(
    voltha_simulator: Simulator, client: Any, refused: Callable[..., Any]
) -> None:
    olt_id, _ = await client.ready(voltha_simulator)
    uplink, nowhere = (device_pb2.Port(device_id=olt_id, port_no=number) for number in (16777216, 99))
    expected = ("UNIMPLEMENTED", "disabling of Port Type ETHERNET_NNI unimplemented")
    assert await refused(client.voltha.DisablePort(uplink)) == expected
    assert await refused(client.voltha.DisablePort(nowhere)) == ("INVALID_ARGUMENT", "99")


async def test_a_rebooted_onu_comes_back_with_its_id(voltha_simulator: Simulator, client: Any) -> None:
    await client.ready(voltha_simulator)
    onu = await client.device(ONU)
    await client.voltha.RebootDevice(identity(onu.id))
    assert await client.state(ONU) == "ENABLED/DISCOVERED/UNREACHABLE rebooting"
    await client.until_state(ONU, READY)
    assert (await client.device(ONU)).id == onu.id


async def test_a_deleted_onu_is_discovered_again_with_a_new_id(voltha_simulator: Simulator, client: Any) -> None:
    await client.ready(voltha_simulator)
    old = (await client.device(ONU)).id
    await client.voltha.DeleteDevice(identity(old))
    assert ONU not in [device.serial_number for device in await client.devices()]
    await client.until(lambda devices: any(device.serial_number == ONU for device in devices))
    await client.until_state(ONU, READY)
    found = await client.device(ONU)
    assert found.id != old
    assert found.proxy_address.onu_id == 1


async def test_a_force_deleted_onu_is_gone_at_once(voltha_simulator: Simulator, client: Any) -> None:
    await client.ready(voltha_simulator)
    old = (await client.device(ONU)).id
    await client.voltha.ForceDeleteDevice(identity(old))
    assert old not in [device.id for device in await client.devices()]


@pytest.mark.voltha_simulator(time_factor=0.2)
async def test_while_a_device_is_being_deleted_it_takes_no_commands(
    voltha_simulator: Simulator, client: Any, refused: Callable[..., Any]
) -> None:
    await client.ready(voltha_simulator)
    onu = await client.device(ONU)
    deletion = asyncio.ensure_future(client.voltha.DeleteDevice(identity(onu.id)))
    await asyncio.sleep(0.05)
    assert (await refused(client.voltha.DisableDevice(identity(onu.id))))[0] == "FAILED_PRECONDITION"
    await deletion


async def test_a_deleted_olt_takes_everything_along_and_can_be_made_again(
    voltha_simulator: Simulator, client: Any
) -> None:
    olt_id, logical_id = await client.ready(voltha_simulator)
    await client.voltha.DeleteDevice(identity(olt_id))
    assert await client.devices() == []
    assert list((await client.voltha.ListLogicalDevices(EMPTY)).items) == []
    names = [event.name for event in voltha_simulator.events]
    assert (names.count("ONU_DELETED_RAISE_EVENT"), names.count("OLT_DELETED_RAISE_EVENT")) == (4, 1)
    again, other_logical = await client.ready(voltha_simulator)
    assert again != olt_id
    assert other_logical != logical_id


async def test_a_rebooted_olt_comes_back_with_its_id_and_new_onus_and_logical_device(
    voltha_simulator: Simulator, client: Any
) -> None:
    olt_id, logical_id = await client.ready(voltha_simulator)
    old = (await client.device(ONU)).id
    await client.voltha.RebootDevice(identity(olt_id))
    assert await client.state(ONU) == "ENABLED/DISCOVERED/UNREACHABLE stopping-openomci"
    assert await client.state("BBSIM_OLT_10") == "ENABLED/ACTIVE/REACHABLE"
    await client.until_state("BBSIM_OLT_10", "ENABLED/UNKNOWN/UNREACHABLE")
    await client.until(lambda devices: any(device.serial_number == ONU and device.id != old for device in devices))
    await client.until_state(ONU, READY)
    assert (await client.device("BBSIM_OLT_10")).id == olt_id
    assert (await client.device("BBSIM_OLT_10")).parent_id != logical_id


async def test_an_onu_is_disabled_at_ploam_level_by_id_and_by_serial_number(
    voltha_simulator: Simulator, client: Any, refused: Callable[..., Any]
) -> None:
    olt_id, logical_id = await client.ready(voltha_simulator)
    onu = await client.device(ONU)
    await client.voltha.DisableOnuDevice(identity(onu.id))
    assert await client.state(ONU) == "ENABLED/DISCOVERED/UNREACHABLE stopping-openomci"
    expected = ("FAILED_PRECONDITION", f"device-already-disabled: {onu.id}")
    assert await refused(client.voltha.DisableOnuDevice(identity(onu.id))) == expected
    named = device_pb2.OnuSerialNumberOnOLTPon(olt_device_id=identity(olt_id), serial_number=ONU)
    await client.voltha.EnableOnuSerialNumber(named)
    await client.until_state(ONU, READY)
    assert await refused(client.voltha.DisableOnuDevice(identity(olt_id))) == ("NOT_FOUND", logical_id)


async def test_an_olt_that_never_answered_moves_to_another_address(voltha_simulator: Simulator, client: Any) -> None:
    olt_id = await client.provision_olt("127.0.0.1:7")
    update = device_pb2.UpdateDevice(id=olt_id, host_and_port=voltha_simulator.olt_addresses[1])
    await client.voltha.UpdateDevice(update)
    await client.until(lambda devices: any(device.serial_number == "BBSIM_OLT_11" for device in devices))
    await client.until_state("BBSIM_OLT_11", "ENABLED/ACTIVE/REACHABLE")


@pytest.mark.voltha_simulator(olts=2, pons=4, onus=16, time_factor=0.05)
async def test_two_olts_with_64_onus_each_come_up(voltha_simulator: Simulator, client: Any) -> None:
    await client.ready(voltha_simulator, 0)
    await client.ready(voltha_simulator, 1)
    serials = {device.serial_number for device in await client.devices() if not device.root}
    assert serials == set(voltha_simulator.serial_numbers)
    assert len(serials) == 128


async def test_performance_monitoring_is_read_and_checked_as_recorded(
    voltha_simulator: Simulator, client: Any, refused: Callable[..., Any]
) -> None:
    olt_id, _ = await client.ready(voltha_simulator)
    onu = await client.device(ONU)
    configs = await client.voltha.ListDevicePmConfigs(identity(onu.id))
    assert [group.group_name for group in configs.groups][:2] == ["PON_Optical", "UNI_Status"]
    configs.default_freq = 7
    text = "errors-handling-one-or-more-pm-config, errors:[frequency-7-should-be-a-multiple-of-5]"
    assert await refused(client.voltha.UpdateDevicePmConfigs(configs)) == ("UNKNOWN", text)
    own = await client.voltha.ListDevicePmConfigs(identity(olt_id))
    own.default_freq = 30
    await client.voltha.UpdateDevicePmConfigs(own)
    assert (await client.voltha.GetDevice(identity(olt_id))).pm_configs.default_freq == 30
    own.metrics.add(name="made_up")
    status, text = await refused(client.voltha.UpdateDevicePmConfigs(own))
    assert (status, text.split(":")[0]) == ("INVALID_ARGUMENT", "the real VOLTHA would crash")
    assert voltha_simulator.refused_crashes == 1


async def test_an_onu_that_was_just_rebooted_is_not_deleted(
    voltha_simulator: Simulator, client: Any, refused: Any
) -> None:
    await client.ready(voltha_simulator)
    onu = common_pb2.ID(id=(await client.device("BBSM000a0001")).id)
    await client.voltha.RebootDevice(onu)
    code, _ = await refused(client.voltha.DeleteDevice(onu))
    assert code == "DEADLINE_EXCEEDED"
    assert (await client.device("BBSM000a0001")).id == onu.id
    await client.until_state("BBSM000a0001", "ENABLED/ACTIVE/REACHABLE initial-mib-downloaded")
    await client.voltha.DeleteDevice(onu)
    await refused(client.voltha.GetDevice(onu))
