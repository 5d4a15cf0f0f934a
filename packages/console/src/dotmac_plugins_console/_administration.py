"""What an operator can ask of a host: the methods of the control interface, over one `PluginManager`.

A running host and a short-lived one answer with the same code, so their answers have the same shape.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from dotmac_isp.plugins.core.errors import InstanceNotFoundError, PluginError
from dotmac_isp.plugins.core.model import HealthStatus, InstanceRef, PluginContext, PluginState, tenant_label

from ._bring_up import BringUp, status_of
from ._change import Change
from ._errors import HostError, error_fields
from ._reload import Reload
from ._who import SYSTEM, Who, ref_of, tenant_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from dotmac_isp.plugins.core.manager import PluginManager

__all__ = ["Administration", "HostFacts"]


class HostFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the host itself."""

    pid: int = msgspec.field(default_factory=os.getpid)
    lasting: bool
    home: str
    environment: str | None = None
    metrics: str | None = None
    #: Unix time, seconds.
    since: float = msgspec.field(default_factory=time.time)


class Administration:
    """Answers for one manager. `phase` says what the host does now: starting, running or stopping."""

    def __init__(
        self, manager: PluginManager, facts: HostFacts, *, phase: Callable[[], str] = lambda: "running"
    ) -> None:
        self.manager: Final = manager
        self.facts = facts
        self.bring_up: Final = BringUp(manager)
        self._phase: Final = phase
        #: One reload at a time, whoever asks for it.
        self.reloading: Final = asyncio.Lock()

    # looking

    async def hello(self, who: Who) -> dict[str, Any]:  # noqa: ARG002 - every method is told who asks
        """Which host this is."""
        return {**msgspec.to_builtins(self.facts), "phase": self._phase()}

    async def inventory(self, who: Who, *, tenant: str | None = None) -> dict[str, Any]:
        """Everything that is installed, runs, or does not and why. Without a tenant: all of them."""
        found = self.manager.inventory().as_dict()
        if tenant is not None:
            only = tenant_of(tenant)
            found["instances"] = [one for one in found["instances"] if one["tenant_id"] == only]
        return {"host": await self.hello(who), **found, "not_loaded": self._not_loaded(tenant)}

    async def show(self, who: Who, *, plugin_id: str, tenant: str | None = None) -> dict[str, Any]:  # noqa: ARG002
        """Everything about one plugin, for one tenant or for those that it is loaded for."""
        manager = self.manager
        plugin = manager.discovery.plugins.get(plugin_id)
        problems = [msgspec.to_builtins(one) for one in manager.problems if one.plugin_id == plugin_id]
        described = None
        if plugin is not None:
            described = {
                **msgspec.to_builtins(plugin.info),
                "module": plugin.module,
                "class_name": plugin.class_name,
                "manifest_path": str(plugin.manifest_path),
                "manifest": msgspec.to_builtins(plugin.manifest),
            }
        elif not problems:
            manager.explain(plugin_id)  # raises what says why there is none
        tenants = self._tenants_of(plugin_id) if tenant is None else [tenant_of(tenant)]
        return {
            "plugin": described,
            "problems": problems,
            "instances": [self._shown(InstanceRef(plugin_id, one)) for one in tenants] if plugin else [],
            "policy": manager.inventory().policy,
        }

    async def explain(
        self,
        who: Who,  # noqa: ARG002
        *,
        plugin_id: str,
        tenant: str | None = None,
        environment: str | None = None,
    ) -> dict[str, Any]:
        """Each setting, the layer that set it, and what it overrode."""
        ref = ref_of(plugin_id, tenant)
        explained = self.manager.explain(plugin_id, tenant_id=ref.tenant_id, environment=environment)
        return {
            "plugin_id": plugin_id,
            "tenant_id": ref.tenant_id,
            "environment": environment or self.manager.environment,
            "settings": [msgspec.to_builtins(one, enc_hook=str) for one in explained],
        }

    async def health(self, who: Who, *, plugin_id: str | None = None, tenant: str | None = None) -> dict[str, Any]:
        """Ask instances how they are, now. A short-lived host starts them first."""
        manager = self.manager
        if plugin_id is not None and plugin_id not in manager.discovery.plugins:
            manager.explain(plugin_id)
        if not self.facts.lasting:
            await self._start_for_health(who, plugin_id, tenant)
        everything = tenant is None
        chosen = [
            one
            for one in manager.list(tenant_id=tenant_of(tenant), everything=everything)
            if plugin_id in {None, one.plugin_id}
        ]
        found = await asyncio.gather(*(self._health(InstanceRef(one.plugin_id, one.tenant_id)) for one in chosen))
        instances = [one for one in found if one is not None]
        services = [one for one in manager.inventory().services if plugin_id in {None, one["plugin_id"]}]
        ill = HealthStatus.UNHEALTHY.value
        return {
            "healthy": not any(one["status"] == ill for one in (*instances, *services)),
            "instances": instances,
            "services": services,
        }

    async def tenants(self, who: Who) -> dict[str, Any]:  # noqa: ARG002
        """Every tenant: whether it has a file, is suspended, and how many of its instances are active."""
        known: list[str | None] = [*self.bring_up.configured_tenants()]
        loaded = {one.tenant_id for one in self.manager.list(everything=True)}
        known += sorted(one for one in {*self.manager.tenants(), *loaded} if one is not None and one not in known)
        if None in loaded and None not in known:
            known.insert(0, None)
        return {"tenants": [self._tenant(one) for one in known]}

    # doing

    async def load(
        self,
        who: Who,  # noqa: ARG002
        *,
        plugin_id: str,
        tenant: str | None = None,
        environment: str | None = None,
    ) -> dict[str, Any]:
        """Make the instance and initialise it."""
        ref = ref_of(plugin_id, tenant)
        self.bring_up.stopped.discard(ref)
        await self.manager.load(plugin_id, tenant_id=ref.tenant_id, environment=environment)
        self.bring_up.failures.pop(ref, None)
        return self._done(ref)

    async def start(
        self,
        who: Who,  # noqa: ARG002
        *,
        plugin_id: str,
        tenant: str | None = None,
        environment: str | None = None,
    ) -> dict[str, Any]:
        """Load the instance where it is not, and let it work."""
        ref = ref_of(plugin_id, tenant)
        try:
            await self.bring_up.start(ref, environment)
        except Exception as error:
            status = status_of(self.manager, ref)
            if status is None or status.state is not PluginState.RETRYING or not self.facts.lasting:
                raise
            message = error.message if isinstance(error, PluginError) else str(error)
            wait = max(0.0, (status.retry_at or time.time()) - time.time())
            raise HostError(
                f"{ref} is not ready: {message}",
                type=type(error).__name__,
                remedy=f"The host tries again by itself, next in {wait:.0f} s",
            ) from error
        return self._done(ref)

    async def stop(self, who: Who, *, plugin_id: str, tenant: str | None = None) -> dict[str, Any]:  # noqa: ARG002
        """Stop the instance, and before it what requires it."""
        ref = ref_of(plugin_id, tenant)
        self._must_exist(ref)
        await self.manager.stop_plugin(plugin_id, tenant_id=ref.tenant_id)
        self.bring_up.forget(ref, stopped=True)
        return self._done(ref)

    async def unload(self, who: Who, *, plugin_id: str, tenant: str | None = None) -> dict[str, Any]:  # noqa: ARG002
        """Stop the instance and release everything that it holds."""
        ref = ref_of(plugin_id, tenant)
        self._must_exist(ref)
        await self.manager.unload(plugin_id, tenant_id=ref.tenant_id)
        self.bring_up.forget(ref, stopped=True)
        return self._done(ref)

    async def reload(self, who: Who, *, plugin_id: str | None = None, anew: bool = False) -> dict[str, Any]:
        """Look again at what is installed and configured; make instances anew whose settings, version or code changed.

        `anew`: also those where nothing changed. No call is lost, and what fails is not taken.
        """
        async with self.reloading:
            await who.progress("looking at what is installed and configured")
            lasting = self.facts.lasting
            return await Reload(self.manager, self.bring_up, only=plugin_id, lasting=lasting, anew=anew).run()

    async def configure(
        self,
        who: Who,  # noqa: ARG002
        *,
        plugin_id: str,
        tenant: str | None = None,
        settings: dict[str, Any] | None = None,
        texts: dict[str, Any] | None = None,
        unset: list[str] | None = None,
        for_now: bool = False,
    ) -> dict[str, Any]:
        """Change settings of a plugin for a tenant; in the tenant's file, or `for_now` until the instance ends.

        `texts` has the settings as a person wrote them: where a value does not fit (`5` for a text), its text is tried.
        """
        ref = ref_of(plugin_id, tenant)
        if for_now and not self.facts.lasting:
            raise HostError(
                "no host is running, so there is nothing that the settings could be changed in for now",
                remedy="Leave --for-now out to write them to the tenant's file",
            )
        manager = self.manager
        change = Change(manager, ref, persist=not for_now)
        changes = await change.apply(settings or {}, texts or {}, unset or [])
        # A plugin that its settings kept from running may run now.
        status = status_of(manager, ref)
        if self.facts.lasting and status is not None and status.state is PluginState.MISCONFIGURED:
            await self.bring_up.one(ref)
        return {
            **self._done(ref),
            "persisted": not for_now,
            "changes": [msgspec.to_builtins(one, enc_hook=str) for one in changes],
        }

    async def enable(self, who: Who, *, plugin_id: str, tenant: str | None = None) -> dict[str, Any]:
        """Switch a plugin on for a tenant, for good; a running host starts it."""
        ref = ref_of(plugin_id, tenant)
        await self.manager.enable(plugin_id, tenant_id=ref.tenant_id)
        if self.facts.lasting:
            await self.start(who, plugin_id=plugin_id, tenant=tenant)
        return self._done(ref)

    async def disable(self, who: Who, *, plugin_id: str, tenant: str | None = None) -> dict[str, Any]:
        """Switch a plugin off for a tenant, for good; a running instance is stopped."""
        ref = ref_of(plugin_id, tenant)
        if plugin_id not in self.manager.discovery.plugins:
            self.manager.explain(plugin_id)
        await self.manager.disable(plugin_id, tenant_id=ref.tenant_id, reason=f"by the operator ({who.name})")
        self.bring_up.forget(ref, stopped=False)
        return self._done(ref)

    async def suspend_tenant(self, who: Who, *, tenant: str) -> dict[str, Any]:
        """Switch a tenant off, for good; its instances stop and keep their data."""
        known = self._known_tenant(tenant)
        await self.manager.suspend_tenant(known, reason=f"the tenant was suspended by the operator ({who.name})")
        return self._tenant(known)

    async def resume_tenant(self, who: Who, *, tenant: str) -> dict[str, Any]:  # noqa: ARG002
        """Switch a tenant on again; a running host starts what ran before."""
        known = self._known_tenant(tenant)
        results = await self.manager.resume_tenant(known)
        failed = {str(ref): str(error) for ref, error in results.failed.items()}
        if self.facts.lasting:
            # What was never loaded because the tenant was suspended is no instance that could be resumed.
            for outcome in await self.bring_up.resumed(known):
                failed[str(InstanceRef(outcome.plugin_id, outcome.tenant_id))] = outcome.reason
        return {**self._tenant(known), "failed": failed}

    async def remove_tenant(self, who: Who, *, tenant: str) -> dict[str, Any]:  # noqa: ARG002
        """Remove a tenant with its instances, documents, files and configuration. There is no way back."""
        known = self._known_tenant(tenant)
        await self.manager.remove_tenant(known)
        self.bring_up.forget_tenant(known)
        return {"tenant_id": known, "removed": True}

    async def call(
        self,
        who: Who,
        *,
        plugin_id: str,
        method: str,
        tenant: str | None = None,
        args: list[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        deadline: float | None = None,
    ) -> Any:
        """Call a public method of an instance through the gate. A short-lived host starts the instance first."""
        ref = ref_of(plugin_id, tenant)
        if not self.facts.lasting:
            await self.bring_up.start(ref)
        self._must_exist(ref)
        facts: dict[str, Any] = {"tenant_id": ref.tenant_id, "user_id": who.name}
        context = PluginContext(**facts) if deadline is None else PluginContext.within(deadline, **facts)
        handle = self.manager.get(plugin_id, tenant_id=ref.tenant_id)
        return await handle.call(method, *(args or ()), **{"context": context, **(kwargs or {})})

    # inside

    def _done(self, ref: InstanceRef) -> dict[str, Any]:
        status = status_of(self.manager, ref)
        return {
            "plugin_id": ref.plugin_id,
            "tenant_id": ref.tenant_id,
            "status": None if status is None else status.as_dict(),
        }

    def _must_exist(self, ref: InstanceRef) -> None:
        try:
            self.manager.status(ref.plugin_id, tenant_id=ref.tenant_id)
        except InstanceNotFoundError as error:
            said = "" if ref.tenant_id is None else f" --tenant {ref.tenant_id}"
            start = f"dotmac-plugins start {ref.plugin_id}{said}"
            remedy = start if self.facts.lasting else "No host is running: start one with dotmac-plugins serve"
            tenants = (InstanceRef(ref.plugin_id, tenant) for tenant in self.manager.tenants())
            others = [str(one.tenant_id) for one in tenants if status_of(self.manager, one) is not None]
            if ref.tenant_id is None and others:
                remedy = f"Give --tenant; it is there for {', '.join(others[:5])}{' …' if others[5:] else ''}"
            raise HostError(error.message, type=type(error).__name__, remedy=remedy) from None

    def _known_tenant(self, tenant: str) -> str:
        known = tenant_of(tenant)
        if known is None:
            raise HostError("the system tenant cannot be suspended, resumed or removed")
        tenants = self.manager.tenants()
        if known not in tenants:
            raise HostError(f"there is no tenant {known!r}", remedy=f"There are: {', '.join(tenants) or 'none'}")
        return known

    def _tenants_of(self, plugin_id: str) -> list[str | None]:
        loaded = [one.tenant_id for one in self.manager.list(everything=True) if one.plugin_id == plugin_id]
        return loaded or self.bring_up.configured_tenants() or [None]

    def _shown(self, ref: InstanceRef) -> dict[str, Any]:
        manager = self.manager
        status = status_of(manager, ref)
        shown: dict[str, Any] = {
            "tenant_id": ref.tenant_id,
            "status": None if status is None else status.as_dict(),
            "reason": self._why_not_loaded(ref) if status is None else status.reason,
            "settings": [],
            "settings_error": None,
        }
        try:
            explained = manager.explain(ref.plugin_id, tenant_id=ref.tenant_id)
            shown["settings"] = [msgspec.to_builtins(one, enc_hook=str) for one in explained]
        except PluginError as error:
            shown["settings_error"] = error_fields(error)
        return shown

    def _not_loaded(self, tenant: str | None) -> list[dict[str, Any]]:
        tenants = [tenant_of(tenant)] if tenant is not None else self.bring_up.configured_tenants() or [None]
        there = {(one.plugin_id, one.tenant_id) for one in self.manager.list(everything=True)}
        return [
            {"plugin_id": ref.plugin_id, "tenant_id": ref.tenant_id, "reason": self._why_not_loaded(ref)}
            for one in tenants
            for ref in (InstanceRef(plugin_id, one) for plugin_id in self.manager.discovery.plugins)
            if (ref.plugin_id, ref.tenant_id) not in there
        ]

    def _why_not_loaded(self, ref: InstanceRef) -> str:
        known = self.bring_up.failures.get(ref)
        if known is None and ref in self.bring_up.stopped:
            known = "unloaded by an operator"
        return known or self._switched_off(ref) or self._not_yet()

    def _switched_off(self, ref: InstanceRef) -> str | None:
        """What the files say that keeps it from running; `None`: nothing."""
        configuration = self.manager.configuration
        try:
            enabled, why = configuration.enabled(ref.plugin_id, self.manager.environment, ref.tenant_id)
            if not enabled:
                return why
            return "the tenant is suspended" if configuration.suspended(ref.tenant_id) else None
        except PluginError as error:
            return str(error)

    def _not_yet(self) -> str:
        if not self.facts.lasting:
            return "no host is running"
        return "not loaded" if self._phase() == "running" else f"the host is {self._phase()}"

    async def _start_for_health(self, who: Who, plugin_id: str | None, tenant: str | None) -> None:
        tenants = self.bring_up.configured_tenants() if tenant is None else [tenant_of(tenant)]
        if plugin_id is None:
            await self.bring_up.every_tenant(tenants)
            return
        for one in tenants or [None]:
            await who.progress(f"starting {plugin_id}@{tenant_label(one)}")
            await self.bring_up.one(InstanceRef(plugin_id, one))

    async def _health(self, ref: InstanceRef) -> dict[str, Any] | None:
        try:
            report = await self.manager.health_check(ref.plugin_id, tenant_id=ref.tenant_id)
            status = self.manager.status(ref.plugin_id, tenant_id=ref.tenant_id)
            state = status.state
        except InstanceNotFoundError:
            return None  # unloaded meanwhile
        if (
            state is PluginState.DISABLED
            and report.status is HealthStatus.UNHEALTHY
            and ref not in self.bring_up.wanted
        ):
            # Switched off on purpose is no illness.
            report = msgspec.structs.replace(report, status=HealthStatus.UNKNOWN)
        facts = {
            "plugin_id": ref.plugin_id,
            "tenant_id": ref.tenant_id,
            "state": state.value,
            "parts": msgspec.to_builtins(status.parts),
        }
        told: dict[str, Any] = msgspec.to_builtins(report, enc_hook=str)
        return {**facts, **told}

    def _tenant(self, tenant_id: str | None) -> dict[str, Any]:
        problem: str | None = None
        suspended = False
        try:
            suspended = self.manager.configuration.suspended(tenant_id)
        except PluginError as error:
            problem = str(error)
        instances = self.manager.list(tenant_id=tenant_id)
        return {
            "tenant_id": tenant_id,
            "file": (self.manager.home / "tenants" / f"{SYSTEM if tenant_id is None else tenant_id}.json").exists(),
            "suspended": suspended,
            "instances": len(instances),
            "active": sum(one.state is PluginState.ACTIVE for one in instances),
            "problem": problem,
        }
