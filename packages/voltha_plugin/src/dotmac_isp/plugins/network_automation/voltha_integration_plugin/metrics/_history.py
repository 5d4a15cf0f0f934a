"""Values over time, in an SQLite file of the instance: bounded by age, written in batches, away from the event loop."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ._prometheus import Sample

__all__ = ["MetricHistory"]

_DAY: Final = 86_400.0
_LARGEST_BATCH: Final = 100_000
_SWEEP_EVERY: Final = 3_600.0
_BUSY: Final = 10.0
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS series (id INTEGER PRIMARY KEY, device TEXT, name TEXT, labels TEXT, UNIQUE (device, name, labels));
CREATE TABLE IF NOT EXISTS point (series INTEGER, at REAL, value REAL, PRIMARY KEY (series, at)) WITHOUT ROWID;
"""


class MetricHistory:
    """Values by device (serial number), name and labels. `days` of them are kept; 0 keeps none."""

    def __init__(self, path: Path, *, days: float) -> None:
        self._path: Final = path
        self.days = days
        self._waiting: list[tuple[str, Sample]] = []
        self._lock: Final = asyncio.Lock()
        self._series: Final[dict[tuple[str, str, str], int]] = {}
        self._swept = 0.0
        #: Values that could not be kept because too many waited.
        self.dropped = 0

    def note(self, device: str, samples: Iterable[Sample]) -> None:
        """Keep values; they are written at the next `flush`."""
        if self.days <= 0 or not device:
            return
        if len(self._waiting) >= _LARGEST_BATCH:
            self.dropped += sum(1 for _ in samples)
            return
        self._waiting += [(device, sample) for sample in samples]

    async def flush(self) -> None:
        """Write what waits. A disk that refuses gets it at the next time."""
        if not self._waiting:
            return
        async with self._lock:
            batch, self._waiting = self._waiting, []
            try:
                await asyncio.to_thread(self._write, batch)
            except sqlite3.Error:
                self._waiting = batch + self._waiting
                raise

    async def read(self, device: str, *, name: str, since: float, until: float, limit: int) -> list[dict[str, Any]]:
        """The series of a device, with their points `[at, value]`, oldest first; the newest `limit` of each."""
        await self.flush()
        async with self._lock:
            return await asyncio.to_thread(self._read, device, name, (since, until), limit)

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=_BUSY)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.executescript(_TABLES)
        return connection

    def _write(self, batch: list[tuple[str, Sample]]) -> None:
        now = time.time()
        with closing(self._open()) as connection, connection:
            rows = [
                (self._id(connection, device, sample), sample.at, sample.value)
                for device, sample in batch
                if sample.at > now - self.days * _DAY
            ]
            connection.executemany("INSERT OR REPLACE INTO point VALUES (?, ?, ?)", rows)
            if now - self._swept > _SWEEP_EVERY:
                self._swept = now
                connection.execute("DELETE FROM point WHERE at < ?", (now - self.days * _DAY,))
                connection.execute("DELETE FROM series WHERE id NOT IN (SELECT series FROM point)")
                self._series.clear()

    def _id(self, connection: sqlite3.Connection, device: str, sample: Sample) -> int:
        key = (device, sample.name, json.dumps(sample.labels, sort_keys=True))
        known = self._series.get(key)
        if known is None:
            connection.execute("INSERT OR IGNORE INTO series (device, name, labels) VALUES (?, ?, ?)", key)
            where = "SELECT id FROM series WHERE device = ? AND name = ? AND labels = ?"
            known = self._series[key] = int(connection.execute(where, key).fetchone()[0])
        return known

    def _read(self, device: str, name: str, times: tuple[float, float], limit: int) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        with closing(self._open()) as connection:
            series = connection.execute(
                "SELECT id, name, labels FROM series WHERE device = ? AND (? = '' OR name = ?) ORDER BY name, labels",
                (device, name, name),
            ).fetchall()
            points = "SELECT at, value FROM point WHERE series = ? AND at >= ? AND at <= ? ORDER BY at DESC LIMIT ?"
            return [
                {
                    "name": title,
                    "labels": json.loads(labels),
                    "points": [
                        list(row) for row in reversed(connection.execute(points, (key, *times, limit)).fetchall())
                    ],
                }
                for key, title, labels in series
            ]
