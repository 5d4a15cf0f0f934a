"""Administrative calls return when their audit records are on the disk, where the operator demands it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from ._base import ManagerBase

__all__ = ["settles"]

P = ParamSpec("P")
R = TypeVar("R")
M = TypeVar("M", bound="ManagerBase")


def settles(
    method: Callable[Concatenate[M, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[M, P], Coroutine[Any, Any, R]]:
    """Let an administrative method wait for its records, also when it fails. Raises `AuditError` when they cannot be written."""

    @functools.wraps(method)
    async def settled(self: M, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await method(self, *args, **kwargs)
        finally:
            building = self._building
            if building is not None:
                await building.audit.settle()

    return settled
