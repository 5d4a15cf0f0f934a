"""One jailed process, as its supervisor sees it: started, recognised, listened to, and gone for a reason."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from typing import TYPE_CHECKING, Any, Final

from ...errors import LifecycleError, ProcessEndedError
from ._codec import encode, to_plain
from ._identity import check_same
from ._link import FrameError, framed
from ._peer import Peer
from ._sync import answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._fence import Fence
    from ._child import Bundle
    from ._service import ApiService
    from ._spawner import Forked, Zygote
    from ._sync import Answering

__all__ = ["JailedProcess"]

_LOG: Final = logging.getLogger("dotmac.hosting")
#: How long a process that closed its connection may take to end.
_ENDING: Final = 2.0
#: From this share of a processor on, a process that hangs is in a loop and does not wait for something.
_BUSY: Final = 0.05
#: How many calls to its host an instance may have under way; further ones wait in its socket.
_MOST_CALLS: Final = 256


class _Doors:
    """What a process may ask before and after it said who it is."""

    def __init__(self, service: ApiService, hello: Callable[[Any, Any], Any], beat: Callable[[int], None]) -> None:
        self._service: Final = service
        self._hello: Final = hello
        self._beat: Final = beat
        self.known = False

    def find(self, name: str) -> Any:
        if self.known:
            return self._service.find(name)
        return self._hello if name == "hello" else None

    def event(self, name: str, arguments: list[Any]) -> None:
        if name == "beat" and len(arguments) == 1 and type(arguments[0]) is int:
            self._beat(arguments[0])
        elif self.known or name == "log":
            self._service.event(name, arguments)

    def scope(self, name: str, request_id: str) -> Any:
        return self._service.scope(name, request_id)

    def began(self, running: Any, scope: Any) -> None:
        self._service.began(running, scope)


class JailedProcess:
    """A process, from the fork to its end. `ended` is called once, with the reason, when it ends without being closed."""

    def __init__(
        self,
        bundle: Bundle,
        service: ApiService,
        fence: Fence,
        *,
        known: Callable[[str, str], type[BaseException] | None],
        silence: float,
        cell: Any,
        ended: Callable[[str], None],
    ) -> None:
        self._bundle: Final = bundle
        self._service: Final = service
        self._silence: Final = silence
        self._cell: Final = cell
        self._told_ended: Final = ended
        self._loop: Final = asyncio.get_running_loop()
        self._doors: Final = _Doors(service, self._said_hello, self._said_beat)
        self.peer: Final = Peer(self._doors, fence, self._lost, most=_MOST_CALLS, known=known)
        self._hello: Final[asyncio.Future[Any]] = self._loop.create_future()
        self._line: Answering | None = None
        self._forked: Forked | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._looked = 0
        self._busy = 0.0
        self._why = ""
        self._closed = False
        self._end: asyncio.Task[None] | None = None
        #: How many tasks its plugin has running.
        self.tasks = 0
        #: Why it ended; empty while it lives.
        self.reason = ""

    @property
    def pid(self) -> int | None:
        """Its number, as its supervisor sees it."""
        return None if self._forked is None else self._forked.pid

    async def start(self, zygote: Zygote, *, preload: tuple[str, ...] = ()) -> Any:
        """Fork it, and let it go once it is confined from outside. Gives what it says it achieved inside."""
        calls, its_calls = socket.socketpair()
        questions, its_questions = socket.socketpair()
        egress, its_egress = self._cell.line()
        try:
            await self._fork(zygote, (its_calls, its_questions, its_egress), egress, calls, preload)
            await self.peer.connect(calls)
            self._line = await answer(questions, {"count_licensed": self._service.count_licensed})
            report = await self._hello
        except BaseException:
            calls.close()
            questions.close()
            raise
        self._watch = self._loop.call_later(self._bundle.beat, self._look)
        return report

    async def _fork(
        self,
        zygote: Zygote,
        theirs: tuple[socket.socket, ...],
        egress: socket.socket,
        calls: socket.socket,
        preload: tuple[str, ...],
    ) -> None:
        """Fork it and make its cell at the same time; it is told its plan, and begins, when it is in the cell."""
        forking = asyncio.ensure_future(zygote.fork(self._bundle.identity, theirs, preload=preload))
        try:
            plan = await self._cell.open(egress)
            forked = self._forked = await forking
        except BaseException:
            forking.cancel()
            raise
        forked.ended.add_done_callback(self._process_ended)
        await self._cell.adopt(forked.pid)
        calls.send(framed(encode(plan)))

    async def close(self) -> None:
        """Let it go, and see to it that it is gone. Always ends."""
        self._closed = True
        self._stop_watching()
        self.peer.fail_all(ProcessEndedError(f"{self._bundle.identity} was ended by its host"))
        if self.peer.link is not None:
            self.peer.link.abort()
        if self._line is not None:
            self._line.close()
        forked = self._forked
        if forked is not None and not forked.ended.done():
            await asyncio.wait([forked.ended], timeout=_ENDING)
            if not forked.ended.done():
                forked.kill()
                await asyncio.wait([forked.ended], timeout=_ENDING)
        if self._end is not None:
            await asyncio.wait([self._end])
        if not self._hello.done():
            self._hello.cancel()
        await self._cell.close()

    def kill(self, why: str) -> None:
        """End it at once, for this reason."""
        self._why = self._why or why
        self._cell.kill(why)
        if self._forked is not None:
            self._forked.kill()

    # what it says

    def _said_hello(self, identity: Any, report: Any) -> Any:
        """It says who it is; it is told what it is to do. A mix-up ends it."""
        try:
            check_same(self._bundle.identity, identity)
        except LifecycleError as error:
            if not self._hello.done():
                self._hello.set_exception(error)
            self.kill(str(error))
            raise
        self._doors.known = True
        if not self._hello.done():
            self._hello.set_result(report)
        return to_plain(self._bundle)

    def _said_beat(self, tasks: int) -> None:
        self.tasks = tasks

    # its end

    def _look(self) -> None:
        """It must say something now and then. Looked at more than once: the silence may be ours, when our loop was held up."""
        self.peer.event("beat")
        silent = self._loop.time() - self.peer.link.heard_at
        self._looked = self._looked + 1 if silent > self._bundle.beat * 2 else 0
        if self._looked == 1:
            self._busy = self._processor_time()
        if silent > self._silence and self._looked > 1:
            self.kill(self._how_it_hangs(silent))
            return
        self._watch = self._loop.call_later(self._bundle.beat, self._look)

    def _how_it_hangs(self, silent: float) -> str:
        used, since = self._processor_time() - self._busy, silent - self._bundle.beat * 2
        text = f"it hangs: nothing was heard of it for {silent:.0f} s"
        if used < since * _BUSY:
            return text
        return f"{text}, while it used up the processor time that it may have ({used:.1f} s)"

    def _processor_time(self) -> float:
        return float(self._cell.usage().get("cpu_seconds") or 0.0)

    def _stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.cancel()

    def _lost(self, error: Exception | None) -> None:
        """Its connection has ended."""
        if isinstance(error, FrameError | ValueError):
            self._why = self._why or f"it broke the protocol: {error}"
        if self._forked is not None and not self._closed and not self._forked.ended.done():
            if self._why:
                self.kill(self._why)
            else:
                self._loop.call_later(_ENDING, self._kill_deaf)

    def _kill_deaf(self) -> None:
        if self._forked is not None and not self._closed and not self._forked.ended.done():
            self.kill("it closed its connection and went on running")

    def _process_ended(self, ended: asyncio.Future[int | None]) -> None:
        if not ended.cancelled():
            self._end = self._loop.create_task(self._settle(ended.result()))

    async def _settle(self, status: int | None) -> None:
        self._stop_watching()
        self.reason = self._why or await self._cell.exit_reason(status)
        error = ProcessEndedError(f"{self._bundle.identity} ended: {self.reason}", reason=self.reason)
        self.peer.fail_all(error)
        if not self._hello.done():
            self._hello.set_exception(error)
        if not self._closed:
            with contextlib.suppress(Exception):
                self._told_ended(self.reason)
