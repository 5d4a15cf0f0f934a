"""Events in a collector's engine, made by the engine itself: ten tenants, thirty days, properties as JSON of about 440 bytes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["DAYS", "TENANT", "engine_cpu", "grown", "site"]

#: Half of all events are this tenant's; the other nine share the rest.
TENANT = "t0"
DAYS = 30
_CHUNK = 250_000
_NAMES = (
    "['page_view','click','login','signup','payment','login_failed','api_error','timeout','device_event','upgrade']"
)
_SQL = """
INSERT INTO events SELECT
  if(number % 2 = 0, 't0', concat('t', toString(1 + number % 9))) AS tenant_id,
  lower(hex(sipHash128(number))) AS event_id,
  {names}[1 + toUInt8(pow(cityHash64(number, 1) % 1000 / 1000, 2) * 10)] AS event_name,
  event_name AS event_type,
  ['user_behavior','user_behavior','security','business','financial','security','technical','technical','technical','business'][
    indexOf({names}, event_name)] AS category,
  ['info','info','info','warning','error','major','critical'][1 + cityHash64(number, 2) % 7] AS severity,
  fromUnixTimestamp64Milli(toInt64({now} - cityHash64(number, 3) % ({days} * 86400000)), 'UTC') AS timestamp,
  timestamp AS received_at,
  concat('u', toString(toUInt32(pow(cityHash64(number, 4) % 100000 / 100000, 3) * 500000))) AS user_id,
  concat('c', toString(cityHash64(user_id) % 40000)) AS customer_id,
  concat(user_id, '-', toString(intDiv(toUnixTimestamp(timestamp), 1800))) AS session_id,
  '' AS correlation_id,
  if(event_name = 'device_event', concat('d', toString(cityHash64(number, 5) % 2000)), '') AS device_id,
  ['web','app','api'][1 + cityHash64(number, 6) % 3] AS source,
  [] AS tags,
  if(event_name = 'payment', toDecimal64(cityHash64(number, 7) % 9000 / 100, 6), NULL) AS amount,
  if(event_name = 'payment', 'EUR', '') AS currency,
  concat('{{"page":"/p', toString(cityHash64(number, 8) % 40), '","plan":"', ['gold','basic','fibre'][1 + cityHash64(number, 9) % 3],
    '","duration_ms":', toString(cityHash64(number, 10) % 3000), ',"country":"', ['de','fr','pl','it'][1 + cityHash64(number, 11) % 4],
    '","agent":"Mozilla/5.0 (X11; Linux x86_64) like any other","ok":', if(number % 7 = 0, 'false', 'true'), '}}')::JSON AS properties
FROM numbers({start}, {count})
"""


async def grown(collector: Any, count: int) -> None:
    """Fill the engine up to `count` events; a busy machine may take minutes for a piece."""
    from dotmac_isp.plugins.monitoring.analytics_events_plugin.store import _clickhouse

    _clickhouse._CALL_SECONDS = 600.0  # type: ignore[misc]  # a busy machine
    now = int(time.time() * 1000)
    for start in range(0, count, _CHUNK):
        text = _SQL.format(names=_NAMES, now=now, days=DAYS, start=start, count=min(_CHUNK, count - start))
        settings = {
            "deduplicate_blocks_in_dependent_materialized_views": 0,
            "max_execution_time": 600,
            "max_insert_threads": 2,
        }
        await collector.store._call("command", text, settings=settings)
    rows = (await collector.store.query("SELECT count() FROM events")).rows
    assert rows[0][0] == count, rows


@contextlib.asynccontextmanager
async def site(folder: Path, count: int) -> AsyncIterator[Any]:
    """A collector with `count` events; each tenant's key is `key-<tenant>`."""
    from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector import Collector, CollectorConfig

    config = CollectorConfig(data_dir=folder, port=0, alert_interval=3600, max_age_days=DAYS + 1)
    async with Collector(config) as collector:
        for number in range(10):
            collector.meta.admit(f"t{number}", f"key-t{number}", "operator")
        await grown(collector, count)
        await asyncio.sleep(5)  # merges
        yield collector


def engine_cpu(pid: int) -> float:
    """Seconds of processor that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
