"""Disks that are full or damaged, engines that are out of memory or killed while they merge: what was acknowledged is there."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector._collector import Collector, CollectorConfig
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.customers import parse_person
from dotmac_isp.plugins.monitoring.analytics_events_plugin.events import parse_event
from dotmac_isp.plugins.monitoring.analytics_events_plugin.spool import Kept, SegmentLog, SpoolReader
from dotmac_isp.plugins.monitoring.analytics_events_plugin.store import (
    EngineProcess,
    Store,
    StoreRefusedError,
    StoreUnavailableError,
    insert_past_refused,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

FULL_DISK = """
import resource, sys
from pathlib import Path
from dotmac_isp.plugins.monitoring.analytics_events_plugin.spool import SegmentLog, SpoolFullError, SpoolReader

log = SegmentLog(Path(sys.argv[1]))
log.open()
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))  # the system refuses to make a file larger
taken = []
while True:
    try:
        taken += log.append([(1, b"%d" % len(taken) + b"x" * 1000)])
    except SpoolFullError as error:
        assert "cannot be written" in str(error)
        break
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
taken += log.append([(1, b"%d" % len(taken) + b"x" * 1000)])
log.close()
log = SegmentLog(Path(sys.argv[1]))
log.open()
found = SpoolReader(log, 1).read(max_events=10_000)
assert [record.seq for record in found] == taken == list(range(1, len(taken) + 1)), (len(found), len(taken))
assert all(record.payload.startswith(b"%d" % index) for index, record in enumerate(found))
print(len(taken))
"""


def test_a_full_disk_takes_nothing_by_halves_and_takes_again_when_there_is_room(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100


def events(start: int, count: int) -> list[Any]:
    return [
        parse_event({"event_name": "tick", "event_id": f"e{n}", "customer_id": f"c{n % 10}", "device_id": "d"})
        for n in range(start, start + count)
    ]


async def counted(store: Store) -> tuple[int, ...]:
    rows = await store.query(
        "SELECT (SELECT count() FROM events), (SELECT uniqExact(event_id) FROM events), "
        "(SELECT sum(events) FROM events_per_minute), (SELECT sum(events) FROM devices_per_hour)"
    )
    return tuple(int(value) for value in rows.rows[0])


async def eventually(ask: Callable[[], Awaitable[bool]], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not await ask():  # noqa: ASYNC110 - nothing tells us
            await asyncio.sleep(0.1)


async def part_of(collector: Collector, table: str) -> Path:
    rows = (
        await collector.store.query(
            "SELECT path FROM system.parts WHERE database = 'default' AND table = {t:String} AND active ORDER BY name LIMIT 1",
            {"t": table},
        )
    ).rows
    return Path(str(rows[0][0]))


@pytest.mark.slow
@pytest.mark.parametrize("table", ["events", "events_per_minute"])
async def test_a_damaged_part_is_stored_again_and_what_was_deleted_stays_away(
    engine: None, tmp_path: Path, table: str
) -> None:
    config = CollectorConfig(data_dir=tmp_path / "c", port=0)
    async with Collector(config) as first:
        for start in (0, 100, 200):
            await first.intake.take("a", events(start, 100))
            assert await first.settled()
        gone = await first.deletions.delete("a", parse_person({"customer_id": "c3"}, lambda name: [name]))
        assert gone.deleted_events == 30

        async def done() -> bool:
            return first.deletions.list("a")[0].state == "done"

        await eventually(done)
        assert await counted(first.store) == (270, 270, 270, 270)
        part = await part_of(first, table)
        # Everything that is stored leaves the spool, and is kept beside it.
        await first.writer.clear_spool()
    for version in part.parent.glob("_".join(part.name.split("_")[:4]) + "*"):  # the engine falls back to an older one
        (version / "data.bin").write_bytes((version / "data.bin").read_bytes()[:20])
    async with Collector(config) as second:

        async def mended() -> bool:
            return bool(second.mending.broken) and await counted(second.store) == (270, 270, 270, 270)

        await eventually(mended)
        assert second.describe()["broken_parts"] >= 1
        if table == "events":
            await eventually(lambda: _is(second, lambda: second.mending.mended_events > 0))
    async with Collector(config) as third:
        await third.intake.take("a", events(300, 10))
        assert await third.settled()
        assert await counted(third.store) == (280, 280, 280, 280)


async def _is(_: Collector, what: Callable[[], bool]) -> bool:
    return what()


def test_what_is_kept_is_bounded_and_can_be_read_and_scrubbed(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "kept", max_bytes=8_000, max_days=7)
    log = SegmentLog(tmp_path / "spool", segment_bytes=5_000, on_release=kept.take)
    log.open()
    for number in range(100):
        log.append([(2, b'{"n":%d}\n{"secret":%d}\n' % (number, number) + os.urandom(50).hex().encode() + b"\n")])
    log.release(100, everything=True)
    assert len(list((tmp_path / "spool").glob("*.seg"))) == 1
    kept.tidy()
    assert 0 < kept.size <= 8_000
    lines = [line for path in kept.files() for record in kept.records(path) for line in record.payload.splitlines()]
    assert b'{"n":99}' in lines
    assert kept.scrub(lambda line: b"secret" in line) == sum(b"secret" in line for line in lines)
    left = [line for path in kept.files() for record in kept.records(path) for line in record.payload.splitlines()]
    assert left == [line for line in lines if b"secret" not in line]
    old = kept.files()[0]
    os.utime(old, (0, 0))
    kept.tidy()
    assert old not in kept.files()
    log.close()


async def test_an_engine_that_is_asked_for_too_much_memory_refuses_and_goes_on(engine: None, tmp_path: Path) -> None:
    store = Store(EngineProcess(tmp_path / "engine", tmp_path / "engine.log"))
    await store.start()
    try:
        with pytest.raises((StoreRefusedError, StoreUnavailableError), match=r"MEMORY_LIMIT|memory limit"):
            await store.query(
                "SELECT length(groupArray(repeat('x', 1000))) FROM numbers(100000000)",
                limits={"max_memory_usage": 10**8},
            )
        assert (await store.query("SELECT 1")).rows == [(1,)]
        assert isinstance(store.endpoint, EngineProcess)
        assert store.endpoint.restarts == 0
    finally:
        await store.stop()


@pytest.mark.slow
async def test_an_engine_that_is_killed_while_it_merges_has_everything(engine: None, tmp_path: Path) -> None:
    async with Collector(CollectorConfig(data_dir=tmp_path / "c", port=0, patience=60)) as collector:
        endpoint = collector.store.endpoint
        assert isinstance(endpoint, EngineProcess)
        for number in range(12):
            await collector.intake.take("a", events(number * 500, 500))
            assert await collector.settled()
            merging = asyncio.create_task(collector.store.change("OPTIMIZE TABLE events FINAL"))
            if number % 4 == 3 and endpoint.pid is not None:
                os.kill(endpoint.pid, signal.SIGKILL)
            await asyncio.wait([merging])
            merging.exception()
        await eventually(lambda: _answers(collector))
        assert await counted(collector.store) == (6000, 6000, 6000, 6000)
        assert endpoint.restarts == 3


async def _answers(collector: Collector) -> bool:
    try:
        await collector.store.ping()
    except StoreUnavailableError:
        return False
    return True


@pytest.mark.slow
async def test_a_destination_that_is_slow_or_dead_never_holds_up_intake(engine: None, tmp_path: Path) -> None:
    async with Collector(CollectorConfig(data_dir=tmp_path / "c", port=0)) as collector:
        endpoint = collector.store.endpoint
        assert isinstance(endpoint, EngineProcess)
        assert endpoint.pid is not None
        os.kill(endpoint.pid, signal.SIGSTOP)
        try:
            async with asyncio.timeout(20):
                for start in range(0, 3000, 100):
                    assert (await collector.intake.take("a", events(start, 100))).accepted == 100
            assert collector.writer.backlog
        finally:
            os.kill(endpoint.pid, signal.SIGCONT)
        assert await collector.writer.drained(60)
        assert await counted(collector.store) == (3000, 3000, 3000, 3000)


@pytest.mark.slow
@pytest.mark.parametrize("table", ["events_per_minute", "devices_per_hour"])
async def test_a_block_whose_insert_was_interrupted_is_looked_at_in_every_rollup(
    engine: None, tmp_path: Path, table: str
) -> None:
    """The engine's memory of blocks may be ahead of its tables when it is killed: made so here, a table lacks what is known."""
    async with Collector(CollectorConfig(data_dir=tmp_path / "c", port=0)) as collector:
        await collector.intake.take("a", events(0, 100))
        assert await collector.settled()
        await collector.store.change(f"TRUNCATE TABLE {table}", {})
        os.kill(collector.describe()["pid"], signal.SIGKILL)
        await collector.intake.take("a", events(100, 50))  # its first try finds no engine

        async def whole() -> bool:
            try:
                return await counted(collector.store) == (150, 150, 150, 150)
            except StoreUnavailableError:
                return False

        await eventually(whole)
        await eventually(lambda: _is(collector, lambda: collector.meta.get("doubted blocks", "", "") is None))


