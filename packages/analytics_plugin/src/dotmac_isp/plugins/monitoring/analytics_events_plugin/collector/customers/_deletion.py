"""Deleting a person's events: from the tables, the quarantine, and what was counted of them.

A deletion is a document with a state, so that a collector that is killed goes on where it was: `asked` → `deleted` (nothing can be
asked about the events any more) → `done` (the rollups agree, and the engine has been told to rewrite the files). Of several collectors
before one server each clears its own disk; the one that was asked says `done` when all have.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
import uuid
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..._tasks import ended
from ...store import EVENTS, ROLLUPS, StoreRefusedError, StoreUnavailableError, difference_sql, reconcile_sql
from ._person import Person

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ...spool import Kept
    from ...store import Store
    from .._meta import Meta
    from ..intake import Writer
    from ..mending import DoubtedHours
    from ..schemas import Quarantine
    from ..sharing import Change, Sharing

__all__ = ["Deletion", "Deletions"]

_log: Final = logging.getLogger(__name__)
_KIND: Final = "deletion"
#: That a collector's own disk has nothing of the person any more.
_CLEARED: Final = "deletion cleared"
#: Hours of rollups that are put right in one statement, while nothing is stored.
_HOURS: Final = 240
_AGAIN_SECONDS: Final = 5.0


class Deletion(msgspec.Struct, frozen=True, kw_only=True):
    """One deletion. Who it was is kept until it is done, and then only as a hash, so that it can be shown that it was done."""

    deletion_id: str
    state: str
    asked_at: float
    deleted_events: int = 0
    done_at: float = 0.0
    person: Person | None = None
    #: The collector that was asked, and carries it out.
    collector: str = ""
    proof: str = ""
    #: Whose rollups must be put right, Unix time.
    hours: list[int] = msgspec.field(default_factory=list)

    def told(self) -> dict[str, Any]:
        told = {
            "deletion_id": self.deletion_id,
            "state": self.state,
            "asked_at": self.asked_at,
            "done_at": self.done_at,
        }
        return {**told, "deleted_events": self.deleted_events, "proof": self.proof}


class Deletions:
    """Asked for by tenants, carried on in the background."""

    def __init__(
        self,
        meta: Meta,
        store: Store,
        writer: Writer,
        quarantine: Quarantine,
        kept: Kept,
        sharing: Sharing,
        hours: DoubtedHours,
    ) -> None:
        self._hours = hours
        self._meta = meta
        self._sharing = sharing
        self._store = store
        self._writer = writer
        self._quarantine = quarantine
        self._kept = kept
        self._wake = asyncio.Event()
        #: Whether names of deleted people may still be in what documents said before.
        self._names_left = True
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._wake.set()
        self._task = asyncio.create_task(self._run(), name="analytics deletions")

    async def close(self) -> None:
        await ended(self._task)

    def list(self, tenant: str) -> list[Deletion]:
        found = [msgspec.convert(value, Deletion) for _, _, value in self._meta.list(_KIND, tenant)]
        return sorted(found, key=lambda one: one.asked_at)

    async def delete(self, tenant: str, person: Person) -> Deletion:
        """Delete; the events are gone when this returns, the rollups are put right soon after.

        What was accepted before must have been stored already. Raises `StoreUnavailableError`; it is carried on later then.
        """
        text = msgspec.json.encode(person.names)
        proof = hashlib.blake2b(text, key=self._meta.pseudonym_secrets[0][:32], digest_size=16).hexdigest()
        asked = Deletion(
            deletion_id=uuid.uuid4().hex,
            state="asked",
            asked_at=time.time(),
            person=person,
            proof=proof,
            collector=self._sharing.me,
        )
        self._keep(tenant, asked)
        try:
            return await self._gone(tenant, asked)
        finally:
            self._wake.set()

    def _keep(self, tenant: str, deletion: Deletion) -> None:
        self._meta.put(_KIND, tenant, deletion.deletion_id, deletion)

    async def _gone(self, tenant: str, deletion: Deletion) -> Deletion:
        """From `asked` to `deleted`. Which hours are touched is written down before anything is deleted."""
        person = deletion.person
        if person is None:
            return deletion
        condition, values = person.condition()
        condition, values = f"tenant_id = {{tenant:String}} AND {condition}", {**values, "tenant": tenant}
        async with self._writer.paused():
            touched = await self._touched(condition, values)
            hours = sorted({*deletion.hours, *touched})
            count = max(deletion.deleted_events, sum(touched.values()))
            deletion = msgspec.structs.replace(deletion, hours=hours, deleted_events=count)
            self._keep(tenant, deletion)
            if touched:
                await self._store.delete(EVENTS, condition, values)
        await asyncio.to_thread(self._quarantine.drop_people, tenant, person.names)
        deletion = msgspec.structs.replace(deletion, state="deleted")
        self._keep(tenant, deletion)
        return deletion

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            for tenant, _, value in self._meta.list(_KIND):
                deletion = msgspec.convert(value, Deletion)
                if deletion.state != "done":
                    await self._carry_on(tenant, deletion)
            await self._forget_names()

    async def _forget_names(self) -> None:
        """The names of those whose deletion is done are gone from the small databases, here and on the server, too."""
        await asyncio.to_thread(self._meta.forget_former)
        await asyncio.to_thread(self._quarantine.forget_former)
        if not self._names_left:
            return
        try:
            await self._sharing.forget_former()
            self._names_left = False
        except (StoreUnavailableError, StoreRefusedError) as error:
            _log.warning("what the server keeps of former documents is taken away later: %s", error)
            self._later()

    def heard(self, _: Change) -> None:
        """Another collector was asked to delete, or has cleared its disk."""
        self._wake.set()

    async def _carry_on(self, tenant: str, deletion: Deletion) -> None:
        try:
            if deletion.collector not in {"", self._sharing.me}:
                await self._follow(tenant, deletion)
                return
            if deletion.state == "asked":
                deletion = await self._gone(tenant, deletion)
            await self._put_right(tenant, deletion)
        except (StoreUnavailableError, StoreRefusedError) as error:
            _log.warning("the deletion %s is carried on later: %s", deletion.deletion_id, error)
            self._later()

    def _later(self) -> None:
        asyncio.get_running_loop().call_later(_AGAIN_SECONDS, self._wake.set)

    async def _follow(self, tenant: str, deletion: Deletion) -> None:
        """Another collector carries it out: what this one had accepted before is deleted too, and its own disk cleared."""
        person = deletion.person
        if person is None or self._is_cleared(tenant, deletion, self._sharing.me):
            return
        if not await self._writer.drained(_AGAIN_SECONDS):
            self._later()
            return
        condition, values = person.condition()
        condition, values = f"tenant_id = {{tenant:String}} AND {condition}", {**values, "tenant": tenant}
        async with self._writer.paused():
            hours = await self._touched(condition, values)
            if hours:
                await self._store.delete(EVENTS, condition, values)
        await asyncio.to_thread(self._quarantine.drop_people, tenant, person.names)
        await self._clear(tenant, deletion, sorted(hours))

    async def _touched(self, condition: str, values: dict[str, Any]) -> dict[int, int]:
        """How many events there are, by hour (Unix time)."""
        text = (
            f"SELECT toUnixTimestamp(toStartOfHour(timestamp)) AS hour, count() FROM {EVENTS} "  # noqa: S608 - bound
            f"WHERE {condition} GROUP BY hour ORDER BY hour"
        )
        return {int(hour): int(count) for hour, count in (await self._store.query(text, values)).rows}

    async def _put_right(self, tenant: str, deletion: Deletion) -> None:
        if not self._is_cleared(tenant, deletion, self._sharing.me):
            await self._clear(tenant, deletion, deletion.hours)
        others = self._sharing.others
        cleared = others is not None and all(self._is_cleared(tenant, deletion, one) for one in others)
        if others is None or not cleared or not self._hours.all_looked_at(tenant):
            self._later()
            return
        if deletion.hours:
            layout = self._store.layout
            # The rows are masked until now; this lets the engine rewrite the files in its own time.
            await self._store.change(
                f"ALTER TABLE {layout.local(EVENTS)}{layout.everywhere} APPLY DELETED MASK", wait=False
            )
        done = msgspec.structs.replace(deletion, state="done", done_at=time.time(), person=None, hours=[])
        self._keep(tenant, done)
        for one in (*others, self._sharing.me):
            self._meta.delete(_CLEARED, tenant, f"{deletion.deletion_id}:{one}")
        self._names_left = True

    def _is_cleared(self, tenant: str, deletion: Deletion, collector: str) -> bool:
        return self._meta.get(_CLEARED, tenant, f"{deletion.deletion_id}:{collector}") is not None

    async def _clear(self, tenant: str, deletion: Deletion, hours: Sequence[int]) -> None:
        """The rollups agree again, or are put right by the collector that leads; this one's disk has nothing of the person any more."""
        if self._store.shared:
            self._hours.doubt((tenant, hour) for hour in hours)
        else:
            for start in range(0, len(hours), _HOURS):
                await self.reconcile(tenant, hours[start : start + _HOURS])
        await self._writer.clear_spool()
        await asyncio.to_thread(self._kept.scrub, _belongs_to(tenant, deletion.person))
        self._meta.put(_CLEARED, tenant, f"{deletion.deletion_id}:{self._sharing.me}", {"at": time.time()})

    async def reconcile(self, tenant: str, hours: Sequence[int]) -> None:
        """Make the tenant's rollups agree with its events in these hours."""
        for rollup in ROLLUPS:
            text, values = reconcile_sql(rollup, tenant, hours, once=self._store.shared)
            async with self._writer.paused():
                await self._store.change(text, values)

    async def differs(self, tenant: str, hours: Sequence[int]) -> bool:
        """Whether a rollup of the tenant does not agree with its events in these hours."""
        for rollup in ROLLUPS:
            text, values = difference_sql(rollup, tenant, hours, once=self._store.shared)
            if (await self._store.query(f"{text} LIMIT 1", values)).rows:
                return True
        return False


class _Line(msgspec.Struct):
    tenant_id: str
    customer_id: str = ""
    user_id: str = ""
    device_id: str = ""


def _belongs_to(tenant: str, person: Person | None) -> Callable[[bytes], bool]:
    """Whether a stored line is one of the person's."""
    decoder = msgspec.json.Decoder(_Line)
    names = {column: frozenset(given) for column, given in person.names.items()} if person is not None else {}

    def unwanted(line: bytes) -> bool:
        event = decoder.decode(line)
        return event.tenant_id == tenant and any(getattr(event, column) in given for column, given in names.items())

    return unwanted
