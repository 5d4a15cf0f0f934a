"""One event, normalised: which alarm it is of which device, whatever names the adapter used (sections 5.3, 5.4). Pure.

The OLT adapter speaks of an ONU by OLT id, PON and number, the ONU adapter by the ONU's id; the serial number joins them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Final

import msgspec

from ._messages import Action, Stamp

if TYPE_CHECKING:
    from .._device import DeviceView
    from ._messages import VolthaEvent
    from ._network import Network

__all__ = ["Notice", "Subject", "is_listed", "normalise", "port_of", "subject_of"]

_PON_FIRST: Final = 0x20000000  # the port number of PON 0 (section 1.1)
_NNI_FIRST: Final = 0x100000  # the number by which alarms call NNI 0 (recording 07)
_NNI_INTERFACE: Final = 0x20100000  # the same NNI as an interface id (recording 07)


class Subject(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """What an event is about: an ONU (`serial`, `onu_id`), a port of an OLT (`port`: `pon-0`, `nni-0`), or the OLT."""

    olt_id: str = ""
    olt_serial: str = ""
    device_id: str = ""
    serial: str = ""
    port: str = ""
    onu_id: int = -1

    @cached_property
    def key(self) -> str:
        """What stays the same from raise to clear, and from adapter to adapter."""
        if self.serial or self.onu_id >= 0:
            return f"onu/{self.serial}" if self.serial else f"olt/{self.olt_id}/{self.port}/{self.onu_id}"
        return f"olt/{self.olt_id}/{self.port}"


class Notice(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """A normalised event. `key` names the alarm; `reporter` is the adapter's view (`olt`, `onu`)."""

    event_id: str
    stem: str
    action: Action
    subject: Subject
    severity: str
    stamp: Stamp
    reporter: str
    category: str = ""
    description: str = ""
    context: Mapping[str, str] = msgspec.field(default_factory=dict)

    @cached_property
    def key(self) -> str:
        return f"{self.stem}/{self.subject.key}"

    @property
    def at(self) -> float:
        return self.stamp[1] / 1e9


def normalise(event: VolthaEvent, network: Network, severity: str, subject: Subject | None = None) -> Notice:
    """The notice of an event, with what the network knows of its device filled in (`subject`: that was looked up already)."""
    return Notice(
        event_id=event.id,
        stem=event.stem,
        action=event.action,
        subject=subject or subject_of(event, network),
        severity=severity,
        stamp=event.stamp,
        reporter="onu" if "onu-serial-number" in event.context else "olt",
        category=event.category,
        description=event.description,
        context=event.context,
    )


def is_listed(subject: Subject, network: Network) -> bool:
    """Whether the device that an event speaks of is in the network as far as we listed it."""
    return network.find(subject.device_id) is not None


def subject_of(event: VolthaEvent, network: Network) -> Subject:
    """What an event is about, by the names that stay."""
    if _is_about_onu(event):
        onu = _listed_onu(event, network)
        return _unlisted_onu(event, network) if onu is None else network.remember(onu, _of_onu)
    olt = network.olt(event.resource_id)
    olt_id = olt.id if olt else event.resource_id
    return Subject(olt_id=olt_id, olt_serial=olt.serial if olt else "", device_id=olt_id, port=port_of(event.context))


def _of_onu(onu: DeviceView, network: Network) -> Subject:
    olt = network.find(onu.parent_id)
    return Subject(
        olt_id=onu.parent_id,
        olt_serial=olt.serial if olt else "",
        device_id=onu.id,
        serial=onu.serial,
        port=f"pon-{onu.pon}",
        onu_id=onu.onu_id,
    )


def _is_about_onu(event: VolthaEvent) -> bool:
    return event.stem.startswith("ONU_") or event.context.get("is-root") == "false"


def _listed_onu(event: VolthaEvent, network: Network) -> DeviceView | None:
    for name in (_serial, _device_id):  # the serial number is the one that stays
        found = network.find(name(event))
        if found is not None and not found.is_olt:
            return found
    port = port_of(event.context)
    if not port.startswith("pon-"):
        return None
    return network.at(event.resource_id, int(port[4:]), _number(event.context.get("onu-id", "")))


def _unlisted_onu(event: VolthaEvent, network: Network) -> Subject:
    """An ONU that is not listed (yet, or any more): what the event itself says."""
    device_id = _device_id(event)
    olt_id = event.context.get("parent-id") or (event.resource_id if event.resource_id != device_id else "")
    olt = network.find(event.context.get("olt-serial-number") or olt_id)
    return Subject(
        olt_id=olt.id if olt else olt_id,
        olt_serial=olt.serial if olt else event.context.get("olt-serial-number", ""),
        device_id=device_id,
        serial=_serial(event),
        port=port_of(event.context),
        onu_id=_number(event.context.get("onu-id", "")),
    )


def _device_id(event: VolthaEvent) -> str:
    """The ONU's id in VOLTHA. Where the ONU adapter speaks, `onu-id` is that and no number."""
    context = event.context
    for name in ("onu-device-id", "device-id", "id"):
        if context.get(name):
            return context[name]
    named = context.get("onu-id", "")
    if named:
        return "" if _number(named) >= 0 else named
    return event.resource_id


def _serial(event: VolthaEvent) -> str:
    return event.context.get("onu-serial-number") or event.context.get("serial-number", "")


def port_of(context: Mapping[str, str]) -> str:
    """The OLT's port that an event names: `pon-<n>`, `nni-<n>` or empty. Labels bring indexes as well as port numbers."""
    number = _number(context.get("intf-id", context.get("pon-id", "")))
    if number < 0:
        number = _number(context.get("port-label", "").rpartition("-")[2])
    if number < 0 and context.get("is-root") == "false":
        number = _number(context.get("parent-port", ""))
    if number < 0:
        return ""
    if number >= _NNI_INTERFACE:
        return f"nni-{number - _NNI_INTERFACE}"
    if number >= _PON_FIRST:
        return f"pon-{number - _PON_FIRST}"
    return f"nni-{number - _NNI_FIRST}" if number >= _NNI_FIRST else f"pon-{number}"


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else -1
