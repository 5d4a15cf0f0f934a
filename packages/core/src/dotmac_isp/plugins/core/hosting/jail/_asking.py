"""The jailed side of egress: asks the broker for connections, from any thread and without blocking the event loop."""

from __future__ import annotations

import errno
import itertools
import os
import socket
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final

import msgspec

from ._allow import as_address, normal_host
from ._view import RELAY_DIR
from ._wire import LARGEST, Answer, Ask

if TYPE_CHECKING:
    from ._plan import ChildReport, JailPlan

__all__ = ["Egress", "Given", "Names"]

#: Synthetic addresses that stand for names: reserved IPv4 (RFC 1112) and the discard prefix of IPv6 (RFC 6666).
FIRST_V4: Final = int.from_bytes(socket.inet_aton("240.0.0.1"), "big")
FIRST_V6: Final = "100::"


class Given:
    """A connection that the broker made: an open file descriptor, and who is at the other end."""

    def __init__(self, fd: int, relayed: bool, peer: tuple[str, int]) -> None:
        self._fd = fd
        self.relayed: Final = relayed
        self.peer: Final = peer

    def take(self) -> int:
        """The descriptor, for the taker to close."""
        fd, self._fd = self._fd, -1
        return fd

    def __del__(self) -> None:
        # Whoever asked was cancelled after the answer came.
        if self._fd >= 0:
            os.close(self._fd)


class Names:
    """Addresses that stand for names, since names are resolved by the supervisor and only when connecting."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._names: dict[str, str] = {}
        self._lock = threading.Lock()

    def address(self, name: str, *, v6: bool = False) -> str:
        """The address that stands for *name*, the same one every time."""
        name = normal_host(name)
        with self._lock:
            number = self._numbers.setdefault(name, len(self._numbers))
            made = f"{FIRST_V6}{number + 1:x}" if v6 else socket.inet_ntoa((FIRST_V4 + number).to_bytes(4, "big"))
            self._names[made] = name
        return made

    def name(self, address: str) -> str:
        """The name that an address stands for; the address itself where it stands for none."""
        return self._names.get(address, address)


class Egress:
    """Asks on one socket; a thread, started with the first question, gives out the answers."""

    def __init__(self, sock: socket.socket, plan: JailPlan, report: ChildReport) -> None:
        self._sock = sock
        self._relays = {
            (normal_host(endpoint.host), endpoint.port): number
            for number, endpoint in enumerate(plan.endpoints)
            if endpoint.kind == "grpc" and report.relay_dir
        }
        self.names: Final = Names()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Future[Given]] = {}
        self._lock = threading.Lock()
        self._reader: threading.Thread | None = None
        self._pid = os.getpid()

    def ask(self, host: str, port: int) -> Future[Given]:
        """Ask for a connection. The result is a `Given`, or an `OSError` that says why not."""
        if os.getpid() != self._pid:
            raise PermissionError(errno.EACCES, "a process that a jailed plugin forked has no network")
        future: Future[Given] = Future()
        with self._lock:
            if self._reader is None:
                self._reader = threading.Thread(target=self._read, name="egress", daemon=True)
                self._reader.start()
            number = next(self._numbers)
            self._waiting[number] = future
        try:
            self._sock.send(msgspec.msgpack.encode(Ask(number, self.names.name(host), port)))
        except OSError as error:
            self._waiting.pop(number, None)
            future.set_exception(OSError(error.errno, f"the egress broker is gone: {error.strerror}"))
        return future

    def _read(self) -> None:
        while True:
            try:
                data, fds, _, _ = socket.recv_fds(self._sock, LARGEST, 1)
            except OSError:
                data, fds = b"", []
            if not data:
                break
            self._settle(msgspec.msgpack.decode(data, type=Answer), fds)
        for future in list(self._waiting.values()):
            future.set_exception(ConnectionResetError(errno.ECONNRESET, "the egress broker is gone"))

    def _settle(self, answer: Answer, fds: list[int]) -> None:
        future = self._waiting.pop(answer.number, None)
        if future is None or not future.set_running_or_notify_cancel():
            for fd in fds:
                os.close(fd)
        elif answer.resolving:
            future.set_exception(socket.gaierror(answer.error, answer.text))
        elif answer.error or not fds:
            future.set_exception(OSError(answer.error or errno.EIO, answer.text))
        else:
            future.set_result(Given(fds[0], answer.relayed, answer.peer))

    def relay_target(self, host: str, port: int) -> tuple[str, list[tuple[str, str]]]:
        """Target and options for a gRPC channel to an endpoint; the name that certificates and requests carry is kept."""
        number = self._relays.get((normal_host(host), port))
        if number is None:
            raise PermissionError(
                errno.EACCES,
                f"gRPC to {host}:{port} is not possible: it is no endpoint of kind grpc in the manifest and settings,"
                " or this machine gives the jail no files of its own",
            )
        shown = f"[{host}]" if ":" in host else host
        options = [("grpc.default_authority", f"{shown}:{port}")]
        if as_address(host) is None:
            options.append(("grpc.ssl_target_name_override", host))
        return f"unix:{RELAY_DIR}/{number}", options
