"""The supervisor's side of the zygote: starts it, asks it for processes, hears of their ends."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import os
import socket
import struct
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ...errors import PluginError
from ._codec import decode, encode

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ._identity import Identity

__all__ = ["Forked", "Zygote"]

_LOG: Final = logging.getLogger("dotmac.hosting")
_HEADER: Final = struct.Struct(">I")
_AT_ONCE: Final = 16
_PATIENCE: Final = 60.0
_LEAVE: Final = 5.0
#: What a process needs of the environment. Nothing else of it reaches a plugin: the host's secrets may be in there.
_KEPT: Final = ("LANG", "LC_ALL", "LC_CTYPE", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
_BEGIN: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]); "
    "from dotmac_isp.plugins.core.hosting.remote._zygote import main; main(int(sys.argv[1]), sys.argv[3])"
)


class Forked:
    """One process. `ended` gives its wait status, or `None` when the zygote went with it."""

    __slots__ = ("_zygote", "ended", "pid")

    def __init__(self, zygote: Zygote, pid: int, ended: asyncio.Future[int | None]) -> None:
        self._zygote: Final = zygote
        self.pid: Final = pid
        self.ended: Final = ended

    def kill(self) -> None:
        """End it at once."""
        if not self.ended.done():
            self._zygote.kill(self.pid)


class Zygote:
    """One for each host. It is started with the first process, and again should it have died."""

    def __init__(self, home: Path) -> None:
        self._home: Final = home
        self._lock: Final = asyncio.Lock()
        # So that what was asked always fits into the socket, and nobody here waits for the zygote with the loop in hand.
        self._turns: Final = asyncio.Semaphore(_AT_ONCE)
        self._loop: Final = asyncio.get_running_loop()
        self._numbers: Final = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._alive: dict[int, asyncio.Future[int | None]] = {}
        self._early: dict[int, int] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._received = bytearray()
        self._ready: asyncio.Future[Any] | None = None
        self._warm: set[str] = set()
        self._unfit: dict[str, str] = {}
        #: What the zygote could prepare for all its processes.
        self.readiness: Any = None

    @property
    def idle(self) -> bool:
        """Whether nothing that it forked is left."""
        return not self._alive and not self._asked

    @property
    def unfit(self) -> dict[str, str]:
        """Modules that were to be loaded ahead and cannot be, with the reasons."""
        return self._unfit

    async def fork(
        self, identity: Identity, sockets: tuple[socket.socket, ...], *, preload: Iterable[str] = ()
    ) -> Forked:
        """A new process that waits for its "go". The sockets are closed here: they are the process's ends.

        Raises `PluginError` when there can be none.
        """
        try:
            await self._started()
            await self._warmed(preload)
            order = {"do": "fork", "identity": msgspec.to_builtins(identity), "path": _path()}
            async with self._turns:
                pid: int = await self._ask(order, [one.fileno() for one in sockets])
        finally:
            for one in sockets:
                one.close()
        ended = self._alive[pid] = self._loop.create_future()
        if pid in self._early:
            self._ended(pid, self._early.pop(pid))
        return Forked(self, pid, ended)

    def kill(self, pid: int) -> None:
        """End one of its processes at once."""
        self._tell({"do": "kill", "pid": pid}, [])

    async def close(self) -> None:
        """End the zygote; what it forked ends with it."""
        process, self._process = self._process, None
        self._let_go("the host ends")
        if process is not None:
            try:
                await asyncio.to_thread(process.wait, _LEAVE)
            except subprocess.TimeoutExpired:
                process.kill()
                await asyncio.to_thread(process.wait)

    # its life

    async def _started(self) -> None:
        async with self._lock:
            if self._control is not None:
                return
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            ours.setblocking(False)
            arguments = [sys.executable, "-I", "-c", _BEGIN, str(theirs.fileno()), json.dumps(_path()), str(self._home)]
            environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
            try:
                self._process = await asyncio.to_thread(_start, arguments, environment, theirs.fileno())
            except OSError as error:
                ours.close()
                raise PluginError(f"no process can be started for jailed instances: {error}") from error
            finally:
                theirs.close()
            self._control = ours
            self._warm, self._received = set(), bytearray()
            self._ready = self._loop.create_future()
            self._loop.add_reader(ours, self._hear)
            try:
                async with asyncio.timeout(_PATIENCE):
                    self.readiness = await self._ready
            except TimeoutError:
                self._let_go("it does not get ready")
                raise PluginError(
                    f"the process that forks jailed instances was not ready after {_PATIENCE:g} s"
                ) from None

    async def _warmed(self, modules: Iterable[str]) -> None:
        """Let the zygote load modules. One that starts threads is unfit: the zygote begins anew without it."""
        for name in modules:
            if name in self._warm or name in self._unfit:
                continue
            answer = await self._ask({"do": "warm", "modules": [name], "path": _path()}, [])
            self._warm.add(name)
            if answer["failed"]:
                self._unfit.update(answer["failed"])
            if answer["threads"] > 1:
                self._unfit[name] = f"it starts {answer['threads'] - 1} threads when it is imported"
                _LOG.warning("%s is not loaded ahead for jailed instances: %s", name, self._unfit[name])
                again = self._warm - {name}
                process, self._process = self._process, None
                self._let_go("it has threads")
                if process is not None:
                    await asyncio.to_thread(process.wait)
                await self._started()
                await self._warmed(sorted(again))

    # messages

    async def _ask(self, order: dict[str, Any], descriptors: list[int]) -> Any:
        number = next(self._numbers)
        future = self._asked[number] = self._loop.create_future()
        self._tell({**order, "number": number}, descriptors)
        try:
            return await future
        finally:
            self._asked.pop(number, None)

    def _tell(self, order: dict[str, Any], descriptors: list[int]) -> None:
        if self._control is None:
            return
        data = encode(order)
        data = _HEADER.pack(len(data)) + data
        self._control.setblocking(True)
        try:
            sent = socket.send_fds(self._control, [data], descriptors) if descriptors else self._control.send(data)
            self._control.sendall(data[sent:])
        except OSError as error:
            self._loop.call_soon(self._let_go, f"it cannot be spoken to: {error}")
        finally:
            self._control.setblocking(False)

    def _hear(self) -> None:
        assert self._control is not None  # noqa: S101 - the reader is removed with it
        try:
            data = self._control.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._let_go("it has ended")
            return
        self._received += data
        while len(self._received) >= _HEADER.size:
            (length,) = _HEADER.unpack_from(self._received)
            end = _HEADER.size + length
            if len(self._received) < end:
                return
            message = decode(bytes(self._received[_HEADER.size : end]))
            del self._received[:end]
            self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        if "ended" in message:
            self._ended(message["ended"], message["status"])
        elif "ready" in message:
            if self._ready is not None and not self._ready.done():
                self._ready.set_result(message["readiness"])
        elif "forked" in message:
            self._answered(message["forked"], message["pid"])
        elif "warmed" in message:
            self._answered(message["warmed"], message)
        else:
            future = self._asked.get(message["refused"])
            if future is not None and not future.done():
                future.set_exception(PluginError(f"no process can be forked: {message['why']}"))

    def _answered(self, number: int, answer: Any) -> None:
        future = self._asked.get(number)
        if future is not None and not future.done():
            future.set_result(answer)
        elif type(answer) is int:
            self.kill(answer)  # nobody waits for the process any more

    def _ended(self, pid: int, status: int) -> None:
        future = self._alive.pop(pid, None)
        if future is None:
            self._early[pid] = status
        elif not future.done():
            future.set_result(status)

    def _let_go(self, why: str) -> None:
        control, self._control = self._control, None
        if control is None:
            return
        self._loop.remove_reader(control)
        control.close()
        process = self._process
        if process is not None:
            process.kill()
            self._process = None
            self._loop.run_in_executor(None, process.wait)
            _LOG.warning("the process that forks jailed instances is gone (%s); the next instance starts another", why)
        error = PluginError(f"the process that forks jailed instances is gone: {why}")
        for future in [*self._asked.values(), *([self._ready] if self._ready is not None else [])]:
            if not future.done():
                future.set_exception(error)
                future.exception()
        alive, self._alive = self._alive, {}
        for ended in alive.values():
            if not ended.done():
                ended.set_result(None)


def _start(arguments: list[str], environment: dict[str, str], descriptor: int) -> subprocess.Popen[bytes]:
    with contextlib.ExitStack() as stack:
        nothing = stack.enter_context(open(os.devnull, "r+b"))  # noqa: PTH123 - both ways
        output: Any = sys.stderr.fileno() if os.environ.get("DOTMAC_JAIL_OUTPUT") else nothing
        return subprocess.Popen(  # noqa: S603 - the interpreter that runs us
            arguments, env=environment, pass_fds=[descriptor], stdin=nothing, stdout=output, stderr=output, cwd="/"
        )


def _path() -> list[str]:
    """Where this process finds modules, in words that hold in another folder."""
    return [os.path.abspath(one) for one in sys.path]  # noqa: PTH100 - '' is the present folder
