"""A plugin's handle: what the host application calls its methods on."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

from ..base import BasePlugin
from ..hookspecs import HOOKS
from ..model import PluginContext
from ._caller import fill_context
from ._gate import Failed, error_of
from ._member import Seat

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._gate import Gate
    from ._member import Member

__all__ = ["Method", "public_methods"]

#: Lifecycle methods and hooks belong to the manager, and what a provider supplies (secrets, say) to the host: nobody else calls them.
_RESERVED: Final = (
    frozenset(name for name in vars(BasePlugin) if not name.startswith("_"))
    | frozenset(name for name, rule in HOOKS.items() if rule.family in {"lifecycle", "provider"})
    | {"api"}
)


def public_methods(kind: type) -> list[str]:
    """The methods of a plugin's class that can be called through its handle."""
    return sorted(
        name
        for name in dir(kind)
        if not name.startswith("_") and name not in _RESERVED and inspect.isfunction(inspect.getattr_static(kind, name))
    )


class Method:
    """One method of one instance, called through the gate."""

    __slots__ = ("_gate", "_place", "_seat", "_tenant_id", "successor")

    def __init__(self, gate: Gate, member: Member, name: str, function: Callable[..., Any]) -> None:
        self._gate: Final = gate
        self._seat: Final = Seat(member, name, function)
        self._tenant_id: Final = member.ref.tenant_id
        #: Gives the same method of the object that took this one's place; a host may keep a method over a restart.
        self.successor: Callable[[], Method] | None = None
        names = list(inspect.signature(function).parameters)
        #: Where the method takes its context; -1: it takes none.
        self._place: Final = names.index("context") if "context" in names else -1

    async def __call__(self, *args: Any, context: Any = None, **kwargs: Any) -> Any:
        """Call it. A `PluginContext` given as `context` also says who calls and until when."""
        if self._seat.member.held is not None:
            await self._seat.member.held.wait(self._filled(context))
        if self.successor is not None:
            return await self.successor()(*args, context=context, **kwargs)
        if self._place >= 0 and len(args) > self._place:
            if context is not None:
                raise TypeError(f"{self._seat.operation} got its context twice: by position and by name")
            context, given = args[self._place], True
        else:
            given = False
        caller = self._filled(context)
        if self._place < 0 and context is not None and not isinstance(context, PluginContext):
            raise TypeError(f"{self._seat.operation} takes no context of its own; give a PluginContext or leave it out")
        if self._place >= 0:
            passed = caller if context is None or isinstance(context, PluginContext) else context
            if given:
                args = (*args[: self._place], passed, *args[self._place + 1 :])
            else:
                kwargs["context"] = passed
        outcome = await self._gate.call(self._seat, caller, args, kwargs)
        if type(outcome) is Failed:
            raise error_of(outcome)
        return outcome

    def _filled(self, context: Any) -> PluginContext:
        given = context if isinstance(context, PluginContext) else None
        return fill_context(given, self._tenant_id, self._gate.call_limit)
