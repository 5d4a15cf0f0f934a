"""The supervisor's side of egress: decides about every connection, makes it, and hands it over."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ._allow import AllowList, as_address, normal_host, refused_address
from ._relay import Bucket, Pipe
from ._wire import LARGEST, Answer, Ask

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ._allow import Address
    from ._plan import ChildReport, Endpoint, JailPlan

__all__ = ["Broker", "Decision"]

#: Requests that may wait for an answer at the same time; more are refused.
MOST_PENDING: Final = 64
#: Characters of the longest name of a host (RFC 1035), or of an address with a zone.
LONGEST_NAME: Final = 253
#: Requests that are read per second, whatever is in them: who sends more waits, and does not keep the host busy.
ASKS: Final = 200.0
BACKLOG: Final = 16
#: Connections that may be relayed at the same time.
MOST_RELAYED: Final = 256
#: Seconds for which the addresses of a name are kept as they were first answered.
PINNED: Final = 300.0
#: Seconds to wait for a name, and for a connection to one address.
RESOLVING: Final = 10.0
CONNECTING: Final = 15.0


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided about one connection, for the audit trail and the counters."""

    label: str
    host: str
    port: int
    allowed: bool
    #: Why not; empty where it was allowed.
    reason: str = ""
    #: The address that was connected to.
    address: str = ""
    #: The connection was allowed, but could not be made.
    failure: str = ""

    def __str__(self) -> str:
        where = f"{self.host}:{self.port}"
        if not self.allowed:
            return f"{self.label}: egress to {where} denied: {self.reason}"
        return f"{self.label}: egress to {where} allowed" + (f", but: {self.failure}" if self.failure else "")


class _DeniedError(Exception):
    """The connection is not allowed."""


