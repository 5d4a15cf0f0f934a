"""Making instances anew while they work: without a lost call, and without losing what works."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from ..discovery import changed_file, forget_modules
from ..errors import DependencyError, PermissionDeniedError, PluginError
from ..model import PluginState, tenant_label
from ._bulk import BulkResult, in_bulk
from ._settles import settles
from ._tenancy import TenantOperations

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..discovery import InstalledPlugin
    from ..hosting import IsolationPolicy
    from ..lifecycle import Instance, InstanceStatus
    from ..model import InstanceRef

__all__ = ["InstallChange", "ReloadOperations"]

_LOG: Final = logging.getLogger("dotmac.host")
_S = PluginState
#: An instance in one of these has nothing that could be replaced.
_NOT_THERE = frozenset({_S.CREATED, _S.DISABLED, _S.UNLOADED})


class InstallChange(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one plugin, or of one instance of it, after something was installed or removed."""

    #: `found` and `removed` concern the plugin; `replaced`, `kept` and `waits` (for a restart of the host) one instance.
    what: Literal["found", "removed", "replaced", "kept", "waits"]
    plugin_id: str
    tenant_id: str | None = None
    detail: str = ""

    def __str__(self) -> str:
        where = "" if self.what in {"found", "removed"} else f"@{tenant_label(self.tenant_id)}"
        return f"{self.plugin_id}{where} {self.what}: {self.detail}"


