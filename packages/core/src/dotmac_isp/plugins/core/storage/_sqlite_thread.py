"""The one thread of a process that writes to the SQLite file.

Writes that wait at the same time share one transaction and so one `fsync`; each has a savepoint of its own, so that
one that is refused does not harm the others. Nobody is told of a write before the transaction is committed.
"""

from __future__ import annotations

import contextlib
import queue
import sqlite3
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["WriterThread"]

T = TypeVar("T")

#: So many writes share one transaction at most.
_TOGETHER: Final = 256

_Work = tuple["Future[Any]", "Callable[[sqlite3.Connection], Any]"]


class WriterThread:
    """Runs functions inside transactions, and `idle` every `interval` seconds while it is asked to."""

    def __init__(
        self, connect: Callable[[], sqlite3.Connection], idle: Callable[[sqlite3.Connection], None], interval: float
    ) -> None:
        self._connect = connect
        self._idle = idle
        self._interval = interval
        self._ticking = False
        self._queue: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        # A daemon: a host that dies without closing must not hang; what was acknowledged is committed.
        self._thread = threading.Thread(target=self._run, name="dotmac-storage", daemon=True)
        self._closed = False
        self._started: Future[None] = Future()

    def start(self) -> Future[None]:
        """Begin; the future fails with what opening the file raised."""
        self._thread.start()
        return self._started

    def submit(self, work: Callable[[sqlite3.Connection], T], done: Callable[[T], None] | None = None) -> Future[T]:
        """Run this in a transaction. After the commit `done` is called in the thread, then the future has its result."""
        if self._closed:
            raise StorageError("the storage is closed")
        future: Future[T] = Future()
        if done is not None:
            future.add_done_callback(lambda ended: _tell(ended, done))
        self._queue.put((future, work))
        return future

    def tick(self, active: bool) -> None:
        """Call `idle` regularly from now on, or not any more."""
        self._ticking = active
        # Work that is cancelled already: it only wakes the thread, which waits without an end while nobody watches.
        nothing: Future[None] = Future()
        nothing.cancel()
        self._queue.put((nothing, _nothing))

    def stop(self) -> None:
        """Finish what was submitted, and end."""
        self._closed = True
        self._queue.put(None)

    def join(self) -> None:
        """Wait until the thread has ended."""
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            connection = self._connect()
        except BaseException as error:  # noqa: BLE001 - goes to who waits for the start
            self._started.set_exception(error)
            return
        self._started.set_result(None)
        try:
            self._serve(connection)
        finally:
            connection.close()
            self._refuse_rest()

    def _refuse_rest(self) -> None:
        """What another thread submitted at the very moment of the end is told so."""
        self._closed = True
        with contextlib.suppress(queue.Empty):
            while True:
                work = self._queue.get_nowait()
                if work is not None and work[0].set_running_or_notify_cancel():
                    work[0].set_exception(StorageError("the storage is closed"))

    def _serve(self, connection: sqlite3.Connection) -> None:
        looked_at = 0.0
        while True:
            batch = self._next()
            ending = None in batch
            work = [one for one in batch if one is not None]
            if work:
                _run_together(connection, work)
            now = time.monotonic()
            if self._ticking and now - looked_at >= self._interval:
                looked_at = now
                # Locked or full now: it will be asked again in a moment, and every write reports it.
                with contextlib.suppress(sqlite3.Error):
                    self._idle(connection)
            if ending:
                return

    def _next(self) -> list[_Work | None]:
        """What waits; empty when the interval is over before anything comes."""
        batch: list[_Work | None] = []
        try:
            batch.append(self._queue.get(timeout=self._interval if self._ticking else None))
            while len(batch) < _TOGETHER and batch[-1] is not None:
                batch.append(self._queue.get_nowait())
        except queue.Empty:
            pass
        return batch


def _nothing(_connection: sqlite3.Connection) -> None:
    return None


def _tell(ended: Future[T], done: Callable[[T], None]) -> None:
    if not ended.cancelled() and ended.exception() is None:
        done(ended.result())


def _run_together(connection: sqlite3.Connection, batch: list[_Work]) -> None:
    work = [(future, function) for future, function in batch if future.set_running_or_notify_cancel()]
    if not work:
        return
    outcomes: list[tuple[Future[Any], Any, BaseException | None]] = []
    try:
        connection.execute("BEGIN IMMEDIATE")
        for future, function in work:
            outcomes.append((future, *_run_one(connection, function)))
        connection.execute("COMMIT")
    except BaseException as error:  # noqa: BLE001 - goes to everybody whose write it undid
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        outcomes = [(future, None, error) for future, _ in work]
    for future, result, failure in outcomes:
        if failure is None:
            future.set_result(result)
        else:
            future.set_exception(failure)


def _run_one(connection: sqlite3.Connection, function: Callable[[sqlite3.Connection], Any]) -> tuple[Any, Any]:
    connection.execute("SAVEPOINT one")
    try:
        result, failure = function(connection), None
    except Exception as error:
        # On a full disk SQLite gives the whole transaction up; then there is no savepoint to go back to.
        if not connection.in_transaction:
            raise
        connection.execute("ROLLBACK TO one")
        result, failure = None, error
    connection.execute("RELEASE one")
    return result, failure
