"""What the core and its adapters make of a flow: refused, fails later, or works (sections 4.5, 12.2 to 12.4).

Pure functions over messages; the table (``table``) carries out what they say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from voltha_protos import openflow_13_pb2 as of

from .._devices.ports import NNI_BASE, PON_BASE, is_nni
from .._serving.refusal import CrashRefusedError
from . import parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_TWO_BANDS, _THREE_BANDS = 2, 3


def refuse_crash(flow: Any) -> None:
    """Raise ``CrashRefusedError`` for a flow that would end a process of the real system."""
    source = parts.in_port(flow)
    if not source:
        return
    if is_nni(source):
        _refuse_downstream_crash(flow)
        return
    if flow.table_id == 0 and _reaches_onu(flow) and not parts.meter_id(flow):
        raise CrashRefusedError(
            "an upstream table 0 flow without a meter ends the ONU adapter; add a meter instruction"
        )
    pushed = parts.push_ethertype(flow)
    if flow.table_id == 1 and pushed is not None:
        if pushed != 0x8100:  # noqa: PLR2004 - the one ethertype VOLTHA takes
            raise CrashRefusedError(f"push VLAN with ethertype {pushed:#06x} ends the OLT adapter; it has to be 0x8100")
        if parts.set_vid(flow) == 0:
            raise CrashRefusedError("push VLAN and set VLAN 0 ends the OLT adapter; write 0x1000 | VLAN id")


def _reaches_onu(flow: Any) -> bool:
    return parts.has_next_table(flow) or parts.out_port(flow) == parts.CONTROLLER


def _refuse_downstream_crash(flow: Any) -> None:
    wanted = flow.table_id == 0 and parts.has_next_table(flow) and not parts.out_port(flow)
    if wanted and not parts.egress_port(parts.write_metadata(flow)):
        raise CrashRefusedError(
            "a downstream table 0 flow without an egress port in write_metadata ends the OLT adapter;"
            " put the UNI port into the lower 32 bits"
        )


def bands_are_valid(bands: Iterable[Any]) -> bool:
    """True when the OLT adapter can read a meter's bands (section 4.3, second table)."""
    known = list(bands)
    bursts = [band.burst_size for band in known]
    if len(known) == 1:
        return True
    if len(known) == _TWO_BANDS:
        return all(bursts) or (not any(bursts) and known[0].rate == known[1].rate)
    return len(known) == _THREE_BANDS and bursts.count(0) == 1


def core_failure(flow: Any, meters: Mapping[int, Any]) -> str:
    """Why the core itself gives up on a device flow after it said OK; empty when it does not."""
    meter = parts.meter_id(flow)
    return "meter-referred-in-flow-not-present" if meter and meter not in meters else ""


def onu_failure(flow: Any, *, ready: bool, first_uni: bool) -> str:
    """Why the ONU adapter refuses a device flow; empty when it takes it. Downstream flows it never refuses."""
    if not is_onu_upstream(flow):
        return ""
    if not ready:
        return "improper device state"
    if not flow.cookie:
        return "cookie is zero"
    metadata = parts.write_metadata(flow)
    if not metadata:
        return "metadata is zero"
    if not first_uni:
        return "UNI is locked"
    return ""


def onu_cannot_translate(flow: Any) -> bool:
    """An upstream flow with a VLAN that is neither rewritten nor named in the metadata: refused after 10 s."""
    vlan = parts.field(flow, of.OFPXMT_OFB_VLAN_VID)
    if not is_onu_upstream(flow) or vlan is None or not int(vlan.vlan_vid) & 0xFFF:
        return False
    return parts.set_vid(flow) is None and parts.inner_tag(parts.write_metadata(flow)) == 0


def olt_failure(flow: Any, meters: Mapping[int, Any], beside: Iterable[int], *, onu_ready: bool) -> str:
    """Why the OLT adapter refuses a device flow; empty when it takes it. ``beside``: other meters of its queue."""
    if not uni_of(flow):
        return ""
    if not onu_ready:
        return "onu not ready"
    if not parts.write_metadata(flow):
        return "metadata is zero"
    return _meter_failure(flow, meters, beside) if parts.meter_id(flow) else ""


def _meter_failure(flow: Any, meters: Mapping[int, Any], beside: Iterable[int]) -> str:
    meter = parts.meter_id(flow)
    if not bands_are_valid(meters[meter].config.bands):
        return "invalid-meter-config"
    other = next((found for found in beside if found != meter), meter)
    return "" if other == meter else f"meter mismatch: {other} is in use, not {meter}"


def queue_of(flow: Any) -> tuple[int, int]:
    """UNI and technology profile of an OLT device flow."""
    return uni_of(flow), parts.tech_profile(parts.write_metadata(flow))


def uni_of(flow: Any) -> int:
    """The UNI that a device flow belongs to, 0 when none (a trap of the uplink)."""
    tunnel = parts.field(flow, of.OFPXMT_OFB_TUNNEL_ID)
    return int(tunnel.tunnel_id) if tunnel is not None else 0


def is_onu_upstream(flow: Any) -> bool:
    """True for a flow of an ONU that comes in by a UNI."""
    return 0 < parts.in_port(flow) < NNI_BASE


def is_olt_upstream(flow: Any) -> bool:
    """True for a subscriber's flow of an OLT that comes in by a PON."""
    return parts.in_port(flow) >= PON_BASE and uni_of(flow) != 0
