"""Ending a task for certain."""

from __future__ import annotations

import asyncio
from typing import Any, Final

__all__ = ["ended"]

_AGAIN_SECONDS: Final = 1.0


async def ended(task: asyncio.Task[Any] | None) -> None:
    """Cancel a task and wait until it is gone, also when something in it loses a cancellation. What it raised is not raised here."""
    while task is not None and not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=_AGAIN_SECONDS)
    if task is not None and not task.cancelled():
        task.exception()
