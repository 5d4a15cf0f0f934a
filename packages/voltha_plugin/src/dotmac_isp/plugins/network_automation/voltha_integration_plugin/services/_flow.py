"""A flow as a value: what it matches and does, its identity, and the flows that VOLTHA makes of it on the devices.

Pure, without protobuf: `_messages` turns it into what is sent. Numbers and hash: domain specification, sections 4.1 to 4.5.
"""

from __future__ import annotations

import hashlib
import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "ANY_VLAN",
    "CONTROLLER",
    "VLAN_PRESENT",
    "Action",
    "DeviceSide",
    "FlowSpec",
    "device_flows",
    "flow_id",
    "is_nni",
    "metadata",
    "pon_port_no",
    "uni_parts",
    "uni_port_no",
]

#: The bit that marks a VLAN id as present, in matches and set-field actions. Matched alone, without a mask, it means untagged.
VLAN_PRESENT: Final = 0x1000
#: `vlan_vid` and mask of "any tagged frame"; also the inner tag "none" in write_metadata.
ANY_VLAN: Final = 0x1000
#: The output port of a trap: to whoever reads VOLTHA's packets.
CONTROLLER: Final = 0x7FFFFFFD

#: Flows whose ids are kept: each is asked for its ids a dozen times while its service is installed.
_REMEMBERED: Final = 1 << 15
_BASIC: Final = 0x8000
_MATCH_OXM: Final = 1
_IN_PORT, _METADATA, _ETH_DST, _ETH_SRC, _ETH_TYPE, _VLAN_VID, _VLAN_PCP = 0, 2, 3, 4, 5, 6, 7
_IP_PROTO, _UDP_SRC, _UDP_DST, _TUNNEL_ID = 10, 15, 16, 38
_NNI_FIRST, _NNI_LAST = 1 << 24, (2 << 24) - 1
_PON_FIRST: Final = 2 << 28

#: On which device a flow is carried out.
DeviceSide = Literal["onu", "olt"]
_Field = tuple[int, bytes, bytes]


class Action(msgspec.Struct, frozen=True, omit_defaults=True):
    """One action of a flow. `value`: ethertype (push), VLAN id with its present bit (set_vlan), priority (set_pcp), port (output)."""

    kind: Literal["push_vlan", "pop_vlan", "set_vlan", "set_pcp", "output"]
    value: int = 0


class FlowSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One flow of the logical device. Identity is table, priority and match; the rest can be replaced."""

    table: int
    priority: int
    cookie: int
    in_port: int
    #: VLAN id with its present bit, or `ANY_VLAN` together with `vlan_mask`; `None`: no VLAN field.
    vlan: int | None = None
    vlan_mask: int | None = None
    pcp: int | None = None
    metadata_match: int | None = None
    eth_type: int | None = None
    #: MAC addresses as `02:00:00:00:00:01`.
    eth_src: str | None = None
    eth_dst: str | None = None
    ip_proto: int | None = None
    udp_src: int | None = None
    udp_dst: int | None = None
    goto: int | None = None
    meter: int = 0
    write_metadata: int = 0
    actions: tuple[Action, ...] = ()

    @property
    def id(self) -> int:
        """The id under which VOLTHA lists it."""
        return flow_id(self)

    @property
    def is_trap(self) -> bool:
        """Whether it hands packets to the controller."""
        return any(action.kind == "output" and action.value == CONTROLLER for action in self.actions)

    @property
    def upstream(self) -> bool:
        """Whether it comes from a subscriber."""
        return not is_nni(self.in_port)

    @property
    def side(self) -> DeviceSide:
        """Where it is carried out, of a trap from a UNI: first. The ONU has table 0 upstream and table 1 downstream."""
        if self.is_trap:
            return "onu" if self.upstream else "olt"
        return "onu" if self.upstream == (self.table == 0) else "olt"


def is_nni(port: int) -> bool:
    """Whether a logical port is an uplink of the OLT (section 3)."""
    return _NNI_FIRST <= port <= _NNI_LAST


def pon_port_no(pon: int) -> int:
    """The port number of PON `pon` (0, 1, …) on its OLT."""
    return _PON_FIRST + pon


def uni_port_no(pon: int, onu_id: int, uni_index: int) -> int:
    """The logical port number of a UNI; `uni_index` counts from 0."""
    return (pon << 16) | (onu_id << 8) | uni_index


def uni_parts(port: int) -> tuple[int, int, int]:
    """PON, ONU id and UNI index (from 0) of a logical UNI port."""
    return port >> 16, (port >> 8) & 0xFF, port & 0xFF


def metadata(*, technology_profile: int, egress_port: int = 0, inner_vlan: int = 0) -> int:
    """The 64 bits of write_metadata: inner tag, technology profile, egress port (section 4.2)."""
    return (inner_vlan << 48) | (technology_profile << 32) | egress_port


@lru_cache(maxsize=_REMEMBERED)
def flow_id(flow: FlowSpec) -> int:
    """The 64-bit id: the first eight bytes of an MD5 over table, priority and match (section 4.5)."""
    inner = [] if flow.metadata_match is None else [(_METADATA, _u64(flow.metadata_match), b"")]
    return _hash(flow.table, flow.priority, [(_IN_PORT, _u32(flow.in_port), b""), *inner, *_packet_fields(flow)])


@lru_cache(maxsize=_REMEMBERED)
def device_flows(flow: FlowSpec) -> tuple[tuple[DeviceSide, int], ...]:
    """On which devices a flow appears, and with which id (sections 4.4 and 12.1; compared with the recordings)."""
    if flow.is_trap:
        return _trap_flows(flow)
    return ((flow.side, _hash(0, flow.priority, [*_device_match(flow), *_packet_fields(flow)])),)


def _trap_flows(flow: FlowSpec) -> tuple[tuple[DeviceSide, int], ...]:
    """One flow at the OLT; of a UNI also one at the ONU, which tags what the OLT's then matches."""
    fields = _packet_fields(flow)
    if not flow.upstream:
        return (("olt", _hash(0, flow.priority, [(_IN_PORT, _u32(flow.in_port), b""), *fields])),)
    tunnel = (_TUNNEL_ID, _u64(flow.in_port), b"")
    pon = pon_port_no(uni_parts(flow.in_port)[0])
    written = {_VLAN_VID: "set_vlan", _VLAN_PCP: "set_pcp"}
    tags = [
        (kind, _u32(action.value), b"")
        for kind, name in written.items()
        for action in flow.actions
        if action.kind == name
    ]
    kept = [field for field in fields if field[0] not in {kind for kind, _, _ in tags}]
    return (
        ("onu", _hash(0, flow.priority, [(_IN_PORT, _u32(flow.in_port), b""), tunnel, *fields])),
        ("olt", _hash(0, flow.priority, [(_IN_PORT, _u32(pon), b""), tunnel, *kept, *tags])),
    )


