"""Where inline plugin code runs: in a task of its own, under a fence, at next to no cost while it does not suspend.

Most calls finish without waiting for anything. Making a task for each of them would cost ten times the call, and running
them in the caller's task would let plugin code cancel its caller (`asyncio.timeout`, task groups and anyio's scopes all
take hold of the current task). So the fence keeps parked tasks: a call's first stretch runs at once, with a parked task as
the current one; only when the code suspends does that task wake up and carry it on. The task's identity is the same before
and after. `_enter_task` and `_leave_task` are asyncio's documented means for this ("Extending", "Task lifetime support").

Nothing that plugin code raises passes the fence by itself, `SystemExit` included: a task that ends with it would take the
event loop with it.
"""

from __future__ import annotations

import asyncio
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final

from .._scope import current_scope

if TYPE_CHECKING:
    from .._scope import CallScope

__all__ = ["Fence", "Running"]


class Running:
    """A call that suspended. Await `finished`, then read `value` or `error`."""

    __slots__ = ("_context", "_early", "_loop", "_park", "_step", "_yielded", "error", "finished", "task", "value")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._step: Any = None
        self._yielded: Any = None
        self._context: Context | None = None
        self._early: BaseException | None = None
        self._park: asyncio.Future[None] = loop.create_future()
        self.finished: asyncio.Future[None] | None = None
        self.value: Any = None
        self.error: BaseException | None = None
        self.task: Final = asyncio.Task(_Life(self, self._live()), loop=loop, name="dotmac-fence")

    @property
    def spoiled(self) -> bool:
        """Whether the call before asked for its own task to be cancelled, and did not wait for it."""
        # `cancel` ends what the task waits for or, before its first turn, marks the task; `uncancel` takes back neither.
        task: Any = self.task
        return bool(self._park.done() or task._must_cancel)  # noqa: SLF001 - nothing else tells

    def cancelled_early(self, error: BaseException) -> bool:
        """The task is cancelled before its first turn. `True` when the error was kept for the call that suspended by then."""
        if self._step is None:
            return False
        self._early = error
        return True

    def carry_on(self, step: Any, yielded: Any, context: Context) -> asyncio.Future[None]:
        """Wake the parked task up for the rest of a call that suspended on `yielded`."""
        self._step, self._yielded, self._context = step, yielded, context
        if hasattr(yielded, "_asyncio_future_blocking"):
            # asyncio's mark for "somebody is about to wait": others may await the same future before our task has its turn.
            yielded._asyncio_future_blocking = False  # noqa: SLF001 - asyncio's protocol between futures and tasks
        self.finished = self._loop.create_future()
        if not self._park.done():
            self._park.set_result(None)
        return self.finished

    async def _live(self) -> None:
        thrown: BaseException | None = None
        try:
            await self._park
        except asyncio.CancelledError as error:
            if self._step is None:
                raise
            thrown = error  # meant for the call, which suspended just now
        thrown = thrown or self._early
        try:
            self.value = await _Rest(self._step, self._yielded, self._context, thrown)
        except BaseException as error:  # noqa: BLE001 - keeping it here is what the fence is for
            self.error = error
        finally:
            self._step = self._yielded = self._context = None
            if self.finished is not None and not self.finished.done():
                self.finished.set_result(None)


class _Life(Coroutine[Any, Any, None]):
    """The parked task's coroutine. asyncio throws a cancellation into one that never ran, and then it never would."""

    __slots__ = ("_begun", "_inner", "_running")

    def __init__(self, running: Running, inner: Coroutine[Any, Any, None]) -> None:
        self._running, self._inner, self._begun = running, inner, False

    def send(self, value: Any) -> Any:
        self._begun = True
        return self._inner.send(value)

    def throw(self, kind: Any, value: Any = None, trace: Any = None) -> Any:
        error = kind if isinstance(kind, BaseException) else value if value is not None else kind()
        if not self._begun and self._running.cancelled_early(error):
            return self.send(None)
        return self._inner.throw(error.with_traceback(trace) if trace is not None else error)

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, None]:
        return self._inner.__await__()


