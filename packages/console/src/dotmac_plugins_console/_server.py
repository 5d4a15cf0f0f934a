"""The control socket's server: several clients at once, none of which can hurt the host."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import stat
from typing import TYPE_CHECKING, Any, Final

from ._errors import BadRequestError, HostError, HostUnavailableError, error_fields
from ._peers import peer_of
from ._places import reachable
from ._wire import LONGEST_REQUEST, answer_line, parse_request, plain

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from ._peers import Peer
    from ._wire import Request

    Progress = Callable[[str], Awaitable[None]]
    Answer = Callable[[Request, Peer, Progress], Awaitable[Any]]

__all__ = ["ControlServer"]

_LOG: Final = logging.getLogger("dotmac.control")
_MOST_CLIENTS: Final = 64
#: Requests of one client that are worked on at once; further ones wait in the socket.
_AT_ONCE: Final = 8
#: A client that takes so long (seconds) to read an answer is let go.
_PATIENCE: Final = 30.0
#: Bytes of one too long line that are skipped before the client is let go.
_MOST_SKIPPED: Final = 64 * LONGEST_REQUEST


class ControlServer:
    """Listens at `path`; `answer` does what a request asks for and gives plain values or raises."""

    def __init__(self, path: Path, answer: Answer, *, redact: Callable[[str], str] = str) -> None:
        self.path: Final = path
        self._answer: Final = answer
        self._redact: Final = redact
        self._clients: set[asyncio.Task[None]] = set()
        self._work: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen. The caller holds the host's lock, so a socket that is there is one that a dead host left."""
        self._server = await asyncio.start_unix_server(self._connected, sock=_listen(self.path), limit=LONGEST_REQUEST)

    async def close(self) -> None:
        """Stop listening, let go of every client and of the work that is under way for them."""
        if self._server is not None:
            self._server.close()
            self.path.unlink(missing_ok=True)
            self._server = None
        tasks = [*self._work, *self._clients]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_PATIENCE)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:  # pragma: no cover - a coroutine runs in a task
            return
        full = len(self._clients) >= _MOST_CLIENTS
        self._clients.add(task)
        try:
            peer = peer_of(writer.get_extra_info("socket"))
            refusal = _refusal(peer, full=full)
            if refusal is None:
                await self._serve(reader, writer, peer)
            else:
                _LOG.warning("a client (pid %d, user %d) was refused: %s", peer.pid, peer.uid, refusal.message)
                await _write(writer, answer_line(None, "error", error_fields(refusal)))
        except (OSError, TimeoutError, asyncio.CancelledError) as error:
            _LOG.debug("a client is gone: %s", error)
        finally:
            self._clients.discard(task)
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: Peer) -> None:
        slots, mutex = asyncio.Semaphore(_AT_ONCE), asyncio.Lock()
        own: set[asyncio.Task[None]] = set()

        async def send(line: bytes) -> None:
            async with mutex:
                await _write(writer, line)

        async for line in _lines(reader):
            if line is None:
                await send(answer_line(None, "error", error_fields(_too_long())))
                continue
            await slots.acquire()
            task = asyncio.create_task(self._one(line, peer, send), name="dotmac: control request")
            own.add(task)
            self._work.add(task)
            task.add_done_callback(self._work.discard)
            task.add_done_callback(own.discard)
            task.add_done_callback(lambda _: slots.release())
        # Half-closed clients (`nc`, say) still read; those that are gone fail at the write. The work itself goes on.
        if own:
            await asyncio.wait(own)

    async def _one(self, line: bytes, peer: Peer, send: Callable[[bytes], Awaitable[None]]) -> None:
        number: int | str | None = None

        async def progress(text: str) -> None:
            with contextlib.suppress(OSError, TimeoutError):
                await send(answer_line(number, "progress", {"text": self._redact(text)}))

        try:
            request = parse_request(line)
            number = request.id
            reply = answer_line(number, "result", plain(await self._answer(request, peer, progress)))
        except Exception as error:  # noqa: BLE001 - every request gets an answer
            if not isinstance(error, HostError):
                _LOG.debug("a request failed", exc_info=True)
            reply = answer_line(number, "error", error_fields(error, self._redact))
        with contextlib.suppress(OSError, TimeoutError):
            await send(reply)


async def _lines(reader: asyncio.StreamReader) -> AsyncIterator[bytes | None]:
    """The lines of a client; `None` for one that was too long and is skipped."""
    skipped = 0
    while True:
        try:
            line = await reader.readuntil(b"\n")
        except asyncio.IncompleteReadError:
            return
        except asyncio.LimitOverrunError as error:
            skipped += len(await reader.readexactly(max(error.consumed, 1)))
            if skipped > _MOST_SKIPPED:
                yield None
                return
            continue
        if skipped:
            skipped = 0
            yield None
        elif line.strip():
            yield line


async def _write(writer: asyncio.StreamWriter, line: bytes) -> None:
    writer.write(line)
    async with asyncio.timeout(_PATIENCE):
        await writer.drain()


def _refusal(peer: Peer, *, full: bool) -> HostError | None:
    if not peer.ours:
        return HostUnavailableError(
            f"this host belongs to user {os.geteuid()}, and you are user {peer.uid}",
            remedy=f"Ask as that user: sudo -u '#{os.geteuid()}' dotmac-plugins …",
        )
    if full:
        return HostUnavailableError(f"{_MOST_CLIENTS} clients are connected already", remedy="Try again later")
    return None


def _too_long() -> BadRequestError:
    return BadRequestError(
        f"a line is longer than {LONGEST_REQUEST} bytes and was skipped",
        remedy="Send less at once, or hand over a file",
    )


def _listen(path: Path) -> socket.socket:
    """A listening socket that only its owner can open."""
    _clear(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with reachable(path) as name:
            # Before the socket is there, not after: nobody may slip in between.
            before = os.umask(0o177)
            try:
                listener.bind(name)
            finally:
                os.umask(before)
        listener.listen(_MOST_CLIENTS)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise HostUnavailableError(
            f"the control socket {path} cannot be opened: {error.strerror or error}",
            remedy="Give a folder on a local file system with --home or DOTMAC_HOME",
        ) from error
    except BaseException:
        listener.close()
        raise
    return listener


def _clear(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise HostUnavailableError(f"{path} is there and is no socket", remedy="Move it away")
    path.unlink()
