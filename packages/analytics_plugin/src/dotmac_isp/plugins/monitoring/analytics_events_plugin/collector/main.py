"""`dotmac-analytics-collector`: serve, and let keys in."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import logging
import os
import secrets
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .._parent import when_parent_is_gone
from .._version import version
from .._wire import ADMIN_SOCKET, short_path
from ._collector import Collector, CollectorConfig
from .owner import make_backup, restore_backup

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["main"]

_DATABASE: Final = "ANALYTICS_DB_CONNECTION"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dotmac-analytics-collector", description="Takes, stores and answers analytics events."
    )
    parser.add_argument("--version", action="version", version=version())
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser(
        "serve",
        help="run until stopped",
        epilog=f"The environment variable {_DATABASE} names a ClickHouse server to store in.",
    )
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=int, default=8080, help="0 takes a free one (default: 8080)")
    serve.add_argument("--data", type=Path, required=True, help="folder for the spool, the engine and the keys")
    serve.add_argument("--max-age-days", type=float, default=30, help="older events are refused (default: 30)")
    serve.add_argument("--alert-interval", type=float, default=15, help="seconds between evaluations (default: 15)")
    serve.add_argument(
        "--notify-host",
        action="append",
        default=[],
        metavar="HOST",
        help="let alerts and reports go to this host although it is this machine or its link (repeatable)",
    )
    serve.add_argument("--with-parent", action="store_true", help="end when standard input ends")
    key = commands.add_parser("key", help="let a key act for a tenant; reads it from standard input, or makes one")
    key.add_argument("--data", type=Path, required=True)
    key.add_argument("--tenant", required=True)
    key.add_argument("--make", action="store_true", help="make a key and print it")
    backup = commands.add_parser("backup", help="write all events, keys and rules into a new folder")
    backup.add_argument("--data", type=Path, required=True)
    backup.add_argument("--to", type=Path, required=True, help="a new or empty folder")
    back = commands.add_parser("restore", help="make a new data folder of a backup; the collector must not run there")
    back.add_argument("--data", type=Path, required=True, help="a new or empty folder")
    back.add_argument("--from", type=Path, required=True, dest="source", help="the backup")
    return parser


def _set(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(stop.set)


async def _serve(options: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if options.with_parent:
        when_parent_is_gone(lambda: _set(loop, stop))
    config = CollectorConfig(
        data_dir=options.data.absolute(),
        host=options.host,
        port=options.port,
        database=os.environ.get(_DATABASE, ""),
        max_age_days=options.max_age_days,
        alert_interval=options.alert_interval,
        notify_hosts=tuple(host.lower() for host in options.notify_host),
    )
    async with Collector(config) as collector:
        # What is there now stays: a full collection would stop everybody for 20 ms to find that out (p99 of single events 8 ms, else 24).
        gc.collect()
        gc.freeze()
        print(json.dumps({"ready": True, "host": config.host, "port": collector.port}), flush=True)
        await stop.wait()


def _backup(options: argparse.Namespace) -> str:
    return json.dumps(make_backup(options.data, options.to))


def _restore(options: argparse.Namespace) -> str:
    return json.dumps(restore_backup(options.source, options.data))


async def _admit(options: argparse.Namespace) -> str:
    import aiohttp  # noqa: PLC0415

    key = secrets.token_urlsafe(32) if options.make else sys.stdin.readline().strip()
    if not key:
        raise RuntimeError("no key came on standard input; send one, or use --make")
    wish: dict[str, Any] = {"tenant": options.tenant, "key": key, "owner": "operator"}
    with short_path(options.data.absolute() / ADMIN_SOCKET) as socket:
        connector = aiohttp.UnixConnector(socket)
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.post("http://collector/admin/keys", json=wish) as response,
        ):
            response.raise_for_status()
    return key if options.make else ""


_COMMANDS: Final[dict[str, Callable[[argparse.Namespace], str]]] = {
    "key": lambda options: asyncio.run(_admit(options)),
    "backup": _backup,
    "restore": _restore,
}


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the exit code is 0, or 1 with a sentence on standard error."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    try:
        if options.command == "serve":
            asyncio.run(_serve(options))
        else:
            said = _COMMANDS[options.command](options)
            if said:
                print(said)
    except (RuntimeError, OSError, ValueError) as error:
        print(f"dotmac-analytics-collector: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
