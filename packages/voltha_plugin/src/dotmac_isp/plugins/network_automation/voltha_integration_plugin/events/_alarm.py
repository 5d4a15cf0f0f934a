"""An alarm as it is shown, stored and relayed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from dotmac_isp.plugins.core.model import DeviceEvent

from ._messages import plain
from ._notice import Subject

if TYPE_CHECKING:
    from ._notice import Notice

__all__ = ["Alarm", "alarm_event", "once_event", "opened", "reported_once"]


class Alarm(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One alarm of one device, raised or cleared. Times are Unix seconds; `stamp` orders its events."""

    key: str
    name: str
    severity: str
    subject: Subject
    stamp: tuple[int, int]
    raised_at: float
    cleared_at: float | None = None
    #: What cleared it: `clear`, or the event that shows that it cannot be so any more (`ONU_ACTIVATED`, …).
    cleared_by: str = ""
    occurrences: int = 1
    flapping: bool = False
    reporters: tuple[str, ...] = ()
    category: str = ""
    description: str = ""
    context: dict[str, str] = msgspec.field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """The alarm as `active_alarms` and `alarm_history` give it."""
        subject = self.subject
        return {
            "name": self.name,
            "severity": self.severity,
            "device_id": subject.device_id,
            "serial_number": subject.serial or (subject.olt_serial if subject.onu_id < 0 else ""),
            "olt_id": subject.olt_id,
            "olt_serial_number": subject.olt_serial,
            "port": subject.port,
            "onu_id": subject.onu_id,
            "raised_at": self.raised_at,
            "cleared_at": self.cleared_at,
            "cleared_by": self.cleared_by,
            "occurrences": self.occurrences,
            "flapping": self.flapping,
            "reporters": list(self.reporters),
            "category": self.category,
            "description": self.description,
            "context": dict(self.context),
        }

    def concerns(self, names: set[str]) -> bool:
        """Whether the device, or its OLT, goes by one of these ids and serial numbers."""
        subject = self.subject
        return bool(names & {subject.device_id, subject.serial, subject.olt_id, subject.olt_serial} - {""})


def opened(notice: Notice, *, occurrences: int = 1, flapping: bool = False, raised_at: float | None = None) -> Alarm:
    """The alarm that a raise begins."""
    event = notice.event
    return Alarm(
        key=notice.key,
        name=event.stem,
        severity=notice.severity,
        subject=notice.subject,
        stamp=event.stamp,
        raised_at=event.at if raised_at is None else raised_at,
        occurrences=occurrences,
        flapping=flapping,
        reporters=(event.reporter,),
        category=event.category,
        description=event.description,
        context=plain(event.context),
    )


def reported_once(notice: Notice) -> Alarm:
    """What is not raised and cleared but happens, as an entry of the history."""
    return msgspec.structs.replace(opened(notice), cleared_at=notice.event.at, cleared_by="once")


def alarm_event(what: str, alarm: Alarm, *, source: str, tenant_id: str | None) -> DeviceEvent:
    """The event `alarm_raised`, `alarm_cleared` or `alarm_flapping`."""
    shown = alarm.plain()
    where = shown["serial_number"] or shown["device_id"] or shown["olt_id"]
    place = f" {shown['port']}" if shown["onu_id"] < 0 and shown["port"] else ""
    return DeviceEvent(
        event_type=f"alarm_{what}",
        device_id=shown["device_id"],
        serial_number=shown["serial_number"],
        source=source,
        tenant_id=tenant_id,
        severity="info" if what == "cleared" else alarm.severity,
        message=f"{alarm.name} {what}: {where}{place}",
        timestamp=alarm.cleared_at if what == "cleared" and alarm.cleared_at is not None else alarm.stamp[1] / 1e9,
        attributes=shown,
    )


def once_event(notice: Notice, *, source: str, tenant_id: str | None) -> DeviceEvent:
    """The event of what is reported once, under VOLTHA's name in lower case (`onu_activated`, `rpc_error`)."""
    event, shown = notice.event, reported_once(notice).plain()
    return DeviceEvent(
        event_type=event.stem.lower(),
        device_id=shown["device_id"],
        serial_number=shown["serial_number"],
        source=source,
        tenant_id=tenant_id,
        severity=notice.severity,
        message=f"{event.stem}: {event.description or shown['serial_number'] or shown['device_id']}",
        timestamp=event.at,
        attributes=shown,
    )
