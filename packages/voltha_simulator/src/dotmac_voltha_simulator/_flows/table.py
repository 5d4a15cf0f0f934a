"""The logical flow table: ADD, DELETE, DELETE_STRICT, and what becomes of a flow after OK was answered."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from voltha_protos import openflow_13_pb2 as of

from .._devices.ports import uni_parts
from .._events.messages import rpc_error
from .._serving.refusal import CrashRefusedError, RefusedError, unavailable, unknown
from .._stack import delays
from .._stack.records import LogicalRecord, OltRecord, OnuRecord
from .._stack.stack import CONNECT, ONU_TYPE
from . import parts, rules
from .decompose import DeviceFlow, decompose
from .identity import flow_id, sort_match

if TYPE_CHECKING:
    from .._stack.stack import Stack

_RPC = "UpdateLogicalDeviceFlowTable"
_ALL_TABLES = 0xFF
_ANY_PORT = 0x7FFFFFFF
_WILDCARDS = (0, _ANY_PORT, 0xFFFFFFFF)
_BAD_FLOW_MOD = 5


@dataclass(frozen=True, slots=True)
class _Change:
    """A flow that was added, and what it replaced."""

    logical: LogicalRecord
    flow: Any
    previous: Any
    xid: int
    device_flows: list[DeviceFlow]

    def places(self) -> list[tuple[str, int]]:
        """Which device flows it was decomposed to."""
        return [(each.device_id, each.flow.id) for each in self.device_flows]


async def update(stack: Stack, request: Any) -> None:
    """UpdateLogicalDeviceFlowTable."""
    logical = stack.logical_device(request.id)
    mod = request.flow_mod
    command = mod.command
    if command == of.OFPFC_ADD:
        _add(stack, logical, _checked(request), request.xid)
    elif command == of.OFPFC_DELETE_STRICT:
        await _delete_strict(stack, logical, _checked(request))
    elif command == of.OFPFC_DELETE:
        _delete(stack, logical, mod)
    elif command == of.OFPFC_MODIFY:
        raise unknown("flowModify not implemented")
    elif command == of.OFPFC_MODIFY_STRICT:
        raise unknown("flowModifyStrict not implemented")
    else:
        raise RefusedError(grpc.StatusCode.INTERNAL, f"unhandled-command: lDeviceId:{logical.id}, command:{command}")


def _checked(request: Any) -> Any:
    if not request.HasField("flow_mod") or not request.flow_mod.HasField("match"):
        raise CrashRefusedError("a flow_mod without a match ends the core; send a match, also an empty one of type OXM")
    return request.flow_mod


def _add(stack: Stack, logical: LogicalRecord, mod: Any, xid: int) -> None:
    flow = parts.stats_from_mod(mod, flow_id(mod.table_id, mod.priority, mod.match))
    sort_match(flow.match)
    rules.refuse_crash(flow)
    known = logical.flows.get(flow.id)
    if known is not None and known == flow:
        return
    device_flows = decompose(flow, stack.topology(logical))
    _require_adapters(stack, device_flows)
    # What a replaced flow had in the devices is overwritten where the device flow's id is the same, which it is unless
    # the flow points to another UNI now; then the old device flow stays as an orphan (surprises 14 and 38).
    logical.flows[flow.id] = flow
    change = _Change(logical, flow, known, xid, device_flows)
    logical.rules[flow.id] = change.places()
    if _install(stack, logical, device_flows):
        stack.background.later(_verdict_time(stack, logical), _revert, stack, change)
    elif any(_is_onu(stack, each) and rules.onu_cannot_translate(each.flow) for each in device_flows):
        stack.background.later(delays.FLOW_VERDICT_SLOW, _revert, stack, change)


def _verdict_time(stack: Stack, logical: LogicalRecord) -> float:
    """When a refusal comes: a deletion that hangs holds up the next flow (surprise 10), a missing adapter times out."""
    if logical.stuck:
        return delays.FLOW_VERDICT_BLOCKED
    return delays.FLOW_TIMEOUT if stack.faults.adapters_down else delays.FLOW_VERDICT


def _require_adapters(stack: Stack, device_flows: list[DeviceFlow]) -> None:
    for each in device_flows:
        record = stack.device(each.device_id)
        if record.busy:
            raise unknown(f"device-cannot-process-request-{record.id}")
        if record.message.type in stack.faults.adapters_down:
            raise unavailable(f"adapter-connection-down-for-{record.id}")


def _install(stack: Stack, logical: LogicalRecord, device_flows: list[DeviceFlow]) -> str:
    """Put flows into devices, and let the adapters work; answers why they refuse, if they do."""
    verdicts = [_verdict(stack, logical, each) for each in device_flows]
    for each in device_flows:
        stack.devices[each.device_id].put_flow(each.flow)
    failure = next((verdict for verdict in verdicts if verdict), "")
    if not failure:
        for each in device_flows:
            _taken(stack, each)
    return failure


def _verdict(stack: Stack, logical: LogicalRecord, each: DeviceFlow) -> str:
    failure = rules.core_failure(each.flow, logical.meters)
    if failure:
        return failure
    record = stack.devices[each.device_id]
    if isinstance(record, OnuRecord):
        first = not uni_parts(rules.uni_of(each.flow))[2]
        return rules.onu_failure(each.flow, ready=record.omci_ready, first_uni=first)
    if record.message.connect_status == CONNECT.UNREACHABLE:
        return "the OLT is not connected"
    onu = _onu_behind(stack, logical, rules.uni_of(each.flow))
    ready = onu is not None and onu.omci_ready
    if onu is not None and ONU_TYPE in stack.faults.adapters_down and rules.queue_of(each.flow) not in onu.profiles:
        # The OLT adapter asks the ONU's to load the technology profile, and gets no answer (surprise 23).
        return "no answer from the ONU adapter"
    beside = record.meters_beside(each.flow) if isinstance(record, OltRecord) else ()
    return rules.olt_failure(each.flow, logical.meters, beside, onu_ready=ready)


def _is_onu(stack: Stack, each: DeviceFlow) -> bool:
    return isinstance(stack.devices.get(each.device_id), OnuRecord)


def _onu_behind(stack: Stack, logical: LogicalRecord, uni: int) -> OnuRecord | None:
    port = logical.ports.get(uni)
    record = stack.devices.get(port.device_id) if port is not None else None
    return record if isinstance(record, OnuRecord) else None


def _taken(stack: Stack, each: DeviceFlow) -> None:
    """An adapter has taken a flow: load the technology profile, then push what waits for it (surprise 6)."""
    record = stack.devices[each.device_id]
    if isinstance(record, OnuRecord):
        if rules.is_onu_upstream(each.flow):
            record.fresh.add(each.flow.id)
            record.timers.later(delays.FLOWS_PUSHED, _push, stack, record, rules.queue_of(each.flow))
    elif isinstance(record, OltRecord) and rules.is_olt_upstream(each.flow) and parts.write_metadata(each.flow):
        logical = stack.logical_of(record)
        onu = _onu_behind(stack, logical, rules.uni_of(each.flow)) if logical is not None else None
        queue = rules.queue_of(each.flow)
        if onu is not None and queue not in onu.profiles and queue[1]:
            onu.timers.later(delays.TECH_PROFILE, _profile_loaded, stack, onu, queue)


def _profile_loaded(stack: Stack, onu: OnuRecord, queue: tuple[int, int]) -> None:
    if queue in onu.profiles:
        return
    onu.profiles.add(queue)
    stack.set_state(onu, reason="tech-profile-config-download-success")
    onu.timers.later(stack.paced(delays.FLOWS_PUSHED), _push, stack, onu, queue)


def _push(stack: Stack, onu: OnuRecord, queue: tuple[int, int]) -> None:
    waiting = (onu.flows.get(identity) for identity in onu.fresh)
    if queue in onu.profiles and any(flow is not None and rules.queue_of(flow) == queue for flow in waiting):
        stack.set_state(onu, reason="omci-flows-pushed")


def _revert(stack: Stack, change: _Change) -> None:
    """The adapters have refused: what was before is there again, and the controller and the bus are told."""
    logical, flow = change.logical, change.flow
    present: Any = logical.flows.get(flow.id)
    if present is flow:
        _drop_device_flows(stack, logical.rules.pop(flow.id, []))
        logical.flows.pop(flow.id)
        if change.previous is not None:
            logical.flows[flow.id], logical.rules[flow.id] = change.previous, change.places()
    elif not logical.stuck:
        return
    if not rules.core_failure(flow, logical.meters):
        _tell_onus(stack, change.device_flows)
    logical.stuck.clear()
    stack.change_events.publish(_error_message(logical.id, flow, change.xid))
    context = {
        "rpc": _RPC,
        "flow-id": str(flow.id),
        "flow-cookie": str(flow.cookie),
        "logical-device-id": logical.id,
        "device-rules": _device_rules(change.device_flows),
    }
    stack.emit(rpc_error(_RPC, logical.id, "failed-to-add-flow", context))


def _tell_onus(stack: Stack, device_flows: list[DeviceFlow]) -> None:
    for each in device_flows:
        record = stack.devices.get(each.device_id)
        if isinstance(record, OnuRecord) and rules.is_onu_upstream(each.flow):
            stack.set_state(record, reason="omci-flows-deleted")


def _error_message(logical_id: str, flow: Any, xid: int) -> Any:
    header = of.ofp_header(version=0, type=of.OFPT_FLOW_MOD, xid=xid)
    # The core makes up an OpenFlow message: version, type, length, a xid of 0, then the cookie, then zeros.
    data = struct.pack(">BBHIQ", 4, int(of.OFPT_FLOW_MOD), 56, 0, flow.cookie).ljust(60, b"\x00")
    error = of.ofp_error_msg(header=header, type=_BAD_FLOW_MOD, code=0, data=data)
    return of.ChangeEvent(id=logical_id, error=error)


def _device_rules(device_flows: list[DeviceFlow]) -> str:
    texts = (f"DeviceId:{each.device_id}\nFlow:\n{parts.go_text(each.flow, indent=0)}\n" for each in device_flows)
    return "".join(texts) + "\n\n\n"


async def _delete_strict(stack: Stack, logical: LogicalRecord, mod: Any) -> None:
    identity = flow_id(mod.table_id, mod.priority, mod.match)
    flow = logical.flows.get(identity)
    if flow is None:
        _delete_unknown(stack, logical, mod, identity)
        return
    for device_id, _ in logical.rules[identity]:
        record = stack.devices.get(device_id)
        if record is not None and record.message.type in stack.faults.adapters_down:
            cause = f"rpc error: code = Internal desc = flow-delete-failed: {device_id}"
            _tell_undeleted(stack, logical, flow)
            raise RefusedError(grpc.StatusCode.ABORTED, f"failed deleting flows id:{identity}, errors:[{cause}]")
    if identity in logical.stuck or _never_finishes(stack, logical, identity):
        await _delete_in_vain(stack, logical, flow)
        return
    _remove(stack, logical, identity)


def _delete_unknown(stack: Stack, logical: LogicalRecord, mod: Any, identity: int) -> None:
    """A flow that the core no longer knows is still taken from the devices (surprise 22)."""
    flow = parts.stats_from_mod(mod, identity)
    sort_match(flow.match)
    try:
        found = decompose(flow, stack.topology(logical))
    except RefusedError:
        return
    for each in found:
        record = stack.devices.get(each.device_id)
        if record is not None:
            _dropped(stack, record, record.take_flow(each.flow.id) or each.flow)


def _never_finishes(stack: Stack, logical: LogicalRecord, identity: int) -> bool:
    """An OLT flow with technology profile 0 cannot be deleted (surprise 10)."""
    for device_id, device_flow_id in logical.rules[identity]:
        record = stack.devices.get(device_id)
        flow = record.flows.get(device_flow_id) if isinstance(record, OltRecord) else None
        if flow is not None and rules.uni_of(flow) and parts.write_metadata(flow) and not rules.queue_of(flow)[1]:
            return True
    return False


async def _delete_in_vain(stack: Stack, logical: LogicalRecord, flow: Any) -> None:
    logical.stuck.add(flow.id)
    _drop_device_flows(stack, logical.rules[flow.id])
    await stack.timers.sleep(delays.FLOW_TIMEOUT)
    _tell_undeleted(stack, logical, flow)
    details = f"failed deleting flows id:{flow.id}, errors:[rpc error: code = Aborted desc = timeout]"
    raise RefusedError(grpc.StatusCode.ABORTED, details)


def _tell_undeleted(stack: Stack, logical: LogicalRecord, flow: Any) -> None:
    context = {"rpc": _RPC, "flow-id": str(flow.id), "flow-cookie": str(flow.cookie), "logical-device-id": logical.id}
    stack.emit(rpc_error(_RPC, logical.id, "failed-to-delete-device-flows", context))


def _delete(stack: Stack, logical: LogicalRecord, mod: Any) -> None:
    """DELETE: by cookie, table and port; only an empty match is a wildcard, another one means exactly that flow."""
    exact = flow_id(mod.table_id, mod.priority, mod.match) if mod.match.oxm_fields else None
    for identity, flow in list(logical.flows.items()):
        if exact is not None and identity != exact:
            continue
        if _selected(flow, mod):
            _remove(stack, logical, identity)


def _selected(flow: Any, mod: Any) -> bool:
    if mod.cookie_mask and (flow.cookie & mod.cookie_mask) != (mod.cookie & mod.cookie_mask):
        return False
    if mod.table_id not in (_ALL_TABLES, flow.table_id):
        return False
    wanted_port, wanted_group = mod.out_port & _ANY_PORT, mod.out_group
    if wanted_port not in _WILDCARDS and parts.out_port(flow) != wanted_port:
        return False
    return wanted_group in _WILDCARDS or parts.group_id(flow) == wanted_group


def _remove(stack: Stack, logical: LogicalRecord, identity: int) -> None:
    logical.flows.pop(identity, None)
    logical.stuck.discard(identity)
    _drop_device_flows(stack, logical.rules.pop(identity, []))


def _drop_device_flows(stack: Stack, found: list[tuple[str, int]]) -> None:
    for device_id, identity in found:
        record = stack.devices.get(device_id)
        flow = record.take_flow(identity) if record is not None else None
        if flow is not None:
            _dropped(stack, record, flow)


def _dropped(stack: Stack, record: Any, flow: Any) -> None:
    """The reason of the ONU tells of the last thing that was done to it (surprise 36)."""
    if isinstance(record, OnuRecord):
        # Also of an ONU that has forgotten the flow in a power cycle: its adapter still sends the deletion (recording 11c).
        if flow.id in record.fresh or (record.omci_ready and rules.is_onu_upstream(flow)):
            record.fresh.discard(flow.id)
            record.timers.later(delays.FLOW_VERDICT, _set_reason, stack, record, "omci-flows-deleted")
        return
    logical, queue = stack.logical_of(record), rules.queue_of(flow)
    onu = _onu_behind(stack, logical, queue[0]) if logical is not None else None
    if onu is not None and queue in onu.profiles and queue not in record.queues:
        onu.profiles.discard(queue)
        words = "tech-profile-config-delete-success"
        onu.timers.later(delays.FLOW_VERDICT * 2, _set_reason, stack, onu, words)


def _set_reason(stack: Stack, onu: OnuRecord, reason: str) -> None:
    """An ONU's reason, later."""
    stack.set_state(onu, reason=reason)


def drop_flows_of_meter(logical: LogicalRecord, meter: int) -> None:
    """Deleting a meter drops its flows from the logical table only (surprise 15)."""
    for identity, flow in list(logical.flows.items()):
        if parts.meter_id(flow) == meter:
            logical.flows.pop(identity)
            logical.rules.pop(identity, None)
