"""A block that the engine refuses because of some line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._clickhouse import StoreRefusedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["insert_past_refused"]


async def insert_past_refused(
    insert: Callable[[bytes, str], Awaitable[None]],
    lines: bytes,
    token: str,
    refused: Callable[[bytes, str], Awaitable[None]],
) -> None:
    """Insert all lines but those that the engine refuses, which are told to `refused` with the reason: the block is halved until
    they are found."""
    try:
        await insert(lines, token)
    except StoreRefusedError as error:
        rows = lines.splitlines(keepends=True)
        if len(rows) == 1:
            await refused(rows[0], str(error))
            return
        half = len(rows) // 2
        await insert_past_refused(insert, b"".join(rows[:half]), token + ".0", refused)
        await insert_past_refused(insert, b"".join(rows[half:]), token + ".1", refused)
