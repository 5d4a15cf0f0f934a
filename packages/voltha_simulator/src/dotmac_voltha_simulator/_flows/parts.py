"""Reading a flow: what it matches, does and points to. Pure functions over ``ofp_flow_stats``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from voltha_protos import openflow_13_pb2 as of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import FieldDescriptor

PORT_MASK = 0x7FFFFFFF
CONTROLLER = of.OFPP_CONTROLLER & PORT_MASK
VLAN_PRESENT = 0x1000


def stats_from_mod(mod: Any, identity: int) -> Any:
    """The flow that a ``flow_mod`` asks for, with its id."""
    flow = of.ofp_flow_stats(
        table_id=mod.table_id,
        priority=mod.priority,
        idle_timeout=mod.idle_timeout,
        hard_timeout=mod.hard_timeout,
        flags=mod.flags,
        cookie=mod.cookie,
        id=identity,
    )
    flow.match.CopyFrom(mod.match)
    flow.instructions.extend(mod.instructions)
    return flow


def fields(flow: Any) -> Iterator[Any]:
    """The match fields VOLTHA looks at: those of an OXM match in the basic class, others do not exist for it."""
    if flow.match.type == of.OFPMT_OXM:
        for field in flow.match.oxm_fields:
            if field.oxm_class == of.OFPXMC_OPENFLOW_BASIC:
                yield field.ofb_field


def field(flow: Any, kind: int) -> Any | None:
    """The first match field of a type, or None."""
    return next((found for found in fields(flow) if found.type == kind), None)


def in_port(flow: Any) -> int:
    """The port the flow matches, 0 when none."""
    found = field(flow, of.OFPXMT_OFB_IN_PORT)
    return int(found.port) if found is not None else 0


def actions(flow: Any) -> list[Any]:
    """The actions that are applied."""
    for instruction in flow.instructions:
        if instruction.type == of.OFPIT_APPLY_ACTIONS:
            return list(instruction.actions.actions)
    return []


def out_port(flow: Any) -> int:
    """The port of the output action, 0 when none; the sign bit of real OpenFlow numbers is dropped."""
    return next((int(action.output.port) & PORT_MASK for action in actions(flow) if action.type == of.OFPAT_OUTPUT), 0)


def group_id(flow: Any) -> int:
    """The group the flow sends to, 0 when none."""
    return next((int(action.group.group_id) for action in actions(flow) if action.type == of.OFPAT_GROUP), 0)


def has_next_table(flow: Any) -> bool:
    """True with a goto to another table than 0."""
    return any(each.type == of.OFPIT_GOTO_TABLE and each.goto_table.table_id != 0 for each in flow.instructions)


def meter_id(flow: Any) -> int:
    """The meter, 0 when none."""
    return next((int(each.meter.meter_id) for each in flow.instructions if each.type == of.OFPIT_METER), 0)


def write_metadata(flow: Any) -> int:
    """The 64 bits of write_metadata, 0 when none: inner tag, technology profile, egress port (section 4.2)."""
    kind = of.OFPIT_WRITE_METADATA
    return next((int(each.write_metadata.metadata) for each in flow.instructions if each.type == kind), 0)


def egress_port(metadata: int) -> int:
    """Bits 31 to 0: the port a packet leaves by."""
    return metadata & 0xFFFFFFFF


def tech_profile(metadata: int) -> int:
    """Bits 47 to 32: the technology profile."""
    return (metadata >> 32) & 0xFFFF


def inner_tag(metadata: int) -> int:
    """Bits 63 to 48: the inner VLAN id, 4096 for any or none."""
    return (metadata >> 48) & 0xFFFF


def set_vid(flow: Any) -> int | None:
    """The VLAN id that a set-field action writes, with its present bit, or None."""
    for action in actions(flow):
        if action.type == of.OFPAT_SET_FIELD:
            basic = action.set_field.field.ofb_field
            if basic.type == of.OFPXMT_OFB_VLAN_VID:
                return int(basic.vlan_vid)
    return None


def push_ethertype(flow: Any) -> int | None:
    """The ethertype of a push-VLAN action, or None."""
    return next((int(each.push.ethertype) for each in actions(flow) if each.type == of.OFPAT_PUSH_VLAN), None)


def go_text(message: Any, *, indent: int | None = None) -> str:
    """A message as Go prints it: fields in their declared order, on one line or indented."""
    parts = [part for field in message.DESCRIPTOR.fields for part in _go_field(message, field, indent)]
    if indent is None:
        return " ".join(parts)
    return "".join(f"{'  ' * indent}{part}\n" for part in parts)


def _go_field(message: Any, field: FieldDescriptor, indent: int | None) -> Iterator[str]:
    if field.is_repeated:
        values = list(getattr(message, field.name))
    elif field.has_presence:
        values = [getattr(message, field.name)] if message.HasField(field.name) else []
    else:
        values = [getattr(message, field.name)] if getattr(message, field.name) else []
    gap = "" if indent is None else " "
    for value in values:
        if field.message_type is None:
            yield f"{field.name}:{gap}{_go_scalar(field, value)}"
        elif indent is None:
            yield f"{field.name}:{{{go_text(value)}}}"
        else:
            yield f"{field.name}: {{\n{go_text(value, indent=indent + 1)}{'  ' * indent}}}"


def _go_scalar(field: FieldDescriptor, value: Any) -> str:
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return str(known.name) if known is not None else str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
