"""The asynchronous hook caller.

pluggy does not await: a coroutine is never `None`, so its `firstresult` stops at the first asynchronous implementation. This
caller awaits each implementation in pluggy's order, keeps `firstresult`, wrappers and `tryfirst`/`trylast`, and takes every
implementation through the gate. Implementations run one after the other as long as none suspends; those that do wait side by
side (gathering from the start would cost nine times as much).
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pluggy

from ..errors import HookError, PermissionDeniedError
from ..hookspecs import HOOKS
from ..model import FailureKind, HookResults, PluginContext, tenant_label
from ._gate import Failed, Pending
from ._hold import wait_for_holds
from ._registry import NOTHING, keywords_for

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

    from ..model import Failure
    from ._gate import Gate
    from ._registry import HookPlan, HookSeat, TenantRegistry

__all__ = ["HookCall", "PluginRelay", "TenantHooks", "fill_context", "next_request_id"]

_PROCESS: Final = f"{os.getpid():x}"
_NUMBERS: Final = itertools.count(1)
#: How long a call that was lost with a process waits for the next one, in seconds; its own deadline may end that sooner.
_BACK_WITHIN: Final = 10.0


def next_request_id() -> str:
    """An id for a call that came without one; unique on this machine while the process lives."""
    return f"{_PROCESS}-{next(_NUMBERS):x}"


def fill_context(context: PluginContext | None, tenant_id: str | None, limit: float) -> PluginContext:
    """The context of a call in a tenant: made where there is none, completed where it lacks tenant, request id or deadline.

    So the plugin sees the deadline that the host will hold it to: `limit` seconds from now where the caller named none.
    """
    if context is None:
        return PluginContext(tenant_id=tenant_id, request_id=next_request_id(), deadline=time.monotonic() + limit)
    if not isinstance(context, PluginContext):
        raise TypeError(f"context must be a PluginContext or None, and is of type {type(context).__name__}")
    if context.tenant_id == tenant_id and context.request_id and context.deadline is not None:
        return context
    if context.tenant_id not in (None, tenant_id):
        raise PermissionDeniedError(
            f"a context of tenant {tenant_label(context.tenant_id)} came with a call to tenant {tenant_label(tenant_id)}",
            remedy="Make the context for the tenant that is called, or leave its tenant_id out",
        )
    return msgspec.structs.replace(
        context,
        tenant_id=tenant_id,
        request_id=context.request_id or next_request_id(),
        deadline=time.monotonic() + limit if context.deadline is None else context.deadline,
    )


class HookCall:
    """One hook of one tenant, to be called by keyword."""

    __slots__ = ("_gate", "_name", "_registry", "_rule", "_tenant_id", "_without")

    def __init__(
        self, name: str, tenant_id: str | None, registry: TenantRegistry, gate: Gate, without: str | None = None
    ) -> None:
        self._name: Final = name
        self._rule: Final = HOOKS[name]
        self._tenant_id: Final = tenant_id
        self._registry: Final = registry
        self._gate: Final = gate
        self._without: Final = without

    async def __call__(self, *, context: PluginContext | None = None, **values: Any) -> Any:
        plan = self._registry.plan(self._name)
        context = fill_context(context, self._tenant_id, self._gate.call_limit)
        if "context" in plan.names:
            values["context"] = context
        if values.keys() != plan.names:
            raise TypeError(self._wrong_arguments(values, plan.names))
        if self._registry.holds:
            await wait_for_holds([seat.member for seat in (*plan.seats, *plan.wrappers)], context)
            plan = self._registry.plan(self._name)
        seats = plan.seats
        if self._without is not None:
            seats = [seat for seat in seats if seat.member.ref.plugin_id != self._without]
        if plan.wrappers:
            result, failures = await self._wrapped(plan, seats, context, values)
        elif self._rule.firstresult:
            result, failures = await self._first(seats, context, values)
        else:
            answers, failures = await self._all(seats, context, values)
            if failures:
                await self._gate.audit.settle()
            return HookResults(answers, failures)
        if failures:
            await self._gate.audit.settle()
        if self._rule.firstresult and result is None and failures:
            names = ", ".join(failure.plugin_id for failure in failures)
            raise HookError(
                f"{self._name}: no plugin of tenant {tenant_label(self._tenant_id)} answered, and {names} failed: {failures[0]}",
                failures=failures,
            )
        return result

    async def _all(
        self, seats: list[HookSeat], context: PluginContext, values: Mapping[str, Any]
    ) -> tuple[list[tuple[str, Any]], list[Failure]]:
        begin = self._gate.begin
        outcomes: list[tuple[str, Any]] = []
        failures: list[Failure] = []
        suspended = False
        entered = self._gate.enter()
        try:
            for seat in seats:
                keywords = keywords_for(seat, values) if seat.keywords else NOTHING
                outcome = begin(seat, context, seat.take(values), keywords)
                if outcome is None:
                    continue
                if type(outcome) is Failed and not self._may_ask_again(outcome):
                    failures.append(outcome.failure)
                else:
                    suspended = suspended or type(outcome) in {Pending, Failed}
                    outcomes.append((seat.member.ref.plugin_id, outcome))
        finally:
            self._gate.leave(entered)
        if suspended:
            outcomes = await self._finish(outcomes, failures, context, values)
        return outcomes, failures

    async def _finish(
        self,
        outcomes: list[tuple[str, Any]],
        failures: list[Failure],
        context: PluginContext,
        values: Mapping[str, Any],
    ) -> list[tuple[str, Any]]:
        """Wait for the pending ones, which run side by side. All of them end with the waiter."""
        answers = []
        for place, (plugin_id, outcome) in enumerate(outcomes):
            answer = outcome
            try:
                if type(answer) is Pending:
                    answer = await self._gate.finish(answer)
                if type(answer) is Failed and self._may_ask_again(answer):
                    answer = await self._ask_again(plugin_id, context, values, answer)
            except BaseException:
                for _, other in outcomes[place + 1 :]:
                    if type(other) is Pending:
                        self._gate.abandon(other)
                raise
            if type(answer) is Failed:
                failures.append(answer.failure)
            elif answer is not None:
                answers.append((plugin_id, answer))
        return answers

    async def _first(
        self, seats: list[HookSeat], context: PluginContext, values: Mapping[str, Any]
    ) -> tuple[Any, list[Failure]]:
        failures: list[Failure] = []
        remaining = iter(seats)
        while (outcome := self._until_answered(remaining, context, values, failures)) is not None:
            if type(outcome) is Pending:
                plugin_id = outcome.seat.member.ref.plugin_id
                outcome = await self._gate.finish(outcome)
                if type(outcome) is Failed and self._may_ask_again(outcome):
                    outcome = await self._ask_again(plugin_id, context, values, outcome)
            if type(outcome) is Failed:
                failures.append(outcome.failure)
            elif outcome is not None:
                return outcome, failures
        return None, failures

    def _may_ask_again(self, failed: Failed) -> bool:
        """Whether the call was lost with the plugin's process, and may be made twice."""
        return self._rule.idempotent and failed.failure.kind is FailureKind.PROCESS_ENDED

    async def _ask_again(self, plugin_id: str, context: PluginContext, values: Mapping[str, Any], lost: Failed) -> Any:
        """Make the call once more when the instance is back; what became of the first one where it does not come back in time."""
        remaining = self._gate.call_limit if context.remaining is None else context.remaining
        try:
            async with asyncio.timeout(min(remaining, _BACK_WITHIN)):
                await self._registry.arrival(plugin_id)
        except TimeoutError:
            return lost
        seats = [seat for seat in self._registry.plan(self._name).seats if seat.member.ref.plugin_id == plugin_id]
        if not seats:
            return lost
        keywords = keywords_for(seats[0], values) if seats[0].keywords else NOTHING
        return await self._gate.call(seats[0], context, seats[0].take(values), keywords)

    def _until_answered(
        self, remaining: Iterator[HookSeat], context: PluginContext, values: Mapping[str, Any], failures: list[Failure]
    ) -> Any:
        """Ask one after the other until somebody answers or suspends; `None` when nobody is left."""
        begin = self._gate.begin
        entered = self._gate.enter()
        try:
            for asked in remaining:
                # Another object may have taken this one's place while the ones before it were waited for.
                seat = self._registry.seat_now(self._name, asked) if asked.member.replaced else asked
                if seat is None:
                    continue
                keywords = keywords_for(seat, values) if seat.keywords else NOTHING
                outcome = begin(seat, context, seat.take(values), keywords)
                if type(outcome) is Failed:
                    failures.append(outcome.failure)
                elif outcome is not None:
                    return outcome
        finally:
            self._gate.leave(entered)
        return None

    async def _wrapped(
        self, plan: HookPlan, seats: list[HookSeat], context: PluginContext, values: Mapping[str, Any]
    ) -> tuple[Any, list[Failure]]:
        """Wrappers are synchronous generators around the awaited result. One that fails is left out, and reported."""
        around: list[tuple[HookSeat, Generator[Any, Any, Any]]] = []
        wrapper_failures: list[Failure] = []
        for seat in plan.wrappers:
            if seat.member.ref.plugin_id == self._without:
                continue
            inner = (seat.function, seat.take(values), keywords_for(seat, values))
            outcome = self._gate.begin_alone(seat, context, inner, NOTHING, run=_enter)
            if type(outcome) is Failed:
                wrapper_failures.append(outcome.failure)
            else:
                seat.member.calls += 1  # an object that another one replaces is there until its wrapper has ended
                around.append((seat, outcome))
        result: Any
        try:
            if self._rule.firstresult:
                result, failures = await self._first(seats, context, values)
            else:
                answers, failures = await self._all(seats, context, values)
                result = HookResults(answers, failures)
        except (
            BaseException
        ):  # the caller was cancelled; the wrappers' own `finally` must not wait for the garbage collector
            for seat, generator in reversed(around):
                seat.member.calls -= 1
                self._gate.begin_alone(seat, context, (), NOTHING, run=generator.close)
            raise
        allowed = (*self._rule.answers, type(None)) if self._rule.firstresult else (HookResults,)
        for seat, generator in reversed(around):
            seat.member.calls -= 1
            leaving = (generator, result, seat.old_style, allowed)
            outcome = self._gate.begin_alone(seat, context, leaving, NOTHING, run=_leave)
            if type(outcome) is Failed:
                wrapper_failures.append(outcome.failure)
            else:
                (result,) = outcome
        failures += wrapper_failures
        if not self._rule.firstresult and type(result) is HookResults and wrapper_failures:
            result = HookResults(result._answers, failures)  # noqa: SLF001 - `by_plugin` keeps one answer of each only
        return result, failures

    def _wrong_arguments(self, values: Mapping[str, Any], names: frozenset[str]) -> str:
        missing = sorted(names - values.keys() - {"context"})
        unknown = sorted(values.keys() - names)
        said = [f"lacks {', '.join(missing)}"] if missing else []
        said += [f"got unknown {', '.join(unknown)}"] if unknown else []
        return f"hook {self._name} {' and '.join(said)}; it takes {', '.join(sorted(names))}"


