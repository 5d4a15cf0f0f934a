"""The asynchronous stream of events, on top of the handle's `next_events`: the same in one process, jailed, or over a socket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ._methods import told_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Sequence

    from dotmac_isp.plugins.core.model import DeviceEvent

__all__ = ["event_stream"]


class _Handle(Protocol):
    def next_events(self, *args: Any, **kwargs: Any) -> Awaitable[dict[str, Any]]: ...


async def event_stream(
    voltha: _Handle, *, kinds: Sequence[str] = (), device_id: str = "", cursor: str | None = None, wait: float = 10.0
) -> AsyncIterator[DeviceEvent]:
    """Every event from now on (or after a `cursor`), as they happen, until the caller stops; also over a restart of the instance.

    `voltha` is the plugin's handle. `kinds` and `device_id` (id or serial number) choose. Events that were missed, because the
    reader was too slow or the instance was started anew, are told as one event `events_missed`.
    """
    while True:
        answer = await voltha.next_events(cursor, wait, 500, list(kinds), device_id)
        cursor = answer["cursor"]
        for event in told_in(answer):
            yield event
