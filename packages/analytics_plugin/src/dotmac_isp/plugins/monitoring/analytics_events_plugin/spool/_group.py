"""Many callers, one flush."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["GroupCommit"]

T = TypeVar("T")
R = TypeVar("R")
_Errand = tuple[Callable[[], Any], "asyncio.Future[Any]"]
_Waiting = tuple[T, "asyncio.Future[R]"]

_IDLE_SECONDS: Final = 30.0
_MOST_THREADS: Final = 32
_TURNS: Final = 4
#: How much the newest flush counts in what flushes take lately.
_WEIGHT: Final = 0.1


class _Flushers:
    """Threads that wait for disks, shared by all spools of the process: a host has thousands of those, and few busy at a time.

    Not the loop's own executor: whatever else occupies that would delay every acknowledgement. A thread without work ends.
    """

    def __init__(self) -> None:
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._idle = 0

    def run(self, work: Callable[[], None]) -> None:
        with self._lock:
            start = self._idle == 0 and self._threads < _MOST_THREADS
            if start:
                self._threads += 1
            elif self._idle:
                self._idle -= 1
            self._work.put(work)
        if start:
            threading.Thread(target=self._serve, name="analytics flush", daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                work = self._work.get(timeout=_IDLE_SECONDS)
            except Empty:
                with self._lock:
                    if self._work.empty():
                        self._threads -= 1
                        self._idle = max(0, self._idle - 1)
                        return
                continue
            work()
            with self._lock:
                self._idle += 1


_FLUSHERS: Final = _Flushers()


class _Pace:
    """Whether the disk is quick enough for the loop to wait for it, which saves two changes of thread.

    By what the last flushes took, the newest counting most: after a slow one the next go to a thread until the disk is quick again.
    """

    def __init__(self, quick: float) -> None:
        self._quick = quick
        self._lately = 0.0

    @property
    def here(self) -> bool:
        return self._lately < self._quick

    def took(self, seconds: float) -> None:
        self._lately += _WEIGHT * (seconds - self._lately)


class GroupCommit(Generic[T, R]):
    """Many callers, one flush: whatever came in while the disk was busy goes together in the next round.

    `commit` takes one round at a time, and returns one result (or exception) for each item. It runs in a thread; with `quick` (seconds) it
    runs on the loop as long as rounds take no longer than that. The next round is on its way before the callers of the last are woken.
    """

    def __init__(
        self, commit: Callable[[list[T]], Sequence[R | BaseException]], *, most: int = 512, quick: float = 0.0
    ) -> None:
        self._commit = commit
        self._most = most
        self._pace = _Pace(quick)
        self._waiting: list[_Waiting[T, R]] = []
        self._errands: list[_Errand] = []
        #: A round is asked for or under way.
        self._busy = False

    def submit(self, item: T) -> asyncio.Future[R]:
        """Await it: the item is committed then. It is so too if the caller is cancelled meanwhile."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        self._waiting.append((item, future))
        self._ask(loop)
        return future

    async def run(self, work: Callable[[], Any]) -> Any:
        """Run something else between rounds, so that it has what `commit` uses to itself."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._errands.append((work, future))
        self._ask(loop)
        return await future

    def _ask(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._busy:
            self._busy = True
            # Not at once: what else comes in this turn of the loop goes along.
            loop.call_soon(self._next, loop)

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        errands, self._errands = self._errands, []
        taken, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
        if not errands and not taken:
            self._busy = False
        elif not errands and self._pace.here:
            self._done(loop, self._round(errands, taken))
        else:
            _FLUSHERS.run(lambda: self._elsewhere(loop, errands, taken))

    def _elsewhere(self, loop: asyncio.AbstractEventLoop, errands: list[_Errand], taken: list[_Waiting[T, R]]) -> None:
        """On a thread."""
        done = self._round(errands, taken)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(self._done, loop, done)

    def _round(self, errands: list[_Errand], taken: list[_Waiting[T, R]]) -> list[tuple[asyncio.Future[Any], Any]]:
        done: list[tuple[asyncio.Future[Any], Any]] = [(future, _tried(work)) for work, future in errands]
        if taken:
            start = time.monotonic()
            results = _tried(lambda: self._commit([item for item, _ in taken]))
            self._pace.took(time.monotonic() - start)
            failed = isinstance(results, BaseException)
            done += [(future, results if failed else results[index]) for index, (_, future) in enumerate(taken)]
        return done

    def _done(self, loop: asyncio.AbstractEventLoop, done: list[tuple[asyncio.Future[Any], Any]]) -> None:
        for future, result in done:
            _settle(future, result)
        if self._waiting or self._errands:
            # Those who were just woken may have more: a few turns of the loop let them come along.
            self._after(loop, _TURNS if len(done) > 1 else 1)
        else:
            self._busy = False

    def _after(self, loop: asyncio.AbstractEventLoop, turns: int) -> None:
        if turns > 1:
            loop.call_soon(self._after, loop, turns - 1)
        else:
            loop.call_soon(self._next, loop)

    async def close(self) -> None:
        """Commit what waits."""
        while self._busy:
            await self.run(lambda: None)
            await asyncio.sleep(0)


def _tried(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - every waiting caller is told, whatever it was
        return error


def _settle(future: asyncio.Future[Any], result: Any) -> None:
    if future.done():
        return
    if isinstance(result, BaseException):
        future.set_exception(result)
    else:
        future.set_result(result)
