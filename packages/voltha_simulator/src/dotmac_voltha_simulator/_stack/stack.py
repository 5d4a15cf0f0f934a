"""The state of the simulated VOLTHA and the few operations everything else is made of."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

from voltha_protos import common_pb2
from voltha_protos import openflow_13_pb2 as of

from .._events.messages import state_change
from .._flows.decompose import Topology
from .._serving.faults import Faults
from .._serving.refusal import failed_precondition, not_found
from .._serving.streams import SingleConsumerStream
from .records import DeviceRecord, LogicalRecord, OltRecord, OnuRecord
from .timers import Timers

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from .._devices.hardware import OltHardware
    from .._events.messages import PublishedEvent
    from .._events.sinks import EventSink

ADMIN = common_pb2.AdminState
OPER = common_pb2.OperStatus
CONNECT = common_pb2.ConnectStatus

OLT_TYPE = "openolt"
ONU_TYPE = "brcm_openomci_onu"
ADAPTER_ENDPOINTS = {OLT_TYPE: "127.0.0.1:50061", ONU_TYPE: "127.0.0.1:50062"}


class Stack:
    """Devices, logical devices, streams and timers of one simulated VOLTHA."""

    def __init__(self, hardware: list[OltHardware], sinks: list[EventSink], *, time_factor: float) -> None:
        self.hardware = hardware
        self.sinks = sinks
        self.timers = Timers(time_factor)
        self.background = self.timers.group()
        self.faults = Faults()
        self.devices: dict[str, DeviceRecord] = {}
        self.logical: dict[str, LogicalRecord] = {}
        self.change_events = SingleConsumerStream()
        self.packets_in = SingleConsumerStream()
        self.refused_crashes = 0
        #: whether the ONU adapter was started to measure
        self.onu_metrics = False
        #: services that the adapters can configure in a second, together; 0 for as many as come
        self.pace = 0.0
        self._busy_until = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    def paced(self, seconds: float) -> float:
        """How long work of so many seconds takes when the adapters have other work, too (section 12.7)."""
        if not self.pace:
            return seconds
        now = asyncio.get_running_loop().time() / self.timers.factor
        begins = max(now, self._busy_until)
        self._busy_until = begins + 1 / self.pace
        return seconds + begins - now

    # work that outlives the call that started it

    async def carry_through(self, work: Coroutine[Any, Any, None]) -> None:
        """Wait for work that goes on when the caller gives up waiting."""
        await asyncio.shield(self.spawn(work))

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do work that nobody waits for; it ends with the stack."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """End all timers, streams and work."""
        self.timers.close()
        self.change_events.close()
        self.packets_in.close()
        unfinished = list(self._tasks)
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)

    # finding

    def device(self, device_id: str) -> DeviceRecord:
        """The device, else NOT_FOUND with its id as text."""
        record = self.devices.get(device_id)
        if record is None:
            raise not_found(device_id)
        return record

    def idle_device(self, device_id: str) -> DeviceRecord:
        """The device, unless it is being deleted or reconciled."""
        record = self.device(device_id)
        if record.busy or record.message.oper_status == OPER.RECONCILING:
            raise failed_precondition(
                "cannot complete operation as device deletion is in progress or reconciling is in progress/failed."
                f" device : {device_id}"
            )
        return record

    def logical_device(self, logical_id: str) -> LogicalRecord:
        """The logical device, else NOT_FOUND with its id as text."""
        record = self.logical.get(logical_id)
        if record is None:
            raise not_found(logical_id)
        return record

    def logical_of(self, olt: OltRecord) -> LogicalRecord | None:
        """The logical device of an OLT, if it has come up."""
        return self.logical.get(olt.message.parent_id)

    def onus_of(self, olt: OltRecord) -> list[OnuRecord]:
        """The ONUs that the OLT has discovered."""
        found = (self.devices.get(device_id) for device_id in list(olt.onu_ids.values()))
        return [record for record in found if isinstance(record, OnuRecord)]

    def olt_of(self, onu: OnuRecord) -> OltRecord | None:
        """The OLT of an ONU."""
        record = self.devices.get(onu.olt_id)
        return record if isinstance(record, OltRecord) else None

    def olts(self) -> list[OltRecord]:
        """All root devices."""
        return [record for record in self.devices.values() if isinstance(record, OltRecord)]

    def onu_by_serial(self, serial: str) -> OnuRecord | None:
        """The ONU device with a serial number, if it is discovered."""
        for record in self.devices.values():
            if isinstance(record, OnuRecord) and record.hardware.serial == serial:
                return record
        return None

    def topology(self, logical: LogicalRecord) -> Topology:
        """The ports of a logical device and who owns them."""
        return Topology(logical.olt_id, logical.owners)

    # changing

    def new_id(self) -> str:
        """A fresh device or logical device id."""
        return str(uuid.uuid4())

    def emit(self, event: PublishedEvent) -> None:
        """Send an event to all sinks."""
        for sink in self.sinks:
            sink.publish(event)

    def set_state(
        self,
        record: DeviceRecord,
        *,
        admin: int | None = None,
        oper: int | None = None,
        connect: int | None = None,
        reason: str | None = None,
    ) -> None:
        """Change a device's states; tells the bus when one of the three enums really changed."""
        device = record.message
        before = (device.admin_state, device.oper_status, device.connect_status)
        if admin is not None:
            device.admin_state = admin
        if oper is not None:
            device.oper_status = oper
        if connect is not None:
            device.connect_status = connect
        if reason is not None:
            device.reason = reason
        if before != (device.admin_state, device.oper_status, device.connect_status):
            self.emit(state_change(device, before))

    def remember(self, record: DeviceRecord) -> None:
        """A device comes into being."""
        self.devices[record.id] = record
        self.emit(state_change(record.message, (ADMIN.UNKNOWN, record.message.oper_status, 0)))

    def forget(self, record: DeviceRecord) -> None:
        """A device is gone, with all that was pending for it."""
        self.timers.drop(record.timers)
        self.devices.pop(record.id, None)

    def add_logical(self, message: Any, olt: OltRecord) -> LogicalRecord:
        """The logical device of an OLT comes into being."""
        record = LogicalRecord(message, olt.id)
        self.logical[record.id] = record
        olt.message.parent_id = record.id
        return record

    def remove_logical(self, logical: LogicalRecord, olt: OltRecord) -> None:
        """The logical device goes; the controller is told that it lost the connection."""
        self.logical.pop(logical.id, None)
        olt.message.parent_id = ""
        status = of.ofp_device_status(status=of.OFPDEV_DISCONNECTED)
        self.change_events.publish(of.ChangeEvent(id=logical.id, device_status=status))

    def port_changed(self, logical: LogicalRecord, port: Any, reason: int) -> None:
        """Tell the controller about a port."""
        status = of.ofp_port_status(reason=reason)
        status.desc.CopyFrom(port.ofp_port)
        self.change_events.publish(of.ChangeEvent(id=logical.id, port_status=status))

    def add_logical_port(self, logical: LogicalRecord, port: Any) -> None:
        """A port of the logical device appears."""
        logical.ports[port.ofp_port.port_no] = port
        logical.owners[port.ofp_port.port_no] = port.device_id
        self.port_changed(logical, port, of.OFPPR_ADD)

    def remove_logical_port(self, logical: LogicalRecord, number: int) -> None:
        """A port of the logical device disappears; its flows stay, as in the real core."""
        port = logical.ports.pop(number, None)
        logical.owners.pop(number, None)
        if port is not None:
            self.port_changed(logical, port, of.OFPPR_DELETE)

    def set_link(self, logical: LogicalRecord, number: int, *, live: bool) -> None:
        """A port comes up or goes down; down also sets PORT_DOWN (surprise 28)."""
        port = logical.ports.get(number)
        if port is None:
            return
        port.ofp_port.state = of.OFPPS_LIVE if live else of.OFPPS_LINK_DOWN
        down = port.ofp_port.config & ~of.OFPPC_PORT_DOWN
        port.ofp_port.config = down if live else down | of.OFPPC_PORT_DOWN
        self.port_changed(logical, port, of.OFPPR_MODIFY)
