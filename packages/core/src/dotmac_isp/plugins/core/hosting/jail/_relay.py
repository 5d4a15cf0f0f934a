"""Passes bytes between two connected sockets, with back-pressure, half-closing and, if wanted, a limit per second."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Bucket", "Pipe"]

#: Bytes read at once. Large, since each read and write of a chunk costs more than its bytes.
CHUNK: Final = 1 << 18
#: Bytes that may wait to be written before the other side is not read any more.
HIGH_WATER: Final = 1 << 20


class Bucket:
    """So much per second, with a second's worth to begin with; what goes over it is a debt to wait for."""

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate: Final = per_second
        self._clock = clock
        self._left = per_second
        self._at = clock()

    def _fill(self) -> None:
        now = self._clock()
        self._left = min(self.rate, self._left + (now - self._at) * self.rate)
        self._at = now

    def take(self, amount: float) -> float:
        """Take it, and return the seconds to wait before the next is taken."""
        self._fill()
        self._left -= amount
        return max(0.0, -self._left / self.rate)

    def try_take(self, amount: float) -> bool:
        """Take it only if it is there."""
        self._fill()
        if self._left < amount:
            return False
        self._left -= amount
        return True


class Pipe(asyncio.BufferedProtocol):
    """One end of a relay. Two of them, tied by `join`, pass on what the other side sends."""

    def __init__(self, ended: Callable[[], None] = lambda: None, bucket: Bucket | None = None) -> None:
        self.transport: asyncio.Transport | None = None
        self.passed = 0
        self._other: Pipe | None = None
        self._buffer = memoryview(bytearray(CHUNK))
        self._bucket = bucket
        self._ended = ended
        self._held = False

    def join(self, other: Pipe) -> None:
        """Tie both ends together; from now on each reads."""
        for one, another in ((self, other), (other, self)):
            one._other = another  # noqa: SLF001 - of its own kind
            if one.transport is not None:
                one.transport.set_write_buffer_limits(high=HIGH_WATER)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what asyncio promises for a stream
        self.transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's interface
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._other is None or self._other.transport is None or self._other.transport.is_closing():
            return
        self.passed += nbytes
        # A copy: what cannot be written at once is kept by the transport, and the buffer is used again.
        self._other.transport.write(bytes(self._buffer[:nbytes]))
        if self._bucket is not None and (wait := self._bucket.take(nbytes)) and self.transport is not None:
            self._held = True
            self.transport.pause_reading()
            asyncio.get_running_loop().call_later(wait, self._go_on)

    def _go_on(self) -> None:
        self._held = False
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def eof_received(self) -> bool:
        if self._other is not None and self._other.transport is not None and self._other.transport.can_write_eof():
            self._other.transport.write_eof()
        return True

    def pause_writing(self) -> None:
        if self._other is not None and self._other.transport is not None:
            self._other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self._other is not None and not self._other._held:  # noqa: SLF001 - of its own kind
            self._other._go_on()  # noqa: SLF001 - of its own kind

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's interface
        if self._other is not None and self._other.transport is not None:
            self._other.transport.close()
        self._ended()
