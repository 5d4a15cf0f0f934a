"""The identity of a flow: table, priority and match, hashed as VOLTHA does (domain specification, section 4.5)."""

from __future__ import annotations

import hashlib
import struct
from typing import Any

from voltha_protos import openflow_13_pb2 as of

from .._serving.refusal import unknown

#: OXM type -> (field of the value, field of the mask, struct format; "" for raw bytes)
_FIELDS: dict[int, tuple[str, str, str]] = {
    of.OFPXMT_OFB_IN_PORT: ("port", "", ">I"),
    of.OFPXMT_OFB_IN_PHY_PORT: ("physical_port", "", ">I"),
    of.OFPXMT_OFB_METADATA: ("table_metadata", "table_metadata_mask", ">Q"),
    of.OFPXMT_OFB_ETH_DST: ("eth_dst", "eth_dst_mask", ""),
    of.OFPXMT_OFB_ETH_SRC: ("eth_src", "eth_src_mask", ""),
    of.OFPXMT_OFB_ETH_TYPE: ("eth_type", "", ">I"),
    of.OFPXMT_OFB_VLAN_VID: ("vlan_vid", "vlan_vid_mask", ">I"),
    of.OFPXMT_OFB_VLAN_PCP: ("vlan_pcp", "", ">I"),
    of.OFPXMT_OFB_IP_DSCP: ("ip_dscp", "", ">I"),
    of.OFPXMT_OFB_IP_ECN: ("ip_ecn", "", ">I"),
    of.OFPXMT_OFB_IP_PROTO: ("ip_proto", "", ">I"),
    of.OFPXMT_OFB_IPV4_SRC: ("ipv4_src", "ipv4_src_mask", ">I"),
    of.OFPXMT_OFB_IPV4_DST: ("ipv4_dst", "ipv4_dst_mask", ">I"),
    of.OFPXMT_OFB_TCP_SRC: ("tcp_src", "", ">I"),
    of.OFPXMT_OFB_TCP_DST: ("tcp_dst", "", ">I"),
    of.OFPXMT_OFB_UDP_SRC: ("udp_src", "", ">I"),
    of.OFPXMT_OFB_UDP_DST: ("udp_dst", "", ">I"),
    of.OFPXMT_OFB_TUNNEL_ID: ("tunnel_id", "tunnel_id_mask", ">Q"),
}


def sort_match(match: Any) -> None:
    """Put the fields of a match into the order of their types, as VOLTHA stores them."""
    ordered = sorted(match.oxm_fields, key=lambda field: field.ofb_field.type)
    copies = [of.ofp_oxm_field.FromString(field.SerializeToString()) for field in ordered]
    del match.oxm_fields[:]
    match.oxm_fields.extend(copies)


def flow_id(table_id: int, priority: int, match: Any) -> int:
    """The 64-bit id of a flow. Cookie, flags and instructions are not part of it.

    Raises ``RefusedError`` (UNKNOWN) when a field says that it has a mask and brings none.
    """
    digest = hashlib.md5(struct.pack(">III", table_id, priority, match.type), usedforsecurity=False)
    for field in sorted(match.oxm_fields, key=lambda field: field.ofb_field.type):
        digest.update(_field_bytes(field))
    return int.from_bytes(digest.digest()[:8], "big")


def _field_bytes(field: Any) -> bytes:
    basic = field.ofb_field
    head = struct.pack(">II", field.oxm_class, basic.type)
    value_name, mask_name, form = _FIELDS.get(basic.type, ("", "", ""))
    value = _encode(basic, value_name, form)
    if not basic.has_mask:
        return head + value + b"\x00"
    if basic.WhichOneof("mask") is None:
        raise unknown("hasMask set to true, but no mask present")
    return head + value + b"\x01" + _encode(basic, mask_name, form)


def _encode(basic: Any, name: str, form: str) -> bytes:
    if not name:
        return b""
    value = getattr(basic, name)
    return struct.pack(form, value) if form else bytes(value)
