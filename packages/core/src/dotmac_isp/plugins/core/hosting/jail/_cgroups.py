"""Control groups: which ones this machine lends us, and one for each cell.

Version 2 needs a delegated subtree (a systemd unit with `Delegate=yes`, or a container with a writable one); version 1
needs root. Both are found from /proc, with their own place as the starting point, so it works inside of containers too.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Hierarchy", "find_hierarchies", "hierarchies_from"]

#: The leaf into which the host moves itself: a group with limited children may not have processes of its own.
HOST_LEAF: Final = "dotmac-host"
#: Ours → the kernel's.
CONTROLLERS: Final = {"memory": "memory", "cpu": "cpu", "processes": "pids"}
#: Microseconds: how often a share of a processor is dealt out. Short, so that a throttled plugin still answers soon.
CPU_PERIOD: Final = 50_000
#: Fields of a line of /proc/self/mountinfo, see proc(5).
ROOT_FIELD: Final = 3
PLACE_FIELD: Final = 4


class Hierarchy(NamedTuple):
    """One mounted tree of control groups, and where in it our own groups may be made."""

    version: int
    #: Of "memory", "cpu", "processes", "freezer", "cpuacct"; in version 2 those that are available.
    controllers: frozenset[str]
    base: Path


def hierarchies_from(mountinfo: str, own: str) -> list[Hierarchy]:
    """What the text of /proc/self/mountinfo and /proc/self/cgroup tells. Nothing is tried yet."""
    places = {names: path for _, names, path in (line.split(":", 2) for line in own.splitlines() if line)}
    found = []
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(" - ")
        kind, _, options = rest.partition(" ")
        if fields.split()[ROOT_FIELD].startswith("/.."):
            continue  # mounted from above our own namespace: where in it we are is not told, and nothing moves there
        if kind == "cgroup2":
            found.append(_hierarchy(fields.split(), 2, (), places.get("", "/")))
        elif kind == "cgroup":
            names = [
                names for names in places if names and set(names.split(",")) <= set(options.split(" ")[-1].split(","))
            ]
            found.extend(_hierarchy(fields.split(), 1, name.split(","), places[name]) for name in names)
    return found


def _hierarchy(fields: list[str], version: int, names: Iterable[str], path: str) -> Hierarchy:
    root, mounted = fields[ROOT_FIELD], fields[PLACE_FIELD]
    # In a container the tree may be mounted from our own place downwards.
    inside = path[len(root) :] if root != "/" and path.startswith(root) else path
    base = Path(mounted, inside.lstrip("/"))
    ours = {kernel: name for name, kernel in CONTROLLERS.items()}
    return Hierarchy(version, frozenset(ours.get(name, name) for name in names), base)


def find_hierarchies() -> list[Hierarchy]:
    """The trees in which groups can be made now. In version 2 this moves the host into a leaf of its own, if it must."""
    try:
        found = hierarchies_from(Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text())
    except OSError:
        return []
    usable = (unified(one.base) if one.version == 2 else one for one in found)  # noqa: PLR2004 - the version
    return [one for one in usable if one is not None and os.access(one.base, os.W_OK)]


def unified(own: Path) -> Hierarchy | None:
    """Where in the tree of version 2 our groups go, with the controllers that could be switched on there."""
    base = own.parent if own.name == HOST_LEAF or _delegated(own.parent) else own
    if not os.access(base, os.W_OK):
        return None
    available = _words(base / "cgroup.controllers")
    wanted = [kernel for kernel in CONTROLLERS.values() if kernel in available]
    if wanted and base == own and (own / "cgroup.type").exists():
        # Not the root of the tree: whoever deals out to children must have no processes itself.
        _move_into_leaf(own)
    for kernel in wanted:
        with contextlib.suppress(OSError):
            (base / "cgroup.subtree_control").write_text(f"+{kernel}")
    on = _words(base / "cgroup.subtree_control")
    return Hierarchy(2, frozenset(name for name, kernel in CONTROLLERS.items() if kernel in on), base)


def _delegated(place: Path) -> bool:
    """Whether systemd marked the group as ours to divide (`Delegate=` together with `DelegateSubgroup=`)."""
    for name in ("user.delegate", "trusted.delegate"):
        with contextlib.suppress(OSError):
            if os.getxattr(place, name) == b"1":
                return True
    return False


def _move_into_leaf(own: Path) -> None:
    """Move this process and its descendants below *own*; strangers there stay, and with them the group stays whole.

    In a group that systemd gave us to divide, and in a container's outermost one, nobody is a stranger: a script that started
    the host is moved with it.
    """
    leaf, all_ours = own / HOST_LEAF, _delegated(own) or own.is_mount()
    with contextlib.suppress(OSError):
        leaf.mkdir(exist_ok=True)
    for pid in _words(own / "cgroup.procs"):
        # "0" is a process that cannot be seen from here.
        if pid != "0" and (all_ours or _descends_from_us(int(pid))):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                (leaf / "cgroup.procs").write_text(pid)


def _descends_from_us(pid: int) -> bool:
    while pid != os.getpid():
        if pid <= 1:
            return False
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return False
        pid = int(stat.rpartition(")")[2].split()[1])
    return True


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
