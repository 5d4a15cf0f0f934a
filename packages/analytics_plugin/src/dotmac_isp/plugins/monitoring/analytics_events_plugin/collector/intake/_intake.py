"""Taking events in: the identifiers are looked up, what is new goes to the spool, and only then is anybody told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from ...events import Event
from ...spool import GroupCommit, SegmentLog, SpoolReader
from ._ids import key_of
from ._wire import WireEvent

if TYPE_CHECKING:
    from ._ids import EventIds

__all__ = ["Intake", "Taken"]

_DAY: Final = 86400
#: How often identifiers leave SQLite's log while events come, seconds.
_CHECKPOINT: Final = 1.0
_ENCODER: Final = msgspec.json.Encoder()


class Taken(msgspec.Struct, frozen=True):
    """How many events of a request are new and on disk, and which identifiers had been taken before."""

    accepted: int
    duplicates: tuple[str, ...]


class _Request(msgspec.Struct, frozen=True):
    tenant: str
    events: Sequence[Event | WireEvent]


class _Identity(msgspec.Struct, frozen=True):
    """What is needed of a stored row to fill the identifiers up again."""

    tenant_id: str
    event_id: str


def rows(events: Sequence[Event | WireEvent], tenant: str, received_at: str) -> bytes:
    """The lines that the engine gets."""
    ending = b"," + msgspec.json.encode({"tenant_id": tenant, "received_at": received_at})[1:] + b"\n"
    # No event has a line break of its own, so lines end with the brace before one and nowhere else.
    return ending.join([line[:-1] for line in _ENCODER.encode_lines(events).split(b"\n")])


class Intake:
    """Owns the collector's spool and the identifiers; one thread writes both."""

    def __init__(self, log: SegmentLog, ids: EventIds, *, max_age_days: float, on_new: Callable[[], None]) -> None:
        self.log = log
        self._ids = ids
        self._max_age_days = max_age_days
        self._on_new = on_new
        self._commits: GroupCommit[_Request, Taken] = GroupCommit(self._commit)
        self._tidied = 0
        self._checkpointed = 0.0
        self._checkpoint: asyncio.Task[None] | None = None

    async def recover(self) -> None:
        """After a crash: identifiers of records that reached the spool but not the filter."""
        await self._commits.run(self._refill)

    def _refill(self) -> Taken:
        reader = SpoolReader(self.log, max(self._ids.covered + 1, self.log.first_seq))
        identity = msgspec.json.Decoder(_Identity)
        while records := reader.read(max_events=10_000):
            found = (identity.decode(line) for record in records for line in record.payload.splitlines())
            keys = list(dict.fromkeys(key_of(item.tenant_id, item.event_id) for item in found))
            with self._ids.together():
                self._ids.take(keys, day=_today())
                self._ids.cover(records[-1].seq)
        return Taken(0, ())

    async def take(self, tenant: str, events: Sequence[Event | WireEvent]) -> Taken:
        """Store what is new. Raises `SpoolFullError`; nothing of the request was taken then."""
        taken = await self._commits.submit(_Request(tenant, events))
        if taken.accepted:
            self._on_new()
            self._checkpoint_in_time()
        return taken

    def _checkpoint_in_time(self) -> None:
        now = time.monotonic()
        if now - self._checkpointed < _CHECKPOINT or (self._checkpoint is not None and not self._checkpoint.done()):
            return
        self._checkpointed = now
        self._checkpoint = asyncio.create_task(asyncio.to_thread(self._ids.checkpoint), name="analytics checkpoint")

    def _commit(self, requests: list[_Request]) -> list[Taken | BaseException]:
        if self._ids.covered < self.log.last_seq:
            self._refill()
        with self._ids.together():
            return list(self._kept(requests))

    def _kept(self, requests: list[_Request]) -> list[Taken]:
        """Identifiers and records go together: when the disk refuses the one, the others were not taken either."""
        keyed = [[key_of(request.tenant, event.event_id) for event in request.events] for request in requests]
        seen: dict[bytes, None] = {}
        for keys in keyed:
            seen.update(dict.fromkeys(keys))
        known = self._ids.take(list(seen), day=_today())
        received_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        results: list[Taken] = []
        records: list[tuple[int, bytes]] = []
        for request, keys in zip(requests, keyed, strict=True):
            fresh, duplicates = _sift(request.events, keys, known)
            results.append(Taken(len(fresh), tuple(duplicates)))
            if fresh:
                records.append((len(fresh), rows(fresh, request.tenant, received_at)))
        if records:
            self._ids.cover(self.log.append(records)[-1])
        return results

    async def release(self, done: int) -> None:
        """Everything up to `done` is in the engine: drop segments that nobody needs any more, and once a day old identifiers."""
        today = _today()
        new_day, self._tidied = today != self._tidied, today
        if new_day or self.log.releasable(done):
            await self._commits.run(lambda: self._drop(done, forget=new_day))

    async def release_all(self, done: int) -> None:
        """As `release`, and nothing of what is stored stays in the spool."""
        await self._commits.run(lambda: self._drop(done, forget=False, everything=True))

    def _drop(self, done: int, *, forget: bool, everything: bool = False) -> Taken:
        if forget:
            self._ids.forget(int(self._max_age_days) + 2)
        self._ids.make_durable()
        self.log.release(min(done, self._ids.covered), everything=everything)
        return Taken(0, ())

    async def close(self) -> None:
        await self._commits.close()
        if self._checkpoint is not None:
            await asyncio.wait([self._checkpoint])
        self._ids.close()
        self.log.close()


def _sift(
    events: Sequence[Event | WireEvent], keys: Sequence[bytes], known: set[bytes]
) -> tuple[Sequence[Event | WireEvent], list[str]]:
    """What is new, and the identifiers of the rest; `known` grows by what is new."""
    if known.isdisjoint(keys) and len(set(keys)) == len(keys):
        known.update(keys)
        return events, []
    fresh: list[Event | WireEvent] = []
    duplicates: list[str] = []
    for event, key in zip(events, keys, strict=True):
        if key in known:
            duplicates.append(event.event_id)
        else:
            known.add(key)
            fresh.append(event)
    return fresh, duplicates


def _today() -> int:
    return int(time.time() // _DAY)
