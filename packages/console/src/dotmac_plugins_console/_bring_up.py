"""Which instances should run, and bringing them up: what the reference host does at its start and after a reload."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

import msgspec

from dotmac_isp.plugins.core.errors import InstanceNotFoundError, PluginError
from dotmac_isp.plugins.core.model import InstanceRef, PluginState, tenant_label

from ._who import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dotmac_isp.plugins.core.manager import InstanceStatus, PluginManager

__all__ = ["BringUp", "Outcome", "status_of"]

_LOG: Final = logging.getLogger("dotmac.host")
_S = PluginState
#: Instances that are started at the same time.
_AT_ONCE: Final = 16
#: Seconds after which one that is being started does not count among those.
_PATIENCE: Final = 2.0


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one instance, or of a whole tenant (`plugin_id` is empty then)."""

    plugin_id: str
    tenant_id: str | None
    state: str
    version: str = ""
    reason: str = ""
    #: off: nobody wants it to run; up: it runs; down: it should run and does not.
    result: str = "down"

    def __str__(self) -> str:
        where = f"{self.plugin_id or 'every plugin'}@{tenant_label(self.tenant_id)}"
        return f"{where} {self.state}: {self.reason}" if self.reason else f"{where} {self.state}"


def status_of(manager: PluginManager, ref: InstanceRef) -> InstanceStatus | None:
    """The instance's status; `None` when there is no instance."""
    try:
        return manager.status(ref.plugin_id, tenant_id=ref.tenant_id)
    except (InstanceNotFoundError, PluginError):
        return None


