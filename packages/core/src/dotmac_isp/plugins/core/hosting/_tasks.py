"""The tasks that plugin code makes: fenced, counted to their instance, ended with it.

A task that ends with `SystemExit` stops the event loop, and `asyncio.create_task` is open to everybody. So while the manager
runs, its loop makes tasks through a factory that looks at whose code is asking: tasks of the host are left alone.
"""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING, Any, Final

from .._scope import current_scope
from ._told import told

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from .._scope import CallScope

__all__ = ["PluginTaskCrash", "TaskKeeper", "TaskOwner"]


class PluginTaskCrash(RuntimeError):  # noqa: N818 - named for what happened
    """Stands in for a `SystemExit` or the like that a plugin's task ended with."""


class TaskOwner:
    """Whom tasks count to: one life of an instance, a service, or hooks of the host itself. Made by its keeper."""

    __slots__ = ("__weakref__", "_tasks", "keeper")

    def __init__(self, keeper: TaskKeeper) -> None:
        self.keeper: Final = keeper
        self._tasks: Final[weakref.WeakSet[asyncio.Task[Any]]] = weakref.WeakSet()

    def add(self, task: asyncio.Task[Any]) -> None:
        """The task is this owner's from now on."""
        self._tasks.add(task)

    def running(self) -> list[asyncio.Task[Any]]:
        """The tasks that still run."""
        return [task for task in self._tasks if not task.done()]

    async def end(self, *, patience: float) -> list[asyncio.Task[Any]]:
        """Cancel the tasks and wait `patience` seconds; gives those that ignored it."""
        this = asyncio.current_task()
        tasks = [task for task in self.running() if task is not this]
        for task in tasks:
            task.cancel()
        if not tasks:
            return []
        _, left = await asyncio.wait(tasks, timeout=patience)
        return sorted(left, key=lambda task: task.get_name())


class TaskKeeper:
    """Watches over the tasks of plugin code on one event loop. There may be several on one loop: each sees its own owners only."""

    def __init__(self, loop: asyncio.AbstractEventLoop, report: Callable[[CallScope, BaseException], None]) -> None:
        self._loop: Final = loop
        self._report: Final = report
        self._before: Any = None
        self._retired = False
        self._owners: Final[weakref.WeakSet[TaskOwner]] = weakref.WeakSet()
        self._scopes: weakref.WeakKeyDictionary[asyncio.Task[Any], CallScope] = weakref.WeakKeyDictionary()

    def install(self) -> None:
        """Become the loop's task factory, in front of the one that is there."""
        self._before = self._loop.get_task_factory()
        self._loop.set_task_factory(self._make)  # type: ignore[arg-type]  # typeshed differs between Python versions

    def uninstall(self) -> None:
        """Give the loop its former factory back, unless somebody else put one in front of ours."""
        self._retired = True
        if self._loop.get_task_factory() == self._make:
            before = self._before
            while isinstance(keeper := getattr(before, "__self__", None), TaskKeeper) and keeper._retired:  # noqa: SLF001 - its own kind
                before = keeper._before  # noqa: SLF001 - of a manager that stopped before this one
            self._loop.set_task_factory(before)

    def scope_of(self, task: asyncio.Task[Any] | None) -> CallScope | None:
        """Whose task it is; `None` for the host's own."""
        return None if task is None else self._scopes.get(task)

    def owner(self) -> TaskOwner:
        """A new owner of tasks."""
        made = TaskOwner(self)
        self._owners.add(made)
        return made

    def adopt(self, task: asyncio.Task[Any], scope: CallScope) -> None:
        """Count a task to the owner in `scope`."""
        self._scopes[task] = scope
        if scope.owner is not None:
            scope.owner.add(task)

    async def end_all(self, *, patience: float) -> list[asyncio.Task[Any]]:
        """End what is left of every owner, as `TaskOwner.end` does."""
        ends = [owner.end(patience=patience) for owner in list(self._owners)]
        return [task for left in await asyncio.gather(*ends) for task in left]

    def _make(self, loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **options: Any) -> Any:
        context = options.get("context")
        scope = current_scope.get() if context is None else context.get(current_scope)
        if self._retired or (scope is not None and (scope.owner is None or scope.owner.keeper is not self)):
            scope = None  # another manager's plugin, whose keeper comes after this one
        work = coro if scope is None or not asyncio.iscoroutine(coro) else self._fenced(coro, scope)
        make = self._before if self._before is not None else _plain_task
        task = make(loop, work, **options)
        if scope is not None:
            self.adopt(task, scope)
            if work is not coro:
                # A task that is cancelled before its first step never awaits what it wraps.
                task.add_done_callback(lambda _: coro.close())
        return task

    async def _fenced(self, coro: Coroutine[Any, Any, Any], scope: CallScope) -> Any:
        try:
            return await coro
        except (Exception, asyncio.CancelledError, GeneratorExit):
            raise  # whoever awaits the task gets it; none of these stops the loop
        except BaseException as error:  # noqa: BLE001 - it would stop the event loop
            self._report(scope, error)
            raise PluginTaskCrash(
                f"{scope.plugin_id}: a task ended with {type(error).__name__}: {told(error)}"
            ) from None


def _plain_task(loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
    return asyncio.Task(coro, loop=loop, **options)
