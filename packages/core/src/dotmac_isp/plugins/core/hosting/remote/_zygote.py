"""The zygote: a process with one thread, no event loop, no secrets, and the libraries that instances need; it forks them.

It is started anew by the host (never forked from it), with an environment that holds nothing but what a process needs. It
speaks with the host over one socket: messages of four bytes length and MessagePack, descriptors beside them.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import select
import signal
import socket
import struct
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import msgspec

from .._told import told
from . import _child, _confine
from ._codec import decode, encode
from ._identity import Identity
from ._peer import told_event
from ._rehearsal import rehearse

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["main"]

_HEADER: Final = struct.Struct(">I")
_LARGEST: Final = 1024 * 1024
_DESCRIPTORS: Final = 3
FAILED: Final = 70


def main(descriptor: int, home: str) -> NoReturn:
    """Serve the host at the other end of the socket until it lets go."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C at the host's terminal is the host's to decide about
    control = socket.socket(fileno=descriptor)
    try:
        _Zygote(control, home).serve()
    except (EOFError, ConnectionError):
        os._exit(0)
    os._exit(FAILED)


class _Zygote:
    def __init__(self, control: socket.socket, home: str) -> None:
        self._control: Final = control
        self._children: set[int] = set()
        # The wake-up: SIGCHLD writes a byte, since `waitpid` cannot be waited for together with a socket.
        self._woken, waker = socket.socketpair()
        self._woken.setblocking(False)
        waker.setblocking(False)
        self._waker: Final = waker
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        self._confinement: Final = _confine.prepare(home)
        rehearse()
        gc.collect()
        gc.freeze()

    def serve(self) -> NoReturn:
        self._say({"ready": os.getpid(), "readiness": self._confinement.readiness})
        while True:
            readable, _, _ = select.select([self._control, self._woken], [], [])
            if self._woken in readable:
                self._reap()
            if self._control in readable:
                self._obey(*self._hear())

    def _hear(self) -> tuple[dict[str, Any], list[int]]:
        data, descriptors, _, _ = socket.recv_fds(self._control, _HEADER.size, _DESCRIPTORS)
        data += _read(self._control, _HEADER.size - len(data))
        order: dict[str, Any] = decode(_rest(self._control, data))
        return order, descriptors

    def _say(self, message: dict[str, Any]) -> None:
        data = encode(message)
        self._control.sendall(_HEADER.pack(len(data)) + data)

    def _obey(self, order: dict[str, Any], descriptors: list[int]) -> None:
        what = order["do"]
        if what == "fork":
            self._fork(order, descriptors)
        elif what == "kill":
            if order["pid"] in self._children:  # not reaped yet, so the number is still that process's
                with contextlib.suppress(ProcessLookupError):
                    os.kill(order["pid"], signal.SIGKILL)
        elif what == "warm":
            _child.take_path(order["path"])
            failed = _child.warm_up(order["modules"])
            gc.collect()
            gc.freeze()
            self._say({"warmed": order["number"], "failed": failed, "threads": _threads()})

    def _fork(self, order: dict[str, Any], descriptors: list[int]) -> None:
        try:
            pid = self._confinement.fork()
        except OSError as error:
            self._say({"refused": order["number"], "why": str(error)})
        else:
            if not pid:
                self._become(order, descriptors)
            self._children.add(pid)
            self._say({"forked": order["number"], "pid": pid})
        for descriptor in descriptors:
            os.close(descriptor)

    def _become(self, order: dict[str, Any], descriptors: list[int]) -> NoReturn:
        calls: socket.socket | None = None
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for sock in (self._control, self._woken, self._waker):
                sock.close()
            calls, questions, egress = (socket.socket(fileno=descriptor) for descriptor in descriptors)
            _child.take_path(order["path"])
            plan = decode(_message(calls))  # the host's "go"
            confinement = self._confinement.lock_down(plan, egress)
            identity = msgspec.convert(order["identity"], Identity)
            _child.run_instance(identity, (calls, questions), confinement)
        except EOFError:
            os._exit(0)  # the host gave up before it was time
        except BaseException as error:  # noqa: BLE001 - nothing of the zygote may go on in the child
            sys.excepthook(*sys.exc_info())
            _say_why(calls, error)
        finally:
            os._exit(FAILED)

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._woken.recv(4096):
                pass
        for pid, status in _ended():
            self._children.discard(pid)
            self._say({"ended": pid, "status": status})


def _say_why(calls: socket.socket | None, error: BaseException) -> None:
    """Tell the host's log why there is no instance: all else that it sees is the exit code."""
    text = f"its process could not begin: {type(error).__name__}: {told(error)}"
    if calls is not None:
        with contextlib.suppress(OSError):
            calls.sendall(told_event("log", logging.ERROR, "dotmac.hosting", text, ["", ""], {}))


def _message(sock: socket.socket) -> bytes:
    """One whole message. Raises `EOFError` when there comes none."""
    return _rest(sock, _read(sock, _HEADER.size))


def _rest(sock: socket.socket, header: bytes) -> bytes:
    (length,) = _HEADER.unpack(header)
    if length > _LARGEST:
        raise EOFError("the host says too much")
    return _read(sock, length)


def _read(sock: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        part = sock.recv(length - len(data))
        if not part:
            raise EOFError("the host is gone")
        data += part
    return data


def _ended() -> Iterator[tuple[int, int]]:
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            yield pid, status


def _threads() -> int:
    try:
        return len(list(Path("/proc/self/task").iterdir()))
    except OSError:
        return threading.active_count()
