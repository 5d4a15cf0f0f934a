"""Making a backup while the collector goes on taking events: storing pauses, so that all files are of one moment."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from typing import TYPE_CHECKING, Final

from ..._version import version
from ...store import EVENTS
from ._manifest import BackupError, Manifest, Part, keep, write_manifest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from .._collector import Collector

__all__ = ["BackupError", "back_up"]

#: Rows of a Parquet file, about: a file is read and written as a whole.
_ROWS: Final = 500_000
_DAY: Final = 86_400
_HOUR: Final = 3_600


async def back_up(collector: Collector, folder: Path) -> Manifest:
    """Write everything that was acknowledged until now into the folder, which must be new or empty. Raises `BackupError`, `OSError`."""
    if collector.store.shared:
        raise BackupError("the events lie in a ClickHouse server of yours; back that up with its own BACKUP")
    await asyncio.to_thread(_prepared, folder)
    if not await collector.settled():
        raise BackupError(
            collector.writer.last_error or "the collector is behind with storing what it has accepted; try again"
        )
    async with collector.writer.paused():
        # Nothing is stored meanwhile; what is accepted waits in the spool and is not part of the backup.
        parts = [part async for part in _events(collector, folder)]
        parts += await asyncio.to_thread(_databases, collector.config.data_dir, folder)
        manifest = Manifest(
            version=version(), created_at=time.time(), events=sum(part.rows for part in parts), parts=tuple(parts)
        )
    await asyncio.to_thread(write_manifest, folder, manifest)
    return manifest


def _prepared(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if any(folder.iterdir()):
        raise BackupError(f"{folder} is not empty; name a new folder")


async def _events(collector: Collector, folder: Path) -> AsyncIterator[Part]:
    """Files of a day, or of an hour where a day is large."""
    days = await _counts(collector, _DAY, None)
    for day, rows in days:
        pieces = [(day, rows)] if rows <= _ROWS else await _counts(collector, _HOUR, day)
        span = _DAY if rows <= _ROWS else _HOUR
        for start, count in pieces:
            text = (
                f"SELECT * FROM {EVENTS} WHERE timestamp >= toDateTime({{start:UInt32}}, 'UTC') "  # noqa: S608 - bound
                "AND timestamp < toDateTime({end:UInt32}, 'UTC')"
            )
            data = await collector.store.read_raw(text, "Parquet", {"start": start, "end": start + span})
            stamp = time.strftime("%Y%m%dT%H", time.gmtime(start))
            yield await asyncio.to_thread(keep, folder, f"events/{stamp}-{span}.parquet", data, count)


async def _counts(collector: Collector, span: int, day: int | None) -> list[tuple[int, int]]:
    condition = "" if day is None else "WHERE intDiv(toUnixTimestamp(timestamp), 86400) * 86400 = {day:UInt32} "
    text = f"SELECT intDiv(toUnixTimestamp(timestamp), {span}) * {span} AS start, count() FROM {EVENTS} {condition}GROUP BY start ORDER BY start"  # noqa: S608 - a number
    rows = (await collector.store.query(text, {} if day is None else {"day": day})).rows
    return [(int(start), int(count)) for start, count in rows]


def _databases(data_dir: Path, folder: Path) -> list[Part]:
    """Keys (as hashes), rules, schemas, dashboards, alerts; the quarantine; and the secret that hashes and pseudonyms are keyed with."""
    parts = [keep(folder, "keys.secret", (data_dir / "keys.secret").read_bytes())]
    for name in ("meta.sqlite", "quarantine.sqlite"):
        source = sqlite3.connect(data_dir / name)
        copy = sqlite3.connect(":memory:")
        try:
            source.backup(copy)
            parts.append(keep(folder, name, copy.serialize()))
        finally:
            copy.close()
            source.close()
    return parts
