"""Where records go besides the chain: a file, syslog, what plugins provide. Each has a thread of its own and hinders nobody."""

from __future__ import annotations

import collections
import logging
import logging.handlers
import os
import socket
import threading
import time
from typing import TYPE_CHECKING, Final

from ._record import AuditError, canonical

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ._record import AuditRecord

__all__ = ["FileSink", "SinkPump", "SyslogSink"]

_LOG: Final = logging.getLogger("dotmac.audit")
#: So many records may wait for a sink; the oldest go first, counted. The chain has them all.
_ROOM: Final = 10_000
_TOGETHER: Final = 500
#: A sink that fails is left alone for so long, in seconds: doubling, from the first to the last.
_PAUSES: Final = (0.2, 30.0)


class FileSink:
    """A file of JSON lines, one record each, made for its owner only. A file that was moved away (logrotate) is made anew."""

    def __init__(self, path: Path) -> None:
        self._path: Final = path

    def write(self, record: AuditRecord) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(self._path, flags, 0o600)
        try:
            os.write(descriptor, canonical(record) + b"\n")
        finally:
            os.close(descriptor)


class SyslogSink:
    """Syslog by the standard library: a Unix socket's path, or `host:port` over UDP. Facility auth, severity info or warning.

    UDP gives no receipt: what the network loses is lost there (the chain has it).
    """

    def __init__(self, address: str) -> None:
        self._address: Final = address
        self._handler: logging.handlers.SysLogHandler | None = None

    def write(self, record: AuditRecord) -> None:
        handler = self._handler or self._open()
        priority = handler.encodePriority("auth", "info" if record.outcome in {"done", "given"} else "notice")
        data = f"<{priority}>dotmac-plugins[{os.getpid()}]: ".encode() + canonical(record)
        try:
            self._send(handler, data)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        handler, self._handler = self._handler, None
        if handler is not None:
            handler.close()

    def _open(self) -> logging.handlers.SysLogHandler:
        self._handler = logging.handlers.SysLogHandler(address=_address(self._address))
        return self._handler

    @staticmethod
    def _send(handler: logging.handlers.SysLogHandler, data: bytes) -> None:
        # Not by emit(), which formats log records and swallows what goes wrong.
        open_socket: socket.socket = handler.socket  # type: ignore[attr-defined] # typeshed does not know it
        if isinstance(handler.address, str):
            open_socket.send(data)
        else:
            open_socket.sendto(data, handler.address)


def _address(text: str) -> str | tuple[str, int]:
    if text.startswith("/"):
        return text
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit():
        raise AuditError(f"{text!r} is no syslog address", remedy="Give a socket's path (/dev/log) or host:port")
    return socket.gethostbyname(host), int(port)


class SinkPump:
    """Carries records to one sink on a thread of its own. A sink that fails or hangs keeps its place and harms no other."""

    def __init__(
        self, name: str, deliver: Callable[[Sequence[AuditRecord]], None], finish: Callable[[], None] | None = None
    ) -> None:
        self.name: Final = name
        self._finish: Final = finish
        self._deliver: Final = deliver
        self._queue: collections.deque[AuditRecord] = collections.deque(maxlen=_ROOM)
        self._wake: Final = threading.Event()
        self._closing = False
        self._busy = False
        self._pause = _PAUSES[0]
        #: Records that the sink never got.
        self.missed = 0
        self.failures = 0
        self._thread: Final = threading.Thread(target=self._run, name=f"dotmac-audit-{name}", daemon=True)
        self._thread.start()

    def put(self, record: AuditRecord) -> None:
        """Hand it on soon. Never waits."""
        if len(self._queue) == _ROOM:
            self.missed += 1
        self._queue.append(record)
        if not self._wake.is_set():
            self._wake.set()

    def close(self, patience: float = 2.0) -> None:
        """Hand on what waits, as far as the sink takes it in time."""
        self._closing = True
        self._wake.set()
        self._thread.join(patience)
        left = len(self._queue)
        if left:
            self.missed += left
            _LOG.warning("the audit sink %s did not get the last %d records", self.name, left)

    def _run(self) -> None:
        try:
            self._carry()
        finally:
            if self._finish is not None:
                self._finish()

    def _carry(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._queue:
                if not self._hand_on() and self._closing:
                    return
            if self._closing:
                return

    def _hand_on(self) -> bool:
        batch: list[AuditRecord] = []
        while self._queue and len(batch) < _TOGETHER:
            batch.append(self._queue.popleft())
        try:
            self._deliver(batch)
        except BaseException as error:  # noqa: BLE001 - sinks are plugins
            self._failed(batch, error)
            return False
        if self._pause > _PAUSES[0]:
            _LOG.warning("the audit sink %s works again", self.name)
        self._pause = _PAUSES[0]
        return True

    def _failed(self, batch: list[AuditRecord], error: BaseException) -> None:
        """Keep what it did not take, and leave it alone for a while."""
        self.failures += 1
        if self._pause == _PAUSES[0]:
            _LOG.error("the audit sink %s failed; it is tried again: %s: %s", self.name, type(error).__name__, error)
        room = _ROOM - len(self._queue)
        self.missed += max(len(batch) - room, 0)
        self._queue.extendleft(reversed(batch[max(len(batch) - room, 0) :]))
        ends = time.monotonic() + self._pause
        while not self._closing and time.monotonic() < ends:
            time.sleep(min(self._pause, 0.05))
        self._pause = min(self._pause * 2, _PAUSES[1])
