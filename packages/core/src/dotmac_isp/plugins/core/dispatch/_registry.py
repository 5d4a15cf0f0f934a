"""Whose hook implementations a tenant has: a pluggy plugin manager for each tenant.

Methods of `BasePlugin` subclasses are implementations by name, through pluggy's own extension point.
"""

from __future__ import annotations

import asyncio
import inspect
import operator
from typing import TYPE_CHECKING, Any, Final

import pluggy

from ..base import BasePlugin
from ..errors import PluginError
from ..hookspecs import HOOKS, PROJECT, DeviceHooks, LifecycleHooks, MetricsHooks, ProviderHooks
from ._member import Seat

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ._member import Member

__all__ = ["NOTHING", "HookPlan", "HookSeat", "TenantRegistry", "keywords_for"]

#: The keywords of an implementation that takes none; never written to.
NOTHING: Final[dict[str, Any]] = {}

#: What every plugin has and no hook is called.
_STEPS: Final = frozenset(vars(BasePlugin)) | {"api"}
_OPTIONS: Final = {
    "wrapper": False,
    "hookwrapper": False,
    "optionalhook": False,
    "tryfirst": False,
    "trylast": False,
    "specname": None,
}


class HookSeat(Seat):
    """A seat for a hook implementation: also knows which of the hook's arguments it takes."""

    __slots__ = ("keywords", "old_style", "take")

    def __init__(self, member: Member, impl: pluggy.HookImpl, operation: str, answers: tuple[type, ...]) -> None:
        super().__init__(member, operation, impl.function, answers)
        #: Picks the arguments that it takes out of the call's.
        self.take: Final = _picker(tuple(impl.argnames))
        #: Arguments with defaults; pluggy never passes them, we do.
        self.keywords: Final[tuple[str, ...]] = tuple(impl.kwargnames)
        self.old_style: Final[bool] = impl.hookwrapper


class HookPlan:
    """One hook of one tenant, resolved: who is called, in order, and around what."""

    __slots__ = ("names", "seats", "version", "wrappers")

    def __init__(self, version: int, names: frozenset[str], seats: list[HookSeat], wrappers: list[HookSeat]) -> None:
        self.version: Final = version
        self.names: Final = names
        self.seats: Final = seats
        self.wrappers: Final = wrappers


def _specifications() -> dict[str, Any]:
    whole = pluggy.PluginManager(PROJECT)
    for family in (LifecycleHooks, DeviceHooks, MetricsHooks, ProviderHooks):
        whole.add_hookspecs(family)
    callers: dict[str, pluggy.HookCaller] = {name: getattr(whole.hook, name) for name in HOOKS}
    return {name: caller.spec for name, caller in callers.items() if caller.spec is not None}


#: Every hook's specification (pluggy's HookSpec, which it does not export), read once: pluggy would read them all again for every tenant, at half the cost of a load.
_SPECIFICATIONS: Final = _specifications()
#: A namespace for each hook alone, so that a tenant has callers only for the hooks that somebody implements.
_ALONE: Final = {name: type(name, (), {name: spec.function}) for name, spec in _SPECIFICATIONS.items()}
#: The plans of hooks that nobody implements in a tenant, which are most.
_NOBODY: Final = {name: HookPlan(-1, frozenset(spec.argnames), [], []) for name, spec in _SPECIFICATIONS.items()}


class _Hooks(pluggy.PluginManager):
    """pluggy's manager, in which `BasePlugin` methods named as hooks need no marker."""

    def parse_hookspec_opts(self, module_or_class: object, name: str) -> pluggy.HookspecOpts | None:  # noqa: ARG002 - pluggy's
        spec = _SPECIFICATIONS.get(name)
        return None if spec is None else spec.opts

    def parse_hookimpl_opts(self, plugin: object, name: str) -> pluggy.HookimplOpts | None:
        options = self._options_of(plugin, name)
        hook = "" if options is None else options.get("specname") or name
        if hook in _ALONE and not hasattr(self.hook, hook):
            self.add_hookspecs(_ALONE[hook])  # before its first implementation, so that pluggy checks the arguments
        return options

    def _options_of(self, plugin: object, name: str) -> pluggy.HookimplOpts | None:
        if not isinstance(plugin, BasePlugin):
            return super().parse_hookimpl_opts(plugin, name)
        if name in _STEPS or name.startswith("__"):
            return None
        # Looked at without running anything: a property of the plugin is none of our business.
        method = inspect.getattr_static(plugin, name, None)
        method = getattr(method, "__func__", method)  # of a static or class method
        if not inspect.isroutine(method) or (name not in HOOKS and not hasattr(method, f"{PROJECT}_impl")):
            return None  # `name = None` is how a subclass says that it does not answer
        marked = super().parse_hookimpl_opts(plugin, name)
        return marked if marked is not None else pluggy.HookimplOpts(**_OPTIONS)  # type: ignore[typeddict-item]


