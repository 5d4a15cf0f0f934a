"""Reload: look again at what is installed and configured, and make the instances anew that this concerns, without losing a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from dotmac_isp.plugins.core.errors import PluginError
from dotmac_isp.plugins.core.model import InstanceRef, PluginState

from ._bring_up import status_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dotmac_isp.plugins.core.manager import InstanceStatus, PluginManager

    from ._bring_up import BringUp, Outcome

__all__ = ["Action", "Reload"]

_S = PluginState


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """What the reload did to one instance, or to a tenant (`plugin_id` is empty then)."""

    action: str
    plugin_id: str
    tenant_id: str | None
    reason: str = ""
    #: The settings that changed, by key.
    settings: tuple[str, ...] = ()


class Reload:
    """One reload. `only`: the plugin that it is about; `None` for all. `anew`: also what did not change."""

    def __init__(
        self, manager: PluginManager, bring_up: BringUp, *, only: str | None, lasting: bool, anew: bool = False
    ) -> None:
        self._manager: Final = manager
        self._bring_up: Final = bring_up
        self._only: Final = only
        self._lasting: Final = lasting
        self._anew: Final = anew
        self._actions: Final[list[Action]] = []

    async def run(self) -> dict[str, Any]:
        """Do it. Raises `ConfigurationError` and changes nothing when the configuration file cannot be used."""
        before = dict(self._manager.discovery.plugins)
        self._manager.reread_configuration().check_environment(self._manager.environment)
        self._manager.rediscover()
        if self._only is not None and self._only not in before:
            self._manager.explain(self._only)  # says why there is no such plugin
        await self._removed()
        if self._only is None:
            await self._gone_tenants()
            await self._suspended()
        await self._code()
        await self._switched_off()
        await self._settings()
        if self._lasting:
            await self._missing()
        touched = {(one.plugin_id, one.tenant_id) for one in self._actions}
        unchanged = [one for one in self._statuses() if (one.plugin_id, one.tenant_id) not in touched]
        return {
            "actions": [msgspec.to_builtins(one) for one in self._actions],
            "unchanged": len(unchanged),
            "problems": [msgspec.to_builtins(one) for one in self._manager.problems],
        }

    # steps

    async def _removed(self) -> None:
        for status in self._statuses():
            if status.plugin_id not in self._manager.discovery.plugins:
                problem = self._manager.discovery.problem(status.plugin_id)
                if problem is None:
                    await self._unload(status, "it is not installed any more")
                else:
                    self._note("failed", status.plugin_id, status.tenant_id, f"what runs goes on: {problem}")

    async def _gone_tenants(self) -> None:
        """Tenants that were brought up because of a file that is not there any more."""
        gone = self._bring_up.tenants - set(self._bring_up.configured_tenants())
        for status in self._statuses():
            if status.tenant_id in gone:
                await self._unload(status, "the tenant's file is gone")
        self._bring_up.tenants.difference_update(gone)

    async def _suspended(self) -> None:
        manager = self._manager
        for tenant_id in {one.tenant_id for one in self._statuses()} - {None}:
            assert tenant_id is not None  # noqa: S101 - taken out above; for the type checker
            states = {one.state for one in manager.list(tenant_id=tenant_id)}
            try:
                wanted = manager.configuration.suspended(tenant_id)
            except PluginError as error:
                self._note("failed", "", tenant_id, f"its file cannot be used, and what runs stays: {error}")
                continue
            if wanted and _S.ACTIVE in states:
                await manager.suspend_tenant(tenant_id)
                self._note("suspended", "", tenant_id, "its file says so")
            elif not wanted and _S.SUSPENDED in states:
                await manager.resume_tenant(tenant_id)
                self._note("resumed", "", tenant_id, "its file does not suspend it any more")

    async def _code(self) -> None:
        """Let what is installed now take over from what runs: another version, or code that was edited."""
        for plugin_id in list(self._manager.discovery.plugins):
            reason = self._manager.code_changed(plugin_id)
            if reason is None and self._anew:
                reason = "asked for"
            if reason is None or self._only not in {None, plugin_id}:
                continue
            results = await self._manager.renew_code(plugin_id, reason=reason)
            for ref, result in results.items():
                failed = isinstance(result, Exception)
                text = f"{reason}: {result}" if failed else reason
                self._note("failed" if failed else "reloaded", plugin_id, ref.tenant_id, text)

    async def _switched_off(self) -> None:
        for status in self._statuses():
            if status.state is _S.DISABLED or status.plugin_id in self._order(status.tenant_id, status.plugin_id):
                continue
            ref = InstanceRef(status.plugin_id, status.tenant_id)
            if status.state in {_S.ACTIVE, _S.INITIALIZED, _S.RETRYING, _S.FAILED}:
                await self._manager.unload(ref.plugin_id, tenant_id=ref.tenant_id)
                outcome = await self._place(ref)
                self._note("switched off", ref.plugin_id, ref.tenant_id, outcome)

    async def _place(self, ref: InstanceRef) -> str:
        """Load what must not run: the manager refuses, and the instance's state says why."""
        try:
            await self._manager.load(ref.plugin_id, tenant_id=ref.tenant_id)
        except Exception as error:  # noqa: BLE001 - the reason is what is wanted
            status = status_of(self._manager, ref)
            return status.reason if status is not None else str(error)
        return "it may run again"

    async def _settings(self) -> None:
        for status in self._statuses():
            if status.state not in {_S.ACTIVE, _S.INITIALIZED}:
                continue
            ref = InstanceRef(status.plugin_id, status.tenant_id)
            try:
                changes = await self._manager.configure(ref.plugin_id, {}, tenant_id=ref.tenant_id)
            except Exception as error:  # noqa: BLE001 - one instance's result
                self._note("failed", ref.plugin_id, ref.tenant_id, f"what runs stays as it was: {error}")
                continue
            if changes:
                after = status_of(self._manager, ref)
                restarted = after is None or after.since != status.since
                keys = tuple(change.key for change in changes)
                self._note(
                    "reloaded" if restarted else "settings applied",
                    ref.plugin_id,
                    ref.tenant_id,
                    "settings changed",
                    keys,
                )

    async def _missing(self) -> None:
        """Bring up what should run and does not: new plugins, new tenants, and what could not start before."""
        refs = dict.fromkeys(
            InstanceRef(plugin_id, tenant_id)
            for tenant_id in (*self._bring_up.configured_tenants(), *(one.tenant_id for one in self._statuses()))
            for plugin_id in self._order(tenant_id, "")
            if self._only in {None, plugin_id}
        )
        for ref in refs:
            if self._should_start(ref):
                self._note_outcome(await self._bring_up.one(ref))

    def _should_start(self, ref: InstanceRef) -> bool:
        if ref in self._bring_up.stopped or self._manager.configuration.suspended(ref.tenant_id):
            return False
        status = status_of(self._manager, ref)
        wanted = ref in self._bring_up.wanted
        if status is None:
            return wanted or ref.tenant_id in self._file_tenants()
        if status.state in {_S.ACTIVE, _S.SUSPENDED, _S.RETRYING}:
            return False
        # What the manager itself or an operator only loaded is theirs.
        return wanted or (status.state is _S.DISABLED and ref.tenant_id in self._file_tenants())

    # inside

    def _file_tenants(self) -> set[str | None]:
        found = set(self._bring_up.configured_tenants())
        self._bring_up.tenants.update(found)
        return found

    def _order(self, tenant_id: str | None, otherwise: str) -> Iterable[str]:
        """What may run for the tenant; when its file cannot be used, whatever runs may go on."""
        try:
            return self._manager.load_order(tenant_id)
        except PluginError as error:
            if not any(one.action == "failed" and one.tenant_id == tenant_id for one in self._actions):
                self._note("failed", "", tenant_id, f"its file cannot be used, and what runs stays: {error}")
            return [otherwise] if otherwise else []

    async def _unload(self, status: InstanceStatus, reason: str) -> None:
        await self._manager.unload(status.plugin_id, tenant_id=status.tenant_id)
        self._bring_up.forget(InstanceRef(status.plugin_id, status.tenant_id), stopped=False)
        self._note("unloaded", status.plugin_id, status.tenant_id, reason)

    def _statuses(self) -> list[InstanceStatus]:
        return [one for one in self._manager.list(everything=True) if self._only in {None, one.plugin_id}]

    def _note(
        self, action: str, plugin_id: str, tenant_id: str | None, reason: str, settings: tuple[str, ...] = ()
    ) -> None:
        self._actions.append(
            Action(action=action, plugin_id=plugin_id, tenant_id=tenant_id, reason=reason, settings=settings)
        )

    def _note_outcome(self, outcome: Outcome) -> None:
        action = {"up": "started", "off": "off", "down": "failed"}[outcome.result]
        reason = outcome.reason or f"version {outcome.version}"
        self._note(action, outcome.plugin_id, outcome.tenant_id, reason)
