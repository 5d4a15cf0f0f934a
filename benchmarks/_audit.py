"""What the audit trail costs: on the call path where it writes by itself, and against a bare commit where a call waits for it.

The first line is `AuditTrail.record` as the gate calls it for a refusal (whose text it has redacted already for the
caller), with the log's handler off and the writer thread at work on the same file; 10,000 records per second and round. The other side is the goal itself.

The second line is one record and `await trail.settled()` in durable mode: the record, its hash, the signed head, the transaction, and waiting for
it. The other side is one transaction of the standard library's `sqlite3` with the same bytes on the
same disk, WAL and `synchronous = FULL`, in the calling thread.
"""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from dotmac_isp.plugins.core.audit import AuditOptions, AuditTrail
from dotmac_isp.plugins.core.secrets import Redactor

from ._measure import Figure, Sides, median_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["figures"]

GOAL_US = 15.0
GOAL_DURABLE = 1.3
ROUNDS = 21
_RATE = 10_000
_COMMITS = 60
_WHY = "role 'viewer' may not provision_olt: no grant of network.olt.configure (policy.toml, line 14)"


def figures() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        homes = [Path(folder, name) for name in ("asynchronous", "durable")]
        for home in homes:
            home.mkdir()
        return [asyncio.run(_call_path(homes[0])), asyncio.run(_durable(homes[1]))]


async def _call_path(home: Path) -> Figure:
    trail = await _opened(home, Redactor(), durable=False)
    taken = [await _second(trail) for _ in range(ROUNDS + 1)][1:]
    await trail.close()
    return Figure(
        name="audit, asynchronous",
        what=f"record() at {_RATE:,} records/s: time on the call path",
        against="goal",
        unit="µs",
        sides=Sides(tuple(taken), (GOAL_US,) * len(taken)),
        goal=1.0,
    )


async def _second(trail: AuditTrail) -> float:
    """A second's records in a hundred bursts, and the writer at work on them meanwhile; the median burst, microseconds per record."""
    bursts = 100
    taken = []
    ends = time.perf_counter()
    for _ in range(bursts):
        ends += 1 / bursts
        started = time.perf_counter()
        for _ in range(_RATE // bursts):
            _one(trail)
        taken.append(time.perf_counter() - started)
        await asyncio.sleep(max(ends - time.perf_counter(), 0))
    return median_of(taken) / (_RATE // bursts) * 1e6


def _one(trail: AuditTrail) -> None:
    trail.record(
        "call provision_olt",
        "permission",
        detail=_WHY,
        plugin_id="voltha_integration",
        tenant_id="tenant_123",
        user_id="alice",
        request_id="1f3a-22",
        redacted=True,
    )


async def _durable(home: Path) -> Figure:
    trail = await _opened(home, Redactor(), durable=True)
    bare = _bare(home)

    async def ours() -> None:
        _one(trail)
        await trail.settled()

    async def theirs() -> None:
        bare()

    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        marks = await _in_turn(ours, theirs)
        for side in (0, 1):
            taken[side].append(median_of(marks[side]))
    await trail.close()
    return Figure(
        name="audit, durable",
        what="record() and settled(): on the disk before the call returns",
        against="bare SQLite commit",
        unit="µs",
        sides=Sides(tuple(taken[0]), tuple(taken[1])),
        goal=GOAL_DURABLE,
        notes={"signing": trail.status()["signing"].partition(",")[0]},
    )


async def _in_turn(*sides: Callable[[], Awaitable[None]]) -> tuple[list[float], list[float]]:
    """One commit of each side after the other, many times: a disk has its moments, and they should fall on both."""
    marks: tuple[list[float], list[float]] = ([], [])
    for number in range(2 * _COMMITS):
        for side in (0, 1) if number % 2 else (1, 0):
            started = time.perf_counter()
            await sides[side]()
            marks[side].append((time.perf_counter() - started) * 1e6)
    return marks


async def _opened(home: Path, redactor: Redactor, *, durable: bool) -> AuditTrail:
    trail = AuditTrail(redact=redactor.redact, options=AuditOptions(durable=durable))
    await trail.open(home)
    return trail


def _bare(home: Path) -> Callable[[], None]:
    connection = sqlite3.connect(home / "bare.sqlite3", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE records (number INTEGER PRIMARY KEY, record BLOB)")
    data = secrets.token_bytes(300)

    def commit() -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO records (record) VALUES (?)", (data,))
        connection.execute("COMMIT")

    return commit
