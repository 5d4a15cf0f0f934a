"""The start of the reference host: it does not wait for plugins that take long, unless they are required."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from dotmac_isp.plugins.core.model import InstanceRef

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ._bring_up import BringUp, Outcome

__all__ = ["Start"]

#: Seconds after which the host is ready although something is still being started.
_PATIENCE: Final = 10.0


class Start:
    """Brings every tenant up in the background, and says when that is enough to call the host ready."""

    def __init__(
        self,
        bring_up: BringUp,
        tenants: Sequence[str | None],
        told: Callable[[Outcome], None],
        *,
        required: Iterable[str] = (),
        patience: float = _PATIENCE,
    ) -> None:
        self._bring_up: Final = bring_up
        self._tenants: Final = tenants
        self._told: Final = told
        self._required: Final = {InstanceRef(plugin_id, tenant) for plugin_id in required for tenant in tenants}
        self._until: Final = time.monotonic() + patience
        self._outcomes: Final[list[Outcome]] = []
        self._news: Final = asyncio.Event()
        self._work: Final = asyncio.create_task(bring_up.every_tenant(tenants, self._tell), name="dotmac: bring up")
        self._work.add_done_callback(lambda _: self._news.set())

    @property
    def done(self) -> bool:
        """Whether everything has started, or failed to."""
        return self._work.done()

    async def enough(self) -> list[Outcome]:
        """Wait until everything is started, or until only what nobody requires takes longer than the patience. What became of it."""
        try:
            while not self.done and (self._required or time.monotonic() < self._until):
                self._news.clear()
                left = None if self._required else max(self._until - time.monotonic(), 0.0)
                waiting = asyncio.create_task(self._news.wait())
                await asyncio.wait({waiting, self._work}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
        except asyncio.CancelledError:
            self._work.cancel()
            await asyncio.wait({self._work})
            raise
        if self.done:
            self._work.result()
        return list(self._outcomes)

    def missing(self) -> list[InstanceRef]:
        """What is still being started."""
        if self.done:
            return []
        told = {InstanceRef(one.plugin_id, one.tenant_id) for one in self._outcomes}
        return sorted(self._bring_up.wanted - told, key=str)

    async def rest(self) -> None:
        """Go on with it."""
        try:
            await self._work
        except asyncio.CancelledError:
            self._work.cancel()
            raise

    def _tell(self, outcome: Outcome) -> None:
        self._outcomes.append(outcome)
        self._required.discard(InstanceRef(outcome.plugin_id, outcome.tenant_id))
        if not outcome.plugin_id:  # the whole tenant cannot be brought up
            self._required.difference_update([one for one in self._required if one.tenant_id == outcome.tenant_id])
        self._news.set()
        self._told(outcome)
