"""A VOLTHA that fits in one process, for tests, demonstrations and development.

It serves ``voltha.VolthaService`` and ``extension.Extension`` with the published protobufs and behaves as a real VOLTHA was
recorded: states and reasons in their order, refusals with their texts, flows that fail after OK was answered.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._events.messages import PublishedEvent
    from ._events.sinks import EventSink, MemorySink, Subscription
    from ._flows.identity import flow_id
    from ._serving.faults import Faults
    from ._simulator import ListenError, Simulator

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
    "EventSink": "_events.sinks",
    "Faults": "_serving.faults",
    "ListenError": "_simulator",
    "MemorySink": "_events.sinks",
    "PublishedEvent": "_events.messages",
    "Simulator": "_simulator",
    "Subscription": "_events.sinks",
    "flow_id": "_flows.identity",
}


def __getattr__(name: str) -> Any:
    # On first use: pytest loads this package in every run, and gRPC with the protobufs takes a third of a second.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
