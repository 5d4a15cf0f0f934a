"""Many callers, one flush."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["GroupCommit"]

T = TypeVar("T")
R = TypeVar("R")


class GroupCommit(Generic[T, R]):
    """Many callers, one flush: whatever came in while the disk was busy goes together in the next round.

    `commit` runs in a thread, one round at a time, and returns one result (or exception) for each item. No thread is kept in between:
    a host has thousands of these.
    """

    def __init__(self, commit: Callable[[list[T]], Sequence[R | BaseException]], *, name: str, most: int = 512) -> None:
        self._commit = commit
        self._most = most
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._one_at_a_time = asyncio.Lock()
        self._round: asyncio.Task[None] | None = None
        self._name = name

    async def submit(self, item: T) -> R:
        """Wait until the item is committed. What it gave is on disk then, also if the caller was cancelled meanwhile."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._round is None or self._round.done():
            self._round = asyncio.create_task(self._rounds(), name=self._name)
        return await future

    async def _rounds(self) -> None:
        while self._waiting:
            taken, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            items = [item for item, _ in taken]
            try:
                async with self._one_at_a_time:
                    results = await asyncio.get_running_loop().run_in_executor(None, self._commit, items)
            except Exception as error:  # noqa: BLE001 - every waiting caller is told, whatever it was
                results = [error] * len(items)
            for (_, future), result in zip(taken, results, strict=True):
                _settle(future, result)

    async def run(self, work: Callable[[], R]) -> R:
        """Run something else between rounds, so that it has what `commit` uses to itself."""
        async with self._one_at_a_time:
            return await asyncio.to_thread(work)

    async def close(self) -> None:
        """Commit what waits."""
        if self._round is not None:
            await asyncio.wait([self._round])


def _settle(future: asyncio.Future[R], result: R | BaseException) -> None:
    if future.done():
        return
    if isinstance(result, BaseException):
        future.set_exception(result)
    else:
        future.set_result(result)
