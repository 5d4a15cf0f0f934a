"""KPI events (section 5.5, recording 08, surprise 35): what OLTs and ONUs measure, at the intervals of their PM configuration."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from voltha_protos import events_pb2

from .._devices.pm import HISTORY_GROUPS
from .._events.messages import PublishedEvent, kpi_event
from .._stack.records import OltRecord, OnuRecord
from .._stack.stack import ADMIN, OLT_TYPE, ONU_TYPE, OPER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .._stack.records import DeviceRecord
    from .._stack.stack import Stack

__all__ = ["Publisher"]

_UNI_G: Final = 264.0
_PPTP_UNI: Final = 11.0
_FIRST_ANI: Final = 32769.0
_FIRST_ENTITY: Final = 257.0
_GIGABIT: Final = 3.0
_OLT_COUNTERS: Final = (
    ("RxBytes", 1500),
    ("RxPackets", 1),
    ("TxBytes", 9000),
    ("TxPackets", 6),
    ("RxErrorPackets", 0),
    ("TxErrorPackets", 0),
    ("RxPacketsDropped", 0),
    ("TxDroppedTotal", 0),
)
#: Packets in a second that a live ONU brings, for counters that grow.
_PACKETS: Final = 100
Metrics = dict[str, float]


class Publisher:
    """Looks once a (simulated) second whose measurements are due. A change of an OLT's interval counts from its next one on."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        #: (device id, group) -> seconds until its next events
        self._left: dict[tuple[str, str], float] = {}
        self._seconds = 0

    def start(self) -> None:
        """Begin."""
        self.stack.background.later(1.0, self._second)

    def _second(self) -> None:
        self._seconds += 1
        for record in list(self.stack.devices.values()):
            for group, interval in _groups(record):
                key = (record.id, group)
                left = self._left.get(key, float(interval)) - 1.0
                # An ONU takes a new interval at once, an OLT finishes the one that runs (surprise 35).
                left = min(left, float(interval)) if isinstance(record, OnuRecord) else left
                if left <= 0:
                    left = float(interval)
                    self._publish(record, group)
                self._left[key] = left
        self._left = {key: left for key, left in self._left.items() if key[0] in self.stack.devices}
        self.stack.background.later(1.0, self._second)

    def _publish(self, record: DeviceRecord, group: str) -> None:
        makers: dict[str, Callable[[Any], Iterator[Metrics]]] = {
            "PON_Optical": _optical,
            "UNI_Status": _uni_status,
            "Ethernet_Bridge_Port_History": _bridge_history,
            "Ethernet_UNI_History": _uni_history,
            "FEC_History": _fec_history,
            "GEM_Port_History": _gem_history,
        }
        if isinstance(record, OltRecord):
            for event in self._of_olt(record):
                self.stack.emit(event)
        elif isinstance(record, OnuRecord) and (metrics := list(makers[group](record))):
            self.stack.emit(_onu_event(record, group, metrics))

    def _of_olt(self, olt: OltRecord) -> Iterator[PublishedEvent]:
        """NNI statistics come without any metric; those of a PON with its cumulative counters."""
        yield _olt_event(olt, "NNI", "NNIStats", "nni-0", {})
        hardware = olt.hardware
        for pon in range(len(hardware.onus) if hardware is not None else 0):
            live = sum(
                one.hardware.pon == pon and one.message.oper_status == OPER.ACTIVE for one in self.stack.onus_of(olt)
            )
            packets = float(self._seconds * _PACKETS * live)
            yield _olt_event(
                olt, "PON", "PONStats", f"pon-{pon}", {name: packets * factor for name, factor in _OLT_COUNTERS}
            )


