"""Calls over a link, in both directions and many at once: requests, answers, failures, cancellation, streams, events.

Both sides run the same code; what one may ask of the other is what the other's `Doors` open. Nothing that comes in is
trusted: an answer to a call that was never made is left aside, a frame that is none ends the connection.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import weakref
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from .. import _fence
from ._codec import encode_packed, pack
from ._failures import WireError, from_wire, to_wire
from ._link import FrameError, framed

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from ..._scope import CallScope
    from .._fence import Fence, Running
    from ._link import Link

__all__ = ["Doors", "Peer", "RemoteStream", "told_event"]

_LOG: Final = logging.getLogger("dotmac.hosting")
_CALL, _ANSWER, _FAILURE, _CANCEL, _EVENT, _OPEN, _MORE, _ITEM, _END = range(1, 10)
#: How many items of a stream are made before somebody asked for them.
_AHEAD: Final = 8


class Doors(Protocol):
    """What the other side may ask for."""

    def find(self, name: str) -> Callable[..., Any] | None:
        """The function behind a name; `None`: there is none."""

    def scope(self, name: str, request_id: str) -> CallScope:
        """On whose behalf the function runs."""

    def began(self, running: Running, scope: CallScope) -> None:
        """A call suspended."""

    def event(self, name: str, arguments: list[Any]) -> None:
        """Something that wants no answer. Must not raise."""


def told_event(name: str, *arguments: Any) -> bytes:
    """An event as it goes over the line, for who cannot have a `Peer`."""
    return framed(encode_packed(_event(name, arguments)))


def _event(name: str, arguments: Sequence[Any]) -> list[Any]:
    return [_EVENT, name, pack(list(arguments))]


class Peer:
    """This side of the boundary.

    :param most: how many calls of the other side may be under way; the next ones wait in the socket.
    :param known: finds the plugin's own classes of exceptions that are imported here.
    """

    def __init__(
        self,
        doors: Doors,
        fence: Fence,
        lost: Callable[[Exception | None], None],
        *,
        most: int = 1024,
        known: Callable[[str, str], type[BaseException] | None] | None = None,
    ) -> None:
        self._doors: Final = doors
        self._fence: Final = fence
        self._told_lost: Final = lost
        self._most: Final = most
        self._known: Final = known
        self._loop: Final = asyncio.get_running_loop()
        self._numbers: Final = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        #: Weak: a stream that nobody holds any more is closed.
        self._streams: weakref.WeakValueDictionary[int, RemoteStream] = weakref.WeakValueDictionary()
        self._running: dict[int, Running] = {}
        self._sources: dict[int, _Source] = {}
        self._gone: BaseException | None = None
        self.link: Link = None  # type: ignore[assignment]  # `connect` is the first thing
        self._handlers: Final[dict[int, Callable[[list[Any]], None]]] = {
            _ANSWER: self._take_answer,
            _FAILURE: self._take_failure,
            _CANCEL: self._take_cancel,
            _EVENT: self._take_event,
            _OPEN: self._take_open,
            _MORE: self._take_more,
            _ITEM: self._take_item,
            _END: self._take_end,
        }

    async def connect(self, sock: socket.socket) -> Peer:
        """Begin over a connected socket, which belongs to this peer from now on."""
        from ._link import connect  # noqa: PLC0415 - name of our own

        self.link = await connect(sock, self._take, self._told_lost)
        return self

    # asking

    async def call(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], request_id: str = "") -> Any:
        """Ask the other side and wait. Raises what the function raised there, or why the other side is gone.

        Cancelling the waiter cancels the call over there.
        """
        number = next(self._numbers)
        message = framed(encode_packed([_CALL, number, name, pack(list(args)), pack(kwargs), request_id]))
        if not self.link.flowing.is_set():
            await self.link.flowing.wait()
        if self._gone is not None:
            raise self._gone
        future = self._waiting[number] = self._loop.create_future()
        self.link.send(message)
        try:
            return await future
        except asyncio.CancelledError:
            if self._waiting.pop(number, None) is not None:
                self._send([_CANCEL, number])
            raise

    def stream(
        self,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        request_id: str = "",
        *,
        at_once: bool = False,
    ) -> RemoteStream:
        """Open a stream over there: when the first item is asked for, as a generator begins, or `at_once`."""
        opening = [_OPEN, next(self._numbers), name, pack(list(args)), pack(kwargs), request_id, _AHEAD]
        stream = RemoteStream(self, opening)
        if at_once:
            stream.open()
        return stream

    def event(self, name: str, *arguments: Any) -> None:
        """Tell the other side something."""
        if self._gone is None and self.link.open:
            self._send(_event(name, arguments))

    def fail_all(self, error: BaseException) -> None:
        """The other side is gone: whoever waits for it gets this, and so does whoever asks from now on."""
        self._gone = self._gone or error
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(error)
                future.exception()  # the waiter may be gone as well
        for stream in list(self._streams.values()):
            stream._finish(error)  # noqa: SLF001 - its own kind
        for running in [*self._running.values(), *(source.running for source in self._sources.values())]:
            if running is not None:
                running.task.cancel()
        self._running.clear()
        self._sources.clear()

    def begin_stream(self, stream: RemoteStream, opening: list[Any]) -> None:
        """The stream's reader begins to read."""
        if self._gone is not None:
            raise self._gone
        self._streams[opening[1]] = stream
        self._send(opening)

    def dropped(self, number: int) -> None:
        """A stream was forgotten by its reader. May be called wherever garbage is collected."""
        if self._gone is None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._cancel, number)

    def _cancel(self, number: int) -> None:
        if self._gone is None and self.link.open:
            self._send([_CANCEL, number])

    @property
    def asked(self) -> int:
        """Calls to the other side that have no answer yet."""
        return len(self._waiting) + len(self._streams)

    @property
    def at_work(self) -> int:
        """Calls of the other side that are under way here."""
        return len(self._running) + len(self._sources)

    # frames

    def _send(self, frame: list[Any]) -> None:
        self.link.send(framed(encode_packed(frame)))

    def _take(self, frames: list[Any]) -> None:
        entered = None
        try:
            for frame in frames:
                if frame[0] == _CALL:
                    entered = entered or self._fence.enter()
                    self._take_call(frame)
                else:
                    if entered is not None:
                        self._fence.leave(entered)
                        entered = None
                    self._handlers[frame[0]](frame)
        except (LookupError, ValueError, TypeError, msgspec.MsgspecError) as error:
            self.link.fail(FrameError(f"a frame makes no sense: {type(error).__name__}: {error}"))
        finally:
            if entered is not None:
                self._fence.leave(entered)

    def _take_call(self, frame: list[Any]) -> None:
        _, number, name, args, kwargs, request_id = frame
        if type(number) is not int or type(args) is not list or type(kwargs) is not dict:
            raise FrameError("a call has a number, a list and a table")
        function = self._doors.find(name)
        if function is None:
            self._answer_failure(number, LookupError(f"there is no {name!r} to call"))
            return
        scope = self._doors.scope(name, str(request_id))
        try:
            result = self._fence.begin(function, tuple(args), kwargs, scope)
        except BaseException as error:  # noqa: BLE001 - it goes to who asked
            self._answer_failure(number, error)
            return
        if type(result) is _fence.Running:
            self._suspended(number, result, scope)
        else:
            self._answer(number, result)

    def _suspended(self, number: int, running: Running, scope: CallScope) -> None:
        if number in self._running:
            raise FrameError(f"the call {number} is under way already")
        self._running[number] = running
        self._doors.began(running, scope)
        if self.at_work >= self._most:
            self.link.pause(True)

        def finished(_: asyncio.Future[None]) -> None:
            if self._running.pop(number, None) is None:
                return  # everything ended meanwhile
            if self.at_work == self._most - 1:
                self.link.pause(False)
            if running.error is None:
                self._answer(number, running.value)
            else:
                self._answer_failure(number, running.error)

        assert running.finished is not None  # noqa: S101 - it suspended
        running.finished.add_done_callback(finished)

    def _answer(self, number: int, value: Any) -> None:
        try:
            message = framed(encode_packed([_ANSWER, number, pack(value)]))
        except Exception as error:  # noqa: BLE001 - who asked is told
            self._answer_failure(number, error)
        else:
            self.link.send(message)

    def _answer_failure(self, number: int, error: BaseException) -> None:
        self._send([_FAILURE, number, to_wire(error)])

    def _take_answer(self, frame: list[Any]) -> None:
        future = self._waiting.pop(frame[1], None)
        if future is not None and not future.done():
            future.set_result(frame[2])

    def _take_failure(self, frame: list[Any]) -> None:
        future, stream = self._waiting.pop(frame[1], None), self._streams.pop(frame[1], None)
        if future is None and stream is None:
            return
        error = from_wire(msgspec.convert(frame[2], WireError), self._known)
        if future is not None and not future.done():
            if isinstance(error, asyncio.CancelledError):
                future.cancel()
            else:
                future.set_exception(error)
        elif stream is not None:
            stream._finish(error)  # noqa: SLF001 - its own kind

    def _take_cancel(self, frame: list[Any]) -> None:
        running = self._running.get(frame[1])
        if running is not None:
            running.task.cancel()
        source = self._sources.pop(frame[1], None)
        if source is not None:
            source.stop()

    def _take_event(self, frame: list[Any]) -> None:
        _, name, arguments = frame
        if type(name) is not str or type(arguments) is not list:
            raise FrameError("an event has a name and a list")
        self._doors.event(name, arguments)

    # streams

    def _take_open(self, frame: list[Any]) -> None:
        _, number, name, args, kwargs, request_id, credit = frame
        function = self._doors.find(name)
        if function is None:
            self._answer_failure(number, LookupError(f"there is no {name!r} to open"))
            return
        if number in self._sources:
            raise FrameError(f"the stream {number} is open already")
        scope = self._doors.scope(name, str(request_id))
        source = self._sources[number] = _Source(self, number, int(credit))
        entered = self._fence.enter()
        try:
            started = self._fence.begin(source.run, (function, tuple(args), kwargs), {}, scope)
        finally:
            self._fence.leave(entered)
        if type(started) is _fence.Running:
            source.running = started
            self._doors.began(started, scope)

    def _take_more(self, frame: list[Any]) -> None:
        source = self._sources.get(frame[1])
        if source is not None:
            source.grant(int(frame[2]))

    def _take_item(self, frame: list[Any]) -> None:
        stream = self._streams.get(frame[1])
        if stream is not None:
            stream._add(frame[2])  # noqa: SLF001 - its own kind

    def _take_end(self, frame: list[Any]) -> None:
        stream = self._streams.pop(frame[1], None)
        if stream is not None:
            stream._finish(None)  # noqa: SLF001 - its own kind

    def _source_ended(self, number: int, error: BaseException | None) -> None:
        if self._sources.pop(number, None) is None:
            return
        if error is None:
            self._send([_END, number])
        else:
            self._answer_failure(number, error)


