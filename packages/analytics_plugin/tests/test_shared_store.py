"""Several collectors before one server: each has its own spool and memory of identifiers; the store makes them one."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector._collector import Collector, CollectorConfig
from dotmac_isp.plugins.monitoring.analytics_events_plugin.events import parse_event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from dotmac_isp.plugins.monitoring.analytics_events_plugin.store import Store


@contextlib.asynccontextmanager
async def collector(folder: Path, url: str) -> AsyncIterator[Collector]:
    async with Collector(CollectorConfig(data_dir=folder, port=0, database=url)) as made:
        yield made


async def totals(store: Store) -> tuple[Any, ...]:
    rows = await store.query("SELECT count(), uniqExact(event_id) FROM events")
    rollup = await store.query("SELECT sum(events) FROM events_per_minute")
    return (*rows.rows[0], rollup.rows[0][0])


async def test_the_same_events_through_two_collectors_count_once_in_table_and_rollups(
    server_url: str, tmp_path: Path
) -> None:
    events = [parse_event({"event_name": "tick", "event_id": f"e{n}", "device_id": "d"}) for n in range(500)]
    async with collector(tmp_path / "a", server_url) as first, collector(tmp_path / "b", server_url) as second:
        assert (await first.intake.take("tenant_a", events[:300])).accepted == 300
        assert await first.settled()
        assert (await second.intake.take("tenant_a", events)).accepted == 500  # it cannot know of the others yet
        assert (await second.intake.take("tenant_b", events[:10])).accepted == 10
        assert await second.settled()
        assert await totals(first.store) == (510, 500, 510)
        assert first.describe()["engine"] == "server"


@pytest.mark.slow
async def test_a_collector_that_starts_without_its_server_takes_events_and_stores_them_when_it_is_there(
    engine: None, tmp_path: Path, port: int
) -> None:
    url = f"clickhouse://default:x@127.0.0.1:{port}/default"
    events = [parse_event({"event_name": "tick"}) for _ in range(10)]
    async with collector(tmp_path / "a", url) as alone:
        assert (await alone.intake.take("t", events)).accepted == 10
        assert not await alone.writer.drained(0.5)
        assert alone.describe()["last_error"]
    assert alone.writer.backlog == 1
