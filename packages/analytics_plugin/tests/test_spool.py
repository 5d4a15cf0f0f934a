"""The spool on disk: order, torn tails, damage, bounds, group commit."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dotmac_isp.plugins.monitoring.analytics_events_plugin.delivery import claim_outbox
from dotmac_isp.plugins.monitoring.analytics_events_plugin.spool import (
    Block,
    Cursor,
    GroupCommit,
    SegmentLog,
    SpoolFullError,
    SpoolReader,
)

if TYPE_CHECKING:
    from pathlib import Path


def opened(folder: Path, **options: int) -> SegmentLog:
    log = SegmentLog(folder, **options)
    log.open()
    return log


def everything(log: SegmentLog, first: int = 1) -> list[bytes]:
    reader = SpoolReader(log, first)
    found: list[bytes] = []
    while records := reader.read(max_events=3):
        found += [record.payload for record in records]
    return found


def test_what_was_appended_is_read_in_order_over_segments_and_reopening(tmp_path: Path) -> None:
    log = opened(tmp_path, segment_bytes=100)
    payloads = [b"x" * n for n in range(30)]
    for payload in payloads[:20]:
        log.append([(1, payload)])
    log.close()
    log = opened(tmp_path, segment_bytes=100)
    log.append([(1, payload) for payload in payloads[20:]])
    assert len(list(tmp_path.glob("*.seg"))) > 3
    assert everything(log) == payloads
    assert everything(log, 26) == payloads[25:]
    log.close()


def test_a_reader_goes_back_to_what_was_read_but_not_delivered(tmp_path: Path) -> None:
    log = opened(tmp_path, segment_bytes=100)
    for number in range(9):
        log.append([(1, b"%d" % number)])
    reader = SpoolReader(log, 1)
    first = reader.read(max_events=5)
    reader.seek(1)
    assert reader.read(max_events=5) == first
    reader.seek(4)
    assert [record.payload for record in reader.read(max_events=9)] == [b"%d" % number for number in range(3, 9)]
    log.close()


@given(cut=st.integers(min_value=0, max_value=400), segment=st.sampled_from([60, 10_000]))
@settings(max_examples=60, deadline=None)
def test_a_torn_tail_costs_only_what_is_torn(tmp_path_factory: pytest.TempPathFactory, cut: int, segment: int) -> None:
    folder = tmp_path_factory.mktemp("spool")
    log = opened(folder, segment_bytes=segment)
    payloads = [bytes([n]) * 10 for n in range(12)]
    for payload in payloads:
        log.append([(1, payload)])
    log.close()
    last = sorted(folder.glob("*.seg"))[-1]
    data = last.read_bytes()
    last.write_bytes(data[: max(0, len(data) - cut)])
    log = opened(folder, segment_bytes=segment)
    assert log.append([(1, b"after")]) == [log.last_seq]
    found = everything(log)
    assert found[:-1] == payloads[: len(found) - 1]
    assert found[-1] == b"after"
    lost = len(payloads) + 1 - len(found)
    assert lost <= cut // 34 + 1
    log.close()


def test_damage_in_the_middle_is_passed_and_counted(tmp_path: Path) -> None:
    log = opened(tmp_path, segment_bytes=10_000)
    for number in range(10):
        log.append([(1, b"payload %d" % number)])
    log.close()
    path = next(tmp_path.glob("*.seg"))
    data = bytearray(path.read_bytes())
    data[data.index(b"payload 4")] ^= 0xFF
    path.write_bytes(data)
    log = opened(tmp_path, segment_bytes=10_000)
    assert everything(log) == [b"payload %d" % number for number in range(10) if number != 4]
    assert log.damaged == 1
    assert log.append([(1, b"more")]) == [11]
    log.close()


def test_a_full_spool_takes_nothing_and_takes_again_when_it_is_released(tmp_path: Path) -> None:
    log = opened(tmp_path, max_bytes=300, segment_bytes=100)
    while log.size < 240:
        log.append([(1, b"y" * 40)])
    with pytest.raises(SpoolFullError, match="is full"):
        log.append([(1, b"y" * 40)])
    last = log.last_seq
    log.release(last)
    log.append([(1, b"z")])
    assert everything(log, last + 1) == [b"z"]
    log.close()


def test_released_segments_are_gone_and_the_count_goes_on(tmp_path: Path) -> None:
    log = opened(tmp_path, segment_bytes=50)
    for number in range(6):
        log.append([(1, b"%d" % number * 30)])
    log.release(6)
    assert len(list(tmp_path.glob("*.seg"))) == 1
    log.close()
    log = opened(tmp_path, segment_bytes=50)
    assert log.append([(1, b"next")]) == [7]
    log.close()


def test_a_grown_segment_that_is_done_gives_its_room_back(tmp_path: Path) -> None:
    log = opened(tmp_path, max_bytes=1000, segment_bytes=10_000)
    for number in range(40):
        log.append([(1, b"%d" % number * 100)])
        log.release(log.last_seq)
    assert log.last_seq == 40
    log.close()
    log = opened(tmp_path, max_bytes=1000, segment_bytes=10_000)
    assert log.append([(1, b"next")]) == [41]
    assert everything(log, 41) == [b"next"]
    log.close()


def test_two_spools_never_share_a_name(tmp_path: Path) -> None:
    first, second = opened(tmp_path / "a"), opened(tmp_path / "b")
    assert first.spool_id != second.spool_id
    again = opened(tmp_path / "a")
    assert again.spool_id == first.spool_id


def test_a_cursor_is_as_it_was_saved(tmp_path: Path) -> None:
    cursor = Cursor(tmp_path / "c", sync=True)
    cursor.load()
    assert (cursor.done, cursor.blocks) == (0, ())
    blocks = (Block(6, 9, (("tenant_a", "e1"),)), Block(10, 12))
    cursor.save(5, blocks)
    again = Cursor(tmp_path / "c", sync=True)
    again.load()
    assert (again.done, again.blocks) == (5, blocks)


async def test_many_callers_share_a_flush_and_each_gets_its_own_number(tmp_path: Path) -> None:
    log = opened(tmp_path)
    rounds: list[int] = []

    def commit(items: list[tuple[int, bytes]]) -> list[int]:
        rounds.append(len(items))
        return log.append(items)

    commits: GroupCommit[tuple[int, bytes], int] = GroupCommit(commit)
    numbers = await asyncio.gather(*(commits.submit((1, b"%d" % n)) for n in range(200)))
    assert everything(log) == [
        payload for _, payload in sorted(zip(numbers, [b"%d" % n for n in range(200)], strict=True))
    ]
    assert len(rounds) < 200
    await commits.close()
    log.close()


async def test_a_failed_flush_is_told_to_every_caller_and_the_next_one_works(tmp_path: Path) -> None:
    log = opened(tmp_path, max_bytes=200)
    commits: GroupCommit[tuple[int, bytes], int] = GroupCommit(log.append)
    with pytest.raises(SpoolFullError):
        await commits.submit((1, b"x" * 500))
    assert await commits.submit((1, b"x")) == 1
    await commits.close()
    log.close()


def test_records_larger_and_smaller_than_what_is_read_at_once_come_back_whole(tmp_path: Path) -> None:
    log = opened(tmp_path)
    payloads = [b"s" * 700, b"L" * 700_000, b"m" * 200_000, b"t", b"L" * 300_000, b"u"]
    for payload in payloads:
        log.append([(1, payload)])
    assert everything(log) == payloads
    log.close()


async def test_callers_of_one_round_share_a_record_and_all_their_events_are_in_it(tmp_path: Path) -> None:
    box = claim_outbox(tmp_path, 0)
    lines = [b"%d\n" % number for number in range(300)]
    await asyncio.gather(*(box.put(1, line) for line in lines))
    records = box.next(1000)
    assert len(records) < 100
    assert sum(record.events for record in records) == 300
    assert sorted(b"".join(record.payload for record in records).splitlines(keepends=True)) == sorted(lines)
    await box.delivered(records[-1].seq)
    assert (box.waiting, box.next(1000)) == (0, [])
    await box.close()
