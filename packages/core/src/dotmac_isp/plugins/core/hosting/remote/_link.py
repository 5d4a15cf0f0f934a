"""Frames on a socket: four bytes that say how long the frame is, then the frame. Writes of one turn of the loop go together."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING, Any, Final

from ._codec import decode

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

__all__ = ["LARGEST_FRAME", "FrameError", "Link", "connect", "framed"]

#: Bytes of one frame: a value of 16 MB, and what is around it.
LARGEST_FRAME: Final = 20 * 1024 * 1024
_HEADER: Final = struct.Struct(">I")
_HEADER_SIZE: Final = _HEADER.size
_BUFFERED: Final = 4 * 1024 * 1024


class FrameError(ValueError):
    """What came is no frame, or one that must not be."""


def framed(frame: bytes) -> bytes:
    """The frame with its length before it. Raises `FrameError` for one that is too large."""
    if len(frame) > LARGEST_FRAME:
        raise FrameError(
            f"{len(frame):,} bytes are too much for one call into or out of a jailed instance; at most {LARGEST_FRAME:,} are taken"
        )
    return _HEADER.pack(len(frame)) + frame


class Link(asyncio.Protocol):
    """One end. `take` gets the decoded frames that came in together; `lost` is called once, with what went wrong or `None`."""

    def __init__(self, take: Callable[[list[Any]], None], lost: Callable[[Exception | None], None]) -> None:
        self._take: Final = take
        self._lost: Final = lost
        self._loop: Final = asyncio.get_running_loop()
        self._transport: Any = None
        self._received = bytearray()
        self._waiting: list[bytes] = []
        self._turn = False
        self._corked = False
        self._fault: Exception | None = None
        #: Set while the other side reads as fast as we write.
        self.flowing: Final = asyncio.Event()
        self.flowing.set()
        #: When something was heard of the other side the last time, by the loop's clock.
        self.heard_at: float = self._loop.time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._transport.set_write_buffer_limits(high=_BUFFERED)

    def pause_writing(self) -> None:
        self.flowing.clear()

    def resume_writing(self) -> None:
        self.flowing.set()

    def data_received(self, data: bytes) -> None:
        self.heard_at = self._loop.time()
        if self._received:
            self._received += data
            whole: bytes | bytearray = self._received
        else:
            whole = data
        frames: list[Any] = []
        try:
            used = self._cut(whole, frames)
        except ValueError as error:
            self.fail(error)
            return
        if whole is self._received:
            del self._received[:used]
        elif used < len(data):
            self._received += data[used:]
        if frames:
            self._corked = True
            try:
                self._take(frames)
            finally:
                self._corked = False
                self._flush()

    def _cut(self, data: bytes | bytearray, frames: list[Any]) -> int:
        """Decode the whole frames; gives how many bytes they were."""
        position, end = 0, len(data)
        while end - position >= _HEADER_SIZE:
            (length,) = _HEADER.unpack_from(data, position)
            if length > LARGEST_FRAME:
                raise FrameError(f"a frame of {length:,} bytes was announced; at most {LARGEST_FRAME:,} are taken")
            after = position + _HEADER_SIZE + length
            if after > end:
                break
            with memoryview(data) as view:
                frame = decode(view[position + _HEADER_SIZE : after])
            if type(frame) is not list or not frame or type(frame[0]) is not int:
                raise FrameError("a frame is a list that begins with a number")
            frames.append(frame)
            position = after
        return position

    def connection_lost(self, error: Exception | None) -> None:
        self.flowing.set()
        self._transport = None
        self._received = bytearray()
        self._lost(self._fault or error)

    def send(self, data: bytes) -> None:
        """Write a framed message: at once when it is the first of this turn of the loop, else with those after it."""
        if self._corked or self._turn:
            self._waiting.append(data)
            return
        self._turn = True
        self._loop.call_soon(self._end_turn)
        if self._transport is not None:
            self._transport.write(data)

    def _end_turn(self) -> None:
        self._turn = False
        self._flush()

    def _flush(self) -> None:
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            if self._transport is not None:
                self._transport.write(b"".join(waiting) if len(waiting) > 1 else waiting[0])

    @property
    def open(self) -> bool:
        """Whether anything can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def pause(self, paused: bool) -> None:
        """Stop or go on reading."""
        if self.open:
            (self._transport.pause_reading if paused else self._transport.resume_reading)()

    def fail(self, error: Exception) -> None:
        """Close at once, for this reason."""
        self._fault = self._fault or error
        self.abort()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()


async def connect(
    sock: socket.socket, take: Callable[[list[Any]], None], lost: Callable[[Exception | None], None]
) -> Link:
    """A link over a connected stream socket, which belongs to it from now on."""
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    _, link = await loop.connect_accepted_socket(lambda: Link(take, lost), sock)
    return link
