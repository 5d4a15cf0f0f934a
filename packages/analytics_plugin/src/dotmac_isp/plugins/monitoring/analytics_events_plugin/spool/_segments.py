"""The segment files of a spool.

Segments are named after their first sequence number. A torn tail (a crash in the middle of a write; never acknowledged) is cut off at
opening; a damaged record in the middle is skipped by looking for the next sound one, and counted.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from ._files import sync_folder, write_atomically
from ._frames import HEADER, frame, next_sound, record_at

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["SegmentLog", "SpoolFullError"]

SEGMENT_BYTES: Final = 32 * 1024 * 1024
#: A write returns when it is on the disk. One call instead of two: a thread that shares the interpreter waits for its turn once less.
_WRITING: Final = os.O_WRONLY | os.O_DSYNC
#: A file grows by zeros ahead of the records: a flush within it changes no metadata, and need not wait for the file system's journal.
_AHEAD: Final = 128 * 1024


class SpoolFullError(OSError):
    """The spool has reached its bound on disk, or the disk is full; nothing was taken."""


class _Segment(msgspec.Struct):
    path: Path
    first: int
    #: Bytes of records; the file may have zeros behind them.
    size: int
    last: int
    reserved: int = 0


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)


class SegmentLog:
    """The files themselves.

    `max_bytes` bounds what lies on disk. Raises `SpoolFullError` when an append would pass it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int = 0,
        segment_bytes: int = SEGMENT_BYTES,
        on_release: Callable[[Path], None] | None = None,
    ) -> None:
        self._on_release = on_release or _unlink
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
            record = record_at(data, offset)
            if record is None:
                beyond = next_sound(data, offset)
                if beyond < 0:
                    break
                offset = beyond
                continue
            segment.last = record.seq
            offset += HEADER.size + len(record.payload)
        if offset < len(data):
            os.truncate(segment.path, offset)
            segment.size = offset
        segment.reserved = segment.size

    def append(self, items: Sequence[tuple[int, bytes]]) -> list[int]:
        """Write `(events, payload)` pairs, flush them to the disk once, and return their sequence numbers."""
        seqs = [self.last_seq + 1 + index for index in range(len(items))]
        data = b"".join(frame(seq, events, payload) for seq, (events, payload) in zip(seqs, items, strict=True))
        if self._max_bytes and self.size + len(data) > self._max_bytes:
            raise SpoolFullError(
                f"the spool {self._folder} is full: {self.size} of {self._max_bytes} bytes wait to be delivered"
            )
        segment = self._writable()
        try:
            self._write(segment, data)
        except OSError as error:
            self._cut(segment)
            raise SpoolFullError(f"the spool {self._folder} cannot be written: {error}") from error
        segment.size += len(data)
        segment.last = seqs[-1]
        self.last_seq = seqs[-1]
        return seqs

    def _write(self, segment: _Segment, data: bytes) -> None:
        end = segment.size + len(data)
        fresh = segment.reserved == 0
        if end > segment.reserved:
            ahead = min(_AHEAD, self._segment_bytes // 4)
            segment.reserved = end + ahead
            data += bytes(ahead)
        offset, view = segment.size, memoryview(data)
        while view:
            written = os.pwrite(self._fd, view, offset)
            offset, view = offset + written, view[written:]
        if fresh:
            sync_folder(self._folder)

    def _cut(self, segment: _Segment) -> None:
        """Give back what lies behind the records."""
        if segment.reserved != segment.size:
            os.ftruncate(self._fd, segment.size)
            segment.reserved = segment.size

    def _writable(self) -> _Segment:
        if self._segments and self._segments[-1].size < self._segment_bytes:
            return self._segments[-1]
        return self._new_segment()

    def _new_segment(self) -> _Segment:
        self.close()
        first = self.last_seq + 1
        path = self._folder / f"{first:020d}.seg"
        self._fd = os.open(path, _WRITING | os.O_CREAT, 0o600)
        self._segments.append(_Segment(path, first, 0, first - 1))
        return self._segments[-1]

    def releasable(self, done: int) -> bool:
        """Whether `release` would give room back."""
        if len(self._segments) > 1 and self._segments[0].last <= done:
            return True
        return bool(self._segments) and self.last_seq <= done and self._segments[-1].size > self._grown

    @property
    def _grown(self) -> int:
        return min(self._segment_bytes, self._max_bytes or self._segment_bytes) // 4

    def release(self, done: int, *, everything: bool = False) -> None:
        """Give up the segments whose records all have numbers up to `done`.

        The last one keeps the count; when it has grown (or `everything` is to go) and nothing of it is needed, an empty one takes its place.
        """
        if self._segments and self.last_seq <= done and self._segments[-1].size > (0 if everything else self._grown):
            self._new_segment()
        while len(self._segments) > 1 and self._segments[0].last <= done:
            self._on_release(self._segments.pop(0).path)

    def segment_of(self, seq: int) -> tuple[Path, int] | None:
        """The file that has (or would have) the record, and how many of its bytes are safely written."""
        for segment in self._segments:
            if seq <= segment.last:
                return segment.path, segment.size
        return None

    def close(self) -> None:
        if self._fd >= 0:
            self._cut(self._segments[-1])
            os.close(self._fd)
            self._fd = -1
