"""What an instance in the host's own process gets from the host."""

from __future__ import annotations

import asyncio
import inspect
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final, TypeVar

from .._scope import CallScope, current_scope
from ..errors import LicenceError, LifecycleError
from ..model import tenant_label

if TYPE_CHECKING:
    import logging
    from collections.abc import Awaitable, Callable, Coroutine
    from pathlib import Path

    from ..api import HookRelay, MetricRecorder, SecretReader, Storage
    from ..model import PluginInfo
    from ._tasks import TaskOwner

__all__ = ["InlineAPI"]

T = TypeVar("T")


class InlineAPI:
    """`PluginAPI` for inline instances; see `dotmac_isp.plugins.core.api` for what each part promises."""

    def __init__(
        self,
        *,
        info: PluginInfo,
        tenant_id: str | None,
        settings: Any,
        secrets: SecretReader,
        storage: Storage,
        logger: logging.LoggerAdapter[logging.Logger],
        metrics: MetricRecorder,
        hooks: HookRelay,
        data_dir: Path,
        report: Callable[[CallScope, BaseException], None],
        count_licensed: Callable[[str, int], str | None],
        owner: TaskOwner,
        secret_changed: Callable[[str, str | None], None] | None = None,
    ) -> None:
        self.info: Final = info
        self.plugin_id: Final = info.id
        self.tenant_id: Final = tenant_id
        self.settings = settings
        self.secrets: Final = secrets
        self.storage: Final = storage
        self.logger: Final = logger
        self.metrics: Final = metrics
        self.hooks: Final = hooks
        self._data_dir: Final = data_dir
        self._report: Final = report
        self._count_licensed: Final = count_licensed
        self._owner: Final = owner
        self._secret_changed: Final = secret_changed
        #: The instance was released; code of it that is still about must not begin anything.
        self.ended = False
        self._cleanups: list[Callable[[], Awaitable[None] | None]] = []

    @property
    def data_dir(self) -> Path:
        self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._data_dir

    def spawn(self, work: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T | None]:
        if self.ended:
            work.close()
            raise LifecycleError(
                f"{self.plugin_id} was released for tenant {tenant_label(self.tenant_id)}; {name} cannot be spawned"
            )
        scope = self._scope(f"task {name}")
        context = copy_context()
        context.run(current_scope.set, scope)
        return asyncio.get_running_loop().create_task(
            self._watched(work, scope), name=f"{self.plugin_id}: {name}", context=context
        )

    def on_cleanup(self, callback: Callable[[], Awaitable[None] | None]) -> None:
        self._cleanups.append(callback)

    def grpc_target(self, host: str, port: int) -> tuple[str, list[tuple[str, Any]]]:
        # An IPv6 address needs brackets before a port.
        return (f"[{host}]:{port}" if ":" in host else f"{host}:{port}"), []

    def count_licensed(self, limit: str, amount: int) -> None:
        if (why := self.refuse_count(limit, amount)) is not None:
            raise LicenceError(why)

    def refuse_count(self, limit: str, amount: int) -> str | None:
        """Count as `count_licensed` does; why it cannot be, or `None`."""
        return self._count_licensed(limit, amount)

    def report(self, scope: CallScope, error: BaseException) -> None:
        """Something of the plugin's own failed that nobody waits for."""
        self._report(scope, error)

    def secret_changed(self, name: str, tenant_id: str | None) -> None:
        if self._secret_changed is None:
            raise PermissionError(
                f"{self.plugin_id} is no provider of secrets; its manifest's category must be 'secrets'"
            )
        self._secret_changed(name, tenant_id)

    async def run_cleanups(self) -> None:
        """Run the registered cleanups, last registered first. One that fails is reported and does not stop the others."""
        while self._cleanups:
            callback = self._cleanups.pop()
            try:
                result = callback()
                if inspect.isawaitable(result):
                    await result
            except Exception as error:  # noqa: BLE001 - reported; the other cleanups go on
                self._report(self._scope("cleanup callback"), error)

    def _scope(self, operation: str) -> CallScope:
        return CallScope(self.plugin_id, self.tenant_id, operation, owner=self._owner)

    async def _watched(self, work: Coroutine[Any, Any, T], scope: CallScope) -> T | None:
        try:
            return await work
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001 - reported as the instance's failure
            self._report(scope, error)
            return None