class _Source:
    """An asynchronous iterator of this side that the other side reads. It runs ahead of its reader by a few items at most."""

    def __init__(self, peer: Peer, number: int, credit: int) -> None:
        self._peer: Final = peer
        self._number: Final = number
        self._credit = credit
        self._granted: Final = asyncio.Event()
        self._stopped = False
        self.running: Running | None = None

    async def run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        peer, number = self._peer, self._number
        error: BaseException | None = None
        items: Any = None
        try:
            items = function(*args, **kwargs)
            async for item in items:
                await self._allowed()
                await peer.link.flowing.wait()
                self._credit -= 1
                peer._send([_ITEM, number, pack(item)])  # noqa: SLF001 - its own kind
        except BaseException as raised:  # noqa: BLE001 - it goes to who reads
            error = raised
        finally:
            if items is not None and hasattr(items, "aclose"):
                try:
                    await items.aclose()
                except BaseException as raised:  # noqa: BLE001 - as above
                    error = error or raised
        peer._source_ended(number, error)  # noqa: SLF001 - its own kind

    async def _allowed(self) -> None:
        while self._credit <= 0:
            self._granted.clear()
            await self._granted.wait()

    def grant(self, more: int) -> None:
        """The reader took so many."""
        self._credit += max(0, min(more, _AHEAD))
        self._granted.set()

    def stop(self) -> None:
        """Nobody reads any more."""
        if self.running is not None:
            self.running.task.cancel()


