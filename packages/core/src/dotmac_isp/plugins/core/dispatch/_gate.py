"""The gate: the one way of every call, whether a hook or a method on a handle.

In this order: the instance accepts calls → the caller is allowed → the licence covers it → the breaker is closed → the deadline
has not passed → the host runs it → the result is of the right type. What became of it is counted here, and a failure is
audited here, and nowhere else.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from typing import TYPE_CHECKING, Any, Final

from .._scope import CallScope
from ..errors import (
    CallError,
    CircuitOpenError,
    ConfigurationError,
    CredentialsRefused,
    DeadlineError,
    LicenceError,
    NotReady,
    PermissionDeniedError,
    PluginError,
    ProcessEndedError,
    SecretError,
    SecretMissingError,
)
from ..hosting import Running, told
from ..model import Failure, FailureKind, tenant_label
from ..permissions import PermissionUses

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..audit import AuditTrail
    from ..hosting import Fence, TaskKeeper
    from ..licensing import LicenceBook
    from ..model import PluginContext
    from ..permissions import Authoriser
    from ._member import Member, Seat

__all__ = ["Failed", "Gate", "Pending", "error_of", "kind_of"]

_ERRORS: Final[dict[FailureKind, type[CallError]]] = {
    FailureKind.PERMISSION: PermissionDeniedError,
    FailureKind.LICENCE: LicenceError,
    FailureKind.CIRCUIT_OPEN: CircuitOpenError,
    FailureKind.DEADLINE: DeadlineError,
}
_KINDS: Final[tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], FailureKind], ...]] = (
    (NotReady, FailureKind.NOT_READY),
    ((CredentialsRefused, SecretMissingError), FailureKind.CREDENTIALS),
    (SecretError, FailureKind.NOT_READY),
    (LicenceError, FailureKind.LICENCE),
    (ConfigurationError, FailureKind.CONFIGURATION),
    (PermissionDeniedError, FailureKind.PERMISSION),
    (asyncio.CancelledError, FailureKind.CANCELLED),
    (ProcessEndedError, FailureKind.PROCESS_ENDED),
    ((PluginError, ValueError), FailureKind.REQUEST),
    (Exception, FailureKind.ERROR),
)
#: Refusals by the host and requests that cannot be carried out say nothing about the plugin's health.
_HARMLESS: Final = frozenset(
    {
        FailureKind.PERMISSION,
        FailureKind.LICENCE,
        FailureKind.NOT_ACTIVE,
        FailureKind.CIRCUIT_OPEN,
        FailureKind.REQUEST,
        FailureKind.CONFIGURATION,
    }
)


def kind_of(error: BaseException) -> FailureKind:
    """The class of a failure, by what the plugin raised."""
    if isinstance(error, TypeError) and wrong_arguments(error):
        return FailureKind.REQUEST
    return next((kind for known, kind in _KINDS if isinstance(error, known)), FailureKind.CRASHED)


def wrong_arguments(error: TypeError) -> bool:
    """Whether the call itself raised it: no frame of the plugin's is in the traceback, here or in its own process."""
    if getattr(error, "dotmac_mismatch", False):
        return True
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals.get("__name__") == Running.__module__


def error_of(failed: Failed) -> BaseException:
    """What a caller on a handle gets: the plugin's own exception where it is one, else a `CallError`."""
    failure, cause = failed.failure, failed.cause
    if isinstance(cause, Exception) and failure.kind is not FailureKind.DEADLINE:
        return cause
    error = _ERRORS.get(failure.kind, CallError)(str(failure), failure=failure)
    error.__cause__ = cause
    return error


class Failed:
    """A call that gave no result."""

    __slots__ = ("cause", "failure")

    def __init__(self, failure: Failure, cause: BaseException | None = None) -> None:
        self.failure: Final = failure
        self.cause: Final = cause


class Pending:
    """A call that suspended; its deadline's timer runs. `Gate.finish` waits for it."""

    __slots__ = ("context", "late", "running", "seat", "started", "timer")

    def __init__(self, seat: Seat, context: PluginContext, running: Running, started: float) -> None:
        self.seat: Final = seat
        self.context: Final = context
        self.running: Final = running
        self.started: Final = started
        self.timer: asyncio.TimerHandle | None = None
        self.late = False

    def expire(self) -> None:
        """The deadline has come: cancel the plugin's code, and wait no longer for it."""
        finished = self.running.finished
        if finished is None or finished.done():
            return  # the result is there; only its waiter has not had a turn yet
        self.late = True
        self.running.task.cancel()
        finished.set_result(None)


