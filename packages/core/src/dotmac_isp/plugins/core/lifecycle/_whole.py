"""Work that must not stop half-way: an instance between two states could neither be used nor be released."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, TypeVar

from .._scope import current_scope

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["to_the_end", "wait_out"]

T = TypeVar("T")


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Do the work in a task of the host's own. When the waiter is cancelled, the work ends first, and then the waiter."""
    context = copy_context()
    context.run(current_scope.set, None)
    return await wait_out(asyncio.get_running_loop().create_task(work, context=context))


async def wait_out(task: asyncio.Task[T]) -> T:
    """Wait for a task; being cancelled meanwhile neither ends the task nor the waiting."""
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    return task.result()