@pytest.mark.slow
async def test_a_block_in_doubt_that_the_table_lacks_is_stored_again(engine: None, tmp_path: Path) -> None:
    async with Collector(CollectorConfig(data_dir=tmp_path / "c", port=0)) as collector:
        await collector.intake.take("a", events(0, 100))
        lines = b"".join(record.payload for record in SpoolReader(collector.intake.log, 1).read(max_events=1000))
        assert await collector.settled()
        await collector.store.change("TRUNCATE TABLE events", {})
        collector.mending.doubt(lines)
        await eventually(lambda: _is(collector, lambda: collector.meta.get("doubted blocks", "", "") is None))
        assert await counted(collector.store) == (100, 100, 100, 100)
        assert collector.describe()["mended_events"] == 100


@pytest.mark.slow
@pytest.mark.parametrize("blocks", [15, 25], ids=["looked at one by one", "so many that all that is kept is looked at"])
async def test_many_large_blocks_in_doubt_are_no_statement_that_is_too_long(
    engine: None, tmp_path: Path, blocks: int
) -> None:
    async with Collector(CollectorConfig(data_dir=tmp_path / "c", port=0)) as collector:
        await collector.intake.take("a", events(0, 20_000))
        records = SpoolReader(collector.intake.log, 1).read(max_events=20_000)
        lines = b"".join(record.payload for record in records)
        assert lines.count(b'"event_id":"e') == 20_000
        assert await collector.settled()
        # The identifiers differ, as those of different blocks do; none of these was ever taken, so that nothing can be stored again.
        for number in range(blocks):
            collector.mending.doubt(lines.replace(b'"event_id":"e', b'"event_id":"%d-e' % number))
        await eventually(lambda: _is(collector, lambda: collector.meta.get("doubted blocks", "", "") is None))
        assert await counted(collector.store) == (20_000, 20_000, 20_000, 20_000)


async def test_lines_that_the_engine_refuses_are_found_and_all_others_go_in() -> None:
    taken: list[tuple[bytes, str]] = []
    refused: list[tuple[bytes, str]] = []

    async def insert(lines: bytes, token: str) -> None:
        if b"bad" in lines:
            raise StoreRefusedError("it cannot be parsed")
        taken.append((lines, token))

    async def refuse(line: bytes, reason: str) -> None:
        refused.append((line, reason))

    lines = [b"%d\n" % number for number in range(20)]
    lines[3], lines[17] = b"bad 3\n", b"bad 17\n"
    await insert_past_refused(insert, b"".join(lines), "block", refuse)
    assert refused == [(b"bad 3\n", "it cannot be parsed"), (b"bad 17\n", "it cannot be parsed")]
    assert b"".join(part for part, _ in taken) == b"".join(line for line in lines if b"bad" not in line)
    assert len({token for _, token in taken}) == len(taken), "what goes by itself has a token of its own"
