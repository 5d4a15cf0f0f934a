"""The engine's process: chDB behind a subset of ClickHouse's HTTP interface, on loopback, for its parent only.

Started by `EngineProcess` as `python -m …store._child --path DIR`, never forked, never imported by a host: chDB hangs after a fork, takes
one process per path, and may crash at exit. The password comes on standard input, and so does the end: when the parent closes the
pipe (or dies), the engine is closed and the process leaves. One line of JSON on standard output says the port.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import fcntl
import hmac
import json
import os
import re
import signal
import sys
import threading
import time
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, TypeVar

from aiohttp import web

from .._parent import when_parent_is_gone

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["OPTIONS", "main"]

T = TypeVar("T")

#: What the HTTP interface keeps for itself; everything else in the query string is a setting of the query.
_TRANSPORT: Final = frozenset(
    [
        "query",
        "database",
        "default_format",
        "query_id",
        "session_id",
        "session_timeout",
        "session_check",
        "wait_end_of_query",
        "buffer_size",
        "compress",
        "decompress",
        "enable_http_compression",
        "client_protocol_version",
        "role",
        "quota_key",
        "send_progress_in_http_headers",
        "http_headers_progress_interval_ms",
        "user",
        "password",
        "cancel_http_readonly_queries_on_client_close",
    ]
)
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FORMAT: Final = re.compile(r"\bFORMAT\s+(\w+)\s*;?\s*$", re.IGNORECASE)
_INSERT: Final = re.compile(r"^\s*INSERT\b", re.IGNORECASE)
_TAKES_SETTINGS: Final = re.compile(r"^\s*(SELECT|WITH|INSERT)\b", re.IGNORECASE)
#: An insert whose statement is the first line of the body, the data behind it.
_INSERT_IN_BODY: Final = re.compile(rb"\s*(INSERT\s+INTO\s[^\n]*?)\s+FORMAT\s+(\w+)\s*\n", re.IGNORECASE)
_SETTINGS: Final = re.compile(r"\bSETTINGS\s+\w+\s*=[^'()]*(?:'[^']*'[^'()]*)*$", re.IGNORECASE)
_ERROR: Final = re.compile(r"Code: (\d+)\.")
_CONNECTIONS: Final = 4
#: A deletion touches every part of a month. With the usual pool of two it waits, part by part, for tasks that sleep up to a second.
OPTIONS: Final = "background_pool_size=8"
_MAX_BODY: Final = 256 * 1024 * 1024
_LAST_QUERIES: Final = 10.0
_PREDECESSOR_SECONDS: Final = 30.0


class Engine:
    """A few connections to one path, each used by one thread at a time."""

    def __init__(self, path: str) -> None:
        from chdb.state.sqlitelike import Connection  # noqa: PLC0415 - half a gigabyte; only ever here

        self._connections: list[Any] = [Connection(f"{path}?{OPTIONS}") for _ in range(_CONNECTIONS)]
        self._free: SimpleQueue[Any] = SimpleQueue()
        for connection in self._connections:
            self._free.put(connection)
        self._threads = ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="engine")

    async def run(self, work: Callable[[Any], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._with_connection, work)

    def _with_connection(self, work: Callable[[Any], T]) -> T:
        connection = self._free.get()
        try:
            return work(connection)
        finally:
            self._free.put(connection)

    def close(self) -> None:
        """Wait for running queries, then close: the parts are on disk and merges have stopped."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        for connection in self._connections:
            connection.close()


def _clause(settings: Mapping[str, str]) -> str:
    pairs = []
    for name, value in settings.items():
        if not _NAME.fullmatch(name):
            raise web.HTTPBadRequest(text=f"Code: 115. DB::Exception: {name!r} is no setting. (UNKNOWN_SETTING)")
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        pairs.append(f"{name} = '{escaped}'")
    return ", ".join(pairs)


def _with_settings(sql: str, settings: Mapping[str, str]) -> str:
    """Put the request's settings into the statement. Never `SET`: on a shared connection it would reach the next caller."""
    if not settings or not _TAKES_SETTINGS.match(sql):
        return sql
    glue = ", " if _SETTINGS.search(sql) else " SETTINGS "
    return f"{sql}{glue}{_clause(settings)}"


def _statement(sql: str, body: bytes) -> tuple[str, str, bytes]:
    """Statement, format and data of a request; the statement may come in the address or at the head of the body."""
    if not sql and (head := _INSERT_IN_BODY.match(body)):
        return head.group(1).decode(), head.group(2).decode(), body[head.end() :]
    if not sql:
        sql, body = body.decode(), b""
    found = _FORMAT.search(sql)
    if found is None:
        return sql, "TabSeparated", body
    return sql[: found.start()], found.group(1), body


def _insert(sql: str, form: str, body: bytes) -> Callable[[Any], tuple[bytes, dict[str, str]]]:
    def work(connection: Any) -> tuple[bytes, dict[str, str]]:
        with connection.send_insert(sql, form) as stream:
            stream.append(body)
            result = stream.finish()
        return b"", {"written_rows": str(result.rows_written), "written_bytes": str(result.bytes_written)}

    return work