def _device_match(flow: FlowSpec) -> list[_Field]:
    if flow.upstream:
        entry = flow.in_port if flow.side == "onu" else pon_port_no(uni_parts(flow.in_port)[0])
        return [(_IN_PORT, _u32(entry), b""), (_TUNNEL_ID, _u64(flow.in_port), b"")]
    egress, inner = flow.write_metadata & 0xFFFFFFFF, flow.write_metadata >> 48
    if flow.side == "olt":
        return [
            (_IN_PORT, _u32(flow.in_port), b""),
            (_METADATA, _u64(inner), b""),
            (_TUNNEL_ID, _u64(egress), b""),
        ]
    return [
        (_IN_PORT, _u32(pon_port_no(uni_parts(egress)[0])), b""),
        (_METADATA, _u64(flow.metadata_match or 0), b""),
    ]


def _packet_fields(flow: FlowSpec) -> list[_Field]:
    """What is matched in the frame itself; it is the same on the logical device and on the devices."""
    numbers = (
        (_ETH_TYPE, flow.eth_type),
        (_VLAN_PCP, flow.pcp),
        (_IP_PROTO, flow.ip_proto),
        (_UDP_SRC, flow.udp_src),
        (_UDP_DST, flow.udp_dst),
    )
    addresses = ((_ETH_DST, flow.eth_dst), (_ETH_SRC, flow.eth_src))
    vlan = [] if flow.vlan is None else [(_VLAN_VID, _u32(flow.vlan), _mask(flow))]
    return [
        *((kind, _u32(value), b"") for kind, value in numbers if value is not None),
        *((kind, bytes.fromhex(value.replace(":", "")), b"") for kind, value in addresses if value is not None),
        *vlan,
    ]


def _mask(flow: FlowSpec) -> bytes:
    return b"" if flow.vlan_mask is None else _u32(flow.vlan_mask)


def _hash(table: int, priority: int, fields: Iterable[_Field]) -> int:
    digest = hashlib.md5(struct.pack(">III", table, priority, _MATCH_OXM), usedforsecurity=False)
    for kind, value, mask in sorted(fields):
        digest.update(struct.pack(">II", _BASIC, kind) + value + (b"\x01" + mask if mask else b"\x00"))
    return int.from_bytes(digest.digest()[:8], "big")


def _u32(value: int) -> bytes:
    return struct.pack(">I", value)


def _u64(value: int) -> bytes:
    return struct.pack(">Q", value)
