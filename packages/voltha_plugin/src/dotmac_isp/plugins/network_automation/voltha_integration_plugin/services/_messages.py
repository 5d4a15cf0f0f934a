"""Between our values and VOLTHA's protobufs, both ways. Pure; imports the generated code, so it loads on first use."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final, Literal

from voltha_protos import openflow_13_pb2 as of

from ._flow import is_nni
from ._meter import Band, MeterSpec

if TYPE_CHECKING:
    from collections.abc import Collection

    from ._flow import Action, FlowSpec

__all__ = [
    "count_queues",
    "count_tunnels",
    "delete_listed",
    "flow_mod",
    "flow_update",
    "listed_meters",
    "meter_update",
    "referenced_meters",
    "source_ports",
    "written_metadata",
]

_NO_LIMIT: Final = 0xFFFFFFFF
_MAX_LEN: Final = 65535
_METER_FLAGS: Final = 5  # kbit/s, with burst sizes

FlowCommand = Literal["add", "delete"]


def flow_update(logical_device_id: str, flow: FlowSpec, command: FlowCommand, *, xid: int = 0) -> Any:
    """The request for UpdateLogicalDeviceFlowTable; `delete` is DELETE_STRICT, which takes exactly this flow."""
    return of.FlowTableUpdate(id=logical_device_id, flow_mod=flow_mod(flow, command), xid=xid)


def flow_mod(flow: FlowSpec, command: FlowCommand) -> Any:
    """The flow as OpenFlow says it."""
    return of.ofp_flow_mod(
        cookie=flow.cookie,
        table_id=flow.table,
        command=of.OFPFC_ADD if command == "add" else of.OFPFC_DELETE_STRICT,
        priority=flow.priority,
        buffer_id=_NO_LIMIT,
        out_port=_NO_LIMIT,
        out_group=_NO_LIMIT,
        match=of.ofp_match(type=of.OFPMT_OXM, oxm_fields=_match_fields(flow)),
        instructions=_instructions(flow),
    )


def _match_fields(flow: FlowSpec) -> list[Any]:
    values = (
        ("port", of.OFPXMT_OFB_IN_PORT, flow.in_port),
        ("table_metadata", of.OFPXMT_OFB_METADATA, flow.metadata_match),
        ("eth_dst", of.OFPXMT_OFB_ETH_DST, _address(flow.eth_dst)),
        ("eth_src", of.OFPXMT_OFB_ETH_SRC, _address(flow.eth_src)),
        ("eth_type", of.OFPXMT_OFB_ETH_TYPE, flow.eth_type),
        ("vlan_vid", of.OFPXMT_OFB_VLAN_VID, flow.vlan),
        ("vlan_pcp", of.OFPXMT_OFB_VLAN_PCP, flow.pcp),
        ("ip_proto", of.OFPXMT_OFB_IP_PROTO, flow.ip_proto),
        ("udp_src", of.OFPXMT_OFB_UDP_SRC, flow.udp_src),
        ("udp_dst", of.OFPXMT_OFB_UDP_DST, flow.udp_dst),
    )
    mask = {} if flow.vlan_mask is None else {"has_mask": True, "vlan_vid_mask": flow.vlan_mask}
    return [
        _field(type=kind, **{name: value}, **(mask if kind == of.OFPXMT_OFB_VLAN_VID else {}))
        for name, kind, value in values
        if value is not None
    ]


def _address(mac: str | None) -> bytes | None:
    return None if mac is None else bytes.fromhex(mac.replace(":", ""))


def _field(**values: Any) -> Any:
    return of.ofp_oxm_field(oxm_class=of.OFPXMC_OPENFLOW_BASIC, ofb_field=of.ofp_oxm_ofb_field(**values))


def _instructions(flow: FlowSpec) -> list[Any]:
    made: list[Any] = []
    if flow.goto is not None:
        goto = of.ofp_instruction_goto_table(table_id=flow.goto)
        made.append(of.ofp_instruction(type=of.OFPIT_GOTO_TABLE, goto_table=goto))
    if flow.meter:
        meter = of.ofp_instruction_meter(meter_id=flow.meter)
        made.append(of.ofp_instruction(type=of.OFPIT_METER, meter=meter))
    if flow.write_metadata:
        write = of.ofp_instruction_write_metadata(metadata=flow.write_metadata)
        made.append(of.ofp_instruction(type=of.OFPIT_WRITE_METADATA, write_metadata=write))
    if flow.actions:
        actions = of.ofp_instruction_actions(actions=[_action(action) for action in flow.actions])
        made.append(of.ofp_instruction(type=of.OFPIT_APPLY_ACTIONS, actions=actions))
    return made


def _action(action: Action) -> Any:
    match action.kind:
        case "push_vlan":
            return of.ofp_action(type=of.OFPAT_PUSH_VLAN, push=of.ofp_action_push(ethertype=action.value))
        case "pop_vlan":
            return of.ofp_action(type=of.OFPAT_POP_VLAN)
        case "set_vlan":
            field = _field(type=of.OFPXMT_OFB_VLAN_VID, vlan_vid=action.value)
            return of.ofp_action(type=of.OFPAT_SET_FIELD, set_field=of.ofp_action_set_field(field=field))
        case "set_pcp":
            field = _field(type=of.OFPXMT_OFB_VLAN_PCP, vlan_pcp=action.value)
            return of.ofp_action(type=of.OFPAT_SET_FIELD, set_field=of.ofp_action_set_field(field=field))
        case "output":
            output = of.ofp_action_output(port=action.value, max_len=_MAX_LEN)
            return of.ofp_action(type=of.OFPAT_OUTPUT, output=output)


def delete_listed(logical_device_id: str, flow: Any) -> Any:
    """The request that takes exactly this flow away, as VOLTHA listed it."""
    mod = of.ofp_flow_mod(
        cookie=flow.cookie,
        table_id=flow.table_id,
        command=of.OFPFC_DELETE_STRICT,
        priority=flow.priority,
        buffer_id=_NO_LIMIT,
        out_port=_NO_LIMIT,
        out_group=_NO_LIMIT,
        match=flow.match,
        instructions=flow.instructions,
    )
    return of.FlowTableUpdate(id=logical_device_id, flow_mod=mod)


def count_queues(flows: Any) -> dict[tuple[int, int], tuple[int, int]]:
    """How many flows come from and go to each user port, by port and technology profile (section 4.2)."""
    found: dict[tuple[int, int], tuple[int, int]] = {}
    for flow in flows.items:
        written = next(
            (step.write_metadata.metadata for step in flow.instructions if step.type == of.OFPIT_WRITE_METADATA), 0
        )
        source = next((field.ofb_field.port for field in flow.match.oxm_fields if _is_port(field)), 0)
        up = not is_nni(source)
        key = (source if up else written & 0xFFFFFFFF, (written >> 32) & 0xFFFF)
        before = found.get(key, (0, 0))
        found[key] = (before[0] + up, before[1] + (not up))
    return found


def _is_port(field: Any) -> bool:
    return bool(field.ofb_field.type == of.OFPXMT_OFB_IN_PORT)


def count_tunnels(flows: Any) -> dict[int, int]:
    """How many of an OLT's own flows belong to each user port."""
    ports = (
        field.ofb_field.tunnel_id
        for flow in flows.items
        for field in flow.match.oxm_fields
        if field.ofb_field.type == of.OFPXMT_OFB_TUNNEL_ID
    )
    return dict(Counter(ports))


