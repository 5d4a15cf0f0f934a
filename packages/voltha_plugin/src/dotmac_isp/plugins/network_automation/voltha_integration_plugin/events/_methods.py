"""The methods on events and alarms that the plugin's handle has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from dotmac_isp.plugins.core.model import DeviceEvent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from ..stacks._stacks import Stacks

__all__ = ["EventMethods", "told_in"]

_LIMIT = 10_000
_LONGEST_WAIT = 25.0


class EventMethods:
    """Alarms, their history, and what happens. With `kafka_bootstrap` VOLTHA's own; without it what polling shows."""

    if TYPE_CHECKING:

        @property
        def _stacks(self) -> Stacks: ...

    async def active_alarms(self, device_id: str | None = None) -> list[dict[str, Any]]:
        """The alarms that are raised, of all devices or of one OLT (with its ONUs) or ONU, oldest first.

        Without the setting `kafka_bootstrap` there are only those that polling shows: `ONU_UNREACHABLE`, `OLT_FAILED` and so on.
        """
        found = [alarm for work in self._stacks.works for alarm in await work.active_alarms(device_id)]
        return sorted(found, key=lambda alarm: float(alarm["raised_at"]))

    async def alarm_history(
        self, device_id: str | None = None, since: float = 0.0, limit: int = 1000
    ) -> list[dict[str, Any]]:
        """Alarms that are over, and failures that VOLTHA reports once, newest first; `since` is Unix time.

        As many are kept as the setting `alarm_history_limit` says.
        """
        works = list(self._stacks.works)
        found = [alarm for work in works for alarm in await work.alarm_history(device_id, since, limit)]
        return sorted(found, key=lambda alarm: float(alarm["cleared_at"] or 0), reverse=True)[:limit]

    async def next_events(
        self,
        cursor: str | None = None,
        wait: float = 10.0,
        limit: int = 500,
        kinds: Sequence[str] = (),
        device_id: str = "",
        stack: str | None = None,
    ) -> dict[str, Any]:
        """The events after `cursor` (of the last answer; `None`: from now on): `events`, `cursor`, and how many were `missed`.

        Waits up to `wait` seconds (25 at most) for the first. `kinds` (`alarm_raised`, `onu_active`, …) and `device_id` choose.
        `event_stream` makes an asynchronous iterator of it, which goes on when the instance is started anew.
        """
        log = self._stacks.named(stack).log
        return await log.after(
            cursor,
            wait=min(max(wait, 0.0), _LONGEST_WAIT),
            limit=min(max(limit, 1), _LIMIT),
            kinds=frozenset(kinds),
            device=device_id,
        )

    async def follow_events(
        self, kinds: Sequence[str] = (), device_id: str = "", cursor: str | None = None, stack: str | None = None
    ) -> AsyncIterator[DeviceEvent]:
        """Every event from now on, or after `cursor` of `next_events`, as it happens: `async for event in voltha.follow_events()`.

        The stream ends with the instance. What a reader was too slow for is told as one event `events_missed`.
        """
        while True:
            answer = await self.next_events(cursor, _LONGEST_WAIT, _LIMIT, kinds, device_id, stack)
            cursor = answer["cursor"]
            for event in told_in(answer):
                yield event


def told_in(answer: Mapping[str, Any]) -> Iterator[DeviceEvent]:
    """The events of an answer of `next_events`, after one that says how many were missed, if any."""
    missed = answer["missed"]
    if missed:
        yield DeviceEvent(
            event_type="events_missed",
            device_id="voltha",
            source="voltha_integration",
            severity="warning",
            message=f"{missed} events were missed" if missed > 0 else "the instance was restarted",
            attributes={"missed": missed},
        )
    for event in answer["events"]:
        yield msgspec.convert(event, DeviceEvent)
