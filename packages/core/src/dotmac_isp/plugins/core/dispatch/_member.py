"""What the gate needs to know of whoever answers a call: an instance, or the host's own hook implementations."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..health import Breaker
    from ..hosting import TaskOwner
    from ..model import Failure, InstanceRef
    from ..telemetry import CallStats, InstanceMetrics
    from ._hold import Hold
    from ._stream import Stream

__all__ = ["Member", "Seat"]


class Member:
    """One who answers calls. `on_strike`, where it is set, is told when the breaker opens, with the failure that did it."""

    __slots__ = (
        "accepting",
        "breaker",
        "calls",
        "gone",
        "held",
        "metrics",
        "on_strike",
        "owner",
        "permissions",
        "ref",
        "replaced",
        "streams",
        "until",
        "why_not",
    )

    def __init__(
        self,
        ref: InstanceRef,
        *,
        breaker: Breaker,
        metrics: InstanceMetrics,
        owner: TaskOwner,
        permissions: dict[str, str] | None = None,
    ) -> None:
        self.ref: Final = ref
        self.breaker: Final = breaker
        self.metrics: Final = metrics
        #: Whom the tasks count to that its code makes.
        self.owner: Final = owner
        #: The permission that each operation needs, from the manifest's features.
        self.permissions: Final = permissions or {}
        self.on_strike: Callable[[Failure], None] | None = None
        #: Whether calls may pass; otherwise `why_not` says why they may not.
        self.accepting = True
        self.why_not = ""
        #: Streams that somebody reads; they end with the instance.
        self.streams: Final[weakref.WeakSet[Stream]] = weakref.WeakSet()
        #: Calls under way that suspended; an instance that stops waits for them.
        self.calls = 0
        #: The latest deadline of a call that suspended (monotonic time).
        self.until = 0.0
        #: Its process has ended; another member will answer in its place.
        self.gone = False
        #: New calls wait while this is set.
        self.held: Hold | None = None
        #: Another member answers in its place: calls that still come are that one's.
        self.replaced = False


class Seat:
    """One operation of one member, with everything that can be looked up once looked up once."""

    __slots__ = ("answers", "function", "member", "operation", "permission", "stats")

    def __init__(
        self, member: Member, operation: str, function: Callable[..., Any], answers: tuple[type, ...] = ()
    ) -> None:
        self.member: Final = member
        self.operation: Final = operation
        self.function: Final = function
        self.answers: Final = answers
        self.permission: Final = member.permissions.get(operation)
        self.stats: Final[CallStats] = member.metrics.operation(operation)
