"""Taking events in: the identifiers are looked up, what is new goes to the spool, and only then is anybody told."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from ...events import Event
from ...spool import GroupCommit, SegmentLog, SpoolReader

if TYPE_CHECKING:
    from ._ids import EventIds

__all__ = ["Intake", "Taken"]

_DAY = 86400


class Taken(msgspec.Struct, frozen=True):
    """How many events of a request are new and on disk, and which identifiers had been taken before."""

    accepted: int
    duplicates: tuple[str, ...]


class _Request(msgspec.Struct, frozen=True):
    tenant: str
    events: Sequence[Event]


class _Identity(msgspec.Struct, frozen=True):
    """What is needed of a stored row to fill the identifiers up again."""

    tenant_id: str
    event_id: str


def row(event: Event, tenant: str, received_at: str) -> bytes:
    """The line that the engine gets."""
    suffix = msgspec.json.encode({"tenant_id": tenant, "received_at": received_at})
    return msgspec.json.encode(event)[:-1] + b"," + suffix[1:] + b"\n"


class Intake:
    """Owns the collector's spool and the identifiers; one thread writes both."""

    def __init__(self, log: SegmentLog, ids: EventIds, *, max_age_days: float, on_new: Callable[[], None]) -> None:
        self.log = log
        self._ids = ids
        self._max_age_days = max_age_days
        self._on_new = on_new
        self._commits: GroupCommit[_Request, Taken] = GroupCommit(self._commit)
        self._tidied = 0

    async def recover(self) -> None:
        """After a crash: identifiers of records that reached the spool but not the filter."""
        await self._commits.run(self._refill)

    def _refill(self) -> Taken:
        reader = SpoolReader(self.log, max(self._ids.covered + 1, self.log.first_seq))
        identity = msgspec.json.Decoder(_Identity)
        while records := reader.read(max_events=10_000):
            rows = (identity.decode(line) for record in records for line in record.payload.splitlines())
            pairs = [(item.tenant_id, item.event_id) for item in rows]
            self._ids.add(pairs, covered=records[-1].seq, day=_today())
        return Taken(0, ())

    async def take(self, tenant: str, events: Sequence[Event]) -> Taken:
        """Store what is new. Raises `SpoolFullError`; nothing of the request was taken then."""
        taken = await self._commits.submit(_Request(tenant, events))
        if taken.accepted:
            self._on_new()
        return taken

    def _commit(self, requests: list[_Request]) -> list[Taken | BaseException]:
        if self._ids.covered < self.log.last_seq:
            self._refill()
        results: list[Taken | BaseException] = []
        records: list[tuple[int, bytes]] = []
        seen: dict[tuple[str, str], None] = {}
        received_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        for request in requests:
            fresh, duplicates = self._sift(request, seen)
            results.append(Taken(len(fresh), tuple(duplicates)))
            if fresh:
                records.append((len(fresh), b"".join(row(event, request.tenant, received_at) for event in fresh)))
        if records:
            seqs = self.log.append(records)
            self._ids.add(seen, covered=seqs[-1], day=_today())
        return results

    def _sift(self, request: _Request, seen: dict[tuple[str, str], None]) -> tuple[list[Event], list[str]]:
        known = self._ids.known(request.tenant, [event.event_id for event in request.events])
        fresh: list[Event] = []
        duplicates: list[str] = []
        for event in request.events:
            key = (request.tenant, event.event_id)
            if event.event_id in known or key in seen:
                duplicates.append(event.event_id)
            else:
                seen[key] = None
                fresh.append(event)
        return fresh, duplicates

    async def release(self, done: int) -> None:
        """Everything up to `done` is in the engine: drop segments that nobody needs any more, and once a day old identifiers."""
        today = _today()
        new_day, self._tidied = today != self._tidied, today
        if new_day or self.log.releasable(done):
            await self._commits.run(lambda: self._drop(done, forget=new_day))

    def _drop(self, done: int, *, forget: bool) -> Taken:
        if forget:
            self._ids.forget_before(_today() - int(self._max_age_days) - 2)
        self._ids.make_durable()
        self.log.release(min(done, self._ids.covered))
        return Taken(0, ())

    async def close(self) -> None:
        await self._commits.close()
        self._ids.close()
        self.log.close()


def _today() -> int:
    return int(time.time() // _DAY)
