"""Delivers the outbox: a batch when it is full or old enough, again and again until the collector has it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from typing import TYPE_CHECKING, Any, Final

import msgspec
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_delay,
    wait_random_exponential,
)
from tenacity.wait import wait_base

from dotmac_isp.plugins.core.errors import ConfigurationError, CredentialsRefused, NotReady, PluginError

from ._client import CollectorClient, RefusedError
from ._outbox import Outbox, left_behind

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ..spool import Record

__all__ = ["Sender"]

_MOST_IN_REQUEST: Final = 5_000
_FLUSH_SECONDS: Final = 8.0
_LONGEST_WISH: Final = 60.0
_WORTH_IT: Final = 2048
#: Longer bodies are compressed beside the event loop.
_LARGE: Final = 64 * 1024
_REFUSED_BYTES: Final = 64 * 1024 * 1024

Logger = logging.LoggerAdapter[logging.Logger]


class Sender:
    """Owns delivery. `notice` tells it about new events; `flush` delivers everything now or raises why not."""

    def __init__(self, client: CollectorClient, outbox: Outbox, settings: Any, logger: Logger) -> None:
        self._client = client
        self._outbox = outbox
        self._batch_size = settings.batch_size
        self._interval = settings.flush_interval
        self._max_bytes = settings.max_buffer_mb * 1024 * 1024
        self._logger = logger
        self._refused_file = outbox.folder.parent / "refused.ndjson"
        self._lock = asyncio.Lock()
        #: Records from before this start: how many events they hold is only known when they are read.
        self._old = outbox.log.last_seq
        self._full = asyncio.Event()
        self._some = asyncio.Event()
        self.buffered = 0
        self.sent = 0
        self.duplicates = 0
        self.refused = 0
        self.requests = 0
        self.last_error = ""
        if outbox.waiting:
            self.notice(outbox.waiting)

    @property
    def refused_file(self) -> Path:
        """Where events are kept that the collector refused, each with the reason."""
        return self._refused_file

    def notice(self, events: int) -> None:
        """So many events were put into the outbox."""
        self.buffered += events
        self._some.set()
        if self.buffered >= self._batch_size:
            self._full.set()

    async def run(self) -> None:
        """Deliver for ever; ends only by cancellation."""
        await self._retrying(self._deliver_left_behind)
        while True:
            await self._some.wait()
            # Not wait_for: before Python 3.12 it may lose a cancellation that comes together with the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await self._full.wait()
            await self._retrying(self._deliver)

    async def _retrying(self, work: Callable[[], Any]) -> None:
        """Until it works. Refused credentials and wrong settings heal too: by a new secret, by a restart of the instance."""
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type((PluginError, OSError)),
            wait=_Wait(wait_random_exponential(multiplier=0.5, max=30)),
            before_sleep=lambda state: self._note(state.outcome.exception() if state.outcome else None),
        ):
            with attempt:
                await work()

    def _note(self, error: BaseException | None) -> None:
        text = str(error)
        if text != self.last_error:
            self._logger.warning("events wait on disk: %s", text)
        self.last_error = text

    async def flush(self) -> None:
        """Deliver what is buffered. Raises `NotReady`, `CredentialsRefused` when the collector does not take it."""
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(NotReady),
            wait=_Wait(wait_random_exponential(multiplier=0.1, max=1)),
            stop=stop_after_delay(_FLUSH_SECONDS),
            reraise=True,
        ):
            with attempt:
                await self._deliver()

    async def _deliver(self) -> None:
        async with self._lock:
            self._some.clear()
            self._full.clear()
            try:
                await self._empty(self._outbox)
            finally:
                self._notice_rest()
            self.last_error = ""

    def _notice_rest(self) -> None:
        if self._outbox.waiting:
            self._some.set()
        if self.buffered >= self._batch_size:
            self._full.set()

    async def _deliver_left_behind(self) -> None:
        boxes = await left_behind(self._outbox.folder.parent, self._max_bytes)
        try:
            for box in boxes:
                await self._empty(box)
        finally:
            for box in boxes:
                await box.close()

    async def _empty(self, box: Outbox) -> None:
        """Deliver what is in the box now. What comes meanwhile makes a batch of its own: many small requests would slow intake down."""
        goal = box.log.last_seq
        while box.done < goal:
            records = await asyncio.to_thread(box.next, _MOST_IN_REQUEST)
            if not records:
                await self._pass_damage(box, goal)
                return
            for lines in _requests(records, _MOST_IN_REQUEST):
                await self._send(lines)
            await box.delivered(records[-1].seq)
            if box is self._outbox:
                self.buffered -= sum(1 if record.seq <= self._old else record.events for record in records)

    async def _pass_damage(self, box: Outbox, goal: int) -> None:
        """What is left up to there cannot be read (a damaged disk): it is counted in the log, and no reason to stop."""
        self._logger.error("the last events in %s cannot be read and are lost: the disk is damaged", box.folder)
        await box.delivered(goal)
        if box is self._outbox:
            self.buffered = 0

    async def _send(self, lines: list[bytes]) -> None:
        try:
            body, compressed = await _packed(b"[" + b",".join(lines) + b"]")
            answer = await self._client.send("POST", "/v1/events", body, compressed=compressed)
        except RefusedError as error:
            if len(lines) > 1:
                await self._send(lines[: len(lines) // 2])
                await self._send(lines[len(lines) // 2 :])
            else:
                await asyncio.to_thread(self._put_aside, lines[0], str(error))
            return
        self.requests += 1
        self.sent += int(answer["accepted"])
        self.duplicates += len(answer["duplicates"])
        for item in answer["rejected"]:
            await asyncio.to_thread(self._put_aside, lines[item["index"]], item["reason"])

    def _put_aside(self, line: bytes, reason: str) -> None:
        """An event that the collector will never take is kept where a person finds it."""
        self.refused += 1
        self._logger.error("the collector refused an event, which is kept in %s: %s", self._refused_file.name, reason)
        with self._refused_file.open("ab") as file:
            if file.tell() < _REFUSED_BYTES:
                file.write(msgspec.json.encode({"reason": reason, "event": msgspec.Raw(line)}) + b"\n")


class _Wait(wait_base):
    """With jitter, and no sooner than the collector asks for."""

    def __init__(self, usual: wait_base) -> None:
        self._usual = usual

    def __call__(self, retry_state: RetryCallState) -> float:
        error = retry_state.outcome.exception() if retry_state.outcome is not None else None
        wish = error.retry_after if isinstance(error, NotReady) else None
        return self._usual(retry_state) + min(wish or 0.0, _LONGEST_WISH)


async def _packed(body: bytes) -> tuple[bytes, bool]:
    """Compressed where that is worth it: events shrink to about a fifth."""
    if len(body) < _WORTH_IT:
        return body, False
    if len(body) < _LARGE:
        return _zstd(body), True
    return await asyncio.to_thread(_zstd, body), True


def _zstd(body: bytes) -> bytes:
    if sys.version_info >= (3, 14):
        from compression import zstd  # noqa: PLC0415
    else:
        from backports import zstd  # noqa: PLC0415 - only when there is something to send
    return zstd.compress(body, level=1)


def _requests(records: list[Record], size: int) -> list[list[bytes]]:
    lines = [line for record in records for line in record.payload.splitlines()]
    return [lines[start : start + size] for start in range(0, len(lines), size)]


#: What keeps events waiting, for whoever asks.
DELIVERY_ERRORS: Final = (NotReady, CredentialsRefused, ConfigurationError)
