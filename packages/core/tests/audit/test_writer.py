"""Writing: nothing lost on a kill beyond the last group, processes at once, a full queue, a disk that refuses, sinks that fail."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from dotmac_isp.plugins.core.audit import AuditError, AuditOptions, AuditTrail, records, verify
from dotmac_isp.plugins.core.audit._keys import open_signer
from dotmac_isp.plugins.core.audit._sinks import FileSink, SyslogSink
from dotmac_isp.plugins.core.audit._store import DATABASE, ChainStore

if TYPE_CHECKING:
    from pathlib import Path

WRITES = """\
import asyncio, sys, time
from pathlib import Path
from dotmac_isp.plugins.core.audit import AuditOptions, AuditTrail

async def main(home, mode, name):
    trail = AuditTrail(redact=str, options=AuditOptions(durable=mode == "durable"))
    await trail.open(home)
    for number in range(1_000_000):
        trail.record("call work", "failed", tenant_id="t", detail=f"{name} {number}", at=time.time())
        if mode == "durable":
            await trail.settled()
            print(number, flush=True)
        elif mode == "count" and number == 299:
            break
        elif mode == "free":
            print(number, time.time(), flush=True)
            await asyncio.sleep(0.001)
    await trail.close()

asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:]))
"""


def start(home: Path, mode: str, name: str = "one") -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", WRITES, str(home), mode, name], stdout=subprocess.PIPE, text=True)


def kill_after(process: subprocess.Popen[str], lines: int) -> list[str]:
    """What it said until `kill -9`, the last whole line last."""
    assert process.stdout is not None
    with process.stdout:
        said = [process.stdout.readline() for _ in range(lines)]
        os.kill(process.pid, signal.SIGKILL)
        said += process.stdout.readlines()
    process.wait()
    return [line for line in said if line.endswith("\n")]


def test_a_kill_loses_nothing_that_was_said_to_be_durable(tmp_path: Path) -> None:
    said = kill_after(start(tmp_path, "durable"), 30)
    there = {one.record.detail for one in records(tmp_path, tenant="t")}
    assert there >= {f"one {int(line)}" for line in said}
    assert verify(tmp_path).ok


def test_a_kill_loses_at_most_the_last_group(tmp_path: Path) -> None:
    said = [line.split() for line in kill_after(start(tmp_path, "free"), 300)]
    there = {one.record.detail for one in records(tmp_path, tenant="t")}
    # Five seconds is what a loaded machine may take for a commit; the group itself waits 20 ms.
    old = [number for number, at in said if float(at) < float(said[-1][1]) - 5]
    assert there >= {f"one {number}" for number in old}
    assert there
    assert len(there) >= len(said) // 2
    found = verify(tmp_path)
    assert found.ok, found.problems
    (chain,) = found.chains
    assert chain.records == chain.last


def test_who_opens_it_for_the_first_time_waits_for_another_who_does(tmp_path: Path) -> None:
    signer = open_signer(tmp_path)
    with contextlib.closing(
        sqlite3.connect(tmp_path / DATABASE, isolation_level=None, check_same_thread=False)
    ) as other:
        other.execute("BEGIN IMMEDIATE")  # SQLite's own timeout does not wait for this when the file changes to a log
        ending = threading.Timer(0.5, other.execute, ["COMMIT"])
        ending.start()
        ChainStore(tmp_path, signer).close()
        ending.join()


def test_two_processes_at_once_share_one_chain(tmp_path: Path) -> None:
    both = [start(tmp_path, "count", name) for name in ("one", "two")]
    for process in both:
        process.communicate()
        assert process.returncode == 0
    found = verify(tmp_path)
    assert found.ok, found.problems
    assert [chain.records for chain in found.chains] == [600]
    there = [one.record.detail for one in records(tmp_path, tenant="t")]
    for name in ("one", "two"):
        assert [one for one in there if one.startswith(name)] == [f"{name} {number}" for number in range(300)]


def journals(home: Path) -> list[Path]:
    return [*home.glob("audit-journal-*")]


async def opened(home: Path, **options: Any) -> AuditTrail:
    trail = AuditTrail(redact=str, options=AuditOptions(**options))
    await trail.open(home)
    return trail


async def test_many_records_a_second_do_not_grow_memory_and_none_is_lost(tmp_path: Path) -> None:
    trail = await opened(tmp_path, keep=100)

    async def second() -> None:
        for _ in range(20):
            for _ in range(500):
                trail.record("call work", "failed", tenant_id="t", detail="x" * 100)
            await asyncio.sleep(0.01)
        await trail.settled()

    await second()
    gc.collect()  # what earlier tests left must not be freed, or made, in the middle of the count
    tracemalloc.start()
    try:
        await second()
        before, _ = tracemalloc.get_traced_memory()
        await second()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    await trail.close()
    # A round has 10,000 records of more than 100 bytes each.
    assert after - before < 1_000_000
    (chain,) = verify(tmp_path).chains
    assert chain.records == 30_000
    assert verify(tmp_path).ok


async def test_settled_means_that_another_process_could_read_it(tmp_path: Path) -> None:
    trail = await opened(tmp_path, group=30.0)
    trail.record("call work", "failed", tenant_id="t")
    assert trail.status()["waiting"] == 1
    await trail.settled()
    assert [one.record.action for one in records(tmp_path, tenant="t")] == ["call work"]
    await trail.settled()
    await trail.close()


async def test_a_durable_caller_waits_for_the_journal_alone_while_another_process_writes(tmp_path: Path) -> None:
    trail = await opened(tmp_path, durable=True)
    for _ in range(3):
        trail.record("call work", "failed", tenant_id="t")
        await trail.settled()
    assert trail._writer is not None
    trail._writer._quick = True
    other = sqlite3.connect(tmp_path / "audit.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    trail.record("call work", "failed", tenant_id="t")
    await trail.settled()  # nobody lets go of the database meanwhile
    assert trail.status()["waiting"]
    other.execute("ROLLBACK")
    other.close()
    await trail.close()
    assert not journals(tmp_path)
    assert len(list(records(tmp_path, tenant="t"))) == 4
    assert verify(tmp_path).ok


async def test_what_a_killed_host_left_in_its_journal_comes_into_the_chain_once(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    trail = await opened(home, durable=True, group=30.0)
    for number in range(3):
        trail.record("call work", "failed", tenant_id="t", detail=str(number))
        await trail.settled()
    (journal,) = journals(home)
    left = journal.read_bytes()
    await trail.close()

    def details() -> list[str]:
        return [one.record.detail for one in records(home, tenant="t")]

    assert details() == ["0", "1", "2"]
    token = journal.name.removeprefix("audit-journal-")
    sql = sqlite3.connect(home / "audit.sqlite3", isolation_level=None)
    sql.execute("UPDATE journals SET taken = 2 WHERE token = ?", (token,))  # as if it had been killed in between
    sql.close()
    for _ in range(2):
        journal.write_bytes(left)
        assert details() == ["0", "1", "2", "2"]
        assert not journal.exists()
    assert verify(home).ok


async def test_what_somebody_else_wrote_into_a_journal_is_not_taken(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    trail = await opened(home, durable=True, group=30.0)
    for number in range(2):
        trail.record("call work", "failed", tenant_id="t", detail=f"number {number}")
        await trail.settled()
    (journal,) = journals(home)
    forged = journal.read_bytes().replace(b"number 1", b"number 7")
    await trail.close()
    (home / "audit-journal-0123456789abcdef").write_bytes(forged)  # another journal's entries are not this one's
    journal.write_bytes(forged)
    assert [one.record.detail for one in records(home, tenant="t")] == ["number 0", "number 1"]


async def test_a_full_journal_hands_its_callers_to_the_chain(tmp_path: Path) -> None:
    trail = await opened(tmp_path, durable=True)
    for _ in range(30):
        trail.record("call work", "failed", tenant_id="t", detail="x" * 100_000)
        await trail.settled()
    await trail.close()
    assert len(list(records(tmp_path, tenant="t"))) == 30
    assert verify(tmp_path).ok


async def test_closing_writes_what_waits(tmp_path: Path) -> None:
    trail = await opened(tmp_path, group=30.0)
    trail.record("call work", "failed", tenant_id="t")
    await trail.close()
    assert len(list(records(tmp_path, tenant="t"))) == 1
    trail.record("call work", "failed", tenant_id="t")  # no harm
    await trail.settled()


async def test_a_disk_that_refuses_is_told_and_nothing_is_lost_when_it_works_again(tmp_path: Path, until: Any) -> None:
    trail = await opened(tmp_path)
    trail.record("call work", "failed", tenant_id="t", detail="before")
    await trail.settled()
    writer = trail._writer
    assert writer is not None
    connection = writer._store._connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    trail.record("call work", "failed", tenant_id="t", detail="meanwhile" * 2000)
    with pytest.raises(AuditError, match="full"):
        await trail.settled()
    assert "full" in trail.status()["error"]
    connection.execute("PRAGMA max_page_count = 1000000")
    await until(lambda: trail.status()["error"] is None)
    await trail.settled()
    await trail.close()
    assert [one.record.detail[:9] for one in records(tmp_path, tenant="t")] == ["before", "meanwhile"]
    assert verify(tmp_path).ok


async def test_what_finds_no_room_is_counted_and_the_chain_says_so(tmp_path: Path) -> None:
    trail = await opened(tmp_path)
    writer = trail._writer
    assert writer is not None
    writer._limit = 5
    other = sqlite3.connect(tmp_path / "audit.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # somebody holds the file
    for number in range(7):
        trail.record("call work", "failed", tenant_id="t", detail=str(number))
    assert trail.status()["lost"] == 2
    with pytest.raises(AuditError, match="lost"):
        await trail.settled()
    other.execute("ROLLBACK")
    other.close()
    await trail.close()
    assert [one.record.detail for one in records(tmp_path, tenant="t")] == ["0", "1", "2", "3", "4"]
    assert [one.record.values for one in records(tmp_path, tenant="-")] == [{"count": 2}]


async def test_a_file_gets_every_record_as_a_line_and_may_be_moved_away(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    trail = await opened(tmp_path, file=file)
    trail.record("call work", "failed", tenant_id="t", detail="one")
    await trail.close()
    file.rename(tmp_path / "audit.jsonl.1")
    sink = FileSink(file)
    sink.write(trail.latest(tenant_id="t")[0])
    lines = [json.loads((tmp_path / name).read_text()) for name in ("audit.jsonl.1", "audit.jsonl")]
    assert [one["detail"] for one in lines] == ["one", "one"]
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("kind", ["udp", "unix"])
async def test_syslog_gets_every_record(tmp_path: Path, kind: str) -> None:
    family = socket.AF_INET if kind == "udp" else socket.AF_UNIX
    with socket.socket(family, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0) if kind == "udp" else str(tmp_path / "log"))
        server.settimeout(5)
        address = f"127.0.0.1:{server.getsockname()[1]}" if kind == "udp" else str(tmp_path / "log")
        trail = await opened(tmp_path, syslog=address)
        trail.record("call work", "permission", tenant_id="t")
        said = await asyncio.to_thread(server.recv, 4096)
        await trail.close()
    priority, _, rest = said.partition(b">")
    assert priority == b"<37"  # auth, notice
    assert json.loads(rest.partition(b": ")[2])["outcome"] == "permission"


def test_an_address_that_is_none_is_said() -> None:
    with pytest.raises(AuditError, match="host:port"):
        SyslogSink("nowhere")._open()


class Failing:
    """Refuses for a while."""

    def __init__(self) -> None:
        self.works = False
        self.got: list[str] = []

    def write(self, record: Any) -> None:
        if not self.works:
            raise RuntimeError("no disk")
        self.got.append(record.detail)


async def test_a_sink_that_fails_or_hangs_harms_no_other_and_catches_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, until: Any
) -> None:
    gate = threading.Event()

    class Hanging:
        def write(self, record: Any) -> None:
            gate.wait(10)

    failing, good = Failing(), Failing()
    good.works = True
    trail = await opened(tmp_path)
    for sink, name in ((Hanging(), "hanging"), (failing, "failing"), (good, "good")):
        trail.add_sink(sink, name=name)
    started = time.monotonic()
    for number in range(3):
        trail.record("call work", "failed", tenant_id="t", detail=str(number))
    await trail.settled()
    assert time.monotonic() - started < 5
    await until(lambda: good.got == ["0", "1", "2"])
    await until(lambda: trail.status()["sinks"]["failing"]["failures"] > 0)
    assert "the audit sink failing failed" in caplog.text
    failing.works = True
    await until(lambda: failing.got == ["0", "1", "2"])
    gate.set()
    await trail.close()
    assert len(list(records(tmp_path, tenant="t"))) == 3
