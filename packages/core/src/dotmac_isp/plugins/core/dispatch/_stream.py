"""Streams of a plugin, read through the gate: each item is a call, so permission, licence and breaker hold for every one."""

from __future__ import annotations

import asyncio
import inspect
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..errors import CallError
from ..model import PluginContext
from ._caller import fill_context
from ._gate import Failed, error_of
from ._member import Seat

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._gate import Gate
    from ._member import Member

__all__ = ["Stream", "StreamMethod", "is_stream"]

#: An item may be long in coming: a stream has no deadline but the one that its reader gives it.
_FOR_EVER: Final = 10 * 365 * 86_400.0


def is_stream(function: Any) -> bool:
    """Whether calling it gives an asynchronous iterator."""
    return inspect.isasyncgenfunction(function) or bool(getattr(function, "dotmac_stream", False))


class StreamMethod:
    """One method of one instance that gives a stream: `async for item in handle.follow(…)`."""

    __slots__ = ("_function", "_gate", "_member", "_name", "_takes_context", "successor")

    def __init__(self, gate: Gate, member: Member, name: str, function: Callable[..., Any]) -> None:
        self._gate: Final = gate
        self._member: Final = member
        self._name: Final = name
        self._function: Final = function
        #: Gives the same method of the object that took this one's place.
        self.successor: Callable[[], Any] | None = None
        self._takes_context: Final = "context" in inspect.signature(function).parameters

    def __call__(self, *args: Any, context: PluginContext | None = None, **kwargs: Any) -> Stream:
        """Open it; nothing is asked of the plugin before the first item is read. The context's deadline ends it."""
        if self.successor is not None:
            stream: Stream = self.successor()(*args, context=context, **kwargs)
            return stream
        until = time.monotonic() + _FOR_EVER
        known = fill_context(context, self._member.ref.tenant_id, _FOR_EVER)
        if known.deadline is None:
            known = msgspec.structs.replace(known, deadline=until)
        if self._takes_context:
            kwargs["context"] = known
        return Stream(self._gate, self._member, self._name, known, lambda: self._function(*args, **kwargs))


class Stream:
    """An asynchronous iterator over what a plugin gives. It ends with the instance: its reader gets a `CallError` then."""

    def __init__(self, gate: Gate, member: Member, name: str, context: PluginContext, begin: Callable[[], Any]) -> None:
        self._gate: Final = gate
        self._member: Final = member
        self._context: Final = context
        self._begin: Final = begin
        self._seat: Final = Seat(member, name, self._next)
        self._items: Any = None
        self._step: asyncio.Future[Any] | None = None
        self._ended_for: str | None = None
        self._over = False
        member.streams.add(self)

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Any:
        if self._over:
            raise StopAsyncIteration
        self._step = asyncio.ensure_future(self._gate.call(self._seat, self._context, (), {}))
        try:
            outcome = await self._step
        except asyncio.CancelledError:
            self._over = True
            if self._ended_for is None or not self._step.cancelled():
                self._step.cancel()
                raise
            raise CallError(f"the stream {self._seat.operation} ended: {self._ended_for}") from None
        if type(outcome) is Failed:
            self._over = True
            raise error_of(outcome)
        if not outcome:
            self._over = True
            raise StopAsyncIteration
        return outcome[0]

    async def _next(self) -> tuple[Any, ...]:
        if self._items is None:
            self._items = self._begin()
        try:
            return (await anext(self._items),)
        except StopAsyncIteration:
            return ()

    async def aclose(self) -> None:
        """Read no more; the plugin's own clean-up of the stream is done when this returns."""
        self._over = True
        self._member.streams.discard(self)
        items, self._items = self._items, None
        if items is not None and hasattr(items, "aclose"):
            context = PluginContext.within(self._gate.call_limit, tenant_id=self._member.ref.tenant_id)
            await self._gate.step(Seat(self._member, f"{self._seat.operation} aclose", items.aclose), context)

    def end(self, why: str) -> None:
        """The instance stops: whoever reads is told, now or with the next item."""
        self._ended_for = why
        if self._step is not None and not self._step.done():
            self._step.cancel()
