"""How a record lies on disk: `magic, sequence number, events, length, CRC-32` and the payload."""

from __future__ import annotations

import struct
import zlib
from typing import Final

import msgspec

__all__ = ["HEADER", "MAX_RECORD", "Record", "frame", "next_sound", "record_at"]

HEADER: Final = struct.Struct("<4sQIII")
_MAGIC: Final = b"\xd0SP1"
#: No record is longer; a length beyond it is damage.
MAX_RECORD: Final = 64 * 1024 * 1024


class Record(msgspec.Struct, frozen=True):
    """One appended payload: its sequence number (from 1, without gaps), how many events it has, and the bytes."""

    seq: int
    events: int
    payload: bytes


def frame(seq: int, events: int, payload: bytes) -> bytes:
    check = zlib.crc32(payload, zlib.crc32(struct.pack("<QI", seq, events)))
    return HEADER.pack(_MAGIC, seq, events, len(payload), check) + payload


def record_at(data: bytes | memoryview, offset: int) -> Record | None:
    """The sound record at `offset`, or `None`."""
    if offset + HEADER.size > len(data):
        return None
    magic, seq, events, length, check = HEADER.unpack_from(data, offset)
    start = offset + HEADER.size
    if magic != _MAGIC or length > MAX_RECORD or start + length > len(data):
        return None
    payload = bytes(data[start : start + length])
    if zlib.crc32(payload, zlib.crc32(struct.pack("<QI", seq, events))) != check:
        return None
    return Record(seq, events, payload)


def next_sound(data: bytes, offset: int) -> int:
    """Where the next sound record after damage at `offset` begins, or -1."""
    found = data.find(_MAGIC, offset + 1)
    while found >= 0 and record_at(data, found) is None:
        found = data.find(_MAGIC, found + 1)
    return found
