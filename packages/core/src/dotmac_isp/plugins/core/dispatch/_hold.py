"""Calls wait here while one object of an instance takes another's place."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from .._scope import current_scope

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..model import PluginContext
    from ._member import Member

__all__ = ["Hold", "wait_for_holds"]


class Hold:
    """Holds the calls of one member. Those that plugin code makes may belong to a call that is waited for, so they pass at first."""

    __slots__ = ("_over", "everybody")

    def __init__(self) -> None:
        self._over: Final = asyncio.Event()
        #: Nobody answers now, so that plugin code has to wait, too.
        self.everybody = False

    def end(self) -> None:
        """Let the calls go on, to whoever answers now."""
        self._over.set()

    async def wait(self, context: PluginContext) -> None:
        """Wait until it is over, or the call's deadline has passed; the gate says that then."""
        if self.everybody or current_scope.get() is None:
            try:
                async with asyncio.timeout(context.remaining):
                    await self._over.wait()
            except TimeoutError:
                return


async def wait_for_holds(members: Iterable[Member], context: PluginContext) -> None:
    """Wait for each of the members that is held."""
    for member in members:
        if member.held is not None:
            await member.held.wait(context)
