"""One event, normalised: which alarm it is of which device, whatever names the adapter used (sections 5.3, 5.4). Pure.

The OLT adapter speaks of an ONU by OLT id, PON and number, the ONU adapter by the ONU's id; the serial number joins them.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final

import msgspec

from ._messages import VolthaEvent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._device import DeviceView
    from ._network import Network

__all__ = ["Notice", "Subject", "is_listed", "known_subject", "port_of", "subject_of"]

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

    @cached_property
    def place(self) -> str:
        """The port of an OLT that it is at; what happens there together is stored together."""
        return f"{self.olt_id or '-'}/{self.port or '-'}"


class Notice(msgspec.Struct, frozen=True, gc=False):
    """A normalised event: what it says, of which device, how bad that is."""

    event: VolthaEvent
    subject: Subject
    severity: str

    @property
    def key(self) -> str:
        """The name of the alarm, which stays the same from raise to clear."""
        return f"{self.event.stem}/{self.subject.key}"


def is_listed(subject: Subject, network: Network) -> bool:
    """Whether the device that an event speaks of is in the network as far as we listed it."""
    return network.find(subject.device_id) is not None


def known_subject(event: VolthaEvent, network: Network) -> Subject | None:
    """What an event is about, if earlier events were about the same listed ONU: the short way that nearly all of them go."""
    return network.subjects.get(_serial(event)) if _is_about_onu(event) else None


def subject_of(event: VolthaEvent, network: Network) -> Subject:
    """What an event is about, by the names that stay."""
    if _is_about_onu(event):
        return network.subjects.get(_serial(event)) or _of_unknown_onu(event, network)
    olt = network.olt(event.resource_id)
    olt_id = olt.id if olt else event.resource_id
    return Subject(olt_id=olt_id, olt_serial=olt.serial if olt else "", device_id=olt_id, port=port_of(event.context))


def _of_unknown_onu(event: VolthaEvent, network: Network) -> Subject:
    onu = _listed_onu(event, network)
    if onu is None:
        return _unlisted_onu(event, network)
    subject = network.subjects.get(onu.serial) or _of_onu(onu, network)
    if onu.serial:
        network.subjects[onu.serial] = subject
    return subject


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
