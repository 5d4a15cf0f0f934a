"""What should be against what is: for each service, whether it is in order, and if not, what would bring it there. Pure.

The reconciler carries out what stands here, and `plan` shows it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from .._device import DeviceView
from ._flow import uni_parts
from ._installer import missing_on_devices
from ._meter import Band
from ._stored import StoredService
from ._uplink import StoredUplink

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._flow import FlowSpec
    from ._stored import ServiceKey

__all__ = ["ActualOlt", "Orphan", "Plan", "Step", "find_orphans", "judge_service"]

#: Nothing to do; nothing that can be done now; add what is missing; delete and add; end a removal; take out what is suspended;
#: somebody else's flow is in the way.
Action = Literal["none", "wait", "add", "reinstall", "remove", "take_out", "blocked"]

_REPAIRS: Final = ("add", "reinstall", "remove", "take_out")


class Step(msgspec.Struct, frozen=True):
    """What a service needs, and why."""

    item: StoredService
    action: Action
    reason: str = ""

    @property
    def is_repair(self) -> bool:
        """Whether something would be changed."""
        return self.action in _REPAIRS

    def plain(self) -> dict[str, Any]:
        """The step as `plan` gives it."""
        key: ServiceKey = self.item.key
        return {
            "subscriber_id": key.subscriber_id,
            "name": key.name,
            "serial_number": key.onu_serial,
            "uni": key.uni,
            "olt_serial_number": self.item.place.olt_serial,
            "status": self.item.status,
            "action": self.action,
            "reason": self.reason,
        }


class Orphan(msgspec.Struct, frozen=True):
    """A flow of this tenant on an OLT that no stored service has."""

    olt_serial: str
    logical_device_id: str
    flow_id: int
    cookie: int

    def plain(self) -> dict[str, Any]:
        """The orphan as `plan` gives it."""
        return {
            "olt_serial_number": self.olt_serial,
            "logical_device_id": self.logical_device_id,
            "flow_id": str(self.flow_id),
            "cookie": str(self.cookie),
        }


class Plan(msgspec.Struct, frozen=True):
    """All steps, flows that nobody's service has, and who else programs the OLTs (by serial number, how many flows of whom)."""

    steps: tuple[Step, ...]
    orphans: tuple[Orphan, ...] = ()
    foreign: dict[str, dict[str, int]] = {}
    #: OLTs that miss traps at their uplink.
    uplinks: tuple[StoredUplink, ...] = ()

    def plain(self) -> dict[str, Any]:
        """The plan as plain data: only what is not in order is listed."""
        counts: dict[str, int] = {}
        for step in self.steps:
            counts[step.action] = counts.get(step.action, 0) + 1
        return {
            "checked": len(self.steps),
            "in_order": counts.get("none", 0),
            "counts": counts,
            "steps": [step.plain() for step in self.steps if step.action != "none"],
            "orphans": [orphan.plain() for orphan in self.orphans],
            "foreign": self.foreign,
            "uplinks": [uplink.plain() for uplink in self.uplinks],
        }


class ActualOlt(msgspec.Struct, frozen=True):
    """What VOLTHA lists for an OLT: the logical table and the OLT's own as cookies by flow id, and meters."""

    device: DeviceView
    logical: Mapping[int, int]
    on_olt: Mapping[int, int]
    meters: Mapping[int, tuple[Band, ...]]
    #: User ports from which a listed flow comes.
    unis: frozenset[int] = frozenset()


def judge_service(
    item: StoredService,
    onu: DeviceView | None,
    olt: ActualOlt | None,
    on_onu: Mapping[int, int] | None,
    *,
    instance: str,
) -> Step:
    """What a service needs. `on_onu` is `None` where the ONU's own list was not looked at; `instance` signs this host's claims."""
    if item.claim not in ("", instance) and item.claimed_until > time.time():
        return Step(item, "wait", "another host works on it")
    if item.state == "removing":
        return Step(item, "remove", "its removal did not end")
    if item.state == "suspended":
        return _judge_suspended(item, olt)
    away = _why_not_now(onu, olt)
    if away or onu is None or olt is None:
        return Step(item, "wait", away)
    return _judge_wanted(item, onu, olt, on_onu)