class Broker:
    """Makes the connections of one instance.

    :param plan: the endpoints and limits of the instance.
    :param sock: the first of `egress_pair()`.
    :param decided: told every decision; must not raise.
    :param resolve: gives the addresses of a name; for tests.
    """

    def __init__(
        self,
        plan: JailPlan,
        sock: socket.socket,
        *,
        decided: Callable[[Decision], None] = lambda _: None,
        resolve: Callable[[str, int], Awaitable[Sequence[str]]] | None = None,
    ) -> None:
        self._plan = plan
        self._sock = sock
        self._decided = decided
        self._resolve = resolve if resolve is not None else _system_addresses
        self._allowed = AllowList(plan.endpoints)
        self._pinned: dict[str, tuple[float, tuple[Address, ...]]] = {}
        self._connects = Bucket(plan.limits.connects) if plan.limits.connects else None
        self._rate = Bucket(plan.limits.egress_rate) if plan.limits.egress_rate else None
        self._asks = Bucket(ASKS)
        self._speaking = asyncio.Lock()
        self._relaying = True
        self._tasks: set[asyncio.Task[None]] = set()
        self._pipes: set[Pipe] = set()
        #: Who called a relay socket and is not connected to the endpoint yet.
        self._callers: set[_Caller] = set()
        self._listening: list[socket.socket] = []
        #: How many connections were allowed and denied, and how many bytes went through relays.
        self.allowed = 0
        self.denied = 0
        self._relayed_bytes = 0

    @property
    def relayed_bytes(self) -> int:
        """Bytes that went through relays, both ways. A handed-over socket is not counted."""
        return self._relayed_bytes + sum(pipe.passed for pipe in self._pipes)

    def allow_advertised(self, *patterns: str) -> None:
        """Let hosts that a Kafka cluster advertises be connected to, within the operator's patterns.

        A pattern is a host with `*` and `?`, and a port if it should be that one only: `kafka-*.example.net:9092`.
        """
        if not any(endpoint.kind == "kafka" for endpoint in self._plan.endpoints):
            raise ValueError(f"{self._plan.label} has no endpoint of kind kafka; nobody could advertise {patterns[0]}")
        for pattern in patterns:
            self._allowed.allow_advertised(pattern)

    async def start(self, report: ChildReport) -> None:
        """Begin to answer. *report* is what the child's `lock_down` achieved: a socket is handed over only where the kernel
        keeps it from being connected anew, else everything passes through here."""
        self._relaying = not report.sockets_pinned or self._rate is not None
        self._sock.setblocking(False)
        self._start(self._serve(), "egress broker")
        if self._plan.network and report.relay_dir:
            for number, endpoint in enumerate(self._plan.endpoints):
                if endpoint.kind == "grpc":
                    self._listen(number, endpoint)

    def _start(self, work: Any, name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=f"{self._plan.label}: {name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End all relays and give no answers any more. Handed-over sockets belong to the child and end with it."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # Only now: a task that was cancelled may have made a connection in its last moment.
        for caller in list(self._callers):
            caller.abort()
        for pipe in list(self._pipes):
            if pipe.transport is not None:
                pipe.transport.abort()
        await asyncio.sleep(0)  # asyncio closes the sockets of aborted transports in its next round
        for listening in (*self._listening, self._sock):
            listening.close()

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                # Sockets that a child sends along are not taken: only its words are read.
                data = await loop.sock_recv(self._sock, LARGEST)
            except ConnectionError:
                return
            if not data:
                return
            if wait := self._asks.take(1):
                await asyncio.sleep(wait)
            try:
                ask = msgspec.msgpack.decode(data, type=Ask)
            except msgspec.MsgspecError:
                self._tell(Decision(label=self._plan.label, host="", port=0, allowed=False, reason="not a request"))
                continue
            if len(ask.host) > LONGEST_NAME or not ask.host.isprintable():
                # It goes into logs and the audit trail as it is.
                await self._deny(msgspec.structs.replace(ask, host=ascii(ask.host[:LONGEST_NAME])), "not a host name")
                continue
            if len(self._tasks) > MOST_PENDING:
                await self._deny(ask, f"more than {MOST_PENDING} connections are waited for")
                continue
            self._start(self._handle(ask), "egress")

    async def _deny(self, ask: Ask, why: str, error: int = errno.EACCES) -> None:
        self._tell(Decision(label=self._plan.label, host=ask.host, port=ask.port, allowed=False, reason=why))
        await self._answer(Answer(ask.number, error, f"egress to {ask.host}:{ask.port} denied: {why}"))

    async def _handle(self, ask: Ask) -> None:
        try:
            addresses = await self._decide(ask.host, ask.port)
        except _DeniedError as denied:
            await self._deny(ask, str(denied))
            return
        except (UnicodeError, ValueError) as error:
            await self._deny(ask, f"not a host name: {error}")
            return
        except socket.gaierror as error:
            self._failed(ask.host, ask.port, str(error))
            await self._answer(Answer(ask.number, error.errno or socket.EAI_FAIL, str(error.strerror), resolving=True))
            return
        try:
            made = await self._connect(ask.host, ask.port, addresses)
        except OSError as error:
            self._failed(ask.host, ask.port, str(error))
            await self._answer(Answer(ask.number, error.errno or errno.EIO, error.strerror or str(error)))
            return
        with made:
            await self._hand_over(ask, made)

    async def _hand_over(self, ask: Ask, made: socket.socket) -> None:
        peer = made.getpeername()[:2]
        if not self._relaying:
            await self._answer(Answer(ask.number, peer=peer), made)
            return
        if len(self._pipes) >= 2 * MOST_RELAYED:
            await self._answer(Answer(ask.number, errno.EMFILE, f"more than {MOST_RELAYED} connections are relayed"))
            return
        ours, theirs = socket.socketpair()
        with theirs:
            await self._join(ours, made.dup())
            await self._answer(Answer(ask.number, relayed=True, peer=peer), theirs)

    async def _answer(self, answer: Answer, given: socket.socket | None = None) -> None:
        data = msgspec.msgpack.encode(answer)
        loop = asyncio.get_running_loop()
        async with self._speaking:
            while True:
                try:
                    if given is None:
                        self._sock.send(data)
                    else:
                        socket.send_fds(self._sock, [data], [given.fileno()])
                    return
                except BlockingIOError:
                    # The child does not read its answers. It waits for itself alone.
                    await _writable(loop, self._sock)
                except ConnectionError:
                    return

    async def _decide(self, host: str, port: int) -> tuple[Address, ...]:
        """The addresses to connect to, in order. Raises `_DeniedError`, or `socket.gaierror` where there is no such name."""
        if not self._plan.network:
            raise _DeniedError(f"the security level {self._plan.level} has no network")
        endpoint = self._allowed.find(host, port)
        if endpoint is None:
            raise _DeniedError("not among the endpoints of its settings and manifest")
        if self._connects is not None and not self._connects.try_take(1):
            raise _DeniedError(f"more than {self._connects.rate:g} connections per second")
        addresses = await self._addresses(normal_host(host), port)
        refusals = {address: refused_address(address, endpoint) for address in addresses}
        usable = tuple(address for address, why in refusals.items() if not why)
        if not usable:
            address, why = next(iter(refusals.items()))
            raise _DeniedError(f"{host} is {address}, {why}" if str(address) != host else why)
        return usable

    async def _addresses(self, host: str, port: int) -> tuple[Address, ...]:
        """The addresses of a name, the same ones for a while: a name whose answer changes leads nowhere else."""
        if (literal := as_address(host)) is not None:
            return (literal,)
        until, pinned = self._pinned.get(host, (0.0, ()))
        if time.monotonic() < until:
            return pinned
        try:
            async with asyncio.timeout(RESOLVING):
                found = await self._resolve(host, port)
        except TimeoutError:
            raise socket.gaierror(socket.EAI_AGAIN, f"no answer for {host} within {RESOLVING:g} s") from None
        addresses = tuple(dict.fromkeys(address for text in found if (address := as_address(text)) is not None))
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, f"{host} has no address")
        self._pinned[host] = (time.monotonic() + PINNED, addresses)
        return addresses

    async def _connect(self, host: str, port: int, addresses: tuple[Address, ...]) -> socket.socket:
        loop = asyncio.get_running_loop()
        problem: OSError = OSError(errno.EHOSTUNREACH, "no address")
        for address in addresses:
            made = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_STREAM)  # noqa: PLR2004 - IPv4
            made.setblocking(False)
            try:
                async with asyncio.timeout(CONNECTING):
                    await loop.sock_connect(made, (str(address), port))
            except TimeoutError:
                made.close()
                problem = OSError(errno.ETIMEDOUT, f"no answer from {address} within {CONNECTING:g} s")
            except OSError as error:
                made.close()
                problem = OSError(error.errno, os.strerror(error.errno or 0))
            except BaseException:
                made.close()
                raise
            else:
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._tell(Decision(label=self._plan.label, host=host, port=port, allowed=True, address=str(address)))
                return made
        raise problem

    def _failed(self, host: str, port: int, why: str) -> None:
        self._tell(Decision(label=self._plan.label, host=host, port=port, allowed=True, failure=why))

    def _tell(self, decision: Decision) -> None:
        if decision.allowed:
            self.allowed += 1
        else:
            self.denied += 1
        self._decided(decision)

    async def _join(self, ours: socket.socket, remote: socket.socket) -> None:
        """Relay between the child's socket and the connection; both belong to the relay from here on."""
        loop = asyncio.get_running_loop()
        inner, outer = self._pipe(self._rate), self._pipe(None)
        # `connect_accepted_socket` is the one way to give asyncio a connected Unix or TCP socket with a protocol.
        await loop.connect_accepted_socket(lambda: outer, remote)
        outer_transport = outer.transport
        if outer_transport is not None:
            outer_transport.pause_reading()
        await loop.connect_accepted_socket(lambda: inner, ours)
        inner.join(outer)
        if outer_transport is not None and not outer_transport.is_closing():
            outer_transport.resume_reading()

    def _pipe(self, bucket: Bucket | None) -> Pipe:
        pipe = Pipe(lambda: self._unpipe(pipe), bucket)
        self._pipes.add(pipe)
        return pipe

    def _unpipe(self, pipe: Pipe) -> None:
        if pipe in self._pipes:
            self._pipes.discard(pipe)
            self._relayed_bytes += pipe.passed

    def _listen(self, number: int, endpoint: Endpoint) -> None:
        """A Unix socket in the cell's folder that leads to one endpoint: gRPC takes a path, but no connected socket."""
        folder = Path(self._plan.cell_dir, "relay")
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        fd = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        try:
            # Through the folder's descriptor: a path may be longer than the 107 bytes of a Unix socket's name.
            listening.bind(f"/proc/self/fd/{fd}/{number}")
            os.chmod(str(number), 0o666, dir_fd=fd)  # noqa: S103 - the folder is the instance's own; who can see it may connect
        finally:
            os.close(fd)
        listening.listen(BACKLOG)
        listening.setblocking(False)
        self._listening.append(listening)
        self._start(self._accept(listening, endpoint), f"relay to {endpoint}")

    async def _accept(self, listening: socket.socket, endpoint: Endpoint) -> None:
        """One after another, and not more per second than questions: who calls more often waits."""
        loop = asyncio.get_running_loop()
        while True:
            accepted, _ = await loop.sock_accept(listening)
            try:
                if wait := self._asks.take(1):
                    await asyncio.sleep(wait)
            except asyncio.CancelledError:
                accepted.close()
                raise
            if len(self._tasks) > MOST_PENDING:
                accepted.close()
                continue
            await loop.connect_accepted_socket(lambda: _Caller(self, endpoint), accepted)

    async def relay(self, caller: _Caller, endpoint: Endpoint) -> None:
        """Connect one caller of a relay socket to its endpoint; it sees a closed connection where that fails."""
        try:
            if len(self._pipes) >= 2 * MOST_RELAYED:
                raise _DeniedError(f"more than {MOST_RELAYED} connections are relayed")
            addresses = await self._decide(endpoint.host, endpoint.port)
            remote = await self._connect(endpoint.host, endpoint.port, addresses)
        except _DeniedError as denied:
            self._tell(
                Decision(
                    label=self._plan.label, host=endpoint.host, port=endpoint.port, allowed=False, reason=str(denied)
                )
            )
            caller.abort()
        except OSError as error:
            self._failed(endpoint.host, endpoint.port, str(error))
            caller.abort()
        else:
            await self._tie(caller, remote)

    async def _tie(self, caller: _Caller, remote: socket.socket) -> None:
        outer = self._pipe(None)
        await asyncio.get_running_loop().connect_accepted_socket(lambda: outer, remote)
        caller.hand_to(self._pipe(self._rate), outer)

    def call(self, caller: _Caller, endpoint: Endpoint) -> None:
        self._callers.add(caller)
        self._start(self.relay(caller, endpoint), "relay")

    def forget(self, caller: _Caller) -> None:
        """It is connected to its endpoint, or gone."""
        self._callers.discard(caller)


class _Caller(asyncio.Protocol):
    """A connection to a relay socket, until the other side of it is there."""

    def __init__(self, broker: Broker, endpoint: Endpoint) -> None:
        self._broker, self._endpoint = broker, endpoint
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what asyncio promises for a stream
        self._transport = transport
        transport.pause_reading()
        self._broker.call(self, self._endpoint)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's interface
        self._broker.forget(self)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def hand_to(self, inner: Pipe, outer: Pipe) -> None:
        self._broker.forget(self)
        transport = self._transport
        if transport is None or transport.is_closing() or outer.transport is None:
            if outer.transport is not None:
                outer.transport.abort()
            inner.connection_lost(None)
            return
        transport.set_protocol(inner)
        inner.connection_made(transport)
        inner.join(outer)
        transport.resume_reading()


async def _system_addresses(host: str, port: int) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


async def _writable(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
    ready = asyncio.Event()
    loop.add_writer(sock, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(sock)
