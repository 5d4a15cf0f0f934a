"""The meter and group tables of a logical device (sections 4.5, 12.2, 12.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from voltha_protos import openflow_13_pb2 as of

from .._serving.refusal import RefusedError, unknown
from .table import drop_flows_of_meter

if TYPE_CHECKING:
    from .._stack.records import LogicalRecord
    from .._stack.stack import Stack


def update_meter(stack: Stack, request: Any) -> None:
    """UpdateLogicalDeviceMeterTable: bands are not looked at; a bad meter only fails the flows that use it."""
    logical = stack.logical_device(request.id)
    mod = request.meter_mod
    if not request.HasField("meter_mod"):
        return
    if mod.command == of.OFPMC_ADD:
        logical.meters.setdefault(mod.meter_id, _entry(mod))
    elif mod.command == of.OFPMC_MODIFY:
        _modify(logical, mod)
    elif mod.command == of.OFPMC_DELETE:
        if logical.meters.pop(mod.meter_id, None) is not None:
            drop_flows_of_meter(logical, mod.meter_id)
    else:
        details = f"unhandled-command: logical-device-id:{logical.id}, command:{mod.command}"
        raise RefusedError(grpc.StatusCode.INTERNAL, details)


def _modify(logical: LogicalRecord, mod: Any) -> None:
    if mod.meter_id not in logical.meters:
        raise unknown(f"no-meter-to-modify: {mod.meter_id}, logical-device-id: {logical.id}")
    logical.meters[mod.meter_id] = _entry(mod)


def _entry(mod: Any) -> Any:
    entry = of.ofp_meter_entry()
    entry.config.flags, entry.config.meter_id = mod.flags, mod.meter_id
    entry.config.bands.extend(mod.bands)
    entry.stats.meter_id = mod.meter_id
    for _ in mod.bands:
        entry.stats.band_stats.add()
    return entry


def update_group(stack: Stack, request: Any) -> None:
    """UpdateLogicalDeviceFlowGroupTable: groups are passed on to the OLT as they are."""
    logical = stack.logical_device(request.id)
    mod = request.group_mod
    if mod.command == of.OFPGC_ADD:
        if mod.group_id in logical.groups:
            raise unknown(f"group {mod.group_id} already exists")
        logical.groups[mod.group_id] = _group(mod)
    elif mod.command == of.OFPGC_MODIFY:
        if mod.group_id not in logical.groups:
            raise unknown(f"group-absent:{mod.group_id}")
        logical.groups[mod.group_id] = _group(mod)
    elif mod.command == of.OFPGC_DELETE:
        logical.groups.pop(mod.group_id, None)
    olt = stack.devices.get(logical.olt_id)
    if olt is not None:
        olt.groups = dict(logical.groups)


def _group(mod: Any) -> Any:
    entry = of.ofp_group_entry()
    entry.desc.type, entry.desc.group_id = mod.type, mod.group_id
    entry.desc.buckets.extend(mod.buckets)
    entry.stats.group_id = mod.group_id
    return entry
