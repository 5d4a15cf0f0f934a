"""What the plugin has acknowledged and not delivered yet, on disk.

An instance that is being replaced and its successor run side by side for a moment, so each claims a folder of its own (a lock that
the kernel drops with the process) and delivers what others left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING, Final

from ..spool import Cursor, GroupCommit, Record, SegmentLog, SpoolFullError, SpoolReader

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Outbox", "claim_outbox", "left_behind"]

_MOST: Final = 64
_SEGMENT_BYTES: Final = 8 * 1024 * 1024
#: A disk that flushes within this time is waited for on the event loop, seconds.
_QUICK: Final = 0.001
#: What came in one round becomes records of about this size.
_RECORD_BYTES: Final = 256 * 1024


class Outbox:
    """One claimed folder: a log, and how far it has been delivered."""

    def __init__(self, folder: Path, lock_fd: int, max_bytes: int) -> None:
        self.folder = folder
        self._lock_fd = lock_fd
        self.log = SegmentLog(folder, max_bytes=max_bytes, segment_bytes=_SEGMENT_BYTES)
        self._cursor = Cursor(folder / "sent.cursor", sync=False)
        self._commits: GroupCommit[tuple[int, bytes], int] = GroupCommit(self._append, quick=_QUICK)
        self._room = asyncio.Event()
        self.log.open()
        self._cursor.load()
        # A cursor from before a crash may be old (duplicates are sifted out), never new.
        self._cursor.done = min(self._cursor.done, self.log.last_seq)
        self._reader = SpoolReader(self.log, max(self._cursor.done + 1, self.log.first_seq))

    async def put(self, events: int, payload: bytes, *, patience: float = 0.0) -> None:
        """Wait until the payload is on disk. Raises `SpoolFullError`, when there is no room after `patience` seconds."""
        try:
            await self._commits.submit((events, payload))
        except SpoolFullError:
            if patience <= 0:
                raise
            await self._put_later(events, payload, patience)

    async def _put_later(self, events: int, payload: bytes, patience: float) -> None:
        end = time.monotonic() + patience
        while True:
            self._room.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, end - time.monotonic())):
                    await self._room.wait()
            try:
                return await self.put(events, payload)
            except SpoolFullError:
                if time.monotonic() >= end:
                    raise

    def _append(self, items: list[tuple[int, bytes]]) -> list[int]:
        """Few records for many callers: less to frame now, and less to read when they are sent."""
        self.log.append(_joined(items))
        return [self.log.last_seq] * len(items)

    def next(self, max_events: int) -> list[Record]:
        """What is to be sent next; the same again until `delivered`."""
        self._reader.seek(max(self._cursor.done + 1, self.log.first_seq))
        return self._reader.read(max_events=max_events, max_bytes=1024 * 1024)

    async def delivered(self, seq: int) -> None:
        """The collector has everything up to this record on its disk."""
        await asyncio.to_thread(self._cursor.save, seq)
        if self.log.releasable(seq):
            await self._commits.run(lambda: self._release(seq))
            self._room.set()

    def _release(self, seq: int) -> int:
        self.log.release(seq)
        return seq

    @property
    def done(self) -> int:
        """The last record that is delivered."""
        return self._cursor.done

    @property
    def waiting(self) -> int:
        """Records that are not delivered."""
        return max(0, self.log.last_seq - self._cursor.done)

    async def close(self) -> None:
        """Give the folder up; another instance may deliver what is left."""
        await self._commits.close()
        self.log.close()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1


def _joined(items: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    records: list[tuple[int, bytes]] = []
    events, size, parts = 0, 0, list[bytes]()
    for count, payload in items:
        if parts and size + len(payload) > _RECORD_BYTES:
            records.append((events, b"".join(parts)))
            events, size, parts = 0, 0, []
        events, size = events + count, size + len(payload)
        parts.append(payload)
    return [*records, (events, b"".join(parts))]


def _claim(folder: Path) -> int | None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def claim_outbox(folder: Path, max_bytes: int) -> Outbox:
    """The first outbox below the folder that nobody holds. Raises `OSError` when there is none."""
    for number in range(1, _MOST + 1):
        place = folder / f"outbox-{number}"
        descriptor = _claim(place)
        if descriptor is not None:
            return Outbox(place, descriptor, max_bytes)
    raise OSError(f"all {_MOST} outboxes below {folder} are in use")


async def left_behind(folder: Path, max_bytes: int) -> list[Outbox]:
    """Outboxes of instances that are gone which still have something to deliver. Close each when done."""
    boxes = await asyncio.to_thread(_claim_all, folder, max_bytes)
    for box in [box for box in boxes if not box.waiting]:
        boxes.remove(box)
        await box.close()
    return boxes


def _claim_all(folder: Path, max_bytes: int) -> list[Outbox]:
    found = []
    for place in sorted(folder.glob("outbox-*")):
        descriptor = _claim(place)
        if descriptor is not None:
            found.append(Outbox(place, descriptor, max_bytes))
    return found
