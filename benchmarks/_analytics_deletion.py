"""Deleting one customer among ten million events (`ANALYTICS_BENCHMARK_EVENTS` says another number), against the goals themselves."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from pathlib import Path

from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector._collector import Collector, CollectorConfig
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.customers import parse_person

from ._measure import Figure, Sides

__all__ = ["figures"]

_EVENTS = int(os.environ.get("ANALYTICS_BENCHMARK_EVENTS", "10000000"))
_CUSTOMERS = 50_000
_ROUNDS = 3
_FILL = """
INSERT INTO events SELECT 'bench', toString(number), concat('event_', toString(number % 20)), 'page_view', 'business', 'info',
  now64(3) - toIntervalSecond(number % 2500000), now64(3), '', concat('c', toString(number % {customers})), '', '', '', 'portal', [],
  if(number % 10 = 0, toDecimal64(1, 6), NULL), 'EUR', concat('{{"n":', toString(number % 1000), ',"page":"/a"}}')::JSON
FROM numbers({start}, {count})
"""


def figures() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        deletions, rollups = asyncio.run(_measured(Path(folder)))
    return [
        Figure("analytics, deletion", f"one customer among {_EVENTS:,} events", "goal", "s", Sides(tuple(deletions), (1.0,) * _ROUNDS), goal=1.0),
        Figure("analytics, deletion", "rollups right again", "goal", "s", Sides(tuple(rollups), (60.0,) * _ROUNDS), goal=1.0),
    ]  # fmt: skip


async def _measured(folder: Path) -> tuple[list[float], list[float]]:
    deletions, rollups = [], []
    async with Collector(CollectorConfig(data_dir=folder, port=0)) as collector:
        step = min(_EVENTS, 1_000_000)
        for start in range(0, _EVENTS, step):
            await collector.store.change(_FILL.format(customers=_CUSTOMERS, start=start, count=step))
        for number in range(_ROUNDS):
            person = parse_person({"customer_id": f"c{number * 7}"}, lambda name: [name])
            started = time.perf_counter()
            deletion = await collector.deletions.delete("bench", person)
            deletions.append(time.perf_counter() - started)
            assert deletion.deleted_events == _EVENTS // _CUSTOMERS
            while collector.deletions.list("bench")[-1].state != "done":  # noqa: ASYNC110 - nothing tells us
                await asyncio.sleep(0.05)
            rollups.append(time.perf_counter() - started)
            found = await collector.store.query(
                "SELECT (SELECT count() FROM events), (SELECT sum(events) FROM events_per_minute)"
            )
            assert found.rows[0][0] == found.rows[0][1] == _EVENTS - _EVENTS // _CUSTOMERS * (number + 1), found.rows
    return deletions, rollups
