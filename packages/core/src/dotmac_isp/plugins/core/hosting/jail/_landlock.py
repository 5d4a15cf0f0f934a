"""Which files, TCP ports, abstract sockets and processes Landlock leaves to a jailed process."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["HOLDS_SIGNALS", "HOLDS_TCP", "landlock_abi", "restrict"]

#: Interface versions since which Landlock holds TCP (bind, connect), and abstract sockets and signals.
HOLDS_TCP: Final = 4
HOLDS_SIGNALS: Final = 6


def landlock_abi() -> int:
    """The interface's version on this machine; 0: no Landlock (kernel without it, or the library is not installed)."""
    try:
        import landlockpy  # noqa: PLC0415 - optional, and only for jails
    except ImportError:
        return 0
    try:
        return landlockpy.abi_version()
    except (OSError, landlockpy.LandlockError, landlockpy.UnsupportedError):
        return 0


def restrict(*, read: Iterable[str], write: Iterable[str], devices: Iterable[str] = (), rehearsal: bool = False) -> int:
    """Let this thread read below *read*, read and write below *write*, use *devices*, and connect and bind nowhere.

    Handled rights that no rule gives back are refused: TCP ports, abstract sockets and signals to processes outside as
    far as the kernel knows them. Missing paths are skipped. Returns the interface's version.

    With *rehearsal* all is done but the last step: what Python makes on first use is then there for the children.
    """
    from landlockpy import AccessFS, Ruleset, Scope  # noqa: PLC0415 - optional, and only for jails

    may_read = AccessFS.READ_FILE | AccessFS.READ_DIR
    never = AccessFS.EXECUTE | AccessFS.MAKE_CHAR | AccessFS.MAKE_BLOCK | AccessFS.IOCTL_DEV
    of_a_file = AccessFS.READ_FILE | AccessFS.WRITE_FILE | AccessFS.TRUNCATE
    with Ruleset(scoped=Scope.ABSTRACT_UNIX_SOCKET | Scope.SIGNAL) as ruleset:
        for paths, access in (
            (read, may_read),
            (write, ruleset.handled_fs & ~never),
            (devices, AccessFS.READ_FILE | AccessFS.WRITE_FILE),
        ):
            for path in paths:
                with contextlib.suppress(FileNotFoundError):
                    ruleset.allow_path(path, access if os.path.isdir(path) else access & of_a_file)  # noqa: PTH112
        if not rehearsal:
            ruleset.restrict()
        return ruleset.abi_version
