"""A spool of segment files: what was appended is on disk before anybody is told so.

A record is `magic, sequence number, events, length, CRC-32` and the payload. Segments are named after their first sequence
number. A torn tail (a crash in the middle of a write; never acknowledged) is cut off at opening; a damaged record in the middle is
skipped by looking for the next sound one, and counted.

`SegmentLog` is plain and synchronous (call it from one thread at a time); `GroupCommit` lets many callers share one disk flush.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
import uuid
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Cursor", "GroupCommit", "Record", "SegmentLog", "SpoolFullError", "SpoolReader", "write_atomically"]

_HEADER: Final = struct.Struct("<4sQIII")
_MAGIC: Final = b"\xd0SP1"
SEGMENT_BYTES: Final = 32 * 1024 * 1024
#: A write returns when it is on the disk. One call instead of two: a thread that shares the interpreter waits for its turn once less.
_WRITING: Final = os.O_WRONLY | os.O_APPEND | os.O_DSYNC
#: Read at once, for many records.
_CHUNK: Final = 256 * 1024
#: No record is longer; a length beyond it is damage.
MAX_RECORD: Final = 64 * 1024 * 1024

T = TypeVar("T")
R = TypeVar("R")


class SpoolFullError(OSError):
    """The spool has reached its bound on disk, or the disk is full; nothing was taken."""


class Record(msgspec.Struct, frozen=True):
    """One appended payload: its sequence number (from 1, without gaps), how many events it has, and the bytes."""

    seq: int
    events: int
    payload: bytes


class _Segment(msgspec.Struct):
    path: Path
    first: int
    size: int
    last: int
    events: int = 0


def write_atomically(path: Path, data: bytes, *, sync: bool = True) -> None:
    """Replace a file so that a reader, also one after a crash, sees the old or the new, never a part."""
    temporary = path.with_name(path.name + ".new")
    with temporary.open("wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(data)
        file.flush()
        if sync:
            os.fsync(file.fileno())
    temporary.replace(path)
    if sync:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _frame(seq: int, events: int, payload: bytes) -> bytes:
    check = zlib.crc32(payload, zlib.crc32(struct.pack("<QI", seq, events)))
    return _HEADER.pack(_MAGIC, seq, events, len(payload), check) + payload


def _record_at(data: bytes | memoryview, offset: int) -> Record | None:
    """The sound record at `offset`, or `None`."""
    if offset + _HEADER.size > len(data):
        return None
    magic, seq, events, length, check = _HEADER.unpack_from(data, offset)
    start = offset + _HEADER.size
    if magic != _MAGIC or length > MAX_RECORD or start + length > len(data):
        return None
    payload = bytes(data[start : start + length])
    if zlib.crc32(payload, zlib.crc32(struct.pack("<QI", seq, events))) != check:
        return None
    return Record(seq, events, payload)


def _next_sound(data: bytes, offset: int) -> int:
    """Where the next sound record after damage at `offset` begins, or -1."""
    found = data.find(_MAGIC, offset + 1)
    while found >= 0 and _record_at(data, found) is None:
        found = data.find(_MAGIC, found + 1)
    return found


class SegmentLog:
    """The files themselves.

    `max_bytes` bounds what lies on disk. Raises `SpoolFullError` when an append would pass it.
    """

    def __init__(self, folder: Path, *, max_bytes: int = 0, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._segment_bytes = segment_bytes
        self._segments: list[_Segment] = []
        self._fd = -1
        self.spool_id = ""
        #: The sequence number of the last record that is safely on disk; 0: none yet.
        self.last_seq = 0
        #: Damaged stretches that were skipped while reading.
        self.damaged = 0

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(segment.size for segment in self._segments)

    @property
    def first_seq(self) -> int:
        """The oldest record that is still there (or the next to come)."""
        return self._segments[0].first if self._segments else self.last_seq + 1

    def open(self) -> None:
        """Find the segments and cut off a torn tail."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.spool_id = self._identify()
        for path in sorted(self._folder.glob("*.seg")):
            first = int(path.stem)
            self._segments.append(_Segment(path, first, path.stat().st_size, first - 1))
        for older, newer in zip(self._segments, self._segments[1:], strict=False):
            older.last = newer.first - 1
        if self._segments:
            self._mend(self._segments[-1])
            self.last_seq = self._segments[-1].last
            self._fd = os.open(self._segments[-1].path, _WRITING)

    def _identify(self) -> str:
        """A name of this spool's own: block tokens hold it, so a spool that was wiped never repeats one."""
        path = self._folder / "spool.id"
        with contextlib.suppress(FileNotFoundError):
            return path.read_text().strip()
        name = uuid.uuid4().hex[:16]
        write_atomically(path, name.encode())
        return name

    def _mend(self, segment: _Segment) -> None:
        data = segment.path.read_bytes()
        offset = 0
        while offset < len(data):
            record = _record_at(data, offset)
            if record is None:
                beyond = _next_sound(data, offset)
                if beyond < 0:
                    break
                offset = beyond
                continue
            segment.last = record.seq
            offset += _HEADER.size + len(record.payload)
        if offset < len(data):
            os.truncate(segment.path, offset)
            segment.size = offset

    def append(self, items: Sequence[tuple[int, bytes]]) -> list[int]:
        """Write `(events, payload)` pairs, flush them to the disk once, and return their sequence numbers."""
        seqs = [self.last_seq + 1 + index for index in range(len(items))]
        data = b"".join(_frame(seq, events, payload) for seq, (events, payload) in zip(seqs, items, strict=True))
        if self._max_bytes and self.size + len(data) > self._max_bytes:
            raise SpoolFullError(
                f"the spool {self._folder} is full: {self.size} of {self._max_bytes} bytes wait to be delivered"
            )
        segment = self._writable()
        try:
            self._write(segment, data)
        except OSError as error:
            os.ftruncate(self._fd, segment.size)
            raise SpoolFullError(f"the spool {self._folder} cannot be written: {error}") from error
        segment.size += len(data)
        segment.last = seqs[-1]
        self.last_seq = seqs[-1]
        return seqs

    def _write(self, segment: _Segment, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        if segment.size == 0:
            _sync_folder(self._folder)

    def _writable(self) -> _Segment:
        if self._segments and self._segments[-1].size < self._segment_bytes:
            return self._segments[-1]
        return self._new_segment()

    def _new_segment(self) -> _Segment:
        if self._fd >= 0:
            os.close(self._fd)
        first = self.last_seq + 1
        path = self._folder / f"{first:020d}.seg"
        self._fd = os.open(path, _WRITING | os.O_CREAT, 0o600)
        self._segments.append(_Segment(path, first, path.stat().st_size, first - 1))
        return self._segments[-1]

    def releasable(self, done: int) -> bool:
        """Whether `release` would give room back."""
        if len(self._segments) > 1 and self._segments[0].last <= done:
            return True
        return bool(self._segments) and self.last_seq <= done and self._segments[-1].size > self._grown

    @property
    def _grown(self) -> int:
        return min(self._segment_bytes, self._max_bytes or self._segment_bytes) // 4

    def release(self, done: int) -> None:
        """Delete the segments whose records all have numbers up to `done`.

        The last one keeps the count; when it has grown and nothing of it is needed, an empty one takes its place.
        """
        if self._segments and self.last_seq <= done and self._segments[-1].size > self._grown:
            self._new_segment()
        while len(self._segments) > 1 and self._segments[0].last <= done:
            self._segments.pop(0).path.unlink(missing_ok=True)

    def segment_of(self, seq: int) -> tuple[Path, int] | None:
        """The file that has (or would have) the record, and how many of its bytes are safely written."""
        for segment in self._segments:
            if seq <= segment.last:
                return segment.path, segment.size
        return None

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class SpoolReader:
    """Reads on from a sequence number, in order. Use from one thread at a time; it may differ from the writer's."""

    def __init__(self, log: SegmentLog, next_seq: int) -> None:
        self._log = log
        self.next_seq = next_seq
        self._path: Path | None = None
        self._offset = 0
        #: Bytes of the file from `_base` on; kept only while `read` runs.
        self._buffer = b""
        self._base = 0

    def seek(self, seq: int) -> None:
        """Go on from this number, also back to one that was read before."""
        if seq != self.next_seq:
            self.next_seq, self._path, self._offset, self._buffer = seq, None, 0, b""

    def read(self, *, max_events: int, max_bytes: int = 8 * 1024 * 1024, last: int | None = None) -> list[Record]:
        """The next records, at least one if there is any, up to the bounds and up to the number `last`."""
        records: list[Record] = []
        events = size = 0
        end = self._log.last_seq if last is None else min(last, self._log.last_seq)
        while self.next_seq <= end:
            record = self._one()
            if record is None or record.seq > end:
                break
            if records and (events + record.events > max_events or size + len(record.payload) > max_bytes):
                break
            records.append(record)
            events += record.events
            size += len(record.payload)
            self._offset += _HEADER.size + len(record.payload)
            self.next_seq = record.seq + 1
        self._buffer = b""
        return records

    def _one(self) -> Record | None:
        """The first sound record from `next_seq` on, without moving past it."""
        while (place := self._log.segment_of(self.next_seq)) is not None:
            path, size = place
            if path != self._path:
                self._path, self._offset, self._buffer = path, 0, b""
            record = self._scan(path, size)
            if record is not None:
                return record
            self._skip_segment(path)
        return None

    def _scan(self, path: Path, size: int) -> Record | None:
        while self._offset < size:
            record = self._here(path, size)
            if record is None:
                self._pass_damage(path, size)
            elif record.seq < self.next_seq:
                self._offset += _HEADER.size + len(record.payload)
            else:
                return record
        return None

    def _here(self, path: Path, size: int) -> Record | None:
        """The record at the offset, from what was read before or anew."""
        if self._buffer and (record := _record_at(self._buffer, self._offset - self._base)) is not None:
            return record
        self._fill(path, min(_CHUNK, size - self._offset))
        length = _HEADER.unpack_from(self._buffer)[3] if len(self._buffer) >= _HEADER.size else 0
        if len(self._buffer) < _HEADER.size + length <= min(_HEADER.size + MAX_RECORD, size - self._offset):
            self._fill(path, _HEADER.size + length)
        return _record_at(self._buffer, 0)

    def _fill(self, path: Path, length: int) -> None:
        with path.open("rb") as file:
            file.seek(self._offset)
            self._buffer, self._base = file.read(length), self._offset

    def _pass_damage(self, path: Path, size: int) -> None:
        self._log.damaged += 1
        with path.open("rb") as file:
            beyond = _next_sound(file.read(size), self._offset)
        self._offset = size if beyond < 0 else beyond

    def _skip_segment(self, path: Path) -> None:
        """Nothing sound is left in this segment: go on with the next one."""
        while (place := self._log.segment_of(self.next_seq)) is not None and place[0] == path:
            self.next_seq += 1


class Cursor:
    """How far a reader has come, on disk: the last number that is done, and the block that was being delivered."""

    def __init__(self, path: Path, *, sync: bool) -> None:
        self._path = path
        self._sync = sync
        self.done = 0
        self.block: tuple[int, int] | None = None

    def load(self) -> None:
        try:
            stored = msgspec.json.decode(self._path.read_bytes())
        except FileNotFoundError:
            return
        self.done = int(stored["done"])
        self.block = tuple(stored["block"]) if stored.get("block") else None

    def save(self, done: int, block: tuple[int, int] | None = None) -> None:
        self.done, self.block = done, block
        write_atomically(self._path, msgspec.json.encode({"done": done, "block": block}), sync=self._sync)


class GroupCommit(Generic[T, R]):
    """Many callers, one flush: whatever came in while the disk was busy goes together in the next round.

    `commit` runs in a thread, one round at a time, and returns one result (or exception) for each item. No thread is kept in between:
    a host has thousands of these.
    """

    def __init__(self, commit: Callable[[list[T]], Sequence[R | BaseException]], *, name: str, most: int = 512) -> None:
        self._commit = commit
        self._most = most
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._one_at_a_time = asyncio.Lock()
        self._round: asyncio.Task[None] | None = None
        self._name = name

    async def submit(self, item: T) -> R:
        """Wait until the item is committed. What it gave is on disk then, also if the caller was cancelled meanwhile."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._round is None or self._round.done():
            self._round = asyncio.create_task(self._rounds(), name=self._name)
        return await future

    async def _rounds(self) -> None:
        while self._waiting:
            taken, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            items = [item for item, _ in taken]
            try:
                async with self._one_at_a_time:
                    results = await asyncio.get_running_loop().run_in_executor(None, self._commit, items)
            except Exception as error:  # noqa: BLE001 - every waiting caller is told, whatever it was
                results = [error] * len(items)
            for (_, future), result in zip(taken, results, strict=True):
                _settle(future, result)

    async def run(self, work: Callable[[], R]) -> R:
        """Run something else between rounds, so that it has what `commit` uses to itself."""
        async with self._one_at_a_time:
            return await asyncio.to_thread(work)

    async def close(self) -> None:
        """Commit what waits."""
        if self._round is not None:
            await asyncio.wait([self._round])


def _settle(future: asyncio.Future[R], result: R | BaseException) -> None:
    if future.done():
        return
    if isinstance(result, BaseException):
        future.set_exception(result)
    else:
        future.set_result(result)
