"""What the instances of one running host share; made at `start`, taken down at `stop`."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..audit import AuditTrail
from ..dispatch import Gate, Member, PluginRelay, TenantHooks, TenantRegistry
from ..errors import PluginError
from ..health import Breaker
from ..hosting import BlockingWatch, Fence, TaskKeeper, told
from ..lifecycle import Tenant, provides_secrets
from ..model import InstanceRef, tenant_label
from ..secrets import EnvironmentSecrets, FileSecrets, Redactor, SecretChain
from ..storage import open_storage
from ..telemetry import Telemetry
from ._hosts import Hosts
from ._secrets import SECRET_ORDER, PluginSecrets, in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from .._scope import CallScope
    from ..api import Storage
    from ..audit import AuditOptions
    from ..discovery import InstalledPlugin
    from ..health import Limits
    from ..hosting import Host, IsolationPolicy
    from ..licensing import LicenceBook
    from ..lifecycle import Blueprint, Instance, Life
    from ..permissions import Authoriser
    from ..secrets import SecretProvider
    from ..settings import Configuration
    from ..storage import StorageEngine

__all__ = ["Building", "default_providers"]

_LOG: Final = logging.getLogger("dotmac.host")


def default_providers(home: Path) -> list[SecretProvider]:
    """Where secrets come from when the operator says nothing else: systemd's credentials, `home/secrets`, the environment."""
    folders = [Path(given)] if (given := os.environ.get("CREDENTIALS_DIRECTORY")) else []
    folders += [home / "secrets"] if (home / "secrets").is_dir() else []
    return [*(FileSecrets(folder) for folder in folders), EnvironmentSecrets()]


