"""Hours whose rollups may count an event twice, since two collectors stored it at the same moment: put right by the one that leads.

A rollup can only be compared with the events while nothing of the hour is being stored, which one collector cannot keep another from. So an
hour is put right soon, and again when it is over, until nothing differs any more.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Final

from ..._tasks import ended
from ...store import StoreRefusedError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._collector import Collector

__all__ = ["DoubtedHours"]

_log: Final = logging.getLogger(__name__)
_KIND: Final = "hour in doubt"
_HOUR: Final = 3600
#: What was accepted within an hour is stored so long after it at the latest, if the store is there.
_OVER: Final = 120.0
_TRIES: Final = 5


class DoubtedHours:
    """Use from one event loop. Hours are Unix time."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._meta = collector.meta
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if not self._collector.store.shared:
            return
        self._task = asyncio.create_task(self._run(), name="analytics hours in doubt")

    async def close(self) -> None:
        await ended(self._task)

    def doubt(self, places: Iterable[tuple[str, int]]) -> None:
        """These hours of these tenants are to be looked at. On disk when this returns."""
        for tenant, hour in places:
            self._meta.put(_KIND, tenant, str(hour), {"at": time.time()})

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(2 * self._collector.config.beat)
            try:
                for tenant, hour, value in self._meta.list(_KIND) if self._collector.sharing.leads else ():
                    await self._look(tenant, int(hour), value, time.time())
            except (StoreUnavailableError, StoreRefusedError) as error:
                _log.warning("hours whose rollups may count twice are looked at later: %s", error)

    async def _look(self, tenant: str, hour: int, value: dict[str, Any], now: float) -> None:
        over = now > max(hour + _HOUR, value["at"]) + _OVER
        if not over and "soon" in value:
            return
        deletions = self._collector.deletions
        for _ in range(_TRIES):
            await deletions.reconcile(tenant, [hour])
            if not await deletions.differs(tenant, [hour]):
                break
        else:
            return
        if self._meta.get(_KIND, tenant, str(hour)) != value:
            return  # there was something new meanwhile
        if over:
            self._meta.delete(_KIND, tenant, str(hour))
        else:
            self._meta.put(_KIND, tenant, str(hour), {**value, "soon": now})
