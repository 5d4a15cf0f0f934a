"""Who is at the other end of a Unix socket: what the kernel says, not what anybody claims."""

from __future__ import annotations

import os
import socket
import struct
from typing import Any, Final

import msgspec

__all__ = ["Peer", "peer_of"]

_CREDENTIALS: Final = struct.Struct("3i")


class Peer(msgspec.Struct, frozen=True):
    """A process at the other end."""

    pid: int
    uid: int

    @property
    def ours(self) -> bool:
        """Whether it runs as the user that we run as."""
        return self.uid == os.geteuid()


def peer_of(connection: Any) -> Peer:
    """The peer of a connected Unix socket. Where the kernel does not tell, the socket's mode has kept others away."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:  # pragma: no cover - Linux has it
        return Peer(0, os.geteuid())
    pid, uid, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size))
    return Peer(pid, uid)
