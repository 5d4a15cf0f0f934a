"""From a logical flow to the flows of the devices on its way (domain specification, section 4.4, last table).

Pure: it sees a flow and the ports of the logical device, and answers the device flows, with the ids and the order of
instructions of the real one. The hash of every device flow in the recordings comes out the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from voltha_protos import openflow_13_pb2 as of

from .._devices.ports import is_nni, pon_number, uni_parts
from .._serving.refusal import RefusedError, unavailable, unknown
from . import parts
from .identity import flow_id, sort_match

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_MAX_LEN = 65509  # what the core's own output actions carry
_PUSH = of.ofp_action(type=of.OFPAT_PUSH_VLAN, push=of.ofp_action_push(ethertype=0x8100))
_EAPOL, _IGMP, _UDP = 0x888E, 2, 17


@dataclass(frozen=True, slots=True)
class Topology:
    """What the decomposition needs to know: the OLT, and which device owns which logical port."""

    olt_id: str
    port_owner: Mapping[int, str]

    def nni(self) -> int | None:
        """The first uplink."""
        return next((port for port in self.port_owner if is_nni(port)), None)

    def has_uni(self) -> bool:
        """True when some ONU has brought a port, so that routes exist at all."""
        return any(not is_nni(port) for port in self.port_owner)


@dataclass(frozen=True, slots=True)
class DeviceFlow:
    """A flow and the device it goes to."""

    device_id: str
    flow: Any


def decompose(flow: Any, topology: Topology) -> list[DeviceFlow]:
    """The device flows of a logical flow; raises ``RefusedError`` with the answer of the real core when there are none."""
    source, target = parts.in_port(flow), parts.out_port(flow)
    _require_route(source, target, topology)
    if target == parts.CONTROLLER:
        found = _nni_trap(flow, topology) if is_nni(source) else _uni_trap(flow, source, topology)
    elif is_nni(source):
        found = _downstream(flow, source, target, topology)
    else:
        found = _upstream(flow, source, target, topology)
    if not found:
        raise unavailable("adapter(s)-not-ready")
    return found


def _require_route(source: int, target: int, topology: Topology) -> None:
    known = topology.port_owner
    if target == parts.CONTROLLER:
        if source not in known or topology.nni() is None:
            raise unknown(f"no upstream route from:{source} to:{target} :no route")
    elif target == 0:
        if source not in known or not topology.has_uni():
            raise unknown(f"no downstream route from:{source} to:0 :no route")
    elif target not in known:
        raise unknown(f"no route from:{source} to:{target} for egress port {target} not found no route")
    elif source not in known:
        raise unknown(f"no route from:{source} to:{target} for ingress port {source} not found no route")


def _upstream(flow: Any, source: int, target: int, topology: Topology) -> list[DeviceFlow]:
    if flow.table_id == 0 and parts.has_next_table(flow):
        return [] if target else [_onu_upstream(flow, source, topology, parts.actions(flow))]
    if flow.table_id == 1 and target:
        return [_egress_upstream(flow, source, target, topology)]
    return []


def _onu_upstream(flow: Any, source: int, topology: Topology, actions: Sequence[Any]) -> DeviceFlow:
    pon = pon_number(uni_parts(source)[0])
    match = [_in_port(source), *_other_fields(flow), _tunnel(source)]
    return DeviceFlow(topology.port_owner[source], _device_flow(flow, match, [*actions, _output(pon)]))


def _egress_upstream(flow: Any, source: int, target: int, topology: Topology) -> DeviceFlow:
    # An output to another UNI is accepted by the core and becomes a flow of that UNI's ONU.
    via = target if not is_nni(target) else source
    match = [_in_port(pon_number(uni_parts(via)[0])), *_other_fields(flow), _tunnel(source)]
    kept = [action for action in parts.actions(flow) if action.type != of.OFPAT_OUTPUT]
    owner = topology.port_owner[target]
    return DeviceFlow(owner, _device_flow(flow, match, [*kept, _output(target)]))


def _downstream(flow: Any, source: int, target: int, topology: Topology) -> list[DeviceFlow]:
    if flow.table_id == 0 and parts.has_next_table(flow):
        return [] if target else _olt_downstream(flow, source, topology)
    if flow.table_id == 1 and target:
        return [_onu_downstream(flow, target, topology)]
    if flow.table_id == 0 and parts.group_id(flow):
        return _multicast(flow, source, topology)
    raise RefusedError(grpc.StatusCode.ABORTED, f"unknown downstream flow {parts.go_text(flow)}")


def _olt_downstream(flow: Any, source: int, topology: Topology) -> list[DeviceFlow]:
    metadata = parts.write_metadata(flow)
    egress = parts.egress_port(metadata)
    if egress not in topology.port_owner or parts.inner_tag(metadata) == 0:
        return []
    inner = of.ofp_oxm_ofb_field(type=of.OFPXMT_OFB_METADATA, table_metadata=parts.inner_tag(metadata))
    others = [field for field in _other_fields(flow) if field.type != of.OFPXMT_OFB_METADATA]
    match = [_in_port(source), inner, *others, _tunnel(egress)]
    output = _output(pon_number(uni_parts(egress)[0]))
    return [DeviceFlow(topology.olt_id, _device_flow(flow, match, [*parts.actions(flow), output]))]


def _onu_downstream(flow: Any, target: int, topology: Topology) -> DeviceFlow:
    match = [_in_port(pon_number(uni_parts(target)[0])), *_other_fields(flow)]
    kept = [action for action in parts.actions(flow) if action.type != of.OFPAT_OUTPUT]
    return DeviceFlow(topology.port_owner[target], _device_flow(flow, match, [*kept, _output(target)]))


def _multicast(flow: Any, source: int, topology: Topology) -> list[DeviceFlow]:
    match = [_in_port(source), *_other_fields(flow)]
    return [DeviceFlow(topology.olt_id, _device_flow(flow, match, parts.actions(flow)))]


def _nni_trap(flow: Any, topology: Topology) -> list[DeviceFlow]:
    match = [_in_port(parts.in_port(flow)), *_other_fields(flow)]
    actions = [_output(parts.CONTROLLER)] if _rewritten_by_core(flow) else parts.actions(flow)
    return [DeviceFlow(topology.olt_id, _device_flow(flow, match, actions, plain=True))]


def _rewritten_by_core(flow: Any) -> bool:
    """EAPOL, IGMP and UDP traps of the OLT get the core's own output action, LLDP keeps the client's."""
    return any(field.eth_type == _EAPOL or field.ip_proto in (_IGMP, _UDP) for field in parts.fields(flow))


def _uni_trap(flow: Any, source: int, topology: Topology) -> list[DeviceFlow]:
    """One flow at the ONU that tags, one at the OLT that matches the tag and hands the packet to the controller."""
    kept = parts.actions(flow)
    written = [action.set_field.field.ofb_field for action in kept if action.type == of.OFPAT_SET_FIELD]
    overwritten = {field.type for field in written}
    others = [field for field in _other_fields(flow) if field.type not in overwritten]
    pon = pon_number(uni_parts(source)[0])
    child_match = [_in_port(source), *_other_fields(flow), _tunnel(source)]
    parent_match = [_in_port(pon), *others, *written, _tunnel(source)]
    # The core pushes a tag wherever one is written, and writes the priority bits after the output.
    tags = [action for action in kept if action.type == of.OFPAT_SET_FIELD and not _writes_priority(action)]
    last = [action for action in kept if _writes_priority(action)]
    first = [_PUSH, *tags] if tags else []
    return [
        DeviceFlow(topology.port_owner[source], _device_flow(flow, child_match, [*first, _output(pon), *last])),
        DeviceFlow(topology.olt_id, _device_flow(flow, parent_match, [_output(parts.CONTROLLER)])),
    ]


def _writes_priority(action: Any) -> bool:
    sets = action.type == of.OFPAT_SET_FIELD
    return bool(sets and action.set_field.field.ofb_field.type == of.OFPXMT_OFB_VLAN_PCP)


def _other_fields(flow: Any) -> list[Any]:
    return [field for field in parts.fields(flow) if field.type != of.OFPXMT_OFB_IN_PORT]


def _in_port(port: int) -> Any:
    return of.ofp_oxm_ofb_field(type=of.OFPXMT_OFB_IN_PORT, port=port)


def _tunnel(port: int) -> Any:
    return of.ofp_oxm_ofb_field(type=of.OFPXMT_OFB_TUNNEL_ID, tunnel_id=port)


def _output(port: int) -> Any:
    return of.ofp_action(type=of.OFPAT_OUTPUT, output=of.ofp_action_output(port=port, max_len=_MAX_LEN))


def _device_flow(flow: Any, match: Sequence[Any], actions: Sequence[Any], *, plain: bool = False) -> Any:
    made = of.ofp_flow_stats(priority=flow.priority, cookie=flow.cookie)
    made.match.type = of.OFPMT_OXM
    for basic in match:
        made.match.oxm_fields.add(oxm_class=of.OFPXMC_OPENFLOW_BASIC, ofb_field=basic)
    sort_match(made.match)
    made.instructions.add(type=of.OFPIT_APPLY_ACTIONS, actions=of.ofp_instruction_actions(actions=actions))
    if not plain:
        _add_meter_and_metadata(made, parts.meter_id(flow), parts.write_metadata(flow))
    made.id = flow_id(0, made.priority, made.match)
    return made


def _add_meter_and_metadata(made: Any, meter: int, metadata: int) -> None:
    if meter:
        made.instructions.add(type=of.OFPIT_METER, meter=of.ofp_instruction_meter(meter_id=meter))
    if metadata:
        made.instructions.add(
            type=of.OFPIT_WRITE_METADATA, write_metadata=of.ofp_instruction_write_metadata(metadata=metadata)
        )
