"""Where a host keeps its socket and its lock, and how a socket with a long path is reached."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ._errors import HostUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SOCKET", "find_home", "prepare_home", "reachable"]

SOCKET: Final = "control.sock"
#: `sun_path` has 108 bytes on Linux and 104 elsewhere, with a NUL at the end.
_LONGEST_PATH: Final = 107 if sys.platform == "linux" else 103
_OTHERS: Final = 0o077


def find_home(home: Path | None) -> Path:
    """The state folder: the one that was given, else `DOTMAC_HOME`, else the platform's."""
    if home is None:
        from dotmac_isp.plugins.core.settings import state_home  # noqa: PLC0415 - loads the file formats

        home = state_home()
    return Path(os.path.abspath(home.expanduser()))  # noqa: PTH100 - symbolic links stay as the operator wrote them


def prepare_home(home: Path) -> None:
    """Make the folder, for its owner only. Raises `HostUnavailableError` when it is somebody else's."""
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = home.stat()
        if found.st_uid != os.geteuid():
            raise HostUnavailableError(
                f"{home} belongs to user {found.st_uid}, and this process runs as user {os.geteuid()}",
                remedy="Run the host as the folder's owner, or give it a folder of its own with --home",
            )
        if stat.S_IMODE(found.st_mode) & _OTHERS:
            home.chmod(stat.S_IMODE(found.st_mode) & ~_OTHERS)
    except OSError as error:
        raise HostUnavailableError(
            f"{home} cannot be used: {error.strerror or error}", remedy="Give another folder with --home or DOTMAC_HOME"
        ) from error


@contextlib.contextmanager
def reachable(path: Path) -> Iterator[str]:
    """A name for the socket at `path` that fits into its address. Raises `HostUnavailableError` where there is none."""
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        yield str(path)
        return
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        folder = Path(f"/proc/self/fd/{descriptor}")
        if not folder.exists():
            raise HostUnavailableError(
                f"the path of the control socket has {len(os.fsencode(path))} bytes and may have {_LONGEST_PATH}: {path}",
                remedy="Give a shorter folder with --home or DOTMAC_HOME; a symbolic link to it will do",
            )
        yield str(folder / path.name)
    finally:
        os.close(descriptor)