class ReloadOperations(TenantOperations):
    """Reload: the new instance is started and examined before calls move to it."""

    @settles
    async def reload_plugin(
        self, plugin_id: str, *, tenant_id: str | None = None, reason: str = "reloaded"
    ) -> InstanceStatus:
        """Make the instance anew with settings read anew, and let it take over when it is healthy. No call is lost.

        An instance that is not active is made anew as it is: started when it should run, loaded when it was loaded. Raises
        `ReloadError` when the new one fails, and `ConfigurationError` for settings that cannot be used; what worked goes on.
        """
        instance = self._existing(self._ref(plugin_id, tenant_id))
        plugin = self.installed(plugin_id)
        ref = instance.ref
        self._check_enabled(plugin, ref, instance.environment)
        self._check_not_suspended(ref.tenant_id)
        settings = self._resolve(plugin, ref, instance.environment)
        if instance.wanted_active:
            await self._start_what_it_requires(instance, plugin)
        async with instance.lock:
            if self._find(ref) is instance and instance.state is not _S.UNLOADED:
                instance.forget_failures()
                previous = instance.settings
                blueprint = instance.blueprint(plugin=plugin, settings=settings, needs=self._needs(plugin_id))
                await instance.renew(blueprint, reason)
                instance.notes.pop("version", None)
                self._record_change(ref, (), settings.changes_from(previous))
        await instance.retired()
        await self._settle_dependants(instance)
        return instance.status()

    async def reload_all(
        self, *, plugins: Iterable[str] | None = None, tenants: Iterable[str | None] | None = None
    ) -> BulkResult:
        """Reload what is loaded. A result for each."""
        return await self._each(self.reload_plugin, plugins, tenants)

    # code

    def code_changed(self, plugin_id: str) -> str | None:
        """Why the code on disk is another than some instance runs, as far as `rediscover` knows; `None`: it is the same."""
        installed = self.discovery.plugins.get(plugin_id)
        instances = [one for one in self._instances_of(plugin_id) if one.code_from]
        if installed is None or not instances:
            return None
        for instance in instances:
            old = instance.plugin
            if old.version != installed.version:
                return f"version {installed.version} is installed, {old.version} was running"
            if old.stamp != installed.stamp:
                return f"version {installed.version} was installed anew"
        since = min(instance.code_from for instance in instances)
        file = changed_file(installed, since)
        return None if file is None else f"{file} changed"

    async def renew_code(self, plugin_id: str, *, reason: str = "its code changed") -> BulkResult:
        """Let every instance of the plugin take over with the code that is on disk. A result for each: one that fails is not taken."""
        instances = self._instances_of(plugin_id)
        await self._house.something_was_installed()
        forgotten = [forget_modules(one) for one in self._versions_of(plugin_id)]

        async def renew(ref: InstanceRef) -> InstanceStatus:
            return await self.reload_plugin(plugin_id, tenant_id=ref.tenant_id, reason=reason)

        results = await in_bulk([[one.ref] for one in instances], renew, at_once=self._at_once)
        if results.failed and not results.succeeded:
            forget_modules(instances[0].plugin)
            for one in forgotten:
                one.restore()  # nobody runs the new code: what is imported later must be of the code that runs
        return results

    @settles
    async def follow_installs(self, *, patience: float = 3.0) -> list[InstallChange]:
        """Look again at what is installed, and follow it: what was removed is unloaded, what was upgraded is replaced.

        What is gone is looked for once more after `patience` seconds: an upgrade takes the old version away before the new one comes.

        Instances that run in the host's own process keep the modules that they have, so they wait for a restart of the host
        (`renew_code` replaces them all the same). What cannot be used in its new version leaves the old one running.
        """
        before = dict(self.discovery.plugins)
        after = self.rediscover()
        loaded = {one.ref.plugin_id for one in self._instances()}
        if patience and any(one not in after.plugins and after.problem(one) is None for one in {*before, *loaded}):
            await asyncio.sleep(patience)
            after = self.rediscover()
        await self._house.something_was_installed()
        changes = [
            InstallChange(what="found", plugin_id=one, detail=f"version {plugin.version}")
            for one, plugin in after.plugins.items()
            if one not in before and one not in loaded
        ]
        for plugin_id in sorted({*before, *loaded}):
            if plugin_id not in after.plugins:
                changes += await self._follow_loss(plugin_id, before.get(plugin_id))
            elif (why := self.code_changed(plugin_id)) is not None and not why.endswith(" changed"):
                changes += await self._follow_upgrade(plugin_id, why)
            elif plugin_id not in loaded and before[plugin_id].stamp != after.plugins[plugin_id].stamp:
                forget_modules(before[plugin_id])
        for change in changes:
            self._house.audit.record(
                "install", change.what, detail=change.detail, plugin_id=change.plugin_id, tenant_id=change.tenant_id
            )
        return changes

    # inside

    async def _follow_isolation(self, before: IsolationPolicy) -> None:
        """The policy says otherwise about where instances run: make those anew whom this concerns; what it refuses is stopped."""
        after = self._trust.isolation
        for one in self._instances():
            asked = (one.ref.plugin_id, one.ref.tenant_id, one.plugin.manifest.security_level)
            same = before.rules(*asked) == after.rules(*asked) and before.given == after.given
            if same or not one.loaded:
                continue
            try:
                await self.reload_plugin(one.ref.plugin_id, tenant_id=one.ref.tenant_id, reason="the policy changed")
            except Exception as error:  # noqa: BLE001 - its state or its notes say it; the others are looked at all the same
                if isinstance(error.__cause__, PermissionDeniedError):
                    await one.bar(error.__cause__)
                _LOG.warning("%s does not follow the policy: %s", one.ref, error)

    def _instances_of(self, plugin_id: str) -> list[Instance]:
        return [one for one in self._instances() if one.ref.plugin_id == plugin_id and one.state not in _NOT_THERE]

    def _versions_of(self, plugin_id: str) -> list[InstalledPlugin]:
        running = {one.plugin.manifest_path: one.plugin for one in self._instances_of(plugin_id)}
        installed = self.discovery.plugins.get(plugin_id)
        return [*running.values(), *([installed] if installed is not None else [])]

    async def _follow_loss(self, plugin_id: str, was: InstalledPlugin | None) -> list[InstallChange]:
        instances = [one for one in self._instances() if one.ref.plugin_id == plugin_id]
        problem = self.discovery.problem(plugin_id)
        if problem is not None:
            for one in instances:
                one.notes["version"] = (
                    f"what is installed now cannot be used, and {one.plugin.version} goes on: {problem}"
                )
            return [
                InstallChange(what="kept", plugin_id=plugin_id, tenant_id=one.ref.tenant_id, detail=problem.message)
                for one in instances
            ]
        for one in instances:
            await self.unload(plugin_id, tenant_id=one.ref.tenant_id)
        for plugin in [*([was] if was is not None else []), *(one.plugin for one in instances)]:
            forget_modules(plugin)
        who = "its instance was" if len(instances) == 1 else f"its {len(instances)} instances were"
        count = f"{who} drained and unloaded" if instances else "it was not loaded"
        return [InstallChange(what="removed", plugin_id=plugin_id, detail=f"it is not installed any more; {count}")]

    async def _follow_upgrade(self, plugin_id: str, why: str) -> list[InstallChange]:
        changes = []
        for one in self._instances_of(plugin_id):
            ref = one.ref
            if one.inline and one.loaded:
                one.notes["version"] = f"{why}; needs a restart of the host"
                changes.append(
                    InstallChange(
                        what="waits", plugin_id=plugin_id, tenant_id=ref.tenant_id, detail=one.notes["version"]
                    )
                )
                continue
            if not any(other.inline and other.loaded for other in self._instances_of(plugin_id)):
                forget_modules(one.plugin)
            try:
                await self.reload_plugin(plugin_id, tenant_id=ref.tenant_id, reason=why)
            except (PluginError, OSError) as error:
                detail = f"{why}, and was not taken: {error}"
                changes.append(InstallChange(what="kept", plugin_id=plugin_id, tenant_id=ref.tenant_id, detail=detail))
            else:
                changes.append(InstallChange(what="replaced", plugin_id=plugin_id, tenant_id=ref.tenant_id, detail=why))
        return changes

    async def _start_what_it_requires(self, instance: Instance, plugin: InstalledPlugin) -> None:
        """What the version that is installed now requires; an instance that works is not held back for want of it."""
        for required in plugin.manifest.requires:
            try:
                await self.start_plugin(required, tenant_id=instance.ref.tenant_id)
            except Exception as error:
                raise DependencyError(f"{instance.ref} stays as it is: {required} does not run: {error}") from error
