"""Hours whose rollups may not agree with the events, since several collectors changed them at once: put right by the one that leads.

A rollup can only be compared with the events while nothing of the hour is being stored, which one collector cannot keep another from. So an
hour is put right soon, and again when it is over, until nothing differs any more. Two that put right the same would take away twice.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Final

from ..._tasks import ended
from ...store import StoreRefusedError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .._collector import Collector

__all__ = ["DoubtedHours"]

_log: Final = logging.getLogger(__name__)
_KIND: Final = "hour in doubt"
_HOUR: Final = 3600
#: What was accepted within an hour is stored so long after it at the latest, if the store is there.
_OVER: Final = 120.0
_TRIES: Final = 5
#: Hours that are put right in one statement.
_AT_ONCE: Final = 240


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
        now = time.time()
        by_tenant: dict[str, dict[str, Any]] = {}
        for tenant, hour in places:
            by_tenant.setdefault(tenant, {})[str(hour)] = {"at": now}
        for tenant, hours in by_tenant.items():
            self._meta.put_many(_KIND, tenant, hours)

    def all_looked_at(self, tenant: str) -> bool:
        """Whether none of the tenant's hours still waits to be put right for the first time."""
        return all("soon" in value for _, _, value in self._meta.list(_KIND, tenant))

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(2 * self._collector.config.beat)
            try:
                if self._collector.sharing.leads:
                    await self._look(time.time())
            except (StoreUnavailableError, StoreRefusedError) as error:
                _log.warning("hours whose rollups may not agree with the events are looked at later: %s", error)

    async def _look(self, now: float) -> None:
        by_tenant: dict[str, dict[int, Any]] = {}
        for tenant, hour, value in self._meta.list(_KIND):
            if "soon" not in value or _is_over(int(hour), value, now):
                by_tenant.setdefault(tenant, {})[int(hour)] = value
        for tenant, values in by_tenant.items():
            listed = sorted(values)
            for start in range(0, len(listed), _AT_ONCE):
                hours = listed[start : start + _AT_ONCE]
                if await self._put_right(tenant, hours):
                    self._note(tenant, {hour: values[hour] for hour in hours}, now)

    async def _put_right(self, tenant: str, hours: Sequence[int]) -> bool:
        deletions = self._collector.deletions
        for _ in range(_TRIES):
            await deletions.reconcile(tenant, hours)
            if not await deletions.differs(tenant, hours):
                return True
        return False

    def _note(self, tenant: str, values: dict[int, Any], now: float) -> None:
        for hour, value in values.items():
            if self._meta.get(_KIND, tenant, str(hour)) != value:
                continue  # there was something new meanwhile
            if _is_over(hour, value, now):
                self._meta.delete(_KIND, tenant, str(hour))
            else:
                self._meta.put(_KIND, tenant, str(hour), {**value, "soon": now})


def _is_over(hour: int, value: dict[str, Any], now: float) -> bool:
    return bool(now > max(hour + _HOUR, value["at"]) + _OVER)