class RemoteStream:
    """An asynchronous iterator whose items are made on the other side."""

    def __init__(self, peer: Peer, opening: list[Any]) -> None:
        self._peer: Final = peer
        self._opening: list[Any] | None = opening
        self._number: Final[int] = opening[1]
        self._items: asyncio.Queue[Any] = asyncio.Queue()
        self._ended = False

    def __aiter__(self) -> RemoteStream:
        return self

    async def __anext__(self) -> Any:
        if self._opening is not None:
            await self._peer.link.flowing.wait()
            self.open()
        if self._ended and self._items.empty():
            raise StopAsyncIteration
        kind, item = await self._items.get()
        if kind is _ITEM:
            if not self._ended:
                self._peer._send([_MORE, self._number, 1])  # noqa: SLF001 - its own kind
            return item
        if item is None:
            raise StopAsyncIteration
        raise item

    def open(self) -> None:
        """Ask for the first items."""
        opening, self._opening = self._opening, None
        if opening is not None:
            self._peer.begin_stream(self, opening)

    async def aclose(self) -> None:
        """Let go of it; its source ends."""
        self._opening = None
        if not self._ended and self._peer._streams.pop(self._number, None) is not None:  # noqa: SLF001 - its own kind
            self._peer._send([_CANCEL, self._number])  # noqa: SLF001
        self._ended = True
        self._items = asyncio.Queue()

    def __del__(self) -> None:
        if self._opening is None and not self._ended:
            self._peer.dropped(self._number)

    def _add(self, item: Any) -> None:
        if self._items.qsize() > 2 * _AHEAD:
            raise FrameError("a stream sends more than it was asked for")
        self._items.put_nowait((_ITEM, item))

    def _finish(self, error: BaseException | None) -> None:
        if not self._ended:
            self._ended = True
            self._items.put_nowait((_END, error))