def _select(sql: str, form: str, params: dict[str, str]) -> Callable[[Any], tuple[bytes, dict[str, str]]]:
    def work(connection: Any) -> tuple[bytes, dict[str, str]]:
        result = connection.query(sql, form, params=params or None)
        data = result.bytes() or b""
        return data, {"read_rows": str(result.rows_read()), "read_bytes": str(result.bytes_read())}

    return work


class Server:
    """ClickHouse's HTTP interface, as far as clickhouse-connect uses it."""

    def __init__(self, engine: Engine, password: str) -> None:
        self._engine = engine
        self._password = password

    def app(self) -> web.Application:
        app = web.Application(client_max_size=_MAX_BODY)
        app.router.add_get("/ping", self._ping)
        app.router.add_route("*", "/", self._query)
        return app

    async def _ping(self, _: web.Request) -> web.Response:
        return web.Response(text="Ok.\n")

    def _authorised(self, request: web.Request) -> bool:
        given = request.headers.get("X-ClickHouse-Key", "")
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic":
            with contextlib.suppress(ValueError):
                given = b64decode(value).decode().partition(":")[2]
        return hmac.compare_digest(given.encode(), self._password.encode())

    async def _query(self, request: web.Request) -> web.Response:
        if not self._authorised(request):
            return _failed("Code: 516. DB::Exception: Authentication failed. (AUTHENTICATION_FAILED)", 401)
        asked = dict(request.query)
        if request.content_type.startswith("multipart/"):
            # What is too long for an address comes as a form.
            asked |= {key: value for key, value in (await request.post()).items() if isinstance(value, str)}
        body = b"" if request.content_type.startswith("multipart/") else await request.read()
        sql, form, body = _statement(asked.get("query", ""), body)
        settings = {k: v for k, v in asked.items() if k not in _TRANSPORT and not k.startswith("param_")}
        params = {k[6:]: v for k, v in asked.items() if k.startswith("param_")}
        sql = _with_settings(sql.rstrip().rstrip(";"), settings)
        return await self._answer(request, sql, form, body, params)

    async def _answer(
        self, request: web.Request, sql: str, form: str, body: bytes, params: dict[str, str]
    ) -> web.Response:
        started = time.perf_counter()
        inserting = bool(_INSERT.match(sql) and body)
        work = _insert(sql, form, body) if inserting else _select(sql, form, params)
        try:
            data, summary = await self._engine.run(work)
        except Exception as error:  # noqa: BLE001 - whatever the engine says goes back to who asked
            return _failed(str(error), 500)
        summary["elapsed_ns"] = str(int((time.perf_counter() - started) * 1e9))
        headers = {
            "X-ClickHouse-Summary": json.dumps(summary),
            "X-ClickHouse-Timezone": "UTC",
            "X-ClickHouse-Query-Id": request.query.get("query_id", ""),
        }
        if data:
            headers["X-ClickHouse-Format"] = form
        return web.Response(body=data, headers=headers, content_type="application/octet-stream")


def _failed(message: str, status: int) -> web.Response:
    start = message.find("Code: ")
    message = message[start:] if start > 0 else message
    found = _ERROR.search(message)
    return web.Response(
        text=message, status=status, headers={"X-ClickHouse-Exception-Code": found.group(1) if found else "1002"}
    )


def _die_with_parent() -> None:
    """Ask the kernel to stop us when the parent dies, for the case that the pipe has other holders."""
    if sys.platform == "linux":
        set_death_signal = 1
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGTERM)


def _set(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(stop.set)


def _first_line() -> str:
    """The password. Read without a buffer, so that what follows (the end) is left for the parent watch."""
    line = b""
    while (sign := os.read(0, 1)) not in {b"", b"\n"}:
        line += sign
    return line.decode()


def _only_one(path: Path) -> None:
    """Wait until an engine of a collector that died has left the path. The lock goes with this process."""
    lock = os.open(path / "engine.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    end = time.monotonic() + _PREDECESSOR_SECONDS
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > end:
                sys.exit(f"another engine uses {path}")
            time.sleep(0.05)


async def _serve(path: Path, password: str) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    when_parent_is_gone(lambda: _set(loop, stop))
    engine = Engine(str(path))
    runner = web.AppRunner(Server(engine, password).app(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    print(json.dumps({"port": port, "pid": os.getpid()}), flush=True)
    await stop.wait()
    threading.Timer(_LAST_QUERIES, os._exit, (3,)).start()
    await runner.cleanup()
    engine.close()


def main(arguments: list[str] | None = None) -> None:
    """Serve until standard input ends or a signal comes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--path", type=Path, required=True)
    options = parser.parse_args(arguments)
    _die_with_parent()
    password = _first_line()
    if not password:
        return
    options.path.mkdir(parents=True, exist_ok=True, mode=0o700)
    _only_one(options.path.parent)
    asyncio.run(_serve(options.path, password))
    # The engine's own threads may be in the middle of something; running their destructors has crashed processes before.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