class TenantRegistry:
    """The hook implementations of one tenant. `version` grows with every change, so that plans are made anew."""

    __slots__ = ("_awaited", "_members", "_plans", "_pluggy", "_turns", "holds", "version")

    def __init__(self) -> None:
        self._pluggy: Final = _Hooks(PROJECT)
        self._members: dict[str, Member] = {}
        self._plans: dict[str, HookPlan] = {}
        #: When each name was registered, as a number that grows; who takes another's place takes its turn as well.
        self._turns: dict[str, int] = {}
        self.version = 0
        self._awaited: dict[str, asyncio.Event] = {}
        #: How many members are held at the moment.
        self.holds = 0

    def register(self, plugin: object, member: Member, *, name: str) -> None:
        """Add an implementer. Raises pluggy's `PluginValidationError` when a hook's arguments are not the specification's."""
        if name in self._members:
            raise PluginError(f"{name!r} is registered already", remedy="Unregister it first, or take another name")
        try:
            self._pluggy.register(plugin, name=name)
        except Exception:
            # pluggy keeps what it took before it found the fault
            if self._pluggy.has_plugin(name):
                self._pluggy.unregister(name=name)
            raise
        self._members[name] = member
        self.version += 1
        self._turns[name] = self.version
        if name in self._awaited:
            self._awaited.pop(name).set()

    async def arrival(self, name: str) -> None:
        """Wait until the member with this name answers calls (again)."""
        member = self._members.get(name)
        if member is None or not member.accepting or member.gone:
            await self._awaited.setdefault(name, asyncio.Event()).wait()

    def replace(self, plugin: object, member: Member, *, name: str) -> None:
        """Put an implementer into the place of the one with its name: between two calls, and with its turn in their order."""
        turn = self._turns.get(name)
        self.unregister(name)
        self.register(plugin, member, name=name)
        if turn is not None:
            self._turns[name] = turn

    def seat_now(self, hook: str, seat: HookSeat) -> HookSeat | None:
        """The seat of whoever took this one's place, as long as it implements the hook."""
        name = seat.member.ref.plugin_id
        return next((one for one in self.plan(hook).seats if one.member.ref.plugin_id == name), None)

    def check(self, plugin: object) -> None:
        """Let pluggy compare an implementer's arguments with the specification, and take it out again.

        Raises `PluginValidationError`. No call sees it, also where another object of the same plugin is registered.
        """
        name = f"checked: {id(plugin)}"
        try:
            self._pluggy.register(plugin, name=name)
        finally:
            if self._pluggy.has_plugin(name):
                self._pluggy.unregister(name=name)

    def unregister(self, name: str) -> None:
        """Take an implementer out; no error when it is not there."""
        if self._members.pop(name, None) is not None:
            del self._turns[name]
            self._pluggy.unregister(name=name)
            self.version += 1

    def has(self, name: str) -> bool:
        """Whether somebody is registered under this name."""
        return name in self._members

    def hooks_of(self, name: str) -> list[str]:
        """The hooks that an implementer implements."""
        plugin = self._pluggy.get_plugin(name)
        callers = self._pluggy.get_hookcallers(plugin) if plugin is not None else None
        return sorted(caller.name for caller in callers or ())

    def plan(self, hook: str) -> HookPlan:
        """Who is called for a hook now."""
        plan = self._plans.get(hook)
        if plan is None and not hasattr(self._pluggy.hook, hook):
            return _NOBODY[hook]
        if plan is None or plan.version != self.version:
            plan = self._plans[hook] = self._make_plan(hook)
        return plan

    def __len__(self) -> int:
        return len(self._members)

    def _make_plan(self, hook: str) -> HookPlan:
        caller: pluggy.HookCaller = getattr(self._pluggy.hook, hook)
        seats: list[HookSeat] = []
        wrappers: list[HookSeat] = []
        for impl in sorted(caller.get_hookimpls(), key=self._turn_of):
            member = self._members[impl.plugin_name]
            wraps = impl.wrapper or impl.hookwrapper
            seat = HookSeat(member, impl, hook, () if wraps else HOOKS[hook].answers)
            (wrappers if wraps else seats).append(seat)
        return HookPlan(self.version, _NOBODY[hook].names, seats, wrappers)

    def _turn_of(self, impl: pluggy.HookImpl) -> tuple[int, int]:
        """pluggy's order: `tryfirst`, the others, `trylast`; the last registered comes first, but among the last ones the first."""
        turn = self._turns[impl.plugin_name]
        if impl.trylast:
            return 2, turn
        return (0 if impl.tryfirst else 1), -turn


def _picker(names: tuple[str, ...]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    if len(names) > 1:
        return operator.itemgetter(*names)
    if names:
        (name,) = names
        return lambda values: (values[name],)
    return lambda _: ()


def keywords_for(seat: HookSeat, values: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a hook's arguments that an implementation declares with defaults."""
    return {name: values[name] for name in seat.keywords if name in values}
