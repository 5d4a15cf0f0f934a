from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

from dotmac_isp.plugins.core.storage import open_storage

WORKER = Path(__file__).with_name("worker.py")


def start(command: str, url: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, WORKER, command, url, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_updates_of_several_processes_lose_nothing(url: str, tmp_path: Path) -> None:
    processes = [start("count", url, "60") for _ in range(3)]
    for process in processes:
        _, errors = process.communicate(timeout=90)
        assert process.returncode == 0, errors

    async def counted() -> object:
        engine = await open_storage(url, home=tmp_path)
        document = await engine.scope("tenant", "plugin").get("counter")
        await engine.close()
        return document and document.value

    assert asyncio.run(counted()) == 180


def test_of_several_processes_only_the_holder_of_the_lease_acts(url: str) -> None:
    processes = [start("work_alone", url, "10") for _ in range(3)]
    tokens = []
    for process in processes:
        output, errors = process.communicate(timeout=90)
        assert process.returncode == 0, errors
        own = [int(line) for line in output.splitlines()]
        assert own == sorted(own)
        tokens += own
    assert len(set(tokens)) == 30


def test_a_host_that_hung_while_another_took_over_cannot_write(url: str, tmp_path: Path) -> None:
    hung = start("hold_and_hang", url)
    assert hung.stdout is not None
    assert hung.stdout.readline() == "held\n"

    async def take_over() -> None:
        engine = await open_storage(url, home=tmp_path)
        storage = engine.scope("tenant", "plugin")
        while (lease := await storage.acquire_lease("turn", ttl=60)) is None:  # noqa: ASYNC110 - another process's lease
            await asyncio.sleep(0.05)
        await storage.put("result", "of the one that took over", lease=lease)
        output, errors = await asyncio.to_thread(hung.communicate, "go on\n", 60)
        assert output == "refused\n", errors
        document = await storage.get("result")
        assert document is not None
        assert document.value == "of the one that took over"
        await engine.close()

    asyncio.run(take_over())


def test_kill_9_in_the_middle_of_writes_loses_nothing_that_was_acknowledged(url: str, tmp_path: Path) -> None:
    for _ in range(3):
        writer = start("write_for_ever", url)
        assert writer.stdout is not None
        acknowledged = [int(writer.stdout.readline()) for _ in range(40)]
        os.kill(writer.pid, signal.SIGKILL)
        rest, _ = writer.communicate(timeout=60)
        acknowledged += [int(line) for line in rest.splitlines()]

        async def stored() -> set[int]:
            engine = await open_storage(url, home=tmp_path)
            documents = await engine.scope("tenant", "plugin").list()
            await engine.drop_tenant("tenant")
            await engine.close()
            return {one.value["number"] for one in documents}

        assert set(acknowledged) <= asyncio.run(stored())


def test_many_processes_may_make_the_store_at_the_same_time(url: str) -> None:
    processes = [start("put", url, f"key{number}") for number in range(4)]
    for process in processes:
        _, errors = process.communicate(timeout=90)
        assert process.returncode == 0, errors
