"""Audit sinks from plugins: what the `provide_audit_sink` hooks of the system tenant's plugins and of provider modules give."""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import TYPE_CHECKING, Any, Final

from ..dispatch import Failed, Member, Seat, error_of, next_request_id
from ..errors import NotReady
from ..health import Breaker
from ..model import InstanceRef, PluginContext, PluginState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..audit import AuditRecord
    from ..dispatch import TenantHooks
    from ..lifecycle import Instance
    from ._building import Building

__all__ = ["AuditSinks"]

_LOG: Final = logging.getLogger("dotmac.audit")
_NEVER: Final = 1 << 62
_OPERATION: Final = "audit sink write"


class AuditSinks:
    """Asks plugins for sinks, and carries records to them: fenced, timed, and apart from each other."""

    def __init__(self, building: Building, find: Callable[[InstanceRef], Instance | None]) -> None:
        self._building: Final = building
        self._find: Final = find
        self._loop: Final = asyncio.get_running_loop()
        self._known: dict[str, object] = {}

    async def ask(self, hooks: TenantHooks, *, lasting: bool) -> None:
        """Take the sinks that plugins give now. `lasting`: they come from provider modules, and not from instances."""
        for plugin_id, sink in (await hooks.provide_audit_sink()).by_plugin.items():
            name = f"plugin {plugin_id}"
            if self._known.get(name) is sink or (lasting and name in self._known):
                continue
            write = getattr(sink, "write", None)
            if not callable(write):
                _LOG.error("%s gave an audit sink without write(records): %s", plugin_id, type(sink).__name__)
                continue
            self._known[name] = sink
            instance = None if lasting else InstanceRef(plugin_id, None)
            self._building.audit.add_pump(name, self._carrier(plugin_id, write, instance))

    def _carrier(
        self, plugin_id: str, write: Callable[..., Any], instance: InstanceRef | None
    ) -> Callable[[Sequence[AuditRecord]], None]:
        building = self._building
        ref = InstanceRef(f"{plugin_id}.audit", None)
        member = Member(
            ref,
            breaker=Breaker(_NEVER, 0.0),
            metrics=building.telemetry.instance(ref.plugin_id, ref.tenant_id),
            owner=building.tasks.owner(),
        )
        seat_records: list[AuditRecord] = []

        async def run() -> None:
            answer = write(tuple(seat_records))
            if inspect.isawaitable(answer):
                await answer

        async def deliver() -> None:
            if instance is not None:
                there = self._find(instance)
                if there is None or there.state is not PluginState.ACTIVE:
                    raise NotReady(f"{plugin_id} does not run")
            context = PluginContext.within(building.limits.activate, request_id=next_request_id())
            outcome = await building.gate.step(Seat(member, _OPERATION, run), context)
            if isinstance(outcome, Failed):
                raise error_of(outcome)

        def carry(records: Sequence[AuditRecord]) -> None:
            """On the sink's thread. What a sink's own failure leaves in the trail is not carried to it: that would never end."""
            seat_records[:] = [one for one in records if one.action != f"call {_OPERATION}"]
            if seat_records:
                asyncio.run_coroutine_threadsafe(deliver(), self._loop).result()

        return carry
