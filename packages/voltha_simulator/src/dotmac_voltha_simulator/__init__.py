"""A VOLTHA that fits in one process, for tests, demonstrations and development.

It serves ``voltha.VolthaService`` and ``extension.Extension`` with the published protobufs and behaves as a real VOLTHA was
recorded: states and reasons in their order, refusals with their texts, flows that fail after OK was answered.
"""

from __future__ import annotations

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
