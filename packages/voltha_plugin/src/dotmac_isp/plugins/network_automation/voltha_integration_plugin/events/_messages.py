"""What a record of topic `voltha.events` says, as values of ours (domain specification, sections 5.1, 5.5 and 12.6). Pure.

Imports the generated protobufs, so it loads on first use.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, Literal

import msgspec
from google.protobuf.message import DecodeError
from voltha_protos import events_pb2

__all__ = ["KpiSlice", "MalformedEventError", "Stamp", "VolthaEvent", "decode", "plain"]

#: Raised in whole seconds, then reported in nanoseconds: by this the events of one alarm are put in order.
Stamp = tuple[int, int]
Action = Literal["raise", "clear", "once"]

_SUFFIXES: Final[dict[str, Action]] = {"_RAISE_EVENT": "raise", "_CLEAR_EVENT": "clear"}
#: They are called raised, but nothing stays raised.
_ONCE: Final = frozenset(
    {"DEVICE_STATE_CHANGE", "ONU_DISCOVERY", "ONU_ACTIVATED", "OLT_DELETED", "ONU_DELETED", "RPC_ERROR"}
)
_CATEGORIES: Final = ("communication", "environment", "equipment", "service", "processing", "security")


class MalformedEventError(ValueError):
    """A record that is no event of VOLTHA's. It is counted and left out; the next one may be fine."""


class VolthaEvent(msgspec.Struct, frozen=True, gc=False):
    """A device event or RPC event. `stem` is its name without `_RAISE_EVENT` or `_CLEAR_EVENT`, `reporter` the adapter's view (`olt`, `onu`).

    `context` may be the record's own map: a copy of it takes as long as all the rest, and most events are asked for two or three of its names.
    """

    id: str
    stem: str
    action: Action
    resource_id: str
    stamp: Stamp
    reporter: str = "olt"
    category: str = ""
    description: str = ""
    context: Mapping[str, str] = msgspec.field(default_factory=dict)

    @property
    def at(self) -> float:
        """When it was reported; Unix time, seconds."""
        return self.stamp[1] / 1e9


class KpiSlice(msgspec.Struct, frozen=True, kw_only=True):
    """Measured values of one thing (`title`: PON_Optical, UNI_Status, PONStats, …) at one time (Unix, seconds)."""

    title: str
    device_id: str
    serial: str
    at: float
    context: Mapping[str, str]
    metrics: Mapping[str, float]


def decode(value: bytes | None) -> VolthaEvent | list[KpiSlice] | None:
    """The event of a record's value, its KPI slices, or `None` for a kind that nobody here needs.

    Raises `MalformedEventError`.
    """
    try:
        event = events_pb2.Event.FromString(value or b"")
    except DecodeError as error:
        raise MalformedEventError(f"{len(value or b'')} bytes are no event of VOLTHA: {error}") from None
    match event.WhichOneof("event_type"):
        case "device_event":
            return _device_event(event)
        case "rpc_event":
            return _rpc_event(event)
        case "kpi_event2" | "kpi_event3" as kind:
            return [_kpi_slice(item) for item in getattr(event, kind).slice_data]
        case None:
            raise MalformedEventError("an event without content")
        case _:
            return None


def _device_event(event: Any) -> VolthaEvent:
    body = event.device_event
    name = body.device_event_name
    if not name:
        raise MalformedEventError("a device event without a name")
    stem, action = _split(name)
    return _event(event.header, stem, action, body, body.context)


def _rpc_event(event: Any) -> VolthaEvent:
    body = event.rpc_event
    context = {**body.context, "rpc": body.rpc, "service": body.service, "operation-id": body.operation_id}
    return _event(event.header, "RPC_ERROR", "once", body, {key: value for key, value in context.items() if value})


def plain(context: Mapping[str, str]) -> dict[str, str]:
    """A copy that outlives the record."""
    return {key: context[key] for key in context}  # a quarter of what dict() takes for a record's map


def _event(header: Any, stem: str, action: Action, body: Any, context: Mapping[str, str]) -> VolthaEvent:
    first, last = header.raised_ts, header.reported_ts
    raised: int = first.seconds
    reported: int = last.seconds * 1_000_000_000 + last.nanos or raised * 1_000_000_000 + first.nanos
    category = header.category
    return VolthaEvent(
        header.id,
        stem,
        action,
        body.resource_id,
        (raised or reported // 1_000_000_000, reported),
        "onu" if "onu-serial-number" in context else "olt",
        _CATEGORIES[category] if 0 <= category < len(_CATEGORIES) else str(category),
        body.description,
        context,
    )


@lru_cache(maxsize=1024)
def _split(name: str) -> tuple[str, Action]:
    for suffix, action in _SUFFIXES.items():
        if name.endswith(suffix):
            stem = name.removesuffix(suffix)
            if stem not in _ONCE:
                return stem, action
            return (stem, "once") if action == "raise" else (f"{stem}_CLEAR", "once")
    return name, "once"


def _kpi_slice(item: Any) -> KpiSlice:
    meta = item.metadata
    return KpiSlice(
        title=meta.title,
        # Both adapters write the device's id into logical_device_id (surprise 35).
        device_id=meta.device_id or meta.logical_device_id,
        serial=meta.serial_no,
        at=meta.ts,
        context=plain(meta.context),
        metrics={name: item.metrics[name] for name in item.metrics},
    )
