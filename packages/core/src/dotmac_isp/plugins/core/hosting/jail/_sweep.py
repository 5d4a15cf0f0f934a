"""Cleans up what a killed host left behind: processes, control groups, folders, sockets. Never what is not ours."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ._cell import cells_dir, host_group
from ._cgroups import find_hierarchies
from ._group import end_group
from ._identity import boot_id, read_record
from ._removal import remove_folder

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._identity import CellRecord

__all__ = ["leave", "sweep"]

#: Seconds after which an empty group of another host is taken for forgotten.
_FORSAKEN: Final = 3600.0


def sweep(home: str | Path) -> list[str]:
    """To be called when a host starts, before it makes cells. Returns what was found and cleaned, in sentences.

    A cell is cleaned when the host that made it does not live any more; that is told by its process number together with
    its start time and the machine's. Its process is ended only if it is the very one that was recorded, or is in a control
    group with the cell's own random name.
    """
    where = Path(os.path.realpath(home))
    done = []
    for folder in _folders(cells_dir(where)):
        record = read_record(folder)
        if record is not None and record.supervisor.lives():
            continue
        done.append(_clean(folder, record))
    done.extend(_strays(where))
    _forsaken(where)
    return done


def leave(home: str | Path) -> None:
    """To be called when a host has ended its last cell: takes away the control groups that held them all."""
    name = host_group(os.path.realpath(home))
    for hierarchy in find_hierarchies():
        # One that is not empty is another host's with the same folder, or has a cell that is still ending.
        with contextlib.suppress(OSError):
            (hierarchy.base / name).rmdir()


def _folders(below: Path) -> list[Path]:
    try:
        return sorted(path for path in below.iterdir() if path.is_dir() and not path.is_symlink())
    except OSError:
        return []


def _clean(folder: Path, record: CellRecord | None) -> str:
    if record is not None and record.supervisor.boot == boot_id():
        if record.child is not None and record.child.lives():
            with contextlib.suppress(ProcessLookupError):
                os.kill(record.child.pid, signal.SIGKILL)
        for group in record.groups:
            if Path(group).name == folder.name:
                end_group(Path(group))
    remove_folder(folder)
    return f"cleaned up after the jail {folder.name}" + (f" of {record.label}" if record is not None else "")


def _forsaken(home: Path) -> None:
    """Empty groups of hosts that were killed and whose state folders never come back, as those of tests and trials do not."""
    own, now = host_group(home), time.time()
    for hierarchy in find_hierarchies():
        for group in hierarchy.base.glob("dotmac-????????"):
            # One with cells or processes cannot be removed. A host that is about to make its first cell makes it again.
            with contextlib.suppress(OSError):
                if group.name != own and now - group.stat().st_ctime > _FORSAKEN:
                    group.rmdir()


def _strays(home: Path) -> Iterable[str]:
    """Groups of this state folder whose cell is gone, as after a `rm -r` of the state folder."""
    for hierarchy in find_hierarchies():
        for group in _folders(hierarchy.base / host_group(home)):
            if not (cells_dir(home) / group.name).exists() and end_group(group):
                yield f"ended the control group {group}"
