"""How many services VOLTHA works on at once: a slot is held while it works on one, and given back while one is only watched.

Waiting whether flows stay costs VOLTHA nothing, so it is no reason to let the next service wait.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    import asyncio
    from types import TracebackType

__all__ = ["Slot", "release_slot"]

_current: ContextVar[Slot | None] = ContextVar("voltha_service_slot", default=None)


class Slot:
    """One of as many as `gate` has, for the task that enters it; given back at the end of the block, if not before."""

    def __init__(self, gate: asyncio.Semaphore) -> None:
        self._gate: Final = gate
        self._held = False

    async def __aenter__(self) -> Self:
        await self._gate.acquire()
        self._held = True
        _current.set(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
        _current.set(None)

    def release(self) -> None:
        """Let another one work; no error when that was done before."""
        if self._held:
            self._held = False
            self._gate.release()


def release_slot() -> None:
    """VOLTHA has done its work on the present task's service; what follows is watching."""
    slot = _current.get()
    if slot is not None:
        slot.release()
