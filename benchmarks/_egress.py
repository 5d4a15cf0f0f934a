"""What the jail costs on the way out, and how well it deals out a processor.

Throughput: a jailed process sends to a server of another process through a socket that the broker connected and handed over, against
an ordinary process that connected itself. gRPC: the same through the relay, with calls that carry 1 MiB each, against a channel
over TCP. Both sides run the same code, on the same server, in turn; connecting is included. What is shown is time for the same
bytes, so that 1/0.95 is the goal of "at least 0.95 times the throughput".

Share: a busy loop in a jail that is limited to 20 % of a processor, against 20 %. The note says what held it.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from dotmac_isp.plugins.core.hosting import jail

from ._measure import Figure, Sides

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["figures"]

GOAL_HANDED_OVER = 1 / 0.95
GOAL_RELAY = 1 / 0.4
GOAL_SHARE = 1.1
ROUNDS = 15
_SHARE = 0.2
_BUSY_SECONDS = 3.0
_BUSY_ROUNDS = 5
_MEGABYTES = 512
_CALLS = 96

# The process that is measured: locks itself down if it is given a plan, then does what each line says.
_CLIENT = """
import json, os, socket, sys, time
import msgspec
from dotmac_isp.plugins.core.hosting import jail

plan_text, _, fd = sys.stdin.readline().partition(" ")
target = lambda host, port: (f"{host}:{port}", [])
if fd.strip() != "-":
    plan = msgspec.json.decode(bytes.fromhex(plan_text), type=jail.JailPlan)
    report = jail.lock_down(plan)
    jail.install_egress(socket.socket(fileno=int(fd)), plan, report)
    target = jail.grpc_target
    print(msgspec.json.encode(report).hex(), flush=True)

def send(host, port, megabytes):
    block = b"x" * (1 << 20)
    with socket.create_connection((host, port)) as connection:
        for _ in range(megabytes):
            connection.sendall(block)
        connection.shutdown(socket.SHUT_WR)
        assert int(connection.recv(64)) == megabytes << 20

def call(host, port, calls):
    import grpc
    block = b"x" * (1 << 20)
    where, options = target(host, port)
    with grpc.insecure_channel(where, options=options) as channel:
        method = channel.unary_unary("/b.Sink/Take")
        for _ in range(calls):
            method(block)

def busy(seconds):
    began, used = time.monotonic(), time.process_time()
    while time.monotonic() - began < seconds:
        pass
    return (time.process_time() - used) / (time.monotonic() - began)

for line in sys.stdin:
    name, *arguments = json.loads(line)
    began = time.perf_counter()
    result = globals()[name](*arguments)
    print(json.dumps(time.perf_counter() - began if result is None else result), flush=True)
"""

_SINK = """
import socket

listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
buffer = bytearray(1 << 20)
while True:
    connection, _ = listening.accept()
    with connection:
        count = 0
        while read := connection.recv_into(buffer):
            count += read
        connection.sendall(str(count).encode())
