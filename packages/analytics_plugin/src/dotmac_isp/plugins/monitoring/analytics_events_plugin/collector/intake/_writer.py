"""From the spool into the engine, in blocks that can be repeated.

Which records make a block is written down before the block is sent; after a crash, or when the answer was lost, the very same block goes
again with the same token, and the engine counts it once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec
from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from ..._tasks import ended
from ...spool import Cursor, Record, SpoolReader
from ...store import Store, StoreRefusedError, StoreUnavailableError

if TYPE_CHECKING:
    from pathlib import Path

    from ._intake import Intake

__all__ = ["Writer"]

_log: Final = logging.getLogger(__name__)
_BLOCK_EVENTS: Final = 20_000
#: Wait this long for more before a small block goes, seconds; nobody waits when somebody asks.
_GATHER: Final = 0.2


class Writer:
    """One task that empties the spool."""

    def __init__(self, intake: Intake, store: Store, folder: Path) -> None:
        self._intake = intake
        self._store = store
        self._cursor = Cursor(folder / "stored.cursor", sync=True)
        self._refused_file = folder / "refused.ndjson"
        self._reader: SpoolReader | None = None
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()
        self._moved = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self.stored_events = 0
        self.refused_events = 0
        self.last_error = ""
        self.last_stored_at = 0.0

    def start(self) -> None:
        self._cursor.load()
        self._reader = SpoolReader(self._intake.log, max(self._cursor.done + 1, self._intake.log.first_seq))
        self._wake.set()
        self._task = asyncio.create_task(self._run(), name="analytics writer")

    def wake(self) -> None:
        """There is something new in the spool."""
        self._wake.set()

    @property
    def backlog(self) -> int:
        """Records in the spool that the engine does not have yet."""
        return max(0, self._intake.log.last_seq - self._cursor.done)

    async def drained(self, seconds: float) -> bool:
        """Wait until everything that is in the spool now is in the engine; `False` when that takes too long."""
        goal = self._intake.log.last_seq
        self._hurry.set()
        try:
            async with asyncio.timeout(seconds), self._moved:
                await self._moved.wait_for(lambda: self._cursor.done >= goal)
        except TimeoutError:
            return False
        return True

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while await self._one_block():
                await self._gather()

    async def _gather(self) -> None:
        if self.backlog == 0:
            # Not wait_for: before Python 3.12 it may lose a cancellation that comes together with the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_GATHER):
                    await self._hurry.wait()
        self._hurry.clear()

    async def _one_block(self) -> bool:
        records = await asyncio.to_thread(self._next_block)
        if not records:
            return False
        token = f"{self._intake.log.spool_id}:{records[0].seq}-{records[-1].seq}"
        lines = b"".join(record.payload for record in records)
        await self._store_block(lines, token)
        await asyncio.to_thread(self._cursor.save, records[-1].seq)
        self.stored_events += sum(record.events for record in records)
        self.last_stored_at = time.time()
        async with self._moved:
            self._moved.notify_all()
        await self._intake.release(self._cursor.done)
        return True

    def _next_block(self) -> list[Record]:
        if self._reader is None:
            return []
        if self._cursor.block is not None:
            first, last = self._cursor.block
            self._reader.seek(first)
            return self._reader.read(max_events=1 << 31, max_bytes=1 << 40, last=last)
        records = self._reader.read(max_events=_BLOCK_EVENTS)
        if records:
            self._cursor.save(self._cursor.done, (records[0].seq, records[-1].seq))
        return records

    async def _store_block(self, lines: bytes, token: str) -> None:
        try:
            await self._insert(lines, token)
        except StoreRefusedError as error:
            await self._split(lines, token, error)

    async def _split(self, lines: bytes, token: str, error: StoreRefusedError) -> None:
        """The engine refuses the block because of some line: halve it until the line is found and put aside."""
        rows = lines.splitlines(keepends=True)
        if len(rows) == 1:
            await asyncio.to_thread(self._put_aside, rows[0], str(error))
            return
        half = len(rows) // 2
        await self._store_block(b"".join(rows[:half]), token + ".0")
        await self._store_block(b"".join(rows[half:]), token + ".1")

    def _put_aside(self, line: bytes, reason: str) -> None:
        self.refused_events += 1
        _log.error("the engine refuses an event, which is kept in %s: %s", self._refused_file.name, reason)
        with self._refused_file.open("ab") as file:
            file.write(msgspec.json.encode({"reason": reason, "event": msgspec.Raw(line.strip())}) + b"\n")

    async def _insert(self, lines: bytes, token: str) -> None:
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(StoreUnavailableError),
            wait=wait_random_exponential(multiplier=0.2, max=10),
        ):
            with attempt:
                await self._insert_once(lines, token)

    async def _insert_once(self, lines: bytes, token: str) -> None:
        try:
            await self._store.insert_events(lines, token)
        except StoreUnavailableError as error:
            self.last_error = str(error)
            raise
        self.last_error = ""

    def describe(self) -> dict[str, Any]:
        return {
            "backlog_records": self.backlog,
            "stored_events": self.stored_events,
            "refused_events": self.refused_events,
            "last_error": self.last_error,
        }

    async def close(self) -> None:
        await ended(self._task)
