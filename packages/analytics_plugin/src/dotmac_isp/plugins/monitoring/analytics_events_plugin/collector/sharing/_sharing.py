"""Tells the other collectors of a server what changes here, hears what changes there, and knows whether this one leads.

The server has two small tables for it. What was changed while it was away is told when it is back; the later of two changes wins.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..._tasks import ended
from ...store import DOCUMENTS, MEMBERS, StoreRefusedError, StoreUnavailableError
from ._documents import LOCAL, SECRET, Change
from ._lead import Member, Pace, judged

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ...store import Store
    from .._meta import Meta

__all__ = ["Sharing"]

_log: Final = logging.getLogger(__name__)
_OWN: Final = f"{LOCAL}collector"
#: A replica may be behind by so much; everything is read anew now and then in any case.
_OVERLAP_MS: Final = 60_000
_ALL_ANEW: Final = 600.0
#: After so long away, what the others deleted meanwhile may be forgotten by all.
_LONG_AWAY: Final = 60 * 86400.0
#: For so long a collector counts as one that comes back.
_AWAY: Final = 8 * 86400.0
_LAST_SECONDS: Final = 2.0


class Sharing:
    """Use from one event loop. With a store of its own a collector shares nothing, and leads."""

    def __init__(self, meta: Meta, store: Store, *, beat: float) -> None:
        self._meta = meta
        self._store = store
        self._pace = Pace(beat)
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._followers: dict[str, Callable[[Change], None]] = {}
        self._beat_at = self._lead_until = 0.0
        self._claimed = 0
        self._number = time.time_ns() // 1000
        self._since = 0
        self._whole_at = -_ALL_ANEW
        self._trouble = ""
        self._members: Sequence[Member] = ()
        self.me = self._identity()
        #: Set when the others' rules and keys are known here: those of before a restart will do, none at all will not.
        self.ready = asyncio.Event()
        if not store.shared or meta.get(_OWN, "", "heard") is not None:
            self.ready.set()

    def _identity(self) -> str:
        known = self._meta.get(_OWN, "", "id")
        if known is None:
            known = uuid.uuid4().hex
            self._meta.put(_OWN, "", "id", known)
        return str(known)

    def follow(self, kind: str, heard: Callable[[Change], None]) -> None:
        """Be told when a document of the kind was changed elsewhere; it has been noted here already."""
        self._followers[kind] = heard

    @property
    def leads(self) -> bool:
        """Whether this collector does what only one of them does."""
        return not self._store.shared or time.monotonic() < self._lead_until

    @property
    def others(self) -> frozenset[str] | None:
        """Collectors that were there in the last days; `None`: it is not known yet."""
        if self._store.shared and not self._members:
            return None
        return frozenset(one.collector for one in self._members if one.age < _AWAY) - {self.me}

    def start(self) -> None:
        if not self._store.shared:
            return
        loop = asyncio.get_running_loop()

        def changed() -> None:
            loop.call_soon_threadsafe(self._wake.set)

        self._meta.on_change = changed
        self._task = asyncio.create_task(self._run(), name="analytics sharing")

    async def close(self) -> None:
        """Give the lead away, so that nobody waits for it."""
        self._meta.on_change = lambda: None
        await ended(self._task)
        if self._task is not None and self._claimed:
            self._claimed, self._lead_until = 0, 0.0
            with contextlib.suppress(StoreUnavailableError, StoreRefusedError, TimeoutError):
                async with asyncio.timeout(_LAST_SECONDS):
                    await self._tell_presence()

    async def _run(self) -> None:
        while True:
            try:
                await self._turn()
                self._trouble = ""
            except (StoreUnavailableError, StoreRefusedError) as error:
                if str(error) != self._trouble:
                    _log.warning("the other collectors are neither told nor heard for now: %s", error)
                self._trouble = str(error)
            except Exception:  # noqa: BLE001 - logged: it goes on, or the others would never be heard again
                _log.exception("the other collectors were neither told nor heard this time")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pace.beat / 2):
                    await self._wake.wait()
            self._wake.clear()

    async def _turn(self) -> None:
        if self._meta.get(_OWN, "", "agreed") is None:
            await self._agree()
        if time.monotonic() - self._beat_at >= self._pace.beat:
            await self._beat()
        await self.tell()
        await self._hear()

    # -- one secret --------------------------------------------------------------------------------------------------

    async def _agree(self) -> None:
        """All have the secret of the one that was first: a key opens, and a value's pseudonym is, the same everywhere."""
        found = await self._first_secret()
        if self._meta.get(SECRET, "", self.me) is None:
            self._meta.put(SECRET, "", self.me, self._meta.secret.hex())
        await self.tell()
        if found is None:
            await asyncio.sleep(self._pace.settle)
            found = await self._first_secret()
        if found is not None:
            self._meta.adopt(bytes.fromhex(msgspec.json.decode(found, type=str)))
            self._meta.put(_OWN, "", "agreed", {"at": time.time()})
            self._meta.keys.tell_all()

    async def _first_secret(self) -> str | None:
        text = f"SELECT value FROM {DOCUMENTS} WHERE kind = {{kind:String}} ORDER BY written, id LIMIT 1"  # noqa: S608 - bound
        rows = (await self._store.query(text, {"kind": SECRET})).rows
        return str(rows[0][0]) if rows else None

    # -- documents ---------------------------------------------------------------------------------------------------

    async def tell(self) -> None:
        """Returns when the server has every change that was made here. Raises `StoreUnavailableError`."""
        while self._store.shared and (changes := self._meta.waiting()):
            await self._insert(DOCUMENTS, [_row(one) for one in changes])
            self._meta.told(changes)

    async def forget_former(self) -> None:
        """What documents said before they were changed is gone from the server too when this returns. Raises `StoreUnavailableError`."""
        if self._store.shared:
            await self.tell()
            await self._store.change(f"OPTIMIZE TABLE {DOCUMENTS}{self._store.layout.everywhere} FINAL")

    async def _insert(self, table: str, rows: Sequence[dict[str, Any]]) -> None:
        lines = b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
        await self._store.insert_raw(table, lines, "JSONEachRow", uuid.uuid4().hex)

    async def _hear(self) -> None:
        whole = time.monotonic() - self._whole_at >= _ALL_ANEW
        rows = (await self._store.query(_HEAR, {"since": 0 if whole else self._since})).rows
        changes = [Change(k, t, i, value, int(version), bool(gone)) for k, t, i, value, version, gone, _ in rows]
        news = [*self._meta.take(changes)]
        if whole:
            before = self._meta.get(_OWN, "", "heard")
            if before is not None and time.time() - before["at"] > _LONG_AWAY:
                news += self._meta.keep_only(changes)
            self._whole_at = time.monotonic()
        self._since = max([self._since, *(int(row[-1]) - _OVERLAP_MS for row in rows)])
        for change in news:
            self._pass_on(change)
        if whole:
            self._meta.put(_OWN, "", "heard", {"at": time.time()})
            self.ready.set()

    def _pass_on(self, change: Change) -> None:
        heard = self._followers.get(change.kind)
        try:
            if heard is not None:
                heard(change)
        except Exception:  # noqa: BLE001 - logged
            # A collector of another version may write what this one does not understand; the rest is to be heard all the same.
            _log.exception("what another collector says of %s %s is not understood", change.kind, change.id)

    # -- the lead ----------------------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        began = self._beat_at = time.monotonic()
        await self._tell_presence()
        rows = (await self._store.query(_MEMBERS)).rows
        now = int(rows[0][-1]) if rows else 0
        self._members = [
            Member(name, int(beat), int(claimed), (now - int(seen)) / 1000) for name, beat, claimed, seen, _ in rows
        ]
        verdict = judged(self.me, self._number, self._members, now, self._pace)
        if verdict is None:
            return
        self._lead_until = began + self._pace.hold if verdict.leads else 0.0
        if verdict.claimed != self._claimed:
            await self._claim(verdict.claimed, began)

    async def _claim(self, claimed: int, began: float) -> None:
        self._claimed = claimed
        try:
            await self._tell_presence()
        except BaseException:
            self._claimed = 0  # whether it arrived is not known; the next beat withdraws it
            raise
        if time.monotonic() - began > self._pace.settle / 2:
            self._claimed = 0  # it arrived too late to count

    async def _tell_presence(self) -> None:
        self._number += 1
        await self._insert(MEMBERS, [{"collector": self.me, "beat": self._number, "claimed": self._claimed}])

    def describe(self) -> dict[str, Any]:
        """What health says; nothing where nothing is shared."""
        if not self._store.shared:
            return {}
        alive = sum(one.age < self._pace.patience for one in self._members)
        return {"collectors": alive, "leads": self.leads, "sharing_error": self._trouble}


_HEAR: Final = (
    "SELECT kind, tenant_id, id, argMax(d.value, d.version), max(d.version), argMax(d.gone, d.version), "  # noqa: S608 - our own name
    f"toUnixTimestamp64Milli(max(d.written)) FROM {DOCUMENTS} AS d "
    "WHERE d.written >= fromUnixTimestamp64Milli({since:Int64}) GROUP BY kind, tenant_id, id"
)
_MEMBERS: Final = (
    "SELECT collector, max(m.beat), argMax(m.claimed, m.beat), toUnixTimestamp64Milli(argMax(m.seen, m.beat)), "  # noqa: S608 - our own name
    f"toUnixTimestamp64Milli(now64(3)) FROM {MEMBERS} AS m GROUP BY collector"
)


def _row(change: Change) -> dict[str, Any]:
    return {
        "kind": change.kind,
        "tenant_id": change.tenant,
        "id": change.id,
        "value": change.value,
        "version": change.version,
        "gone": int(change.gone),
    }