"""

_GRPC_SINK = """
import grpc
from concurrent import futures
server = grpc.server(futures.ThreadPoolExecutor(1))
handler = grpc.unary_unary_rpc_method_handler(lambda request, context: b"")
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("b.Sink", {"Take": handler}),))
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
server.wait_for_termination()
"""


def figures() -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="jail") as home:
        return asyncio.run(_all(Path(home)))


async def _all(home: Path) -> list[Figure]:
    found = [await _throughput(home, kind) for kind in ("tcp", "grpc")]
    return [*found, await _share(home)]


async def _throughput(home: Path, kind: Any) -> Figure:
    script, work = (_SINK, ("send", _MEGABYTES)) if kind == "tcp" else (_GRPC_SINK, ("call", _CALLS))
    with ExitStack() as stack:
        server = stack.enter_context(_process(script))
        port = int(server.readline())
        name, amount = work
        async with _jailed(home, jail.Endpoint("127.0.0.1", port, kind)) as (ours, report):
            theirs = stack.enter_context(_Client.plain())
            order = (name, "127.0.0.1", port, amount)
            sides = await _in_turn(lambda: ours.do(*order), lambda: theirs.do(*order), ROUNDS)
    what = "handed-over socket" if kind == "tcp" else "relay for gRPC, calls of 1 MiB"
    return Figure(
        name=f"egress, {'direct socket' if kind == 'tcp' else 'gRPC'}",
        what=f"{amount} MiB through the {what}",
        against="a connection of its own, without a jail",
        unit="s",
        sides=sides,
        goal=GOAL_HANDED_OVER if kind == "tcp" else GOAL_RELAY,
        notes={"throughput": f"{1 / sides.ratio:.2f} of direct", "the jail": str(report)},
    )


async def _share(home: Path) -> Figure:
    async with _jailed(home, None) as (client, report):
        taken = [await asyncio.to_thread(client.do, "busy", _BUSY_SECONDS) for _ in range(_BUSY_ROUNDS)]
    return Figure(
        name="share of a processor",
        what=f"busy loop of {_BUSY_SECONDS:g} s in a jail with {_SHARE:.0%}",
        against=f"{_SHARE:.0%}",
        unit="",
        sides=Sides(tuple(taken), (_SHARE,) * len(taken)),
        goal=GOAL_SHARE,
        notes={
            "goal": "18 to 22 %",
            "least and most": f"{min(taken):.1%}, {max(taken):.1%}",
            "held by": report.guarantees["cpu"].how,
        },
    )


async def _in_turn(ours: Callable[[], float], theirs: Callable[[], float], rounds: int) -> Sides:
    """As `in_turn`, beside an event loop that has to go on: the broker is in it. The first round warms up."""
    taken: dict[int, list[float]] = {0: [], 1: []}
    for number in range(rounds + 1):
        for side in (0, 1) if number % 2 else (1, 0):
            taken[side].append(await asyncio.to_thread((ours, theirs)[side]))
    return Sides(tuple(taken[0][1:]), tuple(taken[1][1:]))


class _Client:
    """A process of `_CLIENT`."""

    def __init__(self, first: str, *fds: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _CLIENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=fds
        )
        self._first = first

    @classmethod
    def plain(cls) -> _Client:
        client = cls("- -\n")
        client.begin()
        return client

    def begin(self) -> None:
        self._say(self._first)

    def _say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line)
        self.process.stdin.flush()

    def hear(self) -> str:
        assert self.process.stdout is not None
        if not (line := self.process.stdout.readline()):
            raise RuntimeError("the measured process ended")
        return line

    def do(self, *order: Any) -> float:
        self._say(json.dumps(order) + "\n")
        return float(json.loads(self.hear()))

    def __enter__(self) -> _Client:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()


class _jailed:  # noqa: N801 - used as a function
    """A jailed client with its broker, in this event loop."""

    def __init__(self, home: Path, endpoint: jail.Endpoint | None) -> None:
        limits = jail.JailLimits(cpu=0 if endpoint else _SHARE, memory=0)
        endpoints = (endpoint,) if endpoint else ()
        self._plan = jail.JailPlan(label="benchmark@-", limits=limits, endpoints=endpoints)
        self._home = home
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> tuple[_Client, jail.IsolationReport]:
        cell = jail.Cell(self._plan, self._home)
        self._stack.callback(cell.close)
        ours, theirs = jail.egress_pair()
        broker = jail.Broker(cell.plan, ours)
        self._stack.push_async_callback(broker.close)
        with theirs:
            client = self._stack.enter_context(
                _Client(f"{msgspec.json.encode(cell.plan).hex()} {theirs.fileno()}\n", theirs.fileno())
            )
            cell.adopt(client.process.pid)
            client.begin()
            said = await asyncio.to_thread(client.hear)
        child = msgspec.json.decode(bytes.fromhex(said), type=jail.ChildReport)
        await broker.start(child)
        return client, cell.report(child)

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()


class _process:  # noqa: N801 - used as a function
    """A process of this interpreter, and what it prints."""

    def __init__(self, script: str) -> None:
        self._process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Any:
        return self._process.stdout

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
