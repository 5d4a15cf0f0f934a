"""The thread that writes the chains. What is recorded within a few milliseconds shares one transaction (group commit).

With a journal, callers that wait for the disk put their records there themselves, which is quicker than a transaction and than going to
the thread and back.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
import threading
import time
from typing import TYPE_CHECKING, Final

from ._record import AuditError, AuditRecord, canonical

if TYPE_CHECKING:
    from ._journal import Entry, Journal
    from ._store import ChainStore

__all__ = ["ChainWriter"]

_LOG: Final = logging.getLogger("dotmac.audit")
#: So many records share one transaction at most.
_TOGETHER: Final = 2048
#: After an error (a full disk, say) it is tried again so often, in seconds.
_AGAIN: Final = 0.5
#: A disk that syncs within this many seconds is quick.
_QUICK: Final = 0.002
#: How long a caller is held up where records come faster than they are written, in seconds.
_PATIENCE: Final = 1.0

_Waiter = tuple[int, "asyncio.AbstractEventLoop", "asyncio.Future[None]"]


class ChainWriter:
    """Takes records from any thread and writes them on its own.

    :param group: seconds that the first record of a group waits for others: the most that a kill of the process loses.
    :param limit: records that may wait. Beyond, callers are held up for a moment; what finds no room then is lost and counted.
    :param journal: what callers of `settled` write into while the disk is quick. Without it they wait for the thread.
    """

    def __init__(
        self, store: ChainStore, *, group: float, limit: int = 100_000, journal: Journal | None = None
    ) -> None:
        self._store: Final = store
        self._journal: Final = journal
        #: What is on no disk yet, with its numbers; kept with a journal only.
        self._unsafe: collections.deque[Entry] = collections.deque()
        #: The number of the last record that is in the journal.
        self._journaled = 0
        self._group: Final = group
        self._limit: Final = limit
        self._queue: collections.deque[tuple[str, bytes]] = collections.deque()
        self._batch: list[tuple[str, bytes]] = []
        self._lock: Final = threading.Lock()
        self._room: Final = threading.Condition(self._lock)
        self._waiters: list[_Waiter] = []
        self._taken = 0
        self._written = 0
        #: Records that found no room; said in the chain as soon as it can be written again.
        self.lost = 0
        self._lost_unsaid = 0
        #: Why nothing can be written now.
        self.error: str | None = None
        self._wake: Final = threading.Event()
        self._hurry: Final = threading.Event()
        #: Whether the last sync was so quick that a caller may wait for the next one itself.
        self._quick = True
        self._closing = False
        # A daemon: a host that dies without closing must not hang on it.
        self._thread: Final = threading.Thread(target=self._run, name="dotmac-audit", daemon=True)

    @property
    def waiting(self) -> int:
        """Records that are not written yet."""
        return self._taken - self._written

    def start(self) -> None:
        self._thread.start()

    def put(self, tenant: str, record: bytes) -> None:
        """Write this soon. Never raises."""
        with self._lock:
            if self._taken - self._written >= self._limit and not self._make_room():
                self.lost += 1
                self._lost_unsaid += 1
                return
            self._queue.append((tenant, record))
            self._taken += 1
            if self._journal is not None:
                self._unsafe.append((self._taken, tenant, record))
        if not self._wake.is_set():
            self._wake.set()

    def _make_room(self) -> bool:
        """With the lock held: wait for the thread, unless it cannot write."""
        self._hurry.set()
        if self.error is None:
            self._room.wait_for(lambda: self.waiting < self._limit or self.error is not None, _PATIENCE)
        return self.waiting < self._limit

    async def settled(self) -> None:
        """Wait until everything put so far is committed, or safe in the journal. Raises `AuditError` when it cannot be written."""
        if self._journal is not None and self._quick and self.waiting:
            await asyncio.sleep(0)  # others may have something to write, too
            self._write_down(self._journal)
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._lost_unsaid:
                raise AuditError("audit records were lost, because they cannot be written", remedy=self.error)
            if max(self._written, self._journaled) >= self._taken:
                return
            if not self._thread.is_alive():
                raise AuditError("the audit trail is closed")
            future: asyncio.Future[None] = loop.create_future()
            self._waiters.append((self._taken, loop, future))
        self._hurry.set()
        self._wake.set()
        await future

    def _write_down(self, journal: Journal) -> None:
        """Put what is on no disk yet into the journal. Where that fails, the thread's transaction has to do."""
        started = time.monotonic()
        with self._lock:
            entries = [one for one in self._unsafe if one[0] > self._written]
            try:
                done = not entries or journal.append(entries)
            except OSError as error:
                _LOG.warning("the audit journal cannot be written: %s", error.strerror)
                done = False
            if done and entries:
                self._journaled = entries[-1][0]
                self._unsafe.clear()
        # A full journal is rewound by the thread in a moment; a slow disk must not hold up the event loop again and again.
        self._quick = done and time.monotonic() - started < _QUICK

    def close(self) -> None:
        """Write what waits, and end. Blocks until then."""
        self._closing = True
        self._hurry.set()
        self._wake.set()
        self._thread.join()
        if self.waiting:
            _LOG.error("%d audit records could not be written: %s", self.waiting, self.error)

    def _run(self) -> None:
        try:
            while not self._closing or self._unsaid():
                self._wake.wait()
                if not self._closing:
                    self._hurry.wait(self._group)
                self._hurry.clear()
                self._wake.clear()
                done = self._write()
                if not done and self._closing:
                    return
                if not done:
                    self._hurry.wait(_AGAIN)
                if self._closing or self._unsaid():
                    self._wake.set()
        finally:
            self._answer(AuditError("the audit trail was closed before everything was written", remedy=self.error))
            self._end()

    def _end(self) -> None:
        if self._journal is not None and not self._unsaid():
            self._journal.close()
        self._store.close()

    def _unsaid(self) -> bool:
        """Whether there is anything to write."""
        return bool(self._queue or self._batch or self._lost_unsaid)

    def _take(self) -> None:
        while len(self._batch) < _TOGETHER and self._queue:
            self._batch.append(self._queue.popleft())

    def _write(self) -> bool:
        """Write what there is; `False` when that failed."""
        self._take()
        if not self._batch and not self._lost_unsaid:
            return True
        lost = self._lost_unsaid
        said = [("-", canonical(_lost(lost)))] if lost else []
        ends = self._written + len(self._batch)
        started = time.monotonic()
        try:
            self._store.append([*self._batch, *said], taken=(self._journal.token, ends) if self._journal else None)
        except Exception as error:  # noqa: BLE001 - whatever the disk does, the thread lives and tries again
            self._failed(error)
            return False
        with self._lock:
            self._lost_unsaid -= lost
            self._written = ends
            self._batch = []
            self._forget_safe(quick=time.monotonic() - started < _QUICK)
            if self.error is not None:
                _LOG.warning("the audit trail can be written again")
                self.error = None
            self._room.notify_all()
        self._answer(None)
        return True

    def _forget_safe(self, *, quick: bool) -> None:
        """With the lock held: what is in the chain needs no journal."""
        self._quick = self._quick or quick
        while self._unsafe and self._unsafe[0][0] <= self._written:
            self._unsafe.popleft()
        if self._journal is not None and self._journaled <= self._written:
            self._journal.rewind()

    def _failed(self, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}"
        with self._lock:
            if self.error is None:
                _LOG.error("the audit trail cannot be written; records are kept and it is tried again: %s", text)
            self.error = text
            self._room.notify_all()
        self._answer(AuditError(f"the audit trail cannot be written: {text}", remedy="Make room on its disk"))

    def _answer(self, error: AuditError | None) -> None:
        """Tell those whose records are written; with an error, everybody."""
        with self._lock:
            waiters, self._waiters = self._waiters, []
            told: list[_Waiter] = []
            for one in waiters:
                (told if error is not None or one[0] <= self._written else self._waiters).append(one)
        for _, loop, future in told:
            with contextlib.suppress(RuntimeError):  # its loop is closed
                loop.call_soon_threadsafe(_tell, future, error)


def _lost(count: int) -> AuditRecord:
    detail = f"{count} records were lost, because the trail could not be written fast enough, or at all"
    return AuditRecord(action="audit", outcome="lost", detail=detail, values={"count": count})


def _tell(future: asyncio.Future[None], error: AuditError | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
