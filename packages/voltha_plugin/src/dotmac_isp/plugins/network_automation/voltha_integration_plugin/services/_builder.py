"""From a service and its place to the flows that stand for it. Pure functions from values to values, no I/O.

Flows as the domain specification gives them (sections 4.4 and 12.1) and as they were recorded: the smallest DT set, Q-in-Q with
traps of the AT&T workflow, three TT services with priorities. One function for each of the four data flows, and one for traps.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ._flow import ANY_VLAN, CONTROLLER, VLAN_PRESENT, Action, FlowSpec, metadata

if TYPE_CHECKING:
    from ._service import ServiceConfig

__all__ = ["COOKIE_PREFIX", "MeterIds", "Place", "cookie_base", "cookie_owner", "service_flows"]

_DATA: Final = 1000
_TRAP: Final = 10000
_ETHERTYPE_VLAN: Final = 0x8100  # the only one that does not end the OLT adapter (recordings, surprise 1)
#: The uppermost byte of every cookie of ours, by which foreign flows are told from our own.
COOKIE_PREFIX: Final = 0x5D

_IPV4, _IPV6, _EAPOL, _PPPOE_DISCOVERY = 0x0800, 0x86DD, 0x888E, 0x8863
_IGMP, _UDP = 2, 17
#: Packets from a user port that go to the controller (section 4.4).
_TRAPS: Final[dict[str, dict[str, int]]] = {
    "eapol": {"eth_type": _EAPOL},
    "dhcp": {"eth_type": _IPV4, "ip_proto": _UDP, "udp_src": 68, "udp_dst": 67},
    "dhcpv6": {"eth_type": _IPV6, "ip_proto": _UDP, "udp_src": 546, "udp_dst": 547},
    "pppoe": {"eth_type": _PPPOE_DISCOVERY},
    "igmp": {"eth_type": _IPV4, "ip_proto": _IGMP},
}


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a service is installed right now. Ids are VOLTHA's and may change; serial numbers are the keys."""

    olt_serial: str
    onu_serial: str
    olt_id: str
    onu_id: str
    logical_device_id: str
    uni_port: int
    nni_port: int


class MeterIds(msgspec.Struct, frozen=True):
    """The meters of a service; where ONU and OLT have the same speeds they are the same."""

    up_onu: int
    up_olt: int
    down_onu: int
    down_olt: int


def cookie_owner(tenant: str) -> int:
    """The upper three bytes of all cookies of a tenant: our prefix and 16 bits of its name."""
    digest = hashlib.sha256(tenant.encode()).digest()
    return (COOKIE_PREFIX << 16) | int.from_bytes(digest[:2], "big")


def cookie_base(tenant: str, *parts: str) -> int:
    """A cookie that belongs to one service: its owner and 32 bits of what identifies it; the last byte numbers its flows."""
    digest = hashlib.sha256("\x00".join(parts).encode()).digest()
    return (cookie_owner(tenant) << 40) | (int.from_bytes(digest[:4], "big") << 8)


def service_flows(service: ServiceConfig, place: Place, meters: MeterIds, cookie: int) -> tuple[FlowSpec, ...]:
    """The flows of a service in the order in which they are added. Without a MAC address that it waits for: only its traps."""
    data = () if service.waits_for_mac else _data_flows(service, place, meters)
    traps = tuple(_trap_flow(service, place, meters, name) for name in service.traps)
    return tuple(
        FlowSpec(cookie=cookie | number, priority=_TRAP if trap else _DATA, **parts)
        for number, (parts, trap) in enumerate(
            [*((each, False) for each in data), *((each, True) for each in traps)], 1
        )
    )


_Parts = dict[str, Any]


def _data_flows(service: ServiceConfig, place: Place, meters: MeterIds) -> tuple[_Parts, ...]:
    up, down = _upstream_metadata(service, place), _downstream_metadata(service, place)
    return (
        {
            **_up_at_onu(service),
            "table": 0,
            "in_port": place.uni_port,
            "goto": 1,
            "meter": meters.up_onu,
            "write_metadata": up,
        },
        {
            **_up_at_olt(service, place),
            "table": 1,
            "in_port": place.uni_port,
            "meter": meters.up_olt,
            "write_metadata": up,
        },
        {
            **_down_at_olt(service),
            "table": 0,
            "in_port": place.nni_port,
            "goto": 1,
            "meter": meters.down_olt,
            "write_metadata": down,
        },
        {
            **_down_at_onu(service, place),
            "table": 1,
            "in_port": place.nni_port,
            "metadata_match": place.uni_port,
            "meter": meters.down_onu,
            "write_metadata": down,
        },
    )


def _upstream_metadata(service: ServiceConfig, place: Place) -> int:
    """No inner tag but where the OLT translates: it would make a single-tagged service look double-tagged (section 12.1)."""
    profile = service.technology_profile
    if service.tagging == "single":
        return metadata(technology_profile=profile)
    inner = ANY_VLAN if service.tagging == "olt_translate" else 0
    return metadata(technology_profile=profile, egress_port=place.nni_port, inner_vlan=inner)


def _downstream_metadata(service: ServiceConfig, place: Place) -> int:
    """The inner tag may not be 0, or no device flow is made; 4096 says none."""
    named = service.c_tag if service.tagging in ("double", "transparent", "onu_translate") else None
    return metadata(
        technology_profile=service.technology_profile, egress_port=place.uni_port, inner_vlan=named or ANY_VLAN
    )


