"""Makes Python's sockets and asyncio ask the broker, so that aiohttp, httpx, requests, hvac, aiokafka and urllib work as
they are. This is convenience, not protection: code that goes around it finds no network at all.

A TCP socket is a placeholder until it is connected: the kernel does not let the process make a real one. On connecting,
the broker's socket takes the place of the placeholder under the same file descriptor.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import weakref
from asyncio import base_events, selector_events
from typing import TYPE_CHECKING, Any, Final

from ._allow import as_address
from ._asking import Egress, Given

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._plan import ChildReport, JailPlan

__all__ = ["grpc_target", "install_egress"]

INTERNET: Final = (socket.AF_INET, socket.AF_INET6)
#: Bits of the type that are flags.
NONBLOCK: Final = getattr(socket, "SOCK_NONBLOCK", 0)
TYPE_FLAGS: Final = NONBLOCK | getattr(socket, "SOCK_CLOEXEC", 0)
#: Seconds for a connect without a timeout of its own; the broker answers before that.
LONGEST: Final = 120.0
#: Names of services, where a library asks for one; there is no /etc/services in a jail.
SERVICES: Final = {"http": 80, "https": 443, "domain": 53, "kafka": 9092}


class _Placeholder:
    """What is known of an internet socket besides its file descriptor."""

    def __init__(self) -> None:
        self.options: list[tuple[Any, ...]] = []
        self.given: Given | None = None


class _Installed:
    """The shims of this process. There is one: what is replaced are methods of classes that all code shares."""

    egress: Egress | None = None
    sockets: Final[weakref.WeakKeyDictionary[socket.socket, _Placeholder]] = weakref.WeakKeyDictionary()


def install_egress(sock: socket.socket, plan: JailPlan, report: ChildReport) -> None:
    """Lead connections of this process to the broker at the other end of *sock* (the second of `egress_pair()`).

    To be called in the jailed process after `lock_down`, once.
    """
    sock.setblocking(True)
    _Installed.egress = Egress(sock, plan, report)
    _replace_names()
    _replace_socket_methods()
    _replace_loop_methods()


def grpc_target(host: str, port: int) -> tuple[str, list[tuple[str, str]]]:
    """Target and options for a gRPC channel from this process to an endpoint of kind `grpc`.

    Raises `PermissionError` where it is none.
    """
    return _egress().relay_target(host, port)


def _egress() -> Egress:
    if _Installed.egress is None:
        raise PermissionError(errno.EACCES, "this process has no egress")
    return _Installed.egress


# ---------------------------------------------------------------- names


def _replace_names() -> None:
    module: Any = socket
    module.getaddrinfo = _getaddrinfo
    module.gethostbyname = lambda name: _addresses(name, socket.AF_INET)[0][1]
    module.gethostbyname_ex = lambda name: (name, [], [_addresses(name, socket.AF_INET)[0][1]])
    module.getnameinfo = lambda address, _flags: (_egress().names.name(str(address[0])), str(address[1]))
    module.getfqdn = lambda name="": name or socket.gethostname()


def _getaddrinfo(
    host: bytes | str | None,
    port: bytes | str | int | None,
    family: int = 0,
    type: int = 0,  # noqa: A002 - the replaced function's name
    proto: int = 0,
    flags: int = 0,
) -> list[tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]]:
    number = _port(port)
    name = host.decode() if isinstance(host, bytes) else host
    found = []
    kind = socket.SocketKind(type & ~TYPE_FLAGS) if type else socket.SOCK_STREAM
    for version, address in _addresses(name, family, passive=bool(flags & socket.AI_PASSIVE), flags=flags):
        where = (address, number) if version == socket.AF_INET else (address, number, 0, 0)
        canonical = name or "" if flags & socket.AI_CANONNAME else ""
        found.append((version, kind, proto or socket.IPPROTO_TCP, canonical, where))
    return found


def _addresses(
    name: str | None, family: int, *, passive: bool = False, flags: int = 0
) -> list[tuple[socket.AddressFamily, str]]:
    if not name:
        name = "0.0.0.0" if passive else "127.0.0.1"  # noqa: S104 - what the replaced function answers; nothing can bind
    literal = as_address(name)
    if literal is not None:
        version = socket.AF_INET if literal.version == 4 else socket.AF_INET6  # noqa: PLR2004 - the protocol's version
        if family not in (0, version):
            raise socket.gaierror(socket.EAI_ADDRFAMILY, f"{name} has no address of that family")
        return [(version, str(literal))]
    if flags & socket.AI_NUMERICHOST:
        raise socket.gaierror(socket.EAI_NONAME, f"{name} is a name, not an address")
    v6 = family == socket.AF_INET6
    return [(socket.AF_INET6 if v6 else socket.AF_INET, _egress().names.address(name, v6=v6))]


def _port(port: bytes | str | int | None) -> int:
    text = port.decode() if isinstance(port, bytes) else port
    if text is None or isinstance(text, int):
        return text or 0
    if text.isdigit():
        return int(text)
    if text in SERVICES:
        return SERVICES[text]
    raise socket.gaierror(socket.EAI_SERVICE, f"{text} is no service that is known in a jail")


# ---------------------------------------------------------------- sockets


def _replace_socket_methods() -> None:
    kind: Any = socket.socket
    for name, method in (
        ("__init__", _init),
        ("connect", _connect),
        ("connect_ex", _connect_ex),
        ("bind", _bind),
        ("setsockopt", _setsockopt),
        ("getpeername", _getpeername),
        ("getsockname", _getsockname),
    ):
        setattr(kind, name, method)


_original: Final[dict[str, Callable[..., Any]]] = {
    name: getattr(socket.socket, name)
    for name in ("__init__", "connect", "connect_ex", "bind", "setsockopt", "getpeername", "getsockname")
}


def _init(
    self: socket.socket,
    family: int = -1,
    type: int = -1,  # noqa: A002 - the replaced method's name
    proto: int = -1,
    fileno: int | None = None,
) -> None:
    if fileno is not None or family not in (-1, *INTERNET):
        _original["__init__"](self, family, type, proto, fileno)
        return
    kind = socket.SOCK_STREAM if type == -1 else type & ~TYPE_FLAGS
    if kind != socket.SOCK_STREAM:
        raise PermissionError(errno.EACCES, f"a jailed plugin has TCP sockets only, no {socket.SocketKind(kind).name}")
    placeholder = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).detach()
    version = socket.AF_INET if family == -1 else family
    _original["__init__"](self, version, kind, socket.IPPROTO_TCP if proto in (-1, 0) else proto, placeholder)
    if type != -1 and type & NONBLOCK:
        self.setblocking(False)
    _Installed.sockets[self] = _Placeholder()


def _connect(self: socket.socket, address: Any) -> None:
    if (known := _Installed.sockets.get(self)) is None:
        _original["connect"](self, address)
        return
    timeout = self.gettimeout()
    future = _ask(known, address)
    try:
        given = future.result(timeout or LONGEST)
    except TimeoutError as error:
        if future.cancel() or future.done() is False:
            raise TimeoutError("timed out") from error
        raise
    _attach(self, known, given)


def _ask(known: _Placeholder, address: Any) -> Any:
    if known.given is not None:
        raise OSError(errno.EISCONN, os.strerror(errno.EISCONN))
    host, port = address[0], address[1]
    return _egress().ask(host.decode() if isinstance(host, bytes) else host, _port(port))


def _connect_ex(self: socket.socket, address: Any) -> int:
    if self not in _Installed.sockets:
        result: int = _original["connect_ex"](self, address)
        return result
    try:
        _connect(self, address)
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def _attach(self: socket.socket, known: _Placeholder, given: Given) -> None:
    """Let the broker's socket take the placeholder's place."""
    timeout = self.gettimeout()
    fd = given.take()
    os.dup2(fd, self.fileno(), inheritable=False)
    os.close(fd)
    self.settimeout(timeout)
    known.given = given
    for option in known.options:
        self.setsockopt(*option)
    known.options.clear()


def _bind(self: socket.socket, address: Any) -> None:
    if self not in _Installed.sockets:
        _original["bind"](self, address)
        return
    if isinstance(address, tuple) and not _port(address[1]) and address[0] in ("", "0.0.0.0", "::"):  # noqa: S104 - any address
        return  # what a client does that does not mind where it calls from
    raise PermissionError(errno.EACCES, f"a jailed plugin cannot listen or choose its address: {address!r}")


def _setsockopt(self: socket.socket, *option: Any) -> None:
    known = _Installed.sockets.get(self)
    if known is None:
        _original["setsockopt"](self, *option)
    elif known.given is None:
        known.options.append(option)
    elif not known.given.relayed or option[0] == socket.SOL_SOCKET:
        _original["setsockopt"](self, *option)
    # What a relay's Unix socket has no use for (no delay, keep-alive of TCP) is left out.


def _getpeername(self: socket.socket) -> Any:
    known = _Installed.sockets.get(self)
    if known is None or known.given is None or not known.given.relayed:
        return _original["getpeername"](self)
    _original["getpeername"](self)  # raises where it is not connected any more
    return _with_family(self, known.given.peer)


def _getsockname(self: socket.socket) -> Any:
    known = _Installed.sockets.get(self)
    if known is None or (known.given is not None and not known.given.relayed):
        return _original["getsockname"](self)
    return _with_family(self, ("0.0.0.0" if self.family == socket.AF_INET else "::", 0))  # noqa: S104 - "unknown"


def _with_family(self: socket.socket, where: tuple[str, int]) -> tuple[Any, ...]:
    return where if self.family == socket.AF_INET else (*where, 0, 0)


# ---------------------------------------------------------------- asyncio


def _replace_loop_methods() -> None:
    selector: Any = selector_events.BaseSelectorEventLoop
    base: Any = base_events.BaseEventLoop
    selector.sock_connect = _sock_connect
    base.getaddrinfo = _loop_getaddrinfo
    base.getnameinfo = _loop_getnameinfo


_original_sock_connect: Final = selector_events.BaseSelectorEventLoop.sock_connect


async def _sock_connect(self: Any, sock: socket.socket, address: Any) -> None:
    known = _Installed.sockets.get(sock)
    if known is None:
        await _original_sock_connect(self, sock, address)
        return
    _attach(sock, known, await asyncio.wrap_future(_ask(known, address), loop=self))


async def _loop_getaddrinfo(
    self: Any,  # noqa: ARG001 - a method
    host: Any,
    port: Any,
    *,
    family: int = 0,
    type: int = 0,  # noqa: A002 - the replaced function's name
    proto: int = 0,
    flags: int = 0,
) -> Any:
    # No thread is needed: nothing is looked up here.
    return socket.getaddrinfo(host, port, family, type, proto, flags)


async def _loop_getnameinfo(self: Any, sockaddr: Any, flags: int = 0) -> Any:  # noqa: ARG001 - the replaced method's
    return socket.getnameinfo(sockaddr, flags)