def _enter(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    generator = function(*args, **kwargs)
    try:
        next(generator)
    except StopIteration:
        raise RuntimeError("the hook wrapper did not yield; it must yield exactly once") from None
    return generator


def _leave(generator: Generator[Any, Any, Any], result: Any, old_style: bool, allowed: tuple[type, ...]) -> tuple[Any]:
    """Send the result in; gives what the wrapper made of it, in a tuple so that it is never mistaken for something to await."""
    box = pluggy.Result(result, None)
    try:
        generator.send(box if old_style else result)
    except StopIteration as stop:
        made = box.get_result() if old_style else stop.value
    else:
        generator.close()
        raise RuntimeError("the hook wrapper yielded twice; it must yield exactly once")
    if isinstance(made, allowed) or allowed == (type(None),):
        return (made,)
    wanted = " or ".join("None" if kind is type(None) else kind.__name__ for kind in allowed)
    raise TypeError(f"the hook wrapper must return {wanted}, and returned {type(made).__name__}")


class TenantHooks:
    """The hooks of one tenant: `await hooks.get_device_status(device_id=…)`.

    A first-result hook gives the first answer that is not `None`, or `None`; it raises `HookError` when nobody answered and
    somebody failed. The other hooks give `HookResults`: the answers, and who failed and why.
    """

    def __init__(
        self, tenant_id: str | None, registry: TenantRegistry, gate: Gate, *, without: str | None = None
    ) -> None:
        self._parts = (tenant_id, registry, gate, without)

    def __getattr__(self, name: str) -> HookCall:
        if name not in HOOKS:
            raise AttributeError(f"there is no hook {name!r}; the hooks are {', '.join(sorted(HOOKS))}")
        tenant_id, registry, gate, without = self._parts
        call = HookCall(name, tenant_id, registry, gate, without)
        setattr(self, name, call)
        return call


class PluginRelay(TenantHooks):
    """The hooks that a plugin may call (`api.HookRelay`): those of devices and metrics.

    The others are the host's: a plugin that could call `provide_secret` would read every tenant's secrets.
    """

    def __getattr__(self, name: str) -> HookCall:
        if name in HOOKS and HOOKS[name].family not in {"device", "metrics"}:
            raise AttributeError(f"the hook {name!r} is called by the host alone")
        return super().__getattr__(name)
