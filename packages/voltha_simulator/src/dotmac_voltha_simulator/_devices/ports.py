"""Port numbers, labels and port messages (domain specification, section 3; values as recorded from BBSim)."""

from __future__ import annotations

from typing import Any

from voltha_protos import common_pb2, device_pb2, logical_device_pb2
from voltha_protos import openflow_13_pb2 as of

NNI_BASE = 1 << 24
PON_BASE = 2 << 28

_ADMIN = common_pb2.AdminState
_OPER = common_pb2.OperStatus

_FEATURES_UNI = 2080  # 1 Gbit/s full duplex, copper
_FEATURES_NNI = 4160
_FEATURES_PON = 4128
_SPEED_UNI = 1_000
_SPEED_NNI = 10_000_000
_SPEED_PON = 1_000_000


def nni_number(interface: int) -> int:
    """Port number of an uplink."""
    return NNI_BASE | interface


def pon_number(pon: int) -> int:
    """Port number of a PON, on the OLT and on its ONUs."""
    return PON_BASE + pon


def uni_number(pon: int, onu_id: int, uni: int) -> int:
    """Port number of a UNI: 8 bits PON, 8 bits ONU id (from 1), 8 bits UNI index (from 0)."""
    return (pon << 16) | (onu_id << 8) | uni


def uni_parts(port_no: int) -> tuple[int, int, int]:
    """PON, ONU id and UNI index of a UNI port number."""
    return (port_no >> 16) & 0xFF, (port_no >> 8) & 0xFF, port_no & 0xFF


def is_nni(port_no: int) -> bool:
    """True for the number of an uplink."""
    return NNI_BASE <= port_no < 2 * NNI_BASE


def mac_bytes(mac: str) -> list[int]:
    """``0a:0b:…`` as the list of numbers that OpenFlow ports carry."""
    return [int(part, 16) for part in mac.split(":")]


def _ofp_port(hw_addr: list[int], *, name: str, state: int, features: int, speed: int) -> Any:
    return of.ofp_port(
        hw_addr=hw_addr,
        name=name,
        state=state,
        curr=features,
        advertised=features,
        peer=features,
        curr_speed=speed,
        max_speed=speed,
    )


def nni_port(device_id: str, mac: str, interface: int = 0) -> Any:
    """The uplink as a port of the OLT."""
    ofp = _ofp_port(mac_bytes(mac), name="", state=of.OFPPS_LIVE, features=_FEATURES_NNI, speed=_SPEED_NNI)
    return device_pb2.Port(
        port_no=nni_number(interface),
        label=f"nni-{interface}",
        type=device_pb2.Port.ETHERNET_NNI,
        admin_state=_ADMIN.ENABLED,
        oper_status=_OPER.ACTIVE,
        device_id=device_id,
        ofp_port=ofp,
    )


def pon_port(device_id: str, mac: str, pon: int) -> Any:
    """A PON as a port of the OLT; its peers are the ONUs."""
    ofp = _ofp_port(mac_bytes(mac), name="", state=of.OFPPS_LIVE, features=_FEATURES_PON, speed=_SPEED_PON)
    return device_pb2.Port(
        port_no=pon_number(pon),
        label=f"pon-{pon}",
        type=device_pb2.Port.PON_OLT,
        admin_state=_ADMIN.ENABLED,
        oper_status=_OPER.ACTIVE,
        device_id=device_id,
        ofp_port=ofp,
    )


def onu_pon_port(device_id: str, olt_id: str, pon: int) -> Any:
    """The PON side of an ONU; its peer is the OLT."""
    number = pon_number(pon)
    return device_pb2.Port(
        port_no=number,
        label=f"pon-{number}",
        type=device_pb2.Port.PON_ONU,
        admin_state=_ADMIN.ENABLED,
        oper_status=_OPER.ACTIVE,
        device_id=device_id,
        peers=[device_pb2.Port.PeerPort(device_id=olt_id, port_no=number)],
    )


def uni_port(device_id: str, serial: str, pon: int, onu_id: int, uni: int) -> Any:
    """A UNI as a port of its ONU."""
    number = uni_number(pon, onu_id, uni)
    ofp = _ofp_port(
        [8, 0, pon, pon, onu_id, uni],
        name=f"{serial}-{uni + 1}",
        state=of.OFPPS_LINK_DOWN,
        features=_FEATURES_UNI,
        speed=_SPEED_UNI,
    )
    return device_pb2.Port(
        port_no=number,
        label=f"uni-{number}",
        type=device_pb2.Port.ETHERNET_UNI,
        admin_state=_ADMIN.ENABLED,
        oper_status=_OPER.ACTIVE,
        device_id=device_id,
        ofp_port=ofp,
    )


def logical_port(port: Any) -> Any:
    """The port of the logical device that stands for an uplink or a UNI."""
    number = port.port_no
    root = port.type == device_pb2.Port.ETHERNET_NNI
    label = f"{'nni' if root else 'uni'}-{number}"
    logical = logical_device_pb2.LogicalPort(
        id=label, device_id=port.device_id, device_port_no=number, root_port=root, ofp_port_stats=of.ofp_port_stats()
    )
    logical.ofp_port.CopyFrom(port.ofp_port)
    logical.ofp_port.port_no = number
    if root:
        logical.ofp_port.name = label
    return logical
