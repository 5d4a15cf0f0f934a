"""Who a process is, beyond its number: numbers are used again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

__all__ = ["CellRecord", "ProcessIdentity", "read_record", "write_record"]

RECORD: Final = "cell.json"
#: Of /proc/PID/stat after the name, see proc(5): field 22 is the time it was started, in ticks since the machine's start.
STARTED_FIELD: Final = 19


class ProcessIdentity(msgspec.Struct, frozen=True):
    """A process: its number, when it started, and since which start of the machine."""

    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity:
        """Who has this number now. Raises `OSError` where nobody has."""
        stat = Path(f"/proc/{pid}/stat").read_text()
        return cls(pid, int(stat.rpartition(")")[2].split()[STARTED_FIELD]), boot_id())

    def lives(self) -> bool:
        try:
            return ProcessIdentity.of(self.pid) == self
        except (OSError, ValueError, IndexError):
            return False


class CellRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What the next start of the host needs to clean up after this one, should it be killed."""

    label: str
    supervisor: ProcessIdentity
    child: ProcessIdentity | None
    groups: tuple[str, ...]
    uid: int | None


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def write_record(folder: Path, record: CellRecord) -> None:
    """Write it so that a reader finds the old one or the new one, never half."""
    beside = folder / f"{RECORD}.new"
    beside.write_bytes(msgspec.json.encode(record))
    os.replace(beside, folder / RECORD)  # noqa: PTH105 - atomic, and said so


def read_record(folder: Path) -> CellRecord | None:
    """The record of a cell; `None` where there is none that can be read."""
    try:
        return msgspec.json.decode((folder / RECORD).read_bytes(), type=CellRecord)
    except (OSError, msgspec.MsgspecError):
        return None
