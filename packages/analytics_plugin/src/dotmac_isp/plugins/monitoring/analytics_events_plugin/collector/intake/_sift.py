"""What rules and schemas say about the events of a request: taken, tagged, put aside, refused."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec

from ...events import Event, Rejection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._collector import Collector
    from ._wire import WireEvent

__all__ = ["UNFIT", "Sifted", "fits_at_once", "sift"]

#: The tag of an event that was taken although it does not fit its schema (mode warn).
UNFIT: Final = "schema_unfit"
_Numbered = tuple[int, Event]


class Sifted(msgspec.Struct):
    """`held` are the identifiers in quarantine, which are on disk there."""

    good: list[_Numbered] = msgspec.field(default_factory=list)
    rejected: list[Rejection] = msgspec.field(default_factory=list)
    held: list[str] = msgspec.field(default_factory=list)
    warnings: list[Rejection] = msgspec.field(default_factory=list)


def fits_at_once(collector: Collector, tenant: str, events: Sequence[WireEvent]) -> bool:
    """Whether no rule and no schema has anything to say about any of the events, so that they may go as they are."""
    rules = collector.rules.of(tenant)
    if rules.hash or rules.drop:
        return False
    clocks = {category: collector.rules.clock(tenant, category) for category in {event.category for event in events}}
    names = collector.schemas.names(tenant)
    return all(
        clocks[event.category].oldest <= event.timestamp <= clocks[event.category].newest
        and event.event_name not in names
        for event in events
    )


async def sift(collector: Collector, tenant: str, events: Sequence[_Numbered]) -> Sifted:
    """Judge the events of a request. `SchemasMissingError` without the library where schemas are registered."""
    result = Sifted()
    aside: list[tuple[int, Event, tuple[str, ...]]] = []
    for index, given in events:
        event, reasons, mode = _judged(collector, tenant, given)
        if not reasons:
            result.good.append((index, event))
        elif mode == "quarantine":
            aside.append((index, event, reasons))
        else:
            _warn_or_refuse(result, index, event, reasons, mode)
    if aside:
        await _put_aside(collector, tenant, result, aside)
    return result


def _judged(collector: Collector, tenant: str, event: Event) -> tuple[Event, tuple[str, ...], str]:
    """By the tenant's rules first: what is private must not reach the quarantine either."""
    applied = collector.rules.applied(tenant, event)
    if applied.reason:
        return applied.event, (applied.reason,), applied.mode
    verdict = collector.schemas.judge(tenant, applied.event)
    return applied.event, verdict.reasons, verdict.mode


def _warn_or_refuse(result: Sifted, index: int, event: Event, reasons: tuple[str, ...], mode: str) -> None:
    told = Rejection(index=index, reason="; ".join(reasons), event_id=event.event_id)
    if mode == "warn":
        result.warnings.append(told)
        result.good.append((index, msgspec.structs.replace(event, tags=(*event.tags, UNFIT))))
    else:
        result.rejected.append(told)


async def _put_aside(
    collector: Collector, tenant: str, result: Sifted, aside: Sequence[tuple[int, Event, tuple[str, ...]]]
) -> None:
    kept = [(event, reasons) for _, event, reasons in aside]
    if await asyncio.to_thread(collector.quarantine.put, tenant, kept):
        result.held = [event.event_id for _, event, _ in aside]
        return
    result.rejected += [
        Rejection(index=index, reason="the quarantine is full; " + "; ".join(reasons), event_id=event.event_id)
        for index, event, reasons in aside
    ]
