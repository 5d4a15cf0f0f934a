"""What a jailed process and its broker say to each other: one message per packet on a Unix seqpacket socket."""

from __future__ import annotations

import socket
from typing import Final

import msgspec

__all__ = ["LARGEST", "Answer", "Ask", "egress_pair"]

#: Bytes of the largest message; names have at most 253 characters.
LARGEST: Final = 4096


class Ask(msgspec.Struct, frozen=True, array_like=True):
    """The child asks for a connection."""

    number: int
    host: str
    port: int


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """The broker's answer; with a socket beside it where `error` is 0."""

    number: int
    error: int = 0
    text: str = ""
    #: The error is one of name resolution (`socket.gaierror`).
    resolving: bool = False
    #: The socket is a Unix socket to the broker, which passes everything on.
    relayed: bool = False
    peer: tuple[str, int] = ("", 0)


def egress_pair() -> tuple[socket.socket, socket.socket]:
    """A pair of sockets: the first for `Broker`, the second for the child's `install_egress`."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
