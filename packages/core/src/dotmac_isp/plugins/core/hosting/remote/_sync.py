"""The few requests that a plugin makes from code that cannot wait on the event loop: a line of their own, answered at once."""

from __future__ import annotations

import asyncio
import struct
import threading
from typing import TYPE_CHECKING, Any, Final

from ...errors import PluginError
from ._codec import decode, encode
from ._link import framed

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

__all__ = ["Answering", "Asking", "answer"]

_PATIENCE: Final = 10.0
_HEADER: Final = struct.Struct(">I")
_LARGEST: Final = 64 * 1024


class Asking:
    """The instance's end. Blocks for as long as the supervisor's loop needs for a turn, from whichever thread."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(_PATIENCE)
        self._sock: Final = sock
        self._lock: Final = threading.Lock()

    def ask(self, name: str, *arguments: Any) -> Any:
        """Raises `PluginError` when the supervisor does not answer."""
        try:
            with self._lock:
                self._sock.sendall(framed(encode([name, list(arguments)])))
                (length,) = _HEADER.unpack(self._read(_HEADER.size))
                return decode(self._read(length))
        except (OSError, EOFError) as error:
            raise PluginError(f"the host does not answer to {name}: {error}") from error

    def _read(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            part = self._sock.recv(length - len(data))
            if not part:
                raise EOFError("the connection has ended")
            data += part
        return data


class Answering(asyncio.Protocol):
    """The supervisor's end: each request is answered in the turn of the loop in which it comes."""

    def __init__(self, doors: dict[str, Callable[..., Any]]) -> None:
        self._doors: Final = doors
        self._transport: Any = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        try:
            while len(self._received) >= _HEADER.size:
                (length,) = _HEADER.unpack_from(self._received)
                if length > _LARGEST:
                    raise ValueError("too large")
                end = _HEADER.size + length
                if len(self._received) < end:
                    return
                name, arguments = decode(self._received[_HEADER.size : end])
                self._received = self._received[end:]
                self._transport.write(framed(encode(self._doors[name](*arguments))))
        except Exception:  # noqa: BLE001 - a hostile process gets no second try
            self._transport.abort()

    def close(self) -> None:
        """End the line."""
        if self._transport is not None:
            self._transport.abort()


async def answer(sock: socket.socket, doors: dict[str, Callable[..., Any]]) -> Answering:
    """Answer on the socket, which belongs to the line from now on."""
    sock.setblocking(False)
    _, line = await asyncio.get_running_loop().connect_accepted_socket(lambda: Answering(doors), sock)
    return line
