"""What the engine lost is stored again, from the segments that the spool has kept.

It loses what it puts aside as broken when it starts; and, killed in the middle of a block, it may take the block for known when it comes again
although one of its tables lacks it: its memory of blocks and their parts are two files. Such blocks are looked at afterwards.

Events that are missing are inserted, then the rollups of all hours that are kept are put right. Events that were deleted meanwhile are not
among what is kept, and such as a rule for retention has taken are left out.
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..._tasks import ended
from ...store import StoreRefusedError, StoreUnavailableError, insert_past_refused, without

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from .._collector import Collector

__all__ = ["Mending"]

_log: Final = logging.getLogger(__name__)
_KIND: Final = "mended"
_DOUBT: Final = "doubted blocks"
#: More blocks than this in doubt, and all that is kept is looked at.
_MOST_DOUBTS: Final = 20
_LINES: Final = 10_000
_HOURS: Final = 240
_AGAIN_SECONDS: Final = 30.0


class _Line(msgspec.Struct):
    tenant_id: str
    event_id: str
    timestamp: str
    category: str


_DECODER: Final = msgspec.json.Decoder(_Line)


class Mending:
    """Looks when the collector starts, and at blocks in doubt; `mend` may be asked for as well."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._task: asyncio.Task[None] | None = None
        self._doubts: list[bytes] = []
        self._doubted = asyncio.Event()
        self.broken: list[str] = []
        self.mended_events = 0

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="analytics mending")

    async def close(self) -> None:
        await ended(self._task)

    def doubt(self, lines: bytes) -> None:
        """A block is stored, but its first way may have ended in the middle. Kept in mind over a restart until it was looked at."""
        if self._collector.store.shared:
            hours: dict[str, set[int]] = {}
            for line in lines.splitlines(keepends=True):
                self._is_wanted(line, hours)
            self._collector.hours.doubt((tenant, hour) for tenant, touched in hours.items() for hour in touched)
            return
        self._collector.meta.put(_DOUBT, "", "", {"at": time.time()})
        # Of too many it is enough to know that there are more.
        self._doubts.append(lines if len(self._doubts) < _MOST_DOUBTS else b"")
        self._doubted.set()

    async def _run(self) -> None:
        if not self._collector.store.shared and self._collector.meta.get(_DOUBT, "", "") is not None:
            await self._until_done(self._mend_all)
        await self._until_done(self._mend_new)
        while True:
            await self._doubted.wait()
            self._doubted.clear()
            await self._until_done(self._look_at_doubts)

    @staticmethod
    async def _until_done(work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
                return
            except (StoreUnavailableError, StoreRefusedError) as error:
                _log.warning("whether the engine has lost something is looked at later: %s", error)
                await asyncio.sleep(_AGAIN_SECONDS)
            except Exception:  # noqa: BLE001 - it must not end unheard
                _log.exception(
                    "whether the engine has lost something could not be looked at; the next start tries again"
                )
                return

    async def _mend_all(self) -> None:
        await self._collector.writer.clear_spool()
        if count := await self.mend():
            _log.warning("%d events that the engine had lost are stored again", count)
        self._certain()

    def _certain(self) -> None:
        if not self._doubts:
            self._collector.meta.delete(_DOUBT, "", "")

    async def _look_at_doubts(self) -> None:
        """Mostly only a rollup lacks a block, and its hours are put right; the events themselves come from what is kept."""
        while self._doubts:
            while not await self._collector.writer.drained(_AGAIN_SECONDS):
                pass  # the blocks themselves may not be through yet
            looked = list(self._doubts)
            hours: dict[str, set[int]] = {}
            if len(looked) > _MOST_DOUBTS or await self._lacks(looked, hours):
                await self._mend_all()
            else:
                await self._put_right(hours)
            del self._doubts[: len(looked)]
        self._certain()

    async def _lacks(self, blocks: Iterable[bytes], hours: dict[str, set[int]]) -> bool:
        """Whether the table lacks an event of these blocks."""
        for lines in blocks:
            rest = iter(lines.splitlines(keepends=True))
            while part := _block(rest):
                if await self._missing(part, hours):
                    return True
        return False

    async def _mend_new(self) -> None:
        meta, store = self._collector.meta, self._collector.store
        if store.shared:
            return
        text = (
            "SELECT table, name FROM system.detached_parts WHERE database = currentDatabase() AND reason LIKE 'broken%'"
        )
        self.broken = sorted(f"{table}/{name}" for table, name in (await store.query(text)).rows)
        new = [name for name in self.broken if meta.get(_KIND, "", name) is None]
        if not new:
            return
        _log.error(
            "the engine found parts damaged and put them aside: %s; what is kept of them is stored again",
            ", ".join(new),
        )
        count = await self.mend()
        for name in new:
            meta.put(_KIND, "", name, {"at": time.time(), "events": count})
        _log.warning("%d events are stored again", count)

    async def mend(self) -> int:
        """Store again what is missing of all that is kept; gives how many events. Everything must have been stored once."""
        hours: dict[str, set[int]] = {}
        count = 0
        await asyncio.to_thread(self._collector.kept.tidy)
        for path in await asyncio.to_thread(self._collector.kept.files):
            lines = (
                line
                for record in self._collector.kept.records(path)
                for line in record.payload.splitlines(keepends=True)
            )
            number = 0
            while block := await asyncio.to_thread(_block, lines):
                count += await self._store(block, f"mended:{time.time_ns()}:{path.name}:{number}", hours)
                number += 1
        await self._put_right(hours)
        self.mended_events += count
        return count

    async def _put_right(self, hours: dict[str, set[int]]) -> None:
        """The rollups of these hours, by tenant."""
        for tenant, touched in hours.items():
            listed = sorted(touched)
            for start in range(0, len(listed), _HOURS):
                await self._collector.deletions.reconcile(tenant, listed[start : start + _HOURS])

    async def _store(self, block: list[bytes], token: str, hours: dict[str, set[int]]) -> int:
        missing = await self._missing(block, hours)
        refused = 0

        async def refuse(line: bytes, reason: str) -> None:
            nonlocal refused
            refused += 1  # the writer has put it aside already, when it was refused for the first time
            _log.debug("the engine still refuses %d bytes: %s", len(line), reason)

        if missing:
            await insert_past_refused(self._collector.store.insert_events, missing, token, refuse)
        return missing.count(b"\n") - refused

    async def _missing(self, block: list[bytes], hours: dict[str, set[int]]) -> bytes:
        """The lines that are to be there and are not; the hours of all that are to be there are noted."""
        text = b"".join(line for line in block if self._is_wanted(line, hours))
        return without(text, await self._collector.store.present(text)) if text else b""

    def _is_wanted(self, line: bytes, hours: dict[str, set[int]]) -> bool:
        event = _DECODER.decode(line)
        if event.timestamp < self._collector.rules.clock(event.tenant_id, event.category).oldest:
            return False
        hour = int(datetime.fromisoformat(event.timestamp).timestamp()) // 3600 * 3600
        hours.setdefault(event.tenant_id, set()).add(hour)
        return True

    def describe(self) -> dict[str, Any]:
        return {"broken_parts": len(self.broken), "mended_events": self.mended_events}


def _block(lines: Iterator[bytes]) -> list[bytes]:
    return list(islice(lines, _LINES))
