"""A collector's data from a backup. The rollups are counted anew; the identifiers of all restored events are known afterwards."""

from __future__ import annotations

import asyncio
import shutil
import time
from typing import TYPE_CHECKING, Final

from ...store import EVENTS, EngineProcess, Store
from ..intake import EventIds, key_of
from ._manifest import BackupError, Manifest, read_manifest

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["restore"]

_IDS: Final = 200_000


async def restore(source: Path, data_dir: Path) -> Manifest:
    """Check the backup, and make the data folder of it, which must be new or empty. Raises `BackupError`, `OSError`.

    A restore that is cut short leaves a folder `….restoring` beside it, and nothing else.
    """
    manifest = await asyncio.to_thread(read_manifest, source)
    place = data_dir.with_name(data_dir.name + ".restoring")
    await asyncio.to_thread(_begin, manifest, source, place, data_dir)
    await _fill(manifest, source, place)
    await asyncio.to_thread(_finish, place, data_dir)
    return manifest


def _finish(place: Path, data_dir: Path) -> None:
    if data_dir.exists():
        data_dir.rmdir()
    place.rename(data_dir)


def _begin(manifest: Manifest, source: Path, place: Path, data_dir: Path) -> None:
    if data_dir.exists() and any(data_dir.iterdir()):
        raise BackupError(f"{data_dir} is not empty; a collector's data is restored into a new folder")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True, mode=0o700)
    for part in manifest.parts:
        if "/" not in part.name:
            shutil.copyfile(source / part.name, place / part.name)
            (place / part.name).chmod(0o600)


async def _fill(manifest: Manifest, source: Path, place: Path) -> None:
    store = Store(EngineProcess(place / "engine", place / "engine.log"))
    try:
        await store.start()
        for part in manifest.parts:
            if part.rows:
                data = await asyncio.to_thread((source / part.name).read_bytes)
                await store.insert_raw(EVENTS, data, "Parquet", f"restored:{part.sha256}")
        found = (await store.query(f"SELECT count() FROM {EVENTS}")).rows[0][0]  # noqa: S608 - our own name
        if int(found) != manifest.events:
            raise BackupError(f"{found} events came out of {source}, which should have {manifest.events}")
        await _know(store, place)
    finally:
        await store.stop()


async def _know(store: Store, place: Path) -> None:
    """Without this, an event that is delivered again would count twice."""
    ids = await asyncio.to_thread(EventIds, place / "ids.sqlite")
    today, after = int(time.time() // 86400), ("", "")
    try:
        while True:
            rows = (
                await store.query(
                    f"SELECT tenant_id, event_id FROM {EVENTS} WHERE (tenant_id, event_id) > ({{t:String}}, {{e:String}}) "  # noqa: S608 - bound
                    f"ORDER BY tenant_id, event_id LIMIT {_IDS}",
                    {"t": after[0], "e": after[1]},
                )
            ).rows
            if not rows:
                break
            keys = list(dict.fromkeys(key_of(str(tenant), str(event_id)) for tenant, event_id in rows))
            with ids.together():
                ids.take(keys, day=today)
            after = (str(rows[-1][0]), str(rows[-1][1]))
        ids.make_durable()
    finally:
        ids.close()