def source_ports(flows: Any) -> set[int]:
    """The ports from which listed flows come."""
    fields = (field.ofb_field for flow in flows.items for field in flow.match.oxm_fields)
    return {field.port for field in fields if field.type == of.OFPXMT_OFB_IN_PORT}


def meter_update(logical_device_id: str, meter: MeterSpec, command: FlowCommand) -> Any:
    """The request for UpdateLogicalDeviceMeterTable."""
    bands = [
        of.ofp_meter_band_header(
            type=of.OFPMBT_DROP, rate=band.rate, burst_size=band.burst, drop=of.ofp_meter_band_drop()
        )
        for band in meter.bands
    ]
    code = of.OFPMC_ADD if command == "add" else of.OFPMC_DELETE
    mod = of.ofp_meter_mod(command=code, flags=_METER_FLAGS, meter_id=meter.id, bands=bands)
    return of.MeterModUpdate(id=logical_device_id, meter_mod=mod)


def listed_meters(meters: Any) -> dict[int, tuple[Band, ...]]:
    """The meters that VOLTHA lists, by id."""
    return {
        item.config.meter_id: tuple(Band(band.rate, band.burst_size) for band in item.config.bands)
        for item in meters.items
    }


def referenced_meters(flows: Any) -> set[int]:
    """The ids of the meters that listed flows use."""
    return {step.meter.meter_id for flow in flows.items for step in flow.instructions if step.type == of.OFPIT_METER}


def written_metadata(flows: Any, flow_ids: Collection[int]) -> dict[int, int]:
    """What listed flows with these ids write as metadata; 0: nothing."""
    return {
        flow.id: next(
            (step.write_metadata.metadata for step in flow.instructions if step.type == of.OFPIT_WRITE_METADATA), 0
        )
        for flow in flows.items
        if flow.id in flow_ids
    }
