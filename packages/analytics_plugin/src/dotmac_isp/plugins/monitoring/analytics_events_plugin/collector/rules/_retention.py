"""Deletes what has been kept long enough, from the events and from the rollups alike, so that they go on agreeing."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Final

from ..._tasks import ended
from ..._times import clock_text
from ...events import CATEGORIES
from ...store import EVENTS, ROLLUPS, StoreRefusedError, StoreUnavailableError
from ._rules import ANY_CATEGORY, Rules

if TYPE_CHECKING:
    from ...spool import Kept
    from ...store import Store
    from ..sharing import Sharing
    from ._book import RuleBook

__all__ = ["Retention"]

_log: Final = logging.getLogger(__name__)
_HOUR: Final = 3600.0
_TEN_MINUTES: Final = 600.0
_DAY: Final = 86400.0


class Retention:
    """Now and then: all tenants that have a rule, and what is kept beside the spool."""

    def __init__(
        self, book: RuleBook, store: Store, kept: Kept, sharing: Sharing, *, interval: float = _TEN_MINUTES
    ) -> None:
        self._kept = kept
        self._sharing = sharing
        self._book = book
        self._store = store
        self._interval = interval
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="analytics retention")

    async def close(self) -> None:
        await ended(self._task)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            await asyncio.to_thread(self._kept.tidy)
            for tenant in self._book.tenants() if self._sharing.leads else ():
                try:
                    await self.apply(tenant)
                except (StoreUnavailableError, StoreRefusedError) as error:
                    _log.warning("old events of tenant %s are deleted later: %s", tenant, error)

    async def apply(self, tenant: str, *, now: float | None = None) -> None:
        """Delete what is too old by now. Whole hours only: a rollup has nothing smaller."""
        for categories, before in due(self._book.of(tenant), time.time() if now is None else now):
            values = {"tenant": tenant, "categories": categories, "before": clock_text(before)}
            await self._delete(EVENTS, "timestamp", values)
            for rollup in ROLLUPS:
                await self._delete(rollup.name, rollup.bucket, values)

    async def _delete(self, table: str, column: str, values: dict[str, Any]) -> None:
        condition = (
            f"tenant_id = {{tenant:String}} AND category IN {{categories:Array(String)}} "
            f"AND {column} < {{before:DateTime64(3, 'UTC')}}"
        )
        found = await self._store.query(f"SELECT count() FROM {table} WHERE {condition}", values)  # noqa: S608 - bound
        if found.rows[0][0]:
            await self._store.delete(table, condition, values)


def due(rules: Rules, now: float) -> list[tuple[list[str], float]]:
    """Which categories lose what is older than which moment."""
    by_days: dict[float, list[str]] = {}
    for category in CATEGORIES:
        days = rules.retention.get(category, rules.retention.get(ANY_CATEGORY))
        if days is not None:
            by_days.setdefault(days, []).append(category)
    return [(categories, (now - days * _DAY) // _HOUR * _HOUR) for days, categories in sorted(by_days.items())]
