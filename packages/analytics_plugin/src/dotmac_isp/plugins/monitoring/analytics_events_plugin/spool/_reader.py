"""Reading a spool on from a sequence number, past what is damaged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ._frames import HEADER, MAX_RECORD, Record, next_sound, record_at

if TYPE_CHECKING:
    from pathlib import Path

    from ._segments import SegmentLog

__all__ = ["SpoolReader"]

#: Read at once, for many records.
_CHUNK: Final = 256 * 1024


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
            self._offset += HEADER.size + len(record.payload)
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
                self._offset += HEADER.size + len(record.payload)
            else:
                return record
        return None

    def _here(self, path: Path, size: int) -> Record | None:
        """The record at the offset, from what was read before or anew."""
        if self._buffer and (record := record_at(self._buffer, self._offset - self._base)) is not None:
            return record
        self._fill(path, min(_CHUNK, size - self._offset))
        length = HEADER.unpack_from(self._buffer)[3] if len(self._buffer) >= HEADER.size else 0
        if len(self._buffer) < HEADER.size + length <= min(HEADER.size + MAX_RECORD, size - self._offset):
            self._fill(path, HEADER.size + length)
        return record_at(self._buffer, 0)

    def _fill(self, path: Path, length: int) -> None:
        with path.open("rb") as file:
            file.seek(self._offset)
            self._buffer, self._base = file.read(length), self._offset

    def _pass_damage(self, path: Path, size: int) -> None:
        self._log.damaged += 1
        with path.open("rb") as file:
            beyond = next_sound(file.read(size), self._offset)
        self._offset = size if beyond < 0 else beyond

    def _skip_segment(self, path: Path) -> None:
        """Nothing sound is left in this segment: go on with the next one."""
        while (place := self._log.segment_of(self.next_seq)) is not None and place[0] == path:
            self.next_seq += 1