class BringUp:
    """Starts what is installed and enabled, and remembers what somebody wants to run and why something does not."""

    def __init__(self, manager: PluginManager) -> None:
        self._manager: Final = manager
        self._turns: Final = asyncio.Semaphore(_AT_ONCE)
        #: Instances that should run; an operator's stop takes one out.
        self.wanted: Final[set[InstanceRef]] = set()
        #: Instances that an operator stopped or unloaded.
        self.stopped: Final[set[InstanceRef]] = set()
        #: Why an instance that was asked for is not there.
        self.failures: Final[dict[InstanceRef, str]] = {}
        #: Tenants whose file was there when they were brought up.
        self.tenants: Final[set[str | None]] = set()

    def configured_tenants(self) -> list[str | None]:
        """The tenants that have a file; the system tenant comes first when it has one."""
        system = self._manager.home / "tenants" / f"{SYSTEM}.json"
        return [*([None] if system.exists() else []), *self._manager.configuration.tenants()]

    async def start(self, ref: InstanceRef, environment: str | None = None) -> InstanceStatus:
        """Load and start one instance. Raises what stands in the way; the instance's own remedy is under way then."""
        self.stopped.discard(ref)
        self.wanted.add(ref)
        try:
            if environment is not None:
                await self._manager.load(ref.plugin_id, tenant_id=ref.tenant_id, environment=environment)
            started = await self._manager.start_plugin(ref.plugin_id, tenant_id=ref.tenant_id)
        except Exception as error:
            self.failures[ref] = str(error) or type(error).__name__
            status = status_of(self._manager, ref)
            if status is None or status.state is _S.DISABLED:
                self.wanted.discard(ref)
            raise
        self.failures.pop(ref, None)
        return started

    def forget(self, ref: InstanceRef, *, stopped: bool) -> None:
        """Nobody wants it to run any more; `stopped`: because an operator said so, which a reload respects."""
        self.wanted.discard(ref)
        self.failures.pop(ref, None)
        if stopped:
            self.stopped.add(ref)

    def forget_tenant(self, tenant_id: str) -> None:
        """The tenant is gone, with all that was known of it."""
        for refs in (self.wanted, self.stopped):
            refs.difference_update([ref for ref in refs if ref.tenant_id == tenant_id])
        for ref in [ref for ref in self.failures if ref.tenant_id == tenant_id]:
            del self.failures[ref]
        self.tenants.discard(tenant_id)

    async def resumed(self, tenant_id: str) -> list[Outcome]:
        """The tenant was resumed: start what should run and was not there to be resumed. Gives those that do not run."""
        outcomes = []
        for plugin_id in self._manager.load_order(tenant_id):
            ref = InstanceRef(plugin_id, tenant_id)
            status = status_of(self._manager, ref)
            asleep = status is None or status.state is _S.CREATED
            if asleep and ref in self.wanted and ref not in self.stopped:
                outcomes.append(await self.one(ref))
        return [one for one in outcomes if one.result == "down"]

    async def tenant(self, tenant_id: str | None, told: Callable[[Outcome], None] = lambda _: None) -> list[Outcome]:
        """Start every installed plugin of a tenant that is enabled, those that others require first. Never raises."""
        manager = self._manager
        self.tenants.add(tenant_id)
        try:
            order = manager.load_order(tenant_id)
            suspended = manager.configuration.suspended(tenant_id)
        except Exception as error:  # noqa: BLE001 - a tenant's file that cannot be used concerns that tenant only
            outcome = Outcome(plugin_id="", tenant_id=tenant_id, state="not started", reason=str(error))
            told(outcome)
            return [outcome]
        rest = [one for one in manager.discovery.plugins if one not in order]
        begun: dict[str, asyncio.Task[Outcome]] = {}

        async def after_what_it_needs(ref: InstanceRef) -> Outcome:
            needed = [begun[one] for one in self._before(ref.plugin_id) if one in begun]
            if needed:
                await asyncio.wait(needed)
            outcome = self._suspended(ref) if suspended and ref.plugin_id in order else await self._in_turn(ref)
            told(outcome)
            return outcome

        async with asyncio.TaskGroup() as tasks:
            for plugin_id in (*order, *rest):
                begun[plugin_id] = tasks.create_task(after_what_it_needs(InstanceRef(plugin_id, tenant_id)))
        return [task.result() for task in begun.values()]

    def _before(self, plugin_id: str) -> list[str]:
        """The plugins that this one starts after."""
        manifest = self._manager.discovery.plugins[plugin_id].manifest
        return [*manifest.requires, *manifest.after]

    async def _in_turn(self, ref: InstanceRef) -> Outcome:
        """Start one, not too many at once; but one that takes long, or hangs, holds up nobody."""
        async with self._turns:
            task = asyncio.create_task(self.one(ref), name=f"dotmac: start {ref}")
            try:
                await asyncio.wait([task], timeout=_PATIENCE)
            except asyncio.CancelledError:
                task.cancel()
                raise
        try:
            return await task
        except asyncio.CancelledError:
            task.cancel()
            raise

    async def every_tenant(
        self, tenants: Iterable[str | None], told: Callable[[Outcome], None] = lambda _: None
    ) -> list[Outcome]:
        """The same for many tenants at once."""
        every = await asyncio.gather(*(self.tenant(tenant_id, told) for tenant_id in tenants))
        return [outcome for outcomes in every for outcome in outcomes]

    async def plugins(self, plugin_ids: Iterable[str]) -> list[Outcome]:
        """Start plugins that were just installed, for every tenant with a file that they are not switched off for."""
        new = set(plugin_ids)
        outcomes = []
        for tenant_id in self.configured_tenants():
            try:
                order = [one for one in self._manager.load_order(tenant_id) if one in new]
                suspended = self._manager.configuration.suspended(tenant_id)
            except PluginError as error:
                _LOG.warning("what was installed is not started for tenant %s: %s", tenant_label(tenant_id), error)
                continue
            self.tenants.add(tenant_id)
            refs = [InstanceRef(plugin_id, tenant_id) for plugin_id in order]
            outcomes += [self._suspended(ref) if suspended else await self.one(ref) for ref in refs]
        for outcome in outcomes:
            _LOG.info("installed meanwhile: %s", outcome)
        return outcomes

    def forget_plugin(self, plugin_id: str) -> None:
        """It is not installed any more."""
        for refs in (self.wanted, self.stopped):
            refs.difference_update([ref for ref in refs if ref.plugin_id == plugin_id])
        for ref in [one for one in self.failures if one.plugin_id == plugin_id]:
            del self.failures[ref]

    async def one(self, ref: InstanceRef) -> Outcome:
        """Start one instance that should run. Never raises."""
        try:
            await self.start(ref)
        except Exception as error:  # noqa: BLE001 - one plugin's failure is its outcome and stops no other
            _LOG.debug("%s did not start", ref, exc_info=True)
            reason = str(error) or type(error).__name__
        else:
            reason = ""
        return self._outcome(ref, reason)

    def _outcome(self, ref: InstanceRef, reason: str) -> Outcome:
        status = status_of(self._manager, ref)
        version = self._manager.discovery.plugins[ref.plugin_id].version
        result, state = "down", "not loaded"
        if status is not None:
            state = status.state.value
            if status.state is _S.ACTIVE:
                result, reason = "up", ""
            elif status.state is _S.DISABLED:
                result, reason = "off", status.reason
            elif status.state is not _S.CREATED:
                reason = status.reason if status.state is not _S.MISCONFIGURED else reason or status.reason
        return Outcome(
            plugin_id=ref.plugin_id,
            tenant_id=ref.tenant_id,
            state=state,
            version=version,
            reason=reason,
            result=result,
        )

    def _suspended(self, ref: InstanceRef) -> Outcome:
        reason = self.failures[ref] = "the tenant is suspended"
        self.wanted.add(ref)
        version = self._manager.discovery.plugins[ref.plugin_id].version
        return Outcome(
            plugin_id=ref.plugin_id,
            tenant_id=ref.tenant_id,
            state=_S.SUSPENDED.value,
            version=version,
            reason=reason,
            result="off",
        )
