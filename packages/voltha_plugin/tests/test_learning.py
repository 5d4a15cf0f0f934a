"""A service that waits for its subscriber's MAC address, and the subscriber's DHCP request that tells it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from hypothesis import given
from hypothesis import strategies as st
from voltha_protos import openflow_13_pb2 as of
from voltha_protos import voltha_pb2_grpc

from dotmac_isp.plugins.network_automation.voltha_integration_plugin._settings import VolthaSettings
from dotmac_isp.plugins.network_automation.voltha_integration_plugin.services._dhcp import asked_in
from dotmac_isp.plugins.network_automation.voltha_integration_plugin.services._learner import may_read

if TYPE_CHECKING:
    from dotmac_isp.plugins.network_automation.voltha_integration_plugin import VolthaIntegrationPlugin

LOGIN = [("authorization", "Basic ZGV2X3VzZXI6ZGV2X3Bhc3M=")]
MAC = "2e:60:70:13:00:01"


def request(mac: str = MAC, *, vlans: tuple[int, ...] = (), operation: int = 1) -> bytes:
    """A DISCOVER, as a subscriber's router sends it."""
    address = bytes.fromhex(mac.replace(":", ""))
    message = bytes((operation, 1, 6, 0)) + bytes(24) + address + bytes(202) + b"\x63\x82\x53\x63\x35\x01\x01\xff"
    udp = (68).to_bytes(2, "big") + (67).to_bytes(2, "big") + (8 + len(message)).to_bytes(2, "big") + bytes(2) + message
    header = b"\x45\x00" + (20 + len(udp)).to_bytes(2, "big") + bytes(4) + b"\x40\x11" + bytes(6) + b"\xff" * 4
    tags = b"".join(b"\x81\x00" + vlan.to_bytes(2, "big") for vlan in vlans)
    return b"\xff" * 6 + address + tags + b"\x08\x00" + header + udp


def packet(data: bytes, port: int = 256) -> Any:
    made = of.PacketIn(id="logical")
    made.packet_in.data = data
    field = made.packet_in.match.oxm_fields.add(oxm_class=of.OFPXMC_OPENFLOW_BASIC).ofb_field
    field.type, field.port = of.OFPXMT_OFB_IN_PORT, port
    return made


def test_a_request_tells_who_asks_where_and_in_which_vlans() -> None:
    asked = asked_in(packet(request(vlans=(900, 101))))
    assert asked is not None
    assert (asked.logical_device_id, asked.port, asked.mac_address, asked.vlans) == ("logical", 256, MAC, (900, 101))


def test_a_recorded_request_is_understood() -> None:
    """The first 90 bytes of one that BBSim sent."""
    data = base64.b64decode(
        "////////LgoAAQAAgQADhAgARRABQAAAAACAETmeAAAAAP////8ARABDASxtcAEBBgACv26EAAAAAAAA"
        "AAAAAAAAAAAAAAAAAAAuCgABAAAAAAAAAAAAAAAA"
    )
    asked = asked_in(packet(data))
    assert asked is not None
    assert (asked.mac_address, asked.vlans) == ("2e:0a:00:01:00:00", (900,))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01\x80\xc2\x00\x00\x03" + bytes(6) + b"\x88\x8e\x01\x01",
        request(operation=2),
        request("01:00:5e:00:00:01"),
        request("00:00:00:00:00:00"),
        request()[:60],
    ],
    ids=["empty", "EAPOL", "an answer", "a group", "nobody", "cut off"],
)
def test_what_is_no_request_of_a_client_tells_nothing(data: bytes) -> None:
    assert asked_in(packet(data)) is None


@given(st.binary(max_size=400))
def test_whatever_a_subscriber_sends_it_tells_an_address_or_nothing(data: bytes) -> None:
    asked = asked_in(packet(data))
    assert asked is None or len(asked.mac_address) == len(MAC)


async def status(plugin: VolthaIntegrationPlugin, subscriber: str) -> str:
    found = {each["subscriber_id"]: each for each in await plugin.list_subscribers()}
    return f"{found[subscriber]['status']} {found[subscriber]['service'].get('mac_address') or ''}".strip()


async def test_a_service_follows_when_its_subscriber_asks(plugin: VolthaIntegrationPlugin, active_olt: Any) -> None:
    simulator, _ = active_olt
    first, second = simulator.serial_numbers[:2]
    service = {"workflow": "tt-voip", "bandwidth_down": 1000, "bandwidth_up": 1000}
    for serial, subscriber in ((first, "sub-1"), (second, "sub-2")):
        # Both have the same tags, as the workflow wants: the port says whose request it is.
        await plugin.add_subscriber_flow(serial, subscriber, service)
        assert await status(plugin, subscriber) == "waiting_for_mac"
    end = time.monotonic() + 20
    while await status(plugin, "sub-1") != f"active {MAC}":
        assert time.monotonic() < end, await status(plugin, "sub-1")
        simulator.packet_in(first, b"\x00" * 20)
        simulator.packet_in(first, request(vlans=(444,)))
        await asyncio.sleep(0.1)
    assert await status(plugin, "sub-2") == "waiting_for_mac"
    assert simulator.refused_crashes == 0


@pytest.mark.parametrize(
    ("settings", "ours"),
    [
        ({}, True),
        ({"foreign_flows": "allow"}, False),
        ({"flow_owner": "vgc"}, False),
        ({"flow_owners": {"OLT1": "onos"}}, False),
        ({"flow_owners": {"OLT1": "onos"}, "learn_mac_addresses": "on"}, True),
        ({"learn_mac_addresses": "off"}, False),
    ],
    ids=["alone", "others may be there", "a controller", "a controller on one OLT", "told to", "told not to"],
)
def test_packets_are_left_to_a_controller_where_there_is_one(settings: dict[str, Any], ours: bool) -> None:
    assert may_read(VolthaSettings(voltha_host="voltha", **settings)) is ours


async def test_another_reader_keeps_the_packets_and_the_log_says_why_nothing_is_learnt(
    plugin: VolthaIntegrationPlugin, active_olt: Any, caplog: pytest.LogCaptureFixture
) -> None:
    simulator, _ = active_olt
    serial = simulator.serial_numbers[0]
    await plugin.add_subscriber_flow(
        serial, "sub-1", {"workflow": "tt-voip", "bandwidth_down": 1000, "bandwidth_up": 1000}
    )
    end = time.monotonic() + 20
    async with grpc.aio.insecure_channel(simulator.target) as channel:
        controller = voltha_pb2_grpc.VolthaServiceStub(channel)
        while "another program reads VOLTHA's packets" not in caplog.text:
            assert time.monotonic() < end, "the plugin never read"
            with contextlib.suppress(TimeoutError):  # it reads, and nobody took the packets from it
                await asyncio.wait_for(controller.ReceivePacketsIn(Empty(), metadata=LOGIN).read(), 0.5)
        left_alone = controller.ReceivePacketsIn(Empty(), metadata=LOGIN)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(left_alone.read(), 3)
    assert await status(plugin, "sub-1") == "waiting_for_mac"
