"""A collector for the benchmark of intake: without an engine behind it, and with `--no-disk` without a disk before it."""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
from pathlib import Path
from typing import Any

from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector._collector import Collector, CollectorConfig
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.intake import Writer
from dotmac_isp.plugins.monitoring.analytics_events_plugin.spool import SegmentLog

NOWHERE = "clickhouse://nobody@127.0.0.1:1/none"


def _nothing(*_: Any) -> None:
    return None


async def _serve(data: Path) -> None:
    async with Collector(CollectorConfig(data_dir=data, port=0, database=NOWHERE)) as collector:
        collector.meta.admit("bench", "bench-key", "operator")
        collector.sharing.ready.set()  # its server is not there, so it would wait for what other collectors know
        gc.collect()  # as `main` does
        gc.freeze()
        print(collector.port, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--no-disk", action="store_true")
    options = parser.parse_args()
    Writer.start = _nothing  # type: ignore[method-assign, assignment]
    if options.no_disk:
        SegmentLog._write = _nothing  # type: ignore[method-assign, assignment]
    asyncio.run(_serve(options.data))


if __name__ == "__main__":
    main()