def _groups(record: DeviceRecord) -> Iterator[tuple[str, int]]:
    """What is switched on, with its interval in seconds."""
    configs = record.message.pm_configs
    if isinstance(record, OltRecord):
        running = record.message.admin_state == ADMIN.ENABLED and record.message.oper_status == OPER.ACTIVE
        if running and configs.default_freq and any(one.enabled for one in configs.metrics):
            yield "", configs.default_freq
    elif isinstance(record, OnuRecord) and record.measures and record.omci_ready:
        for group in configs.groups:
            # A disabled ONU goes on with its optical levels (surprise 35).
            silent = record.message.admin_state != ADMIN.ENABLED and group.group_name != "PON_Optical"
            known = group.group_name in HISTORY_GROUPS or group.group_name in {"PON_Optical", "UNI_Status"}
            if group.enabled and known and not silent:
                yield group.group_name, group.group_freq or configs.default_freq


def _onu_event(onu: OnuRecord, title: str, metrics: list[Metrics]) -> PublishedEvent:
    context = {"devicetype": ONU_TYPE, "intfID": str(onu.hardware.pon), "onuID": str(onu.onu_id)}
    # The logical device's id is the device's, as the adapter has it (surprise 35).
    names = {"logical_device_id": onu.id, "serial_no": onu.hardware.serial, "device_id": onu.id}
    return kpi_event("ONU", [_slice(title, names, context, one) for one in metrics])


def _olt_event(olt: OltRecord, sub: str, title: str, label: str, metrics: Metrics) -> PublishedEvent:
    context = {"devicetype": OLT_TYPE, "portlabel": label, "oltid": olt.id}
    return kpi_event(sub, [_slice(title, {"device_id": olt.id}, context, metrics)])


def _slice(title: str, names: dict[str, str], context: dict[str, str], metrics: Metrics) -> Any:
    metadata = events_pb2.MetricMetaData(title=title, ts=int(time.time()), context=context, **names)
    return events_pb2.MetricInformation(metadata=metadata, metrics=metrics)


def _optical(onu: OnuRecord) -> Iterator[Metrics]:
    level = onu.hardware.level
    yield {
        "ani_g_instance_id": _FIRST_ANI,
        "transmit_power_dBm": level(1.5, 4.5, "launch"),
        "receive_power_dBm": level(-24.5, -14.0, "receive"),
    }


def _uni_status(onu: OnuRecord) -> Iterator[Metrics]:
    """Two slices for each UNI: the UNI-G's and the port's own (surprise 35). 0 is unlocked and in service."""
    locked = float(onu.message.admin_state == ADMIN.DISABLED)
    for place, (number, _) in enumerate(_unis(onu)):
        entity = {"uni_port_no": float(number), "entity_id": _FIRST_ENTITY + place, "uni_admin_state": locked}
        yield {**entity, "me_class_id": _UNI_G}
        yield {**entity, "me_class_id": _PPTP_UNI, "configuration_ind": _GIGABIT, "oper_status": locked}


def _unis(onu: OnuRecord) -> Iterator[tuple[int, Any]]:
    return ((number, port) for number, port in onu.ports.items() if port.label.startswith("uni-"))


def _history(onu: OnuRecord, group: str, **context: float) -> Metrics:
    """All counters of a group for the last quarter of an hour: none of them counts anything without a data plane."""
    configured = next(one for one in onu.message.pm_configs.groups if one.group_name == group)
    return {metric.name: 0.0 for metric in configured.metrics} | context


def _bridge_history(onu: OnuRecord) -> Iterator[Metrics]:
    for upstream in (1.0, 0.0):
        yield _history(onu, "Ethernet_Bridge_Port_History", upstream=upstream, entity_id=_FIRST_ENTITY)


def _uni_history(onu: OnuRecord) -> Iterator[Metrics]:
    for place, _ in enumerate(_unis(onu)):
        yield _history(onu, "Ethernet_UNI_History", entity_id=_FIRST_ENTITY + place)


def _fec_history(onu: OnuRecord) -> Iterator[Metrics]:
    yield _history(onu, "FEC_History", entity_id=_FIRST_ANI)


def _gem_history(onu: OnuRecord) -> Iterator[Metrics]:
    """One slice for each technology profile that is loaded."""
    for place, _ in enumerate(sorted(onu.profiles)):
        yield _history(onu, "GEM_Port_History", entity_id=float(place + 1))
