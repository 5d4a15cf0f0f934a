"""A spool of segment files: what was appended is on disk before anybody is told so.

`SegmentLog` is plain and synchronous (call it from one thread at a time); `GroupCommit` lets many callers share one disk flush.
"""

from __future__ import annotations

from ._cursor import Block, Cursor
from ._files import write_atomically
from ._frames import Record
from ._group import GroupCommit
from ._kept import Kept
from ._reader import SpoolReader
from ._segments import SegmentLog, SpoolFullError

__all__ = [
    "Block",
    "Cursor",
    "GroupCommit",
    "Kept",
    "Record",
    "SegmentLog",
    "SpoolFullError",
    "SpoolReader",
    "write_atomically",
]
