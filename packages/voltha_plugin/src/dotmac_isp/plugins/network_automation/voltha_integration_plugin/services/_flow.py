"""A flow as a value: what it matches and does, its identity, and the flow that VOLTHA makes of it on a device.

Pure, without protobuf: `_messages` turns it into what is sent. Numbers and hash: domain specification, sections 4.1 to 4.5.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Final, Literal

import msgspec

__all__ = [
    "ANY_VLAN",
    "VLAN_PRESENT",
    "Action",
    "DeviceSide",
    "FlowSpec",
    "device_flow_id",
    "flow_id",
    "is_nni",
    "metadata",
    "pon_port_no",
    "uni_parts",
    "uni_port_no",
]

#: The bit that marks a VLAN id as present, in matches and set-field actions.
VLAN_PRESENT: Final = 0x1000
#: `vlan_vid` and mask of "any tagged frame"; also the inner tag "none" in write_metadata.
ANY_VLAN: Final = 0x1000

_BASIC: Final = 0x8000
_MATCH_OXM: Final = 1
_IN_PORT, _METADATA, _VLAN_VID, _TUNNEL_ID = 0, 2, 6, 38
_NNI_FIRST, _NNI_LAST = 1 << 24, (2 << 24) - 1
_PON_FIRST: Final = 2 << 28

#: On which device a logical flow is carried out.
DeviceSide = Literal["onu", "olt"]


class Action(msgspec.Struct, frozen=True, omit_defaults=True):
    """One action of a flow. `value` is an ethertype (push), a VLAN id with its present bit (set_vlan) or a port (output)."""

    kind: Literal["push_vlan", "pop_vlan", "set_vlan", "output"]
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
    metadata_match: int | None = None
    goto: int | None = None
    meter: int = 0
    write_metadata: int = 0
    actions: tuple[Action, ...] = ()

    @property
    def id(self) -> int:
        """The id under which VOLTHA lists it."""
        return flow_id(self)

    @property
    def side(self) -> DeviceSide:
        """Where it is carried out: the ONU has the first table upstream and the second downstream."""
        upstream = not is_nni(self.in_port)
        return "onu" if upstream == (self.table == 0) else "olt"


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


def flow_id(flow: FlowSpec) -> int:
    """The 64-bit id: the first eight bytes of an MD5 over table, priority and match (section 4.5)."""
    fields: list[tuple[int, bytes, bytes]] = [(_IN_PORT, _u32(flow.in_port), b"")]
    if flow.metadata_match is not None:
        fields.append((_METADATA, _u64(flow.metadata_match), b""))
    if flow.vlan is not None:
        fields.append((_VLAN_VID, _u32(flow.vlan), b"" if flow.vlan_mask is None else _u32(flow.vlan_mask)))
    return _hash(flow.table, flow.priority, fields)


def device_flow_id(flow: FlowSpec) -> int:
    """The id of the device flow that VOLTHA decomposes `flow` into (sections 4.4 and 12.1; compared with the recordings)."""
    vlan = [] if flow.vlan is None else [(_VLAN_VID, _u32(flow.vlan), _mask(flow))]
    return _hash(0, flow.priority, [*_device_match(flow), *vlan])


def _device_match(flow: FlowSpec) -> list[tuple[int, bytes, bytes]]:
    if not is_nni(flow.in_port):
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


def _mask(flow: FlowSpec) -> bytes:
    return b"" if flow.vlan_mask is None else _u32(flow.vlan_mask)


def _hash(table: int, priority: int, fields: list[tuple[int, bytes, bytes]]) -> int:
    digest = hashlib.md5(struct.pack(">III", table, priority, _MATCH_OXM), usedforsecurity=False)
    for kind, value, mask in sorted(fields):
        digest.update(struct.pack(">II", _BASIC, kind) + value + (b"\x01" + mask if mask else b"\x00"))
    return int.from_bytes(digest.digest()[:8], "big")


def _u32(value: int) -> bytes:
    return struct.pack(">I", value)


def _u64(value: int) -> bytes:
    return struct.pack(">Q", value)
