"""Logs of an instance in a process of its own: every record goes to the supervisor, and so does what is printed."""

from __future__ import annotations

import io
import logging
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

from ..._scope import current_scope
from ._codec import CannotCrossError, pack

if TYPE_CHECKING:
    import asyncio

    from ._peer import Peer

__all__ = ["forward_logs"]

_PLAIN: Final = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime", "taskName"}
_ORIGIN: Final = ("plugin", "tenant", "operation", "request_id")
_LONGEST_LINE: Final = 16 * 1024


def forward_logs(peer: Peer, loop: asyncio.AbstractEventLoop, level: int) -> None:
    """Send the records of every logger, and the lines that are printed, to the supervisor."""
    root = logging.getLogger()
    root.handlers[:] = [_Forwarder(peer, loop)]
    root.setLevel(level)
    sys.stdout = _Lines(logging.getLogger("stdout"), logging.INFO)
    sys.stderr = _Lines(logging.getLogger("stderr"), logging.WARNING)


class _Forwarder(logging.Handler):
    def __init__(self, peer: Peer, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._peer: Final = peer
        self._loop: Final = loop
        self._thread: Final = threading.get_ident()
        self.setFormatter(logging.Formatter())

    def emit(self, record: logging.LogRecord) -> None:
        try:
            told = [record.levelno, record.name, self.format(record)[:_LONGEST_LINE], _origin(record), _extra(record)]
        except Exception:  # noqa: BLE001 - as logging does: a record that cannot be formatted is said to be one
            told = [record.levelno, record.name, f"{record.msg!r:.1000} (its arguments do not fit)", ["", ""], {}]
        if threading.get_ident() == self._thread:
            self._peer.event("log", *told)
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._peer.event, "log", *told)


def _origin(record: logging.LogRecord) -> list[str]:
    scope = current_scope.get()
    known = vars(record)
    if scope is not None:
        return [scope.operation, scope.request_id]
    return [str(known.get("operation", "")), str(known.get("request_id", ""))]


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    found = {}
    for name, value in vars(record).items():
        if name not in _PLAIN and name not in _ORIGIN:
            try:
                pack(value)
                found[name] = value
            except CannotCrossError:
                found[name] = repr(value)[:1000]
    return found


class _Lines(io.TextIOBase):
    """Printed lines as log records."""

    def __init__(self, logger: logging.Logger, level: int) -> None:
        self._logger: Final = logger
        self._level: Final = level
        self._begun = ""
        self._busy = False

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *whole, self._begun = (self._begun + text).split("\n")
        if len(self._begun) > _LONGEST_LINE:
            whole, self._begun = [*whole, self._begun], ""
        if not self._busy:  # logging itself may print
            self._busy = True
            try:
                for line in whole:
                    if line.strip():
                        self._logger.log(self._level, "%s", line)
            finally:
                self._busy = False
        return len(text)
