"""The same thing for many instances: so many at once, and a result for each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from ..model import InstanceRef

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

__all__ = ["BulkResult", "in_bulk"]


class BulkResult(Mapping[InstanceRef, Any]):
    """What became of each instance: the result, or the exception."""

    def __init__(self, results: dict[InstanceRef, Any]) -> None:
        self._results: Final = results

    @property
    def succeeded(self) -> list[InstanceRef]:
        """Those where it worked."""
        return [ref for ref, result in self._results.items() if not isinstance(result, BaseException)]

    @property
    def failed(self) -> dict[InstanceRef, Exception]:
        """Those where it did not, and why."""
        return {ref: result for ref, result in self._results.items() if isinstance(result, Exception)}

    def __getitem__(self, ref: InstanceRef) -> Any:
        return self._results[ref]

    def __iter__(self) -> Iterator[InstanceRef]:
        return iter(self._results)

    def __len__(self) -> int:
        return len(self._results)

    def __repr__(self) -> str:
        return f"<BulkResult {len(self.succeeded)} succeeded, {len(self.failed)} failed>"


async def in_bulk(
    groups: Iterable[list[InstanceRef]], action: Callable[[InstanceRef], Awaitable[Any]], *, at_once: int
) -> BulkResult:
    """Do `action` for every instance. A group (a tenant's) runs in its order, and at most `at_once` groups at the same time."""
    gate = asyncio.Semaphore(at_once)
    results: dict[InstanceRef, Any] = {}

    async def one_group(refs: list[InstanceRef]) -> None:
        async with gate:
            for ref in refs:
                try:
                    results[ref] = await action(ref)
                except Exception as error:  # noqa: BLE001 - it is this instance's result
                    results[ref] = error

    planned = list(groups)
    async with asyncio.TaskGroup() as tasks:
        for refs in planned:
            tasks.create_task(one_group(refs))
    return BulkResult({ref: results[ref] for refs in planned for ref in refs})
