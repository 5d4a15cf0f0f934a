"""What the simulated core knows: devices, logical devices and their tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .._flows import parts, rules

if TYPE_CHECKING:
    from .._devices.hardware import OltHardware, OnuHardware
    from .._images.slots import Upgrade
    from .timers import TimerGroup


@dataclass(slots=True, eq=False)
class DeviceRecord:
    """A device: its message, ports and flows, and what it is busy with."""

    message: Any
    timers: TimerGroup
    ports: dict[int, Any] = field(default_factory=dict)
    flows: dict[int, Any] = field(default_factory=dict)
    groups: dict[int, Any] = field(default_factory=dict)
    busy: str = ""

    @property
    def id(self) -> str:
        """The device's id."""
        return str(self.message.id)

    def put_flow(self, flow: Any) -> None:
        """Store a device flow; one with the same id is overwritten."""
        self.flows[flow.id] = flow

    def take_flow(self, identity: int) -> Any | None:
        """Remove a device flow; None when there is none."""
        return self.flows.pop(identity, None)

    def clear_flows(self) -> None:
        """Remove all device flows."""
        self.flows.clear()


@dataclass(slots=True, eq=False)
class OltRecord(DeviceRecord):
    """A root device. Whatever a client creates is one, also with an ONU's type (surprise 17)."""

    hardware: OltHardware | None = None
    #: the run of the hardware that the adapter knows
    run: int = 0
    onu_ids: dict[str, str] = field(default_factory=dict)
    #: PON -> ONU ids in use there
    taken_ids: dict[int, set[int]] = field(default_factory=dict)
    raised: set[str] = field(default_factory=set)
    #: (UNI, technology profile) -> upstream? -> device flow id -> meter; what a subscriber's queues are made of
    queues: dict[tuple[int, int], dict[bool, dict[int, int]]] = field(default_factory=dict)

    def put_flow(self, flow: Any) -> None:
        """Store a device flow and note which queue and meter it uses."""
        self.take_flow(flow.id)
        self.flows[flow.id] = flow
        meters = self.queues.setdefault(rules.queue_of(flow), {}).setdefault(rules.is_olt_upstream(flow), {})
        meters[flow.id] = parts.meter_id(flow)

    def take_flow(self, identity: int) -> Any | None:
        """Remove a device flow; None when there is none."""
        flow = self.flows.pop(identity, None)
        if flow is not None:
            queue, upstream = rules.queue_of(flow), rules.is_olt_upstream(flow)
            meters = self.queues[queue][upstream]
            del meters[identity]
            if not meters:
                del self.queues[queue][upstream]
            if not self.queues[queue]:
                del self.queues[queue]
        return flow

    def clear_flows(self) -> None:
        """Remove all device flows."""
        self.flows.clear()
        self.queues.clear()

    def meters_beside(self, flow: Any) -> list[int]:
        """The meters that other flows of the same queue and direction use."""
        found = self.queues.get(rules.queue_of(flow), {}).get(rules.is_olt_upstream(flow), {})
        return [meter for identity, meter in found.items() if identity != flow.id and meter]


@dataclass(slots=True, eq=False)
class OnuRecord(DeviceRecord):
    """A discovered ONU."""

    hardware: OnuHardware = field(kw_only=True)
    olt_id: str = field(kw_only=True)
    onu_id: int = field(kw_only=True)
    #: ids of the ONU's upstream flows that its adapter has seen since the last activation
    fresh: set[int] = field(default_factory=set)
    #: (UNI, technology profile) loaded since the last activation
    profiles: set[tuple[int, int]] = field(default_factory=set)
    raised: set[str] = field(default_factory=set)
    ploam_disabled: bool = False
    #: whether any of its groups of measurements is switched on
    measures: bool = False
    #: version -> how far its upgrade is
    upgrades: dict[str, Upgrade] = field(default_factory=dict)
    #: a version that was activated and never loaded (surprise 40)
    phantom: str = ""

    @property
    def omci_ready(self) -> bool:
        """True when the adapter can configure the ONU."""
        return self.hardware.powered and bool(self.ports) and self.message.connect_status == 2  # noqa: PLR2004


@dataclass(slots=True, eq=False)
class LogicalRecord:
    """The logical device of an OLT: ports, flows, meters and groups as a controller sees them."""

    message: Any
    olt_id: str
    ports: dict[int, Any] = field(default_factory=dict)
    #: port number -> id of the device it belongs to
    owners: dict[int, str] = field(default_factory=dict)
    flows: dict[int, Any] = field(default_factory=dict)
    #: logical flow id -> (device id, device flow id) it was decomposed to
    rules: dict[int, list[tuple[str, int]]] = field(default_factory=dict)
    meters: dict[int, Any] = field(default_factory=dict)
    groups: dict[int, Any] = field(default_factory=dict)
    #: ids of flows whose deletion the OLT adapter never finishes (surprise 10)
    stuck: set[int] = field(default_factory=set)

    @property
    def id(self) -> str:
        """The logical device's id."""
        return str(self.message.id)