class Gate:
    """Takes calls to plugins. There is one for each manager."""

    def __init__(
        self,
        fence: Fence,
        tasks: TaskKeeper,
        *,
        authoriser: Authoriser,
        licences: LicenceBook,
        audit: AuditTrail,
        redact: Callable[[str], str],
        call_limit: float,
    ) -> None:
        self._fence: Final = fence
        self._tasks: Final = tasks
        self.authoriser = authoriser
        self.licences = licences
        self.audit: Final = audit
        self.uses: Final = PermissionUses(audit.record)
        self._redact: Final = redact
        #: How long a call may take that came without a deadline, in seconds.
        self.call_limit: Final = call_limit
        #: Around `begin`s without an `await` between them; see `Fence.enter`.
        self.enter: Final = fence.enter
        self.leave: Final = fence.leave

    def begin(
        self,
        seat: Seat,
        context: PluginContext,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        run: Callable[..., Any] | None = None,
    ) -> Any:
        """Take a call through, between `enter` and `leave`: its result, a `Failed`, or a `Pending` that `finish` must be awaited for.

        `run` stands in for the seat's function where that must not be called directly (hook wrappers).
        """
        member = seat.member
        ref = member.ref
        if not member.accepting:
            return self._refuse(seat, context, FailureKind.NOT_ACTIVE, member.why_not)
        unlicensed: str | None = None
        try:
            refused = self.authoriser.refuse_call(ref, seat.permission, context)
            if refused is None:
                unlicensed = self.licences.refuse_call(ref, seat.operation)
        except Exception as error:  # noqa: BLE001 - who cannot be asked has not allowed it
            refused = f"it cannot be decided: {type(error).__name__}: {error}"
        if refused is not None:
            return self._refuse(seat, context, FailureKind.PERMISSION, refused)
        if unlicensed is not None:
            return self._refuse(seat, context, FailureKind.LICENCE, unlicensed)
        if member.breaker.open_until and member.breaker.refuses():
            return self._refuse(seat, context, FailureKind.CIRCUIT_OPEN, self._breaker_text(member))
        if seat.permission is not None:
            self.uses.count(ref, seat.permission, context)
        return self._run(seat, context, args, kwargs, run or seat.function)

    async def step(self, seat: Seat, context: PluginContext) -> Any:
        """A lifecycle step: fenced, timed and reported as a call is, but asked for by the host itself."""
        entered = self.enter()
        try:
            result = self._run(seat, context, (), {}, seat.function)
        finally:
            self.leave(entered)
        return await self.finish(result) if type(result) is Pending else result

    def _run(
        self,
        seat: Seat,
        context: PluginContext,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        function: Callable[..., Any],
    ) -> Any:
        member = seat.member
        ref = member.ref
        started = time.perf_counter()
        if context.deadline is not None and context.deadline <= time.monotonic():
            member.breaker.abandoned()
            return self._refuse(seat, context, FailureKind.DEADLINE, "the deadline had passed before the call")
        scope = CallScope(ref.plugin_id, ref.tenant_id, seat.operation, context.request_id, member.owner)
        try:
            result = self._fence.begin(function, args, kwargs, scope)
        except BaseException as error:  # noqa: BLE001 - whatever plugin code raises ends here
            return self._fail(seat, context, error, started)
        if type(result) is Running:
            return self._suspend(seat, context, result, started, scope)
        if result is not None and seat.answers and not isinstance(result, seat.answers):
            return self._judge(seat, context, result, started)
        seat.stats.observe(time.perf_counter() - started)
        if member.breaker.failures:
            member.breaker.succeeded()
        return result

    async def finish(self, pending: Pending) -> Any:
        """Wait for a call that suspended: its result or a `Failed`. Cancelling the waiter cancels the call."""
        running = pending.running
        assert running.finished is not None  # noqa: S101 - it suspended
        seat = pending.seat
        try:
            await running.finished
        except asyncio.CancelledError:
            running.task.cancel()
            seat.member.breaker.abandoned()
            seat.stats.observe(time.perf_counter() - pending.started)
            raise
        finally:
            seat.member.calls -= 1
            if pending.timer is not None:
                pending.timer.cancel()
        if pending.late:
            limit = time.perf_counter() - pending.started
            return self._fail(seat, pending.context, DeadlineError(f"no result after {limit:.3g} s"), pending.started)
        if running.error is not None:
            return self._fail(seat, pending.context, running.error, pending.started)
        return self._judge(seat, pending.context, running.value, pending.started)

    def begin_alone(
        self,
        seat: Seat,
        context: PluginContext,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        run: Callable[..., Any] | None = None,
    ) -> Any:
        """`enter`, `begin`, `leave`."""
        entered = self.enter()
        try:
            return self.begin(seat, context, args, kwargs, run)
        finally:
            self.leave(entered)

    async def call(self, seat: Seat, context: PluginContext, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """`begin` and, where the call suspends, `finish`."""
        result = self.begin_alone(seat, context, args, kwargs)
        if type(result) is Pending:
            result = await self.finish(result)
        if type(result) is Failed:
            await self.audit.settle()
        return result

    def abandon(self, pending: Pending) -> None:
        """Give up on a call that nobody waits for any more."""
        member = pending.seat.member
        member.calls -= 1
        member.breaker.abandoned()
        pending.seat.stats.observe(time.perf_counter() - pending.started)
        if pending.timer is not None:
            pending.timer.cancel()
        pending.running.task.cancel()

    def _suspend(
        self, seat: Seat, context: PluginContext, running: Running, started: float, scope: CallScope
    ) -> Pending:
        pending = Pending(seat, context, running, started)
        seat.member.calls += 1
        self._tasks.adopt(running.task, scope)
        now = time.monotonic()
        end = now + self.call_limit if context.deadline is None else context.deadline
        seat.member.until = max(seat.member.until, end)
        limit = max(end - now, 0.0)
        pending.timer = running.task.get_loop().call_later(limit, pending.expire)
        return pending

    def _judge(self, seat: Seat, context: PluginContext, result: Any, started: float) -> Any:
        if result is not None and seat.answers and not isinstance(result, seat.answers):
            wanted = " or ".join(kind.__name__ for kind in seat.answers)
            text = f"{seat.operation} must give {wanted} or None, and gave {type(result).__name__}"
            return self._fail(seat, context, TypeError(text), started, FailureKind.WRONG_TYPE)
        seat.stats.observe(time.perf_counter() - started)
        breaker = seat.member.breaker
        if breaker.failures:
            breaker.succeeded()
        return result

    def _refuse(self, seat: Seat, context: PluginContext, kind: FailureKind, why: str) -> Failed:
        """The host's own no: the plugin was not asked, so nothing is held against it."""
        ref = seat.member.ref
        seat.stats.observe(0.0)
        failure = Failure(
            plugin_id=ref.plugin_id,
            tenant_id=ref.tenant_id,
            operation=seat.operation,
            kind=kind,
            message=self._redact(why),
            request_id=context.request_id,
        )
        return self._record(seat, context, failure, None)

    def _fail(
        self,
        seat: Seat,
        context: PluginContext,
        error: BaseException,
        started: float,
        kind: FailureKind | None = None,
    ) -> Failed:
        ref = seat.member.ref
        seat.stats.observe(time.perf_counter() - started)
        if kind is None:
            kind = FailureKind.DEADLINE if isinstance(error, DeadlineError) else kind_of(error)
        failure = Failure(
            plugin_id=ref.plugin_id,
            tenant_id=ref.tenant_id,
            operation=seat.operation,
            kind=kind,
            message=self._redact(told(error)),
            error_type=type(error).__name__,
            traceback=self._redact("".join(traceback.format_exception(error))),
            request_id=context.request_id,
        )
        return self._record(seat, context, failure, error)

    def _record(self, seat: Seat, context: PluginContext, failure: Failure, error: BaseException | None) -> Failed:
        member = seat.member
        seat.stats.fail(failure.kind)
        if error is None:
            pass  # the host refused
        elif failure.kind in _HARMLESS:
            member.breaker.abandoned()  # where it was the trial, another call must be let through
        else:
            opened = member.breaker.failed()
            # Refused credentials stay refused: there is no point in waiting for the breaker.
            if member.on_strike is not None and (opened or failure.kind is FailureKind.CREDENTIALS):
                member.on_strike(failure)
        self.audit.record(
            f"call {seat.operation}",
            failure.kind.value,
            detail=failure.message,
            plugin_id=failure.plugin_id,
            tenant_id=failure.tenant_id,
            user_id=context.user_id,
            request_id=context.request_id,
            redacted=True,
        )
        return Failed(failure, error)

    def _breaker_text(self, member: Member) -> str:
        breaker = member.breaker
        wait = max(breaker.open_until - time.monotonic(), 0.0)
        where = f"{member.ref.plugin_id} for tenant {tenant_label(member.ref.tenant_id)}"
        return f"{where} failed {breaker.failures} times in a row; the next trial is in {wait:.0f} s"
