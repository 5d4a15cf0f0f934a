"""VOLTHA's events as it sends them to Kafka (domain specification, sections 5 and 12.6)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from voltha_protos import common_pb2, events_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_CATEGORY = events_pb2.EventCategory
_SUB = events_pb2.EventSubCategory
_TYPE = events_pb2.EventType

SERVICE = "voltha-rw-core-0"
STACK = "voltha"


@dataclass(frozen=True, slots=True)
class PublishedEvent:
    """An event on its way to the bus: the record's key and the message (``event.Event``)."""

    key: str
    message: Any

    @property
    def name(self) -> str:
        """The device event's name, or the RPC's for an RPC event."""
        kind = self.message.WhichOneof("event_type")
        if kind == "device_event":
            return str(self.message.device_event.device_event_name)
        return str(self.message.rpc_event.rpc) if kind == "rpc_event" else str(kind)

    @property
    def context(self) -> dict[str, str]:
        """The context of the device or RPC event."""
        kind = self.message.WhichOneof("event_type")
        return dict(getattr(self.message, kind).context) if kind in ("device_event", "rpc_event") else {}


def device_event(
    name: str,
    resource_id: str,
    context: Mapping[str, str],
    *,
    category: str = "COMMUNICATION",
    sub: str = "PON",
    description: str = "",
    key: str = "",
) -> PublishedEvent:
    """A device event; ``name`` is the whole name, with ``_RAISE_EVENT`` or ``_CLEAR_EVENT`` where it has that."""
    event = _envelope(name, _CATEGORY.Types.Value(category), _SUB.Types.Value(sub), _TYPE.DEVICE_EVENT)
    event.device_event.resource_id = resource_id
    event.device_event.device_event_name = name
    event.device_event.description = description
    event.device_event.context.update(context)
    return PublishedEvent(key, event)


def rpc_error(rpc: str, resource_id: str, description: str, context: Mapping[str, str]) -> PublishedEvent:
    """The event by which the core tells of a call that failed after it was answered."""
    event = _envelope("RPC_ERROR_RAISE_EVENT", 0, _SUB.NONE, _TYPE.RPC_EVENT)
    event.rpc_event.rpc = rpc
    event.rpc_event.service = SERVICE
    event.rpc_event.stack_id = STACK
    event.rpc_event.resource_id = resource_id
    event.rpc_event.description = description
    event.rpc_event.status.code = common_pb2.OperationResp.OPERATION_FAILURE
    event.rpc_event.context.update(context)
    return PublishedEvent("", event)


def kpi_event(sub: str, slices: Sequence[Any]) -> PublishedEvent:
    """Measurements; the record's key is the time (section 5, recording 08)."""
    event = _envelope("STATS_PUBLISH_EVENT", _CATEGORY.EQUIPMENT, _SUB.Types.Value(sub), _TYPE.KPI_EVENT2)
    seconds = event.header.raised_ts.seconds
    event.kpi_event2.ts = float(seconds)
    event.kpi_event2.slice_data.extend(slices)
    return PublishedEvent(str(seconds), event)


def state_change(device: Any, previous: tuple[int, int, int]) -> PublishedEvent:
    """A device's states have changed from ``previous`` (admin, oper, connect) to what its message says."""
    admin, oper, connect = common_pb2.AdminState, common_pb2.OperStatus, common_pb2.ConnectStatus
    context = {
        "id": device.id,
        "serial-number": device.serial_number,
        "is-root": "true" if device.root else "false",
        "parent-id": device.parent_id,
        "parent-port": str(device.parent_port_no),
        "prev-admin-state": admin.Types.Name(previous[0]),
        "prev-oper-state": oper.Types.Name(previous[1]),
        "prev-connect-state": connect.Types.Name(previous[2]),
        "admin-state": admin.Types.Name(device.admin_state),
        "oper-state": oper.Types.Name(device.oper_status),
        "connect-state": connect.Types.Name(device.connect_status),
    }
    name, sub = "DEVICE_STATE_CHANGE_RAISE_EVENT", "OLT" if device.root else "ONU"
    return device_event(name, device.id, context, category="EQUIPMENT", sub=sub)


def _envelope(name: str, category: int, sub: int, kind: int) -> Any:
    now = time.time_ns()
    event = events_pb2.Event()
    header = event.header
    # The real system drops the last two parts of every name, whatever they are.
    header.id = f"Voltha.openolt.{'_'.join(name.split('_')[:-2])}.{now}"
    header.category = category
    header.sub_category = sub
    header.type = kind
    header.type_version = "0.1"
    header.raised_ts.seconds = now // 1_000_000_000
    header.reported_ts.FromNanoseconds(now)
    return event