class Building:
    """The house that instances live in (`lifecycle.House`)."""

    def __init__(
        self,
        home: Path,
        *,
        limits: Limits,
        authoriser: Authoriser,
        licences: LicenceBook,
        providers: Iterable[SecretProvider],
        before_activation: Callable[[Instance, Blueprint], Coroutine[Any, Any, None]],
        retry: Callable[[Instance], Coroutine[Any, Any, None]],
        fell: Callable[[Instance], Coroutine[Any, Any, None]],
        rotate: Callable[[str, str | None], Coroutine[Any, Any, None]],
        isolation: Callable[[], IsolationPolicy],
        configuration: Callable[[], Configuration],
        environment_of: Callable[[InstanceRef], str | None],
        audit: AuditOptions | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.home: Final = home
        self.limits: Final = limits
        self.redactor: Final = Redactor()
        self.telemetry: Final = Telemetry()
        self.audit: Final = AuditTrail(redact=self.redact, options=audit)
        asked = PluginSecrets(lambda: self.tenant(None).hooks, self._system_instances)
        ordered = in_order(os.environ.get(SECRET_ORDER), asked, list(providers))
        self._secrets: Final = SecretChain(ordered, redactor=self.redactor, audit=self.audit.record)
        # Secret plugins cannot ask themselves for what they need to start.
        self._own_secrets: Final = SecretChain(
            (one for one in ordered if one is not asked), redactor=self.redactor, audit=self.audit.record
        )
        self._rotate: Final = rotate
        self.fence: Final = Fence(loop)
        self.tasks: Final = TaskKeeper(loop, self.report)
        self.gate: Final = Gate(
            self.fence,
            self.tasks,
            authoriser=authoriser,
            licences=licences,
            audit=self.audit,
            redact=self.redact,
            call_limit=limits.call,
        )
        self.tenants: Final[dict[str | None, Tenant]] = {}
        self.before_activation: Final = before_activation
        self.retry: Final = retry
        self.fell: Final = fell
        self._hosts: Final = Hosts(
            self, isolation=isolation, configuration=configuration, environment_of=environment_of
        )
        self._loop: Final = loop
        self._watch: Final = BlockingWatch(
            loop, self.fence, self.tasks, limit=limits.blocking, report=self._report_blocking
        )
        self._background: set[asyncio.Task[None]] = set()
        self._registered: list[tuple[object, str, str | None, bool]] = []
        self._storage: StorageEngine | None = None

    async def open(self, storage_url: str | None) -> None:
        """Open the audit trail and the store, and take hold of the event loop."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        await self.audit.open(self.home)
        try:
            self._storage = await open_storage(storage_url, home=self.home)
        except BaseException:
            await self.audit.close()
            raise
        self.tasks.install()
        self._watch.start()
        await self._hosts.clean_up()

    async def close(self) -> None:
        """Let go of everything. Every part is tried, whatever another one does."""
        for task in list(self._background):
            task.cancel()
        if self._background:
            await asyncio.wait(self._background, timeout=self.limits.cancellation)
        self._watch.stop()
        await self._hosts.close()
        left = await self.tasks.end_all(patience=self.limits.cancellation)
        if left:
            _LOG.error("these tasks of plugins outlive the host: %s", ", ".join(task.get_name() for task in left))
        self.tasks.uninstall()
        try:
            if self._storage is not None:
                await self._storage.close()
        finally:
            try:
                await self.fence.close()
            finally:
                self.gate.uses.tell()
                await self.audit.close()

    # tenants and what belongs to them

    def tenant(self, tenant_id: str | None) -> Tenant:
        """The tenant's part of the house, made at first use."""
        tenant = self.tenants.get(tenant_id)
        if tenant is None:
            registry = TenantRegistry()
            tenant = Tenant(id=tenant_id, registry=registry, hooks=TenantHooks(tenant_id, registry, self.gate))
            self.tenants[tenant_id] = tenant
            for plugin, name, only, everywhere in self._registered:
                if everywhere or only == tenant_id:
                    self._seat(tenant, plugin, name)
        return tenant

    def register(self, plugin: object, name: str, tenant_id: str | None, *, everywhere: bool) -> None:
        """Add hook implementations of the host itself."""
        targets = [*self.tenants.values()] if everywhere else [self.tenant(tenant_id)]
        if any(tenant.registry.has(name) for tenant in targets):
            raise PluginError(f"{name!r} is registered already", remedy="Unregister it first, or take another name")
        for tenant in targets:
            self._seat(tenant, plugin, name)
        self._registered.append((plugin, name, tenant_id, everywhere))

    def unregister(self, name: str) -> None:
        """Take the host's own implementations out again."""
        self._registered = [entry for entry in self._registered if entry[1] != name]
        for tenant in self.tenants.values():
            tenant.registry.unregister(name)

    def host_for(self, life: Life) -> Host:
        return self._hosts.host_for(life)

    async def something_was_installed(self) -> None:
        """Processes that are begun from now on must have nothing in memory of what was there before."""
        await self._hosts.refresh()

    def registry_of(self, tenant_id: str | None) -> TenantRegistry:
        registry: TenantRegistry = self.tenant(tenant_id).registry
        return registry

    def hooks_without(self, tenant_id: str | None, plugin_id: str) -> TenantHooks:
        return TenantHooks(tenant_id, self.registry_of(tenant_id), self.gate, without=plugin_id)

    def secrets_for(self, plugin: InstalledPlugin) -> SecretChain:
        return self._own_secrets if provides_secrets(plugin) else self._secrets

    def secret_changed(self, name: str, tenant_id: str | None) -> None:
        self.run(self._rotate(name, tenant_id), name=f"rotate {name}")

    def _system_instances(self) -> list[Instance]:
        return list(self.tenant(None).instances.values())

    def relay_for(self, tenant_id: str | None, plugin_id: str) -> PluginRelay:
        return PluginRelay(tenant_id, self.registry_of(tenant_id), self.gate, without=plugin_id)

    def storage_for(self, tenant_id: str | None, plugin_id: str) -> Storage:
        return self.engine.scope(tenant_id, plugin_id)

    @property
    def engine(self) -> StorageEngine:
        assert self._storage is not None  # noqa: S101 - open() is the first thing a manager does
        return self._storage

    # what happens beside the calls

    def redact(self, text: str) -> str:
        return self.redactor.redact(text)

    def run(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        # In a context of its own: it must not count as the work of the plugin whose call happened to start it.
        task = self._loop.create_task(work, name=f"dotmac: {name}", context=contextvars.Context())
        self._background.add(task)
        task.add_done_callback(self._background_ended)

    def report(self, scope: CallScope, error: BaseException) -> None:
        """A plugin's own task or callback failed."""
        text = self.redact(f"{type(error).__name__}: {told(error)}")
        where = f"{scope.plugin_id}@{tenant_label(scope.tenant_id)}"
        _LOG.error("%s: %s failed: %s", where, scope.operation, text)
        self.audit.record(scope.operation, "failed", detail=text, plugin_id=scope.plugin_id, tenant_id=scope.tenant_id)

    def _background_ended(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _LOG.error("%s failed", task.get_name(), exc_info=error)

    def _seat(self, tenant: Tenant, plugin: object, name: str) -> None:
        ref = InstanceRef(name, tenant.id)
        breaker = Breaker(self.limits.breaker_failures, self.limits.breaker_pause)
        member = Member(
            ref, breaker=breaker, metrics=self.telemetry.instance(name, tenant.id), owner=self.tasks.owner()
        )
        tenant.registry.register(plugin, member, name=name)

    def _report_blocking(self, scope: CallScope | None, seconds: float, stack: str) -> None:
        """Called on the watch's thread."""
        whose = (
            f"{scope.plugin_id}@{tenant_label(scope.tenant_id)} {scope.operation}" if scope else "the host's own code"
        )
        _LOG.error("the event loop has been blocked for %.1f s by %s:\n%s", seconds, whose, self.redact(stack))

        def record() -> None:
            self.audit.record(
                "event loop",
                "blocked",
                detail=f"by {whose}\n{stack}",
                plugin_id=scope.plugin_id if scope else "",
                tenant_id=scope.tenant_id if scope else None,
            )

        self._loop.call_soon_threadsafe(record)
