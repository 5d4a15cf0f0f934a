"""What happened between two looks at the devices, as events. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from dotmac_isp.plugins.core.model import DeviceEvent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._device import DeviceView

__all__ = ["changes", "service_event"]

_SEVERITIES: Final = {
    ("olt", "unreachable"): "critical",
    ("olt", "failed"): "critical",
    ("onu", "unreachable"): "major",
    ("onu", "failed"): "major",
    ("olt", "disabled"): "warning",
    ("onu", "disabled"): "warning",
    ("olt", "removed"): "warning",
    ("onu", "removed"): "warning",
}


def changes(
    before: Iterable[DeviceView], after: Iterable[DeviceView], *, source: str, tenant_id: str | None
) -> list[DeviceEvent]:
    """The events between two lists of devices.

    A device that came, went, or whose states changed gives `<olt|onu>_<what>`: discovered, removed, the new status
    (`onu_active`, `olt_unreachable`, …), or `state_changed` where the status is the same. A device that VOLTHA gave another id
    is recognised by its serial number.
    """
    old = {device.id: device for device in before}
    new = {device.id: device for device in after}
    gone = {device.serial: device for key, device in old.items() if key not in new and device.serial}
    events: list[DeviceEvent] = []
    for key, device in new.items():
        former = old.get(key) or gone.pop(device.serial, None)
        events += [_event(device, former, what, source, tenant_id) for what in _what(former, device)]
    kept = {device.serial for device in new.values() if device.serial}
    events += [
        _event(device, device, "removed", source, tenant_id)
        for key, device in old.items()
        if key not in new and device.serial not in kept
    ]
    return events


def _what(former: DeviceView | None, device: DeviceView) -> list[str]:
    if former is None:
        return ["discovered", "active"] if device.status == "active" else ["discovered"]
    if former.status != device.status:
        return [device.status]
    if (former.id, former.admin, former.oper, former.connect) != (device.id, device.admin, device.oper, device.connect):
        return ["state_changed"]
    return []


def _event(device: DeviceView, former: DeviceView | None, what: str, source: str, tenant_id: str | None) -> DeviceEvent:
    attributes: dict[str, Any] = device.plain()
    if former is not None and former is not device:
        attributes["previous_state"] = former.state
        if former.id != device.id:
            attributes["previous_device_id"] = former.id
    return DeviceEvent(
        event_type=f"{device.kind}_{what}",
        device_id=device.id,
        serial_number=device.serial,
        source=source,
        tenant_id=tenant_id,
        severity=_SEVERITIES.get((device.kind, what), "info"),
        message=f"{device.kind.upper()} {device.key} {what.replace('_', ' ')}: {device.state}",
        attributes=attributes,
    )


def service_event(what: str, details: dict[str, Any], *, source: str, tenant_id: str | None) -> DeviceEvent:
    """The event of a subscriber's service that was added, changed or removed."""
    return DeviceEvent(
        event_type=f"subscriber_service_{what}",
        device_id=details["device_id"],
        serial_number=details["serial_number"],
        source=source,
        tenant_id=tenant_id,
        message=f"service of subscriber {details['subscriber_id']} on ONU {details['serial_number']} {what}",
        attributes=details,
    )
