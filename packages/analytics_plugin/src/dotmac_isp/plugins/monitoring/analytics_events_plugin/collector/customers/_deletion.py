"""Deleting a person's events: from the tables, the quarantine, and what was counted of them.

A deletion is a document with a state, so that a collector that is killed goes on where it was: `asked` → `deleted` (nothing can be
asked about the events any more) → `done` (the rollups agree, and the engine has been told to rewrite the files).
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
from ...store import EVENTS, ROLLUPS, StoreRefusedError, StoreUnavailableError, reconcile_sql
from ._person import Person

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ...spool import Kept
    from ...store import Store
    from .._meta import Meta
    from ..intake import Writer
    from ..schemas import Quarantine

__all__ = ["Deletion", "Deletions"]

_log: Final = logging.getLogger(__name__)
_KIND: Final = "deletion"
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

    def __init__(self, meta: Meta, store: Store, writer: Writer, quarantine: Quarantine, kept: Kept) -> None:
        self._meta = meta
        self._store = store
        self._writer = writer
        self._quarantine = quarantine
        self._kept = kept
        self._wake = asyncio.Event()
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
        proof = hashlib.blake2b(text, key=self._meta.pseudonym_secret[:32], digest_size=16).hexdigest()
        asked = Deletion(deletion_id=uuid.uuid4().hex, state="asked", asked_at=time.time(), person=person, proof=proof)
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
            rows = (
                await self._store.query(
                    f"SELECT toUnixTimestamp(toStartOfHour(timestamp)) AS hour, count() FROM {EVENTS} "  # noqa: S608 - bound
                    f"WHERE {condition} GROUP BY hour ORDER BY hour",
                    values,
                )
            ).rows
            hours = sorted({*deletion.hours, *(int(row[0]) for row in rows)})
            count = max(deletion.deleted_events, sum(int(row[1]) for row in rows))
            deletion = msgspec.structs.replace(deletion, hours=hours, deleted_events=count)
            self._keep(tenant, deletion)
            if rows:
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

    async def _carry_on(self, tenant: str, deletion: Deletion) -> None:
        try:
            if deletion.state == "asked":
                deletion = await self._gone(tenant, deletion)
            await self._put_right(tenant, deletion)
        except (StoreUnavailableError, StoreRefusedError) as error:
            _log.warning("the deletion %s is carried on later: %s", deletion.deletion_id, error)
            asyncio.get_running_loop().call_later(_AGAIN_SECONDS, self._wake.set)

    async def _put_right(self, tenant: str, deletion: Deletion) -> None:
        for start in range(0, len(deletion.hours), _HOURS):
            await self.reconcile(tenant, deletion.hours[start : start + _HOURS])
        await self._writer.clear_spool()
        await asyncio.to_thread(self._kept.scrub, _belongs_to(tenant, deletion.person))
        if deletion.hours:
            layout = self._store.layout
            # The rows are masked until now; this lets the engine rewrite the files in its own time.
            await self._store.change(
                f"ALTER TABLE {layout.local(EVENTS)}{layout.everywhere} APPLY DELETED MASK", wait=False
            )
        done = msgspec.structs.replace(deletion, state="done", done_at=time.time(), person=None, hours=[])
        self._keep(tenant, done)

    async def reconcile(self, tenant: str, hours: Sequence[int]) -> None:
        """Make the tenant's rollups agree with its events in these hours."""
        for rollup in ROLLUPS:
            text, values = reconcile_sql(rollup, tenant, hours)
            async with self._writer.paused():
                await self._store.change(text, values)


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
