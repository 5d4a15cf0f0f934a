"""A subscriber's DHCP request inside a packet that a trap flow handed over. Pure."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from voltha_protos import openflow_13_pb2 as of

__all__ = ["Asked", "asked_in"]

_TAGS: Final = frozenset({0x8100, 0x88A8, 0x9100})
_IPV4: Final = 0x0800
_UDP: Final = 17
_FROM, _TO = 68, 67
_REQUEST, _ETHERNET = 1, 1
_VLAN: Final = 0x0FFF
#: Source and target of an Ethernet frame; a VLAN tag; a UDP header.
_ADDRESSES, _TAG, _HEADER = 12, 4, 8
#: Where DHCP has the client's hardware address, and how long that is.
_CLIENT, _LENGTH = 28, 6


class Asked(msgspec.Struct, frozen=True):
    """Who asked for an address, on which logical device and port, in which VLANs (outermost first)."""

    logical_device_id: str
    port: int
    mac_address: str
    vlans: tuple[int, ...]


def asked_in(packet: Any) -> Asked | None:
    """What a `PacketIn` tells, or `None` when it is no DHCP request of a client. The bytes are the subscriber's: anything may be in them."""
    vlans, body = _untagged(packet.packet_in.data)
    if len(body) < 2 or int.from_bytes(body[:2], "big") != _IPV4:  # noqa: PLR2004 - the Ethernet type
        return None
    mac = _client(body[2:])
    port = _in_port(packet.packet_in.match)
    if not mac or port is None:
        return None
    return Asked(packet.id, port, mac, vlans)


def _untagged(frame: bytes) -> tuple[tuple[int, ...], bytes]:
    """The VLANs of a frame, and what follows them, the Ethernet type first."""
    vlans: list[int] = []
    rest = frame[_ADDRESSES:]
    while len(rest) > _TAG and int.from_bytes(rest[:2], "big") in _TAGS:
        vlans.append(int.from_bytes(rest[2:_TAG], "big") & _VLAN)
        rest = rest[_TAG:]
    return tuple(vlans), rest


def _client(packet: bytes) -> str:
    """The hardware address in a DHCP request, as text; empty when it is none, or names nobody."""
    header = (packet[0] & 0xF) * 4 if packet else 0
    if len(packet) < 20 or packet[9] != _UDP or header < 20:  # noqa: PLR2004 - the shortest header of IPv4
        return ""
    udp = packet[header:]
    ports = (int.from_bytes(udp[:2], "big"), int.from_bytes(udp[2:4], "big"))
    message = udp[_HEADER:]
    if ports != (_FROM, _TO) or message[:3] != bytes((_REQUEST, _ETHERNET, _LENGTH)):
        return ""
    address = message[_CLIENT : _CLIENT + _LENGTH]
    if len(address) < _LENGTH or address[0] & 1 or not any(address):
        return ""
    return address.hex(":")


def _in_port(match: Any) -> int | None:
    for field in match.oxm_fields:
        if field.ofb_field.type == of.OFPXMT_OFB_IN_PORT:
            return int(field.ofb_field.port)
    return None
