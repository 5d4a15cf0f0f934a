"""A VOLTHA that fits in one process, for tests, demonstrations and development.

It serves ``voltha.VolthaService`` and ``extension.Extension`` with the published protobufs and behaves as a real VOLTHA was
recorded: states and reasons in their order, refusals with their texts, flows that fail after OK was answered.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._events import PublishedEvent
    from ._faults import Faults
    from ._flow_id import flow_id
    from ._simulator import ListenError, Simulator
    from ._sinks import EventSink, MemorySink, Subscription

__version__ = "0.1.0"

__all__ = [
    "EventSink",
    "Faults",
    "ListenError",
    "MemorySink",
    "PublishedEvent",
    "Simulator",
    "Subscription",
    "flow_id",
]

_HOMES = {
    "EventSink": "_sinks",
    "Faults": "_faults",
    "ListenError": "_simulator",
    "MemorySink": "_sinks",
    "PublishedEvent": "_events",
    "Simulator": "_simulator",
    "Subscription": "_sinks",
    "flow_id": "_flow_id",
}


def __getattr__(name: str) -> Any:
    # On first use: pytest loads this package in every run, and gRPC with the protobufs takes a third of a second.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