class _Rest:
    """The rest of a suspended call, as an awaitable that first waits for what the call was waiting for."""

    __slots__ = ("_context", "_step", "_thrown", "_yielded")

    def __init__(self, step: Any, yielded: Any, context: Context | None, thrown: BaseException | None) -> None:
        self._step, self._yielded, self._context, self._thrown = step, yielded, context, thrown

    def __await__(self) -> Generator[Any, Any, Any]:
        step, yielded, thrown = self._step, self._yielded, self._thrown
        assert self._context is not None  # noqa: S101 - set by carry_on, always
        run = self._context.run
        try:
            future = hasattr(yielded, "_asyncio_future_blocking")
            # As asyncio does it: what the code waits for is cancelled, or else the code itself.
            if thrown is not None and not (future and yielded.cancel()):
                yielded = run(step.throw, thrown)
            elif future:
                yielded._asyncio_future_blocking = True  # noqa: SLF001 - as in carry_on
            while True:
                try:
                    value = yield yielded
                except BaseException as error:  # noqa: BLE001 - the call decides what becomes of it
                    yielded = run(step.throw, error)
                else:
                    yielded = run(step.send, value)
        except StopIteration as stop:
            return stop.value


class _Suspended:
    __slots__ = ("step", "yielded")

    def __init__(self, step: Any, yielded: Any) -> None:
        self.step = step
        self.yielded = yielded


def _first_stretch(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], scope: CallScope
) -> Any:
    current_scope.set(scope)
    step = function(*args, **kwargs) if kwargs else function(*args)
    if type(step) is not CoroutineType:
        if not hasattr(type(step), "__await__"):  # what isinstance(…, Awaitable) asks, at a quarter of its cost
            return step
        step = step.__await__()
    try:
        yielded = step.send(None) if type(step) is CoroutineType or hasattr(step, "send") else next(step)
    except StopIteration as stop:
        return stop.value
    return _Suspended(step, yielded)


class Fence:
    """Runs plugin code of one event loop. `close` ends the parked tasks."""

    __slots__ = ("_closed", "_loop", "_parked", "_ready", "at_work")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop: Final = loop
        self._parked: list[Running] = []
        self._closed = False
        #: The parked task that is the current one already, ready for plugin code; see `enter`.
        self._ready: Running | None = None
        #: The scope of the plugin code that has the loop right now; the blocking watch reads it from its thread.
        self.at_work: CallScope | None = None

    def enter(self) -> Any:
        """Make a parked task the current one, for several `begin`s without an `await` between them. Give the result to `leave`.

        Called from within a task or a callback of the fence's loop.
        """
        caller = asyncio.current_task(self._loop)
        runner = self._parked.pop() if self._parked else Running(self._loop)  # `begin` looks whether it is spoiled
        before, self._ready = self._ready, runner
        if caller is not None:
            _leave_task(self._loop, caller)
        _enter_task(self._loop, runner.task)
        return caller, before

    def leave(self, entered: Any) -> None:
        """Make the caller's task the current one again."""
        caller, before = entered
        runner = self._ready
        assert runner is not None  # noqa: S101 - begin puts one back
        self._ready = before
        _leave_task(self._loop, runner.task)
        if caller is not None:
            _enter_task(self._loop, caller)
        if self._closed:
            runner.task.cancel()  # a call that came in the very last moment
        else:
            self._parked.append(runner)

    def begin(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], scope: CallScope
    ) -> Any:
        """Run the first stretch, between `enter` and `leave`.

        Gives the call's value, raises what it raised, or gives a `Running` to be awaited.
        """
        runner = self._ready
        assert runner is not None  # noqa: S101 - enter comes first
        if runner.spoiled:
            runner = self._replace(runner)
        context = copy_context()
        outer = self.at_work
        self.at_work = scope
        # Calls that the plugin's code makes meanwhile enter for themselves.
        self._ready = None
        try:
            result = context.run(_first_stretch, function, args, kwargs, scope)
        finally:
            self.at_work = outer
            self._ready = runner
        if type(result) is _Suspended:
            self._replace(runner)
            runner.carry_on(result.step, result.yielded, context)
            return runner
        return result

    def _replace(self, runner: Running) -> Running:
        fresh = self._unparked()
        _leave_task(self._loop, runner.task)
        _enter_task(self._loop, fresh.task)
        self._ready = fresh
        return fresh

    def _unparked(self) -> Running:
        parked = self._parked
        while parked:
            runner = parked.pop()
            if not runner.spoiled:
                return runner
            runner.task.cancel()
        return Running(self._loop)

    async def close(self) -> None:
        """Cancel the parked tasks and wait for their end. Calls under way are their callers' business."""
        self._closed = True
        parked, self._parked = self._parked, []
        for runner in parked:
            runner.task.cancel()
        if parked:
            await asyncio.wait([runner.task for runner in parked])
