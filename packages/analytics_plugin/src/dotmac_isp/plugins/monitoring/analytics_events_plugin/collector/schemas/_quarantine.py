"""Events that did not fit their schema: kept on disk with the reasons, until somebody mends and replays them."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..._plain import EventError, as_mapping, plain
from ...events import MAX_PROPERTIES_BYTES, Event
from .._database import opened

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ..sharing import Change, Documents

__all__ = ["Held", "Quarantine", "mended"]

_MOST: Final = 100_000
_KIND: Final = "quarantine"


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """One event that waits; `at` is Unix time."""

    event_id: str
    event_name: str
    at: float
    reasons: list[str]
    event: Event


class Quarantine:
    """A SQLite database; calls may come from any thread. What `put` returned is on disk."""

    def __init__(self, path: Path, *, most: int = _MOST, shared: Documents | None = None) -> None:
        """:param shared: other collectors before the same server are to list and replay them as well."""
        self._most = most
        self._shared = shared
        self._lock = threading.Lock()
        self._db = opened(path)
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS held (tenant TEXT, event_id TEXT, event_name TEXT, at REAL, value BLOB, "
            "PRIMARY KEY (tenant, event_id))"
        )

    def put(self, tenant: str, events: Sequence[tuple[Event, Sequence[str]]]) -> bool:
        """Keep events with why; one that is here already is kept once. `False`: the tenant's room is used up, none was kept."""
        with self._lock:
            there = self._db.execute("SELECT count(*) FROM held WHERE tenant = ?", (tenant,)).fetchone()[0]
            if there + len(events) > self._most:
                return False
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(
                "INSERT OR IGNORE INTO held VALUES (?, ?, ?, ?, ?)",
                [(tenant, one.event_id, one.event_name, time.time(), _value(one, why)) for one, why in events],
            )
            self._db.execute("COMMIT")
        if self._shared is not None:
            told = {one.event_id: _Value(one, list(why)) for one, why in events}
            self._shared.put_many(_KIND, tenant, told)
        return True

    def heard(self, change: Change) -> None:
        """Another collector put an event aside, or one waits no more."""
        if change.gone:
            self._drop(change.tenant, [change.id])
            return
        value = msgspec.json.decode(change.value, type=_Value)
        with self._lock:
            self._db.execute(
                "INSERT OR IGNORE INTO held VALUES (?, ?, ?, ?, ?)",
                (change.tenant, change.id, value.event.event_name, change.version / 1e6, msgspec.json.encode(value)),
            )

    def list(self, tenant: str, *, event_name: str = "", event_ids: Sequence[str] = (), limit: int = 100) -> list[Held]:
        """The oldest first."""
        marks = ",".join("?" * len(event_ids))
        chosen = f" AND event_id IN ({marks})" if event_ids else ""
        with self._lock:
            rows = self._db.execute(
                "SELECT event_id, event_name, at, value FROM held WHERE tenant = ? AND (? = '' OR event_name = ?)"  # noqa: S608 - marks
                f"{chosen} ORDER BY at, event_id LIMIT ?",
                (tenant, event_name, event_name, *event_ids, limit),
            ).fetchall()
        return [Held(event_id=i, event_name=n, at=at, **_decoded(value)) for i, n, at, value in rows]

    def drop(self, tenant: str, event_ids: Sequence[str]) -> None:
        """These wait no more."""
        self._drop(tenant, event_ids)
        if self._shared is not None:
            for event_id in event_ids:
                self._shared.delete(_KIND, tenant, event_id)

    def _drop(self, tenant: str, event_ids: Sequence[str]) -> None:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(
                "DELETE FROM held WHERE tenant = ? AND event_id = ?", [(tenant, event_id) for event_id in event_ids]
            )
            self._db.execute("COMMIT")

    def of_people(self, tenant: str, names: Mapping[str, Sequence[str]]) -> Sequence[Held]:
        """What waits of events that name one of these: names by column (`customer_id`, …)."""
        with self._lock:
            rows = self._db.execute(
                "SELECT event_id, event_name, at, value FROM held WHERE tenant = ? ORDER BY at, event_id", (tenant,)
            ).fetchall()
        held = [Held(event_id=i, event_name=n, at=at, **_decoded(value)) for i, n, at, value in rows]
        return [one for one in held if any(getattr(one.event, column) in given for column, given in names.items())]

    def drop_people(self, tenant: str, names: Mapping[str, Sequence[str]]) -> None:
        """These wait no more."""
        self.drop(tenant, [one.event_id for one in self.of_people(tenant, names)])

    def forget_former(self) -> None:
        """What waits no more is gone from the disk when this returns."""
        with self._lock:
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        with self._lock:
            self._db.close()


class _Value(msgspec.Struct):
    event: Event
    reasons: list[str]


def _value(event: Event, reasons: Sequence[str]) -> bytes:
    return msgspec.json.encode(_Value(event, list(reasons)))


def _decoded(value: bytes) -> dict[str, Any]:
    decoded = msgspec.json.decode(value, type=_Value)
    return {"event": decoded.event, "reasons": decoded.reasons}


def mended(event: Event, changes: Mapping[str, Any]) -> Event:
    """The event with its properties changed: `{"rename": {old: new}, "drop": [name], "set": {name: value}}`. Raises `EventError`."""
    unknown = changes.keys() - {"rename", "drop", "set"}
    if unknown:
        raise EventError("changes", sorted(unknown)[0], "rename, drop and set")
    properties = dict(event.properties)
    for old, new in as_mapping(changes.get("rename") or {}, "changes.rename").items():
        if old in properties:
            properties[str(new)] = properties.pop(old)
    dropped = changes.get("drop") or []
    if not isinstance(dropped, list):
        raise EventError("changes.drop", dropped, "a list of names")
    properties = {name: value for name, value in properties.items() if name not in dropped}
    properties |= plain(as_mapping(changes.get("set") or {}, "changes.set"), "changes.set")
    size = len(msgspec.json.encode(properties))
    if size > MAX_PROPERTIES_BYTES:
        raise EventError("changes.set", f"{size} bytes", f"at most {MAX_PROPERTIES_BYTES} bytes of properties as JSON")
    return msgspec.structs.replace(event, properties=properties)
