"""From the spool into the engine, in blocks that can be repeated.

Which records make a block is written down before the block is sent; after a crash, or when the answer was lost, the very same block goes
again with the same token, and the engine counts it once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from ..._tasks import ended
from ...spool import Block, Cursor, Record, SpoolReader
from ...store import Store, StoreUnavailableError, insert_past_refused, without

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    from ._intake import Intake

__all__ = ["Writer"]

T = TypeVar("T")

_log: Final = logging.getLogger(__name__)
_BLOCK_EVENTS: Final = 20_000
#: Blocks under way at once. A second one only goes when it is large: many small ones make many small parts.
_LANES: Final = 2
_WORTH_A_LANE: Final = 5_000
#: Wait this long for more before a small block goes, seconds; nobody waits when somebody asks.
_GATHER: Final = 0.2


class Writer:
    """One task that empties the spool."""

    def __init__(
        self,
        intake: Intake,
        store: Store,
        folder: Path,
        *,
        doubted: Callable[[bytes], None],
        doubled: Callable[[Sequence[tuple[str, int]]], None],
    ) -> None:
        """:param doubted: told each block that the engine may have begun more than once, when it is stored.
        :param doubled: told the hours (tenant, Unix time) in which another collector stored the same events at the same time."""
        self._intake = intake
        self._store = store
        self._doubted = doubted
        self._doubled = doubled
        self._cursor = Cursor(folder / "stored.cursor", sync=True)
        self._refused_file = folder / "refused.ndjson"
        self._reader: SpoolReader | None = None
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()
        self._moved = asyncio.Condition()
        self._gate = asyncio.Lock()
        self._wanted = 0
        self._again: list[Block] = []
        self._repeated: set[Block] = set()
        self._landed: set[Block] = set()
        self._task: asyncio.Task[None] | None = None
        self.stored_events = 0
        self.refused_events = 0
        self.last_error = ""
        self.last_stored_at = 0.0

    def start(self) -> None:
        self._cursor.load()
        self._again = list(self._cursor.blocks)
        self._reader = SpoolReader(self._intake.log, max(self._cursor.done + 1, self._intake.log.first_seq))
        self._wake.set()
        self._task = asyncio.create_task(self._run(), name="analytics writer")

    def wake(self) -> None:
        """There is something new in the spool."""
        self._wake.set()

    async def clear_spool(self) -> None:
        """What is stored leaves the spool, to the last line."""
        await self._intake.release_all(self._cursor.done)

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

    @contextlib.asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """No block is under way meanwhile: the tables are changed by nobody else (of this collector)."""
        self._wanted += 1
        try:
            async with self._gate:
                yield
        finally:
            self._wanted -= 1
            self._wake.set()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while await self._burst():
                await self._gather()

    async def _gather(self) -> None:
        if self.backlog == 0:
            # Not wait_for: before Python 3.12 it may lose a cancellation that comes together with the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_GATHER):
                    await self._hurry.wait()
        self._hurry.clear()

    async def _burst(self) -> bool:
        """Blocks, two at a time while there is enough for two, until there is nothing more or somebody wants a pause."""
        flying: dict[asyncio.Task[None], Block] = {}
        moved = False
        async with self._gate:
            try:
                while True:
                    await self._take_off(flying)
                    if not flying:
                        await self._advance(self._passed_damage())
                        return moved
                    await asyncio.wait(flying, return_when=asyncio.FIRST_COMPLETED)
                    await self._land(flying)
                    moved = True
            finally:
                for task in flying:
                    await ended(task)

    async def _take_off(self, flying: dict[asyncio.Task[None], Block]) -> None:
        while len(flying) < _LANES and not (self._wanted and flying):
            least = _WORTH_A_LANE if flying else 0
            planned = await self._planned(least)
            if planned is None:
                return
            block, records = planned
            task = asyncio.create_task(self._written(block, records), name="analytics block")
            flying[task] = block

    async def _planned(self, least: int) -> tuple[Block, list[Record]] | None:
        """The next block, written down with its number before it goes. Blocks from before a crash come first, as they were."""
        while self._again:
            block = self._again.pop(0)
            records = await asyncio.to_thread(self._reread, block)
            if records:
                self._repeated.add(block)
                return block, records
            self._landed.add(block)  # damaged on disk: nothing of it can go
        records = await asyncio.to_thread(self._next_records, least)
        if not records:
            return None
        lines = b"".join(record.payload for record in records)
        block = Block(records[0].seq, records[-1].seq, tuple(sorted(await self._elsewhere(lines))))
        await asyncio.to_thread(self._cursor.save, self._cursor.done, (*self._cursor.blocks, block))
        return block, records

    def _reread(self, block: Block) -> list[Record]:
        if self._reader is None:
            return []
        self._reader.seek(block.first)
        return self._reader.read(max_events=1 << 31, max_bytes=1 << 40, last=block.last)

    def _next_records(self, least: int) -> list[Record]:
        if self._reader is None:
            return []
        self._reader.seek(max(self._planned_to + 1, self._reader.next_seq))
        start = self._reader.next_seq
        records = self._reader.read(max_events=_BLOCK_EVENTS)
        if records and sum(record.events for record in records) < least:
            self._reader.seek(start)
            return []
        return records

    @property
    def _planned_to(self) -> int:
        return max((block.last for block in self._cursor.blocks), default=self._cursor.done)

    async def _elsewhere(self, lines: bytes) -> set[tuple[str, str]]:
        """What another collector has stored already. Written down with the block: asked again, our own first try would be among it."""
        if not self._store.shared:
            return set()
        return await self._trying(lambda: self._store.present(lines))

    async def _written(self, block: Block, records: list[Record]) -> None:
        lines = without(b"".join(record.payload for record in records), set(block.left_out))
        if lines:
            token = f"{self._intake.log.spool_id}:{block.first}-{block.last}"
            await insert_past_refused(self._insert, lines, token, self._refuse)
            if block in self._repeated:
                self._repeated.discard(block)
                self._doubted(lines)
            if self._store.shared and (places := await self._trying(lambda: self._store.doubled(lines))):
                self._doubled(places)
        self.stored_events += sum(record.events for record in records)

    async def _land(self, flying: dict[asyncio.Task[None], Block]) -> None:
        for task in [task for task in flying if task.done()]:
            self._landed.add(flying.pop(task))
            task.result()
        await self._advance()

    async def _advance(self, done: int = 0) -> None:
        """Blocks leave the list in order: one that is done before an older one stays on it, and would harmlessly go again."""
        blocks, done = list(self._cursor.blocks), max(done, self._cursor.done)
        while blocks and blocks[0] in self._landed:
            block = blocks.pop(0)
            self._landed.discard(block)
            done = block.last
        if done == self._cursor.done:
            return
        await asyncio.to_thread(self._cursor.save, done, blocks)
        self.last_stored_at = time.time()
        async with self._moved:
            self._moved.notify_all()
        await self._intake.release(done)

    def _passed_damage(self) -> int:
        """Where the spool's last records are damaged, there is nothing to wait for."""
        if self._reader is None or self._cursor.blocks or self._reader.next_seq <= self._intake.log.last_seq:
            return 0
        return self._reader.next_seq - 1

    async def _refuse(self, line: bytes, reason: str) -> None:
        await asyncio.to_thread(self._put_aside, line, reason)

    def _put_aside(self, line: bytes, reason: str) -> None:
        self.refused_events += 1
        _log.error("the engine refuses an event, which is kept in %s: %s", self._refused_file.name, reason)
        with self._refused_file.open("ab") as file:
            file.write(msgspec.json.encode({"reason": reason, "event": msgspec.Raw(line.strip())}) + b"\n")

    async def _insert(self, lines: bytes, token: str) -> None:
        tries = 0

        async def insert() -> None:
            nonlocal tries
            tries += 1
            await self._store.insert_events(lines, token)

        await self._trying(insert)
        if tries > 1:
            self._doubted(lines)

    async def _trying(self, work: Callable[[], Awaitable[T]]) -> T:
        """Again and again while the engine is away."""
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(StoreUnavailableError),
            wait=wait_random_exponential(multiplier=0.2, max=10),
            before_sleep=self._note,
        ):
            with attempt:
                result = await work()
        self.last_error = ""
        return result

    def _note(self, state: RetryCallState) -> None:
        self.last_error = str(state.outcome.exception()) if state.outcome is not None else ""

    def describe(self) -> dict[str, Any]:
        return {
            "backlog_records": self.backlog,
            "stored_events": self.stored_events,
            "refused_events": self.refused_events,
            "last_error": self.last_error,
        }

    async def close(self) -> None:
        await ended(self._task)