def _up_at_onu(service: ServiceConfig) -> _Parts:
    match = _vlan(service.match_tag)
    match_priority = service.us_c_priority if service.tagging == "onu_translate" else None
    return _with_priority(match, match_priority) | {"actions": tuple(_tagging_at_onu(service))}


def _tagging_at_onu(service: ServiceConfig) -> list[Action]:
    """What the ONU does to the tag upstream, to data and to trapped packets."""
    if service.tagging in ("single", "olt_translate"):
        return []
    tag, priority = (
        (service.s_tag, service.us_s_priority)
        if service.tagging == "onu_translate"
        else (service.c_tag, service.us_c_priority)
    )
    push = [Action("push_vlan", _ETHERTYPE_VLAN)] if service.match_tag == "untagged" else []
    return [*push, Action("set_vlan", VLAN_PRESENT | (tag or 0)), *_set_priority(priority)]


def _up_at_olt(service: ServiceConfig, place: Place) -> _Parts:
    push, outer = Action("push_vlan", _ETHERTYPE_VLAN), Action("set_vlan", VLAN_PRESENT | (service.s_tag or 0))
    output = Action("output", place.nni_port)
    match service.tagging:
        case "single":
            return _vlan("any") | {"actions": (push, outer, *_set_priority(service.us_s_priority), output)}
        case "double":
            seen = _with_priority(_vlan(service.c_tag), service.us_c_priority)
            return seen | {"actions": (push, outer, *_set_priority(service.us_s_priority), output)}
        case "transparent":
            return _with_priority(_vlan(service.c_tag), service.us_c_priority) | {"actions": (output,)}
        case "onu_translate":
            return _vlan(service.s_tag) | {"eth_src": service.mac_address, "actions": (output,)}
        case "olt_translate":
            return _vlan(service.c_tag) | {"actions": (outer, *_set_priority(service.us_s_priority), output)}


def _down_at_olt(service: ServiceConfig) -> _Parts:
    address = {"eth_dst": service.mac_address}
    match service.tagging:
        case "single":
            return (
                _with_priority(_vlan(service.s_tag), service.ds_s_priority)
                | address
                | {"actions": (Action("pop_vlan"),)}
            )
        case "double":
            # The inner priority is written anew, so that the ONU need not trust what comes from the network.
            found = _with_priority(_vlan(service.s_tag), service.ds_c_priority) | {"metadata_match": service.c_tag}
            return found | address | {"actions": (Action("pop_vlan"), *_set_priority(service.us_c_priority))}
        case "transparent":
            return _with_priority(_vlan("any"), service.ds_c_priority) | {"metadata_match": service.c_tag} | address
        case "onu_translate":
            return _with_priority(_vlan(service.s_tag), service.ds_s_priority) | address
        case "olt_translate":
            inner = Action("set_vlan", VLAN_PRESENT | (service.c_tag or 0))
            return _with_priority(_vlan(service.s_tag), service.ds_s_priority) | address | {"actions": (inner,)}


def _down_at_onu(service: ServiceConfig, place: Place) -> _Parts:
    output = Action("output", place.uni_port)
    match service.tagging:
        case "single":
            return _vlan("any") | {"actions": (output,)}
        case "double" | "transparent":
            seen = _with_priority(_vlan(service.c_tag), service.ds_c_priority)
            return seen | {"actions": (_tag_of_user(service.match_tag), output)}
        case "onu_translate":
            return _vlan(service.s_tag) | {"actions": (_tag_of_user(service.match_tag), output)}
        case "olt_translate":
            return _vlan(service.c_tag) | {"actions": (output,)}


def _tag_of_user(tag: int | str) -> Action:
    return Action("set_vlan", VLAN_PRESENT | tag) if isinstance(tag, int) else Action("pop_vlan")


def _trap_flow(service: ServiceConfig, place: Place, meters: MeterIds, name: str) -> _Parts:
    """One trap: the ONU tags the packet, the OLT hands it over. EAPOL comes untagged, whatever the service's tag is."""
    tag = {} if name == "eapol" or not isinstance(service.match_tag, int) else _vlan(service.match_tag)
    priority = service.us_c_priority if service.tagging == "onu_translate" and tag else None
    return {
        **_with_priority(tag, priority),
        **_TRAPS[name],
        "table": 0,
        "in_port": place.uni_port,
        "meter": meters.up_onu,
        "write_metadata": metadata(technology_profile=service.technology_profile),
        "actions": (*_tagging_of_trap(service, name), Action("output", CONTROLLER)),
    }


def _tagging_of_trap(service: ServiceConfig, name: str) -> list[Action]:
    actions = _tagging_at_onu(service)
    untagged = name == "eapol" and actions and actions[0].kind != "push_vlan"
    return [Action("push_vlan", _ETHERTYPE_VLAN), *actions] if untagged else actions


def _set_priority(priority: int | None) -> tuple[Action, ...]:
    return () if priority is None else (Action("set_pcp", priority),)


def _vlan(tag: int | str | None) -> _Parts:
    """The match for a VLAN id, `untagged`, or `any` tagged frame (section 4.1)."""
    if tag == "any":
        return {"vlan": ANY_VLAN, "vlan_mask": ANY_VLAN}
    return {"vlan": VLAN_PRESENT | tag if isinstance(tag, int) else VLAN_PRESENT}


def _with_priority(match: _Parts, priority: int | None) -> _Parts:
    return match if priority is None else {**match, "pcp": priority}
