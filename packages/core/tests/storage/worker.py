"""Another process that uses the same store; the tests start it as `python worker.py COMMAND URL …`."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from dotmac_isp.plugins.core.errors import LeaseLostError
from dotmac_isp.plugins.core.storage import StorageEngine, open_storage


async def count(engine: StorageEngine, times: str) -> None:
    storage = engine.scope("tenant", "plugin")
    for _ in range(int(times)):
        await storage.update("counter", lambda value: (value or 0) + 1)


async def write_for_ever(engine: StorageEngine) -> None:
    """Print each number when its document is acknowledged, and not before."""
    storage = engine.scope("tenant", "plugin")
    number = 0
    while True:
        await storage.put(f"{number:08}", {"number": number})
        os.write(1, f"{number}\n".encode())
        number += 1


async def put(engine: StorageEngine, key: str) -> None:
    await engine.scope("tenant", "plugin").put(key, "from another process")


async def work_alone(engine: StorageEngine, rounds: str) -> None:
    """Do something `rounds` times that goes wrong when two do it at once; print the token of each turn."""
    storage = engine.scope("tenant", "plugin")
    me = os.getpid()
    done = 0
    while done < int(rounds):
        lease = await storage.acquire_lease("turn", ttl=10)
        if lease is None:
            await asyncio.sleep(0.002)
            continue
        async with lease:
            before = await storage.get("inside")
            assert before is None or before.value is None, f"{before.value} is inside, {me} too"
            await storage.put("inside", me, lease=lease)
            await asyncio.sleep(0.005)
            now = await storage.get("inside")
            assert now is not None
            assert now.value == me, f"{me} was inside and {now.value} came"
            await storage.put("inside", None, lease=lease)
            os.write(1, f"{lease.token}\n".encode())
            done += 1


async def hold_and_hang(engine: StorageEngine) -> None:
    """Acquire a short lease, stop until somebody lets it go on, and write with the lease that it believes in."""
    storage = engine.scope("tenant", "plugin")
    lease = await storage.acquire_lease("turn", ttl=0.5)
    assert lease is not None
    os.write(1, b"held\n")
    sys.stdin.readline()
    try:
        await storage.put("result", "of the one that hung", lease=lease)
    except LeaseLostError:
        os.write(1, b"refused\n")


COMMANDS = {function.__name__: function for function in (count, write_for_ever, put, work_alone, hold_and_hang)}


async def main(command: str, url: str, *arguments: str) -> None:
    engine = await open_storage(url, home=Path.cwd())
    try:
        await COMMANDS[command](engine, *arguments)
    finally:
        await engine.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
