"""What the owner of a collector's data folder does with it, whether the collector runs or not. For the two command lines."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

import msgspec

from .._wire import ADMIN_SOCKET, short_path
from .backup import BackupError, back_up, restore

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["BackupError", "make_backup", "restore_backup", "tell"]

_OK: Final = 300


async def tell(data: Path, path: str, wish: dict[str, Any]) -> dict[str, Any]:
    """Ask the collector that runs on the folder. Raises `BackupError` with its words, `OSError` when none runs."""
    import aiohttp  # noqa: PLC0415

    with short_path(data / ADMIN_SOCKET) as socket:
        timeout = aiohttp.ClientTimeout(total=None)
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(socket), timeout=timeout) as session,
            session.post(f"http://collector{path}", data=msgspec.json.encode(wish)) as response,
        ):
            answer: dict[str, Any] = msgspec.json.decode(await response.read())
            if response.status >= _OK:
                raise BackupError(str(answer.get("error", response.status)))
            return answer


def make_backup(data: Path, to: Path) -> dict[str, Any]:
    """Back the folder up, by the collector that runs on it or by one that runs for that only. Raises `BackupError`, `OSError`."""
    data, to = data.absolute(), to.absolute()
    if not (data / "meta.sqlite").is_file():
        raise BackupError(f"{data} is no folder of a collector's data")
    if (data / ADMIN_SOCKET).is_socket():
        with contextlib.suppress(ConnectionError):
            return asyncio.run(tell(data, "/admin/backup", {"to": str(to)}))
    return asyncio.run(_alone(data, to))


async def _alone(data: Path, to: Path) -> dict[str, Any]:
    from ._collector import Collector, CollectorConfig  # noqa: PLC0415 - the whole collector

    async with Collector(CollectorConfig(data_dir=data, port=0)) as collector:
        manifest = await back_up(collector, to)
    return {"events": manifest.events, "files": len(manifest.parts), "folder": str(to)}


def restore_backup(source: Path, data: Path) -> dict[str, Any]:
    """Make a new data folder of a backup. Raises `BackupError`, `OSError`."""
    manifest = asyncio.run(restore(source.absolute(), data.absolute()))
    return {"events": manifest.events, "folder": str(data.absolute()), "version": manifest.version}
