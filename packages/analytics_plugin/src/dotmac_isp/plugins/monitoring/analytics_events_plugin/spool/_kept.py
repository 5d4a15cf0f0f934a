"""Segments whose records have been delivered, kept for a while: what an engine loses on a damaged disk can be stored again from them."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Final

from ._files import write_atomically
from ._frames import frame, next_sound, record_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ._frames import Record

__all__ = ["Kept"]

_DAY: Final = 86_400.0
_PACKED: Final = ".zst"


class Kept:
    """A folder of segments, packed with Zstandard, bounded in bytes and days. `tidy` and `scrub` from one thread at a time."""

    def __init__(self, folder: Path, *, max_bytes: int, max_days: float) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._max_days = max_days

    def take(self, segment: Path) -> None:
        """Keep a segment that the spool needs no more."""
        if self._max_bytes <= 0:
            segment.unlink(missing_ok=True)
            return
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        segment.rename(self._folder / segment.name)

    def files(self) -> list[Path]:
        """The oldest first."""
        return sorted(self._folder.glob("*.seg*")) if self._folder.is_dir() else []

    @property
    def size(self) -> int:
        return sum(path.stat().st_size for path in self.files())

    def tidy(self) -> None:
        """Pack what came, and drop what is beyond the bounds, the oldest first."""
        for path in self.files():
            if path.suffix != _PACKED:
                write_atomically(path.with_name(path.name + _PACKED), _packed(path.read_bytes()), sync=False)
                path.unlink()
        left = self.size
        for path in self.files():
            if left <= self._max_bytes and time.time() - path.stat().st_mtime <= self._max_days * _DAY:
                break
            left -= path.stat().st_size
            path.unlink()

    @staticmethod
    def records(path: Path) -> Iterator[Record]:
        """The sound records of one file."""
        data = path.read_bytes()
        data = _unpacked(data) if path.suffix == _PACKED else data
        offset = 0
        while 0 <= offset < len(data):
            record = record_at(data, offset)
            if record is None:
                offset = next_sound(data, offset)
                continue
            yield record
            offset += len(frame(record.seq, record.events, record.payload))

    def scrub(self, unwanted: Callable[[bytes], bool]) -> int:
        """Take lines out of all that is kept; gives how many."""
        self.tidy()
        gone = 0
        for path in self.files():
            kept: list[bytes] = []
            found = 0
            for record in self.records(path):
                lines = record.payload.splitlines(keepends=True)
                wanted = [line for line in lines if not unwanted(line)]
                found += len(lines) - len(wanted)
                kept.append(frame(record.seq, len(wanted), b"".join(wanted)))
            if found:
                when = path.stat().st_mtime
                write_atomically(path, _packed(b"".join(kept)))
                _touch(path, when)
            gone += found
        return gone


def _touch(path: Path, when: float) -> None:
    os.utime(path, (when, when))


def _packed(data: bytes) -> bytes:
    if sys.version_info >= (3, 14):
        from compression import zstd  # noqa: PLC0415
    else:
        from backports import zstd  # noqa: PLC0415
    return zstd.compress(data, level=1)


def _unpacked(data: bytes) -> bytes:
    if sys.version_info >= (3, 14):
        from compression import zstd  # noqa: PLC0415
    else:
        from backports import zstd  # noqa: PLC0415
    return zstd.decompress(data)