def _judge_suspended(item: StoredService, olt: ActualOlt | None) -> Step:
    left = [] if olt is None else [flow for flow in item.flows if olt.logical.get(flow.id) == flow.cookie]
    return Step(item, "take_out", f"suspended, and {len(left)} of its flows are there") if left else Step(item, "none")


def _why_not_now(onu: DeviceView | None, olt: ActualOlt | None) -> str:
    if onu is None:
        return "its ONU is not in VOLTHA"
    if onu.admin == "DISABLED":
        return f"its ONU is disabled ({onu.state})"
    if not onu.is_ready:
        return f"its ONU is {onu.state}"
    if olt is None or not olt.device.is_ready:
        return f"its OLT is {olt.device.state if olt else 'gone'}"
    return ""


def _judge_wanted(item: StoredService, onu: DeviceView, olt: ActualOlt, on_onu: Mapping[int, int] | None) -> Step:
    moved = _moved(item, onu, olt)
    if moved:
        return Step(item, "reinstall", moved)
    if onu.has_lost_flows and any(flow.upstream for flow in item.flows):
        return Step(item, "reinstall", f"its ONU came back without its flows ({onu.state})")
    if item.owner != "direct":
        return _judge_controlled(item, olt)
    taken = [flow for flow in item.flows if olt.logical.get(flow.id, flow.cookie) != flow.cookie]
    if taken:
        cookies = ", ".join(f"{olt.logical[flow.id]:#x}" for flow in taken)
        return Step(item, "blocked", f"{len(taken)} of its flows are somebody else's now (cookies {cookies})")
    return _judge_tables(item, olt, on_onu)


def _moved(item: StoredService, onu: DeviceView, olt: ActualOlt) -> str:
    place = item.place
    if place.logical_device_id != olt.device.parent_id:
        return "its OLT has another logical device (it was rebooted, or deleted and added)"
    if place.onu_id != onu.id or place.olt_id != olt.device.id:
        return "its ONU or OLT has another id"
    if uni_parts(place.uni_port)[:2] != (onu.pon, onu.onu_id):
        return f"its ONU is at PON {onu.pon} with ONU id {onu.onu_id} now"
    return ""


def _judge_controlled(item: StoredService, olt: ActualOlt) -> Step:
    """A controller's flows are not known one by one: something must come from the user's port."""
    if item.place.uni_port not in olt.unis:
        return Step(item, "add", f"{item.owner} has no flows for its user port")
    return Step(item, "none") if item.state == "active" else Step(item, "add", "it was not finished")


def _judge_tables(item: StoredService, olt: ActualOlt, on_onu: Mapping[int, int] | None) -> Step:
    wrong = [meter.id for meter in item.meters if olt.meters.get(meter.id, meter.bands) != meter.bands]
    if wrong:
        return Step(item, "reinstall", f"meter {wrong[0]} has other speeds than it should")
    gone = [meter.id for meter in item.meters if meter.id not in olt.meters]
    lost = [flow for flow in item.flows if flow.id not in olt.logical]
    if lost or gone:
        what = [f"{len(lost)} of its {len(item.flows)} flows"] if lost else []
        return Step(item, "add", f"{' and '.join([*what, *(f'meter {number}' for number in gone)])} not in VOLTHA")
    absent = _absent(item.flows, olt.on_olt, on_onu)
    if absent:
        return Step(item, "reinstall", f"{len(absent)} of its flows are not on the devices")
    return Step(item, "none") if item.state == "active" else Step(item, "add", "it was not finished")


def _absent(flows: tuple[FlowSpec, ...], on_olt: Mapping[int, int], on_onu: Mapping[int, int] | None) -> list[FlowSpec]:
    if on_onu is not None:
        return missing_on_devices(flows, on_olt, on_onu)
    return missing_on_devices([flow for flow in flows if flow.side == "olt"], on_olt, {})


def find_orphans(items: Iterable[StoredService], olts: Iterable[ActualOlt], owner: int) -> tuple[Orphan, ...]:
    """The flows with a cookie of `owner` (the upper three bytes) that none of `items` has."""
    known = {(item.place.logical_device_id, flow.id) for item in items for flow in item.flows}
    return tuple(
        Orphan(olt.device.key, olt.device.parent_id, number, cookie)
        for olt in olts
        for number, cookie in olt.logical.items()
        if cookie >> 40 == owner and (olt.device.parent_id, number) not in known
    )
