"""Alarms from looking at the devices, where no events come: who is unreachable or has failed. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ._messages import VolthaEvent
from ._notice import Notice, Subject

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from .._device import DeviceView
    from ._alarm import Alarm

__all__ = ["polled_notices"]

_CONDITIONS: Final[tuple[tuple[str, Callable[[DeviceView], bool]], ...]] = (
    ("UNREACHABLE", lambda device: device.admin == "ENABLED" and device.connect == "UNREACHABLE"),
    ("FAILED", lambda device: device.oper in ("FAILED", "RECONCILING_FAILED")),
)
_POLLED: Final = tuple(f"{kind}_{name}" for kind in ("OLT", "ONU") for name, _ in _CONDITIONS)


def polled_notices(
    devices: Iterable[DeviceView], active: Collection[Alarm], now: float, severity: Callable[[str], str]
) -> Iterator[Notice]:
    """What became so since the last look, and what is over: `OLT_UNREACHABLE`, `ONU_UNREACHABLE`, `OLT_FAILED`, `ONU_FAILED`.

    An alarm's time is that of the look; `reporters` is `("poll",)`.
    """
    known = list(devices)
    olts = {device.id: device for device in known if device.is_olt}
    raised = {alarm.key: alarm for alarm in active if alarm.name in _POLLED}
    stamp = (int(now), int(now * 1e9))
    still: set[str] = set()
    for device in known:
        for name, holds in _CONDITIONS:
            if not holds(device):
                continue
            stem = f"{device.kind.upper()}_{name}"
            event = VolthaEvent("", stem, "raise", device.id, stamp, "poll", "communication", device.state)
            notice = Notice(event, _subject(device, olts.get(device.parent_id)), severity(stem))
            still.add(notice.key)
            if notice.key not in raised:
                yield notice
    for key, alarm in raised.items():
        if key not in still:
            event = VolthaEvent("", alarm.name, "clear", alarm.subject.device_id, stamp, "poll")
            yield Notice(event, alarm.subject, alarm.severity)


def _subject(device: DeviceView, olt: DeviceView | None) -> Subject:
    if device.is_olt:
        return Subject(olt_id=device.id, olt_serial=device.serial, device_id=device.id)
    return Subject(
        olt_id=device.parent_id,
        olt_serial="" if olt is None else olt.serial,
        device_id=device.id,
        serial=device.serial,
        port=f"pon-{device.pon}",
        onu_id=device.onu_id,
    )
