"""The client of a running host's control socket."""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import TYPE_CHECKING, Any, Final

from ._errors import HostUnavailableError, error_from
from ._lock import holder
from ._peers import peer_of
from ._places import SOCKET, reachable
from ._wire import LONGEST_ANSWER, LONGEST_REQUEST, request_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["RunningHost", "find_running"]

#: How long (seconds) a host that holds the lock may take to open its socket.
_PATIENCE: Final = 10.0


class RunningHost:
    """A connection to a host in another process. One request at a time."""

    def __init__(self, pid: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.pid: Final = pid
        self._reader: Final = reader
        self._writer: Final = writer
        self._number = 0
        self._turn: Final = asyncio.Lock()

    @property
    def how(self) -> str:
        """Which host was asked, for people."""
        return f"asked the running host (pid {self.pid})"

    async def request(
        self, method: str, params: Mapping[str, Any], progress: Callable[[str], None] = lambda _: None
    ) -> Any:
        """Ask, and wait for the answer. Raises `HostError` for what the host told, and when it goes away."""
        async with self._turn:
            self._number += 1
            line = request_line(self._number, method, params)
            if len(line) > LONGEST_REQUEST:
                raise HostUnavailableError(
                    f"this request has {len(line)} bytes; the control interface takes {LONGEST_REQUEST}",
                    remedy="Send less at once",
                )
            try:
                self._writer.write(line)
                await self._writer.drain()
                return await self._answer(self._number, progress)
            except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
                raise HostUnavailableError(
                    f"the host (pid {self.pid}) went away before it answered",
                    remedy="Look at its log; what was asked may have been done",
                ) from error

    async def close(self) -> None:
        """Hang up."""
        self._writer.close()

    async def _answer(self, number: int, progress: Callable[[str], None]) -> Any:
        while True:
            # json, not msgspec: the same numbers whichever host was asked, and no limit on nesting of our own.
            said = json.loads(await self._reader.readuntil(b"\n"))
            if said.get("id") not in {number, None}:
                continue
            if "progress" in said:
                progress(str(said["progress"].get("text", "")))
            elif "error" in said:
                raise error_from(said["error"])
            else:
                return said.get("result")


async def find_running(home: Path) -> RunningHost | None:
    """Connect to the host that runs for `home`; `None` when none does.

    One that is starting up is waited for. Raises `HostUnavailableError` for one that cannot be asked.
    """
    ends = time.monotonic() + _PATIENCE
    while True:
        connected = await _connect(home / SOCKET)
        if connected is not None:
            return connected
        pid = holder(home)
        if pid is None:
            return None
        if time.monotonic() > ends:
            raise HostUnavailableError(
                f"a host (pid {pid}) runs for {home} and does not answer at {home / SOCKET}",
                remedy="Wait until it is up; if it hangs, stop it and start it again",
            )
        await asyncio.sleep(0.1)


async def _connect(path: Path) -> RunningHost | None:
    try:
        with reachable(path) as name:
            reader, writer = await asyncio.open_unix_connection(name, limit=LONGEST_ANSWER)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        return None
    except PermissionError:
        raise HostUnavailableError(
            f"{path} belongs to another user, and only its owner may ask the host",
            remedy="Run this command as the user that the host runs as (sudo -u …)",
        ) from None
    peer = peer_of(writer.get_extra_info("socket"))
    if not peer.ours:
        writer.close()
        raise HostUnavailableError(
            f"the host at {path} runs as user {peer.uid}, and you are user {os.geteuid()}",
            remedy=f"Ask as that user: sudo -u '#{peer.uid}' dotmac-plugins …",
        )
    return RunningHost(peer.pid, reader, writer)
