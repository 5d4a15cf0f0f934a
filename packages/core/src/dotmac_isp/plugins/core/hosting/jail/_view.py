"""The small root that a jailed process sees: the interpreter and its libraries to read, its own data folder to write.

It is a tmpfs with bind mounts, below a mount namespace of the zygote (or of the child, without one). Every instance enters
a copy of it, so the interpreter may live below a folder that only root can enter, and other tenants' folders, Unix
sockets and `/proc` are not there to be tried.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from . import _kernel

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._plan import JailPlan

__all__ = ["DEVICES", "RELAY_DIR", "build_view", "enter_view", "readable_paths", "show_own_processes", "view_dir"]

#: What programs on Linux read; those that a machine lacks are left out. No name service, no users, no host's own /etc.
SYSTEM: Final = (
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/bin",
    "/sbin",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/etc/ca-certificates.conf",
    "/etc/crypto-policies",
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/nix/store",
)
DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
RELAY_DIR: Final = "/run/relay"
#: Bytes of the private `/tmp`. It is memory, and counted as such.
TMP_SIZE: Final = 16 << 20


def view_dir(home: str) -> str:
    """Where the view is put together: an empty folder below the state folder; the mounts on it are private."""
    return str(Path(home, "run", "view"))


def readable_paths(extra: Iterable[str] = ()) -> list[str]:
    """What a plugin's code is made of: system libraries, interpreter, `sys.path`, and *extra*; existing ones, as given and
    as they really are, without those that lie below another."""
    python = (sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix, *(path for path in sys.path if path))
    given = [os.path.normpath(path) for path in (*SYSTEM, *python, *extra) if path.startswith("/")]
    return _without_nested([*given, *(os.path.realpath(path) for path in given)])


def _without_nested(paths: Iterable[str]) -> list[str]:
    kept: list[str] = []
    for path in sorted(set(paths), key=lambda path: (path.count("/"), path)):
        if path != "/" and os.path.lexists(path) and not any(lies_below(path, other) for other in kept):
            kept.append(path)
    return kept


def lies_below(path: str, other: str) -> bool:
    """Whether *path* is *other* or below it. A symbolic link has nothing below it: what it leads to is shown on its own."""
    return path == other or (path.startswith(other + "/") and not os.path.islink(other))  # noqa: PTH114


#: What the view of this process, or of the zygote that it was forked from, shows.
_shown: Final[list[str]] = []


def build_view(at: str, readable: Iterable[str]) -> None:
    """Put the view together at the folder *at*, in this process's own mount namespace."""
    _kernel.tmpfs(at, size=1 << 20, files=8192)
    for name in ("proc", "dev", "tmp", "run", "etc"):
        Path(at, name).mkdir(mode=0o755)
    for path in readable:
        _show(path, at)
        _shown.append(path)
    for path in DEVICES:
        if os.path.exists(path):  # noqa: PTH110
            _place_for(path, at)
            _kernel.bind(path, at + path)
    # /dev/pts, shared memory and so on are not there: only the files above.


def _show(path: str, at: str) -> None:
    """Show *path* in the view: a symbolic link as such, all else by a read-only mount."""
    if os.path.islink(path):  # noqa: PTH114
        Path(at + path).parent.mkdir(parents=True, exist_ok=True)
        Path(at + path).symlink_to(os.readlink(path))  # noqa: PTH115
        return
    _place_for(path, at)
    _kernel.bind(path, at + path)
    _kernel.make_read_only(at + path)


def _place_for(path: str, at: str) -> None:
    """Make the folder or empty file that *path* is mounted on."""
    place = Path(at + path)
    if os.path.isdir(path):  # noqa: PTH112
        place.mkdir(parents=True, exist_ok=True)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()


def enter_view(plan: JailPlan, at: str) -> None:
    """Complete this process's copy of the view with what is its own, and make it the root.

    Its `/proc` is whatever was mounted there before; see `show_own_processes`.
    """
    _kernel.tmpfs(at + "/tmp", size=TMP_SIZE, mode="1777")  # noqa: S108 - the private one
    _kernel.tmpfs(at + "/run", size=1 << 16, files=64)
    _hide_home(plan, at)
    if plan.data_dir is not None:
        Path(at + plan.data_dir).mkdir(parents=True, exist_ok=True)
        _kernel.bind(plan.data_dir, at + plan.data_dir)
        _kernel.make_data_only(at + plan.data_dir)
    relay = os.path.join(plan.cell_dir, "relay")  # noqa: PTH118
    if plan.cell_dir and os.path.isdir(relay):  # noqa: PTH112
        Path(at + RELAY_DIR).mkdir()
        _kernel.bind(relay, at + RELAY_DIR)
        _kernel.make_read_only(at + RELAY_DIR)
    for place in (at, at + "/run", *([at + plan.home] if plan.home else [])):
        _kernel.make_read_only(place, below=False)
    _kernel.pivot_into(at)


def show_own_processes(at: str) -> None:
    """Give the view a `/proc` of the processes of this namespace. In a container whose own `/proc` is masked only root may do so."""
    flags = _kernel.MS_NOSUID | _kernel.MS_NODEV | _kernel.MS_NOEXEC
    _kernel.mount("proc", at + "/proc", "proc", flags, "subset=pid")


def _hide_home(plan: JailPlan, at: str) -> None:
    """Cover the host's state folder, then show again what of the plugin's code lies below a covered folder (a virtual
    environment in /tmp, say), and what was not in the view yet."""
    hidden = at + plan.home
    if plan.home:
        Path(hidden).mkdir(parents=True, exist_ok=True)
        _kernel.tmpfs(hidden, size=1 << 16, files=256)
    for path in dict.fromkeys((*_shown, *plan.readable)):
        if os.path.lexists(path) and not os.path.lexists(at + path):
            _show(path, at)
