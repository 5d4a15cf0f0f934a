"""What can be done with one instance."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from ..dependencies import plan
from ..errors import ConfigurationError, DependencyError, DiscoveryError, LifecycleError
from ..lifecycle import to_the_end
from ..model import InstanceRef, PluginState, tenant_label, validate_tenant_id
from ..settings import resolve
from ._base import ManagerBase
from ._settles import settles

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..discovery import InstalledPlugin
    from ..lifecycle import Blueprint, Instance, InstanceStatus
    from ..model import SettingChange
    from ..settings import ResolvedSettings

__all__ = ["InstanceOperations"]

_LOG: Final = logging.getLogger("dotmac.host")
_S = PluginState


class InstanceOperations(ManagerBase):
    """Load, start, stop, restart, unload, configure: one instance at a time, with what it requires."""

    @settles
    async def load(
        self,
        plugin_id: str,
        *,
        tenant_id: str | None = None,
        environment: str | None = None,
        configuration: Mapping[str, Any] | None = None,
    ) -> InstanceStatus:
        """Make the plugin's instance for the tenant and initialise it, with what it requires before it. Loaded already: no error.

        `configuration` is the explicit override, the highest layer. Raises `DiscoveryError`, `DependencyError`,
        `ConfigurationError`, `SecretMissingError`, `StepError`, or what the plugin raised on purpose; the instance's state says it, too.
        """
        ref = self._ref(plugin_id, tenant_id)
        return (await self._load(ref, environment, configuration)).status()

    @settles
    async def start_plugin(self, plugin_id: str, *, tenant_id: str | None = None) -> InstanceStatus:
        """Activate the instance, with what it requires before it; it is loaded when it is not yet. Active already: no error.

        Raises what stands in the way. For `NotReady` the retry is under way when this raises.
        """
        ref = self._ref(plugin_id, tenant_id)
        while True:
            instance = self._find(ref)
            if instance is None or not instance.loaded:
                environment = None if instance is None else instance.environment
                instance = await self._load(ref, environment, wanted_active=True)
            instance.wanted_active = True
            self._check_not_suspended(ref.tenant_id)
            await self._start_required(instance)
            async with instance.lock:
                if instance.state is _S.ACTIVE:
                    return instance.status()
                if instance.loaded:
                    instance.forget_failures()
                    await instance.activate()
                    break
            # Somebody unloaded it meanwhile: begin again.
        await self._release_held_back(ref)
        return instance.status()

    @settles
    async def stop_plugin(self, plugin_id: str, *, tenant_id: str | None = None) -> InstanceStatus:
        """Deactivate the instance, and before it what requires it (that is held back then). Not active: no error."""
        instance = self._existing(self._ref(plugin_id, tenant_id))
        instance.wanted_active = False
        await self._hold_back_dependants(instance.ref, f"{plugin_id} was stopped")
        async with instance.lock:
            await instance.deactivate()
        return instance.status()

    @settles
    async def restart_plugin(self, plugin_id: str, *, tenant_id: str | None = None) -> InstanceStatus:
        """Stop the instance, make it anew with settings read anew, and start it, and what requires it."""
        instance = self._existing(self._ref(plugin_id, tenant_id))
        ref = instance.ref
        self._check_enabled(instance.plugin, ref, instance.environment)
        self._check_not_suspended(ref.tenant_id)
        self._settings_for(instance)  # what is wrong with them must stop nothing
        instance.wanted_active = True
        await self._start_required(instance)
        await self._hold_back_dependants(ref, f"{plugin_id} restarts")
        async with instance.lock:
            if self._find(ref) is instance and instance.state is not _S.UNLOADED:
                instance.forget_failures()
                previous, instance.settings = instance.settings, self._settings_for(instance)
                self._record_change(ref, (), instance.settings.changes_from(previous))
                await instance.restart("restarted", self._as_installed(instance))
        if instance.state is _S.UNLOADED:  # by somebody else, meanwhile
            return await self.start_plugin(plugin_id, tenant_id=tenant_id)
        await self._release_held_back(ref)
        return instance.status()

    @settles
    async def unload(self, plugin_id: str, *, tenant_id: str | None = None) -> None:
        """Release everything that the instance holds, and forget it. No error when there is none."""
        ref = self._ref(plugin_id, tenant_id)
        instance = self._find(ref)
        if instance is None:
            return
        await self._hold_back_dependants(ref, f"{plugin_id} was unloaded")
        async with instance.lock:
            await to_the_end(self._forget(instance))

    async def _forget(self, instance: Instance) -> None:
        ref = instance.ref
        await instance.unload()
        instances = self._house.tenant(ref.tenant_id).instances
        if instances.get(ref.plugin_id) is instance:
            del instances[ref.plugin_id]
            self._overrides.pop(ref, None)
            self._trust.forget(ref)
            await self._running_services.dismiss(ref)

    @settles
    async def configure(
        self,
        plugin_id: str,
        configuration: Mapping[str, Any],
        *,
        tenant_id: str | None = None,
        persist: bool = False,
    ) -> Sequence[SettingChange]:
        """Change settings of a plugin for a tenant; a running instance has them when this returns.

        With `persist` they are written to the tenant's file, else they are an override that ends with the instance. Settings
        that cannot be used change nothing and raise `ConfigurationError`. What cannot change in place is made anew beside what
        works (`reload_plugin`); where that fails, the settings stay as they were and `ReloadError` says why.
        """
        ref = self._ref(plugin_id, tenant_id)
        plugin = self.installed(plugin_id)
        instance = self._find(ref)
        environment = instance.environment if instance is not None else self.environment
        override = {**self._overrides.get(ref, {}), **configuration}
        previous = instance.settings if instance is not None else self._resolved_before(plugin, ref)
        resolved = self._resolve(plugin, ref, environment, override=override)
        if instance is not None:
            async with instance.lock:
                await instance.apply_settings(resolved)
        if persist:
            self.configuration.write_tenant_configuration(tenant_id, plugin_id, configuration)
            override = {key: value for key, value in override.items() if key not in configuration}
            resolved = self._resolve(plugin, ref, environment, override=override)
        self._overrides[ref] = override
        self._record_change(ref, configuration, resolved.changes_from(previous))
        if instance is None:
            return ()
        instance.settings = resolved
        await self._start_with_settings(instance)
        return resolved.changes_from(previous)

    @settles
    async def enable(self, plugin_id: str, *, tenant_id: str | None = None) -> None:
        """Switch a plugin on for a tenant, for good."""
        self.installed(plugin_id)
        ref = self._ref(plugin_id, tenant_id)
        self.configuration.write_tenant_enabled(ref.tenant_id, plugin_id, True)
        self._house.audit.record("configure", "enabled", plugin_id=plugin_id, tenant_id=ref.tenant_id)

    @settles
    async def disable(self, plugin_id: str, *, tenant_id: str | None = None, reason: str = "by the operator") -> None:
        """Switch a plugin off for a tenant, for good; a running instance is stopped."""
        ref = self._ref(plugin_id, tenant_id)
        self.configuration.write_tenant_enabled(ref.tenant_id, plugin_id, False)
        self._house.audit.record("configure", "disabled", detail=reason, plugin_id=plugin_id, tenant_id=ref.tenant_id)
        instance = self._find(ref)
        if instance is not None:
            await self.unload(plugin_id, tenant_id=tenant_id)
            self._place(self.installed(plugin_id), ref, instance.environment).disable(reason)

    @settles
    async def rotate_secret(self, name: str, *, tenant_id: str | None = None) -> list[InstanceRef]:
        """A secret of the tenant has a new value: tell the instances that use it. Gives those.

        Every one is told, also when another one cannot use the new value; that is raised at the end.
        """
        concerned = []
        errors: list[Exception] = []
        for instance in list(self._house.tenant(validate_tenant_id(tenant_id)).instances.values()):
            if instance.uses_secret(name):
                outcome = "rotated"
                try:
                    async with instance.lock:
                        await instance.rotate(name)
                except Exception as error:  # noqa: BLE001 - raised below, when the others have been told
                    outcome = "not taken"
                    errors.append(error)
                ref = instance.ref
                self._house.audit.record(
                    "secret", outcome, plugin_id=ref.plugin_id, tenant_id=ref.tenant_id, values={"name": name}
                )
                await self._settle_dependants(instance)
                concerned.append(instance.ref)
        if len(errors) > 1:
            raise ExceptionGroup(f"{len(errors)} instances cannot use the new value of {name}", errors)
        if errors:
            raise errors[0]
        return concerned

    # inside

    async def _start_with_settings(self, instance: Instance) -> None:
        """What its settings kept from running may run now. Raises what stands in the way."""
        try:
            async with instance.lock:
                if instance.state is _S.MISCONFIGURED and instance.wanted_active:
                    instance.forget_failures()
                    await instance.activate()
        finally:
            await self._settle_dependants(instance)

    def _as_installed(self, instance: Instance) -> Blueprint | None:
        """What a process that is begun now will run; `None`: what the instance is made from already, or has in this process."""
        installed = self.discovery.plugins.get(instance.ref.plugin_id)
        if instance.inline or installed is None or installed is instance.plugin:
            return None
        needs = self._needs(installed.id)
        return instance.blueprint(plugin=installed, settings=instance.settings, needs=needs)

    def _resolved_before(self, plugin: InstalledPlugin, ref: InstanceRef) -> ResolvedSettings:
        """What the settings were, for the record; nothing where they could not be used."""
        try:
            return self._resolve(plugin, ref, self.environment)
        except (ConfigurationError, DiscoveryError):
            return resolve(plugin.id, None, layers=())

    def _record_change(self, ref: InstanceRef, asked: Iterable[str], changes: Sequence[SettingChange]) -> None:
        """Settings before and after; confidential ones are masked already."""
        if not asked and not changes:
            return
        self._house.audit.record(
            "configure",
            "changed",
            detail=", ".join(sorted({*asked, *(change.key for change in changes)})),
            plugin_id=ref.plugin_id,
            tenant_id=ref.tenant_id,
            values={"changes": changes},
        )

    async def _load(
        self,
        ref: InstanceRef,
        environment: str | None,
        configuration: Mapping[str, Any] | None = None,
        *,
        wanted_active: bool = False,
    ) -> Instance:
        # A load often waits for nothing; a host that loads a thousand in a row must not hold the event loop meanwhile.
        await asyncio.sleep(0)
        plugin = self.installed(ref.plugin_id)
        self._check_enabled(plugin, ref, environment)
        if plugin.manifest.needs_licence:
            await self._open_book(plugin)
        if configuration is not None:
            self._take_override(plugin, ref, environment, configuration)
        await self._load_required(plugin, ref, environment, wanted_active=wanted_active)
        while True:
            instance = self._instance(plugin, ref, environment)
            async with instance.lock:
                if self._find(ref) is not instance:
                    continue  # it was unloaded while we waited
                instance.wanted_active = instance.wanted_active or wanted_active
                if self._tenant_is_suspended(ref.tenant_id):
                    await instance.suspend("the tenant is suspended")
                elif not instance.loaded:
                    instance.forget_failures()
                    instance.settings = self._settings_for(instance)
                    await instance.initialize()
                elif configuration is not None:
                    changes, _ = await instance.apply_settings(self._resolve(plugin, ref, instance.environment))
                    self._record_change(ref, (), changes)
            return instance

    def _take_override(
        self, plugin: InstalledPlugin, ref: InstanceRef, environment: str | None, override: Mapping[str, Any]
    ) -> None:
        """Keep the override, when the settings can be used with it; an instance that runs is not touched by a wrong one."""
        instance = self._find(ref)
        try:
            self._resolve(
                plugin, ref, environment or (instance.environment if instance is not None else None), override=override
            )
        except (ConfigurationError, DiscoveryError) as error:
            if instance is None:
                self._place(plugin, ref, environment).misconfigured(str(error))
            raise
        self._overrides[ref] = dict(override)

    def _check_not_suspended(self, tenant_id: str | None) -> None:
        if self._tenant_is_suspended(tenant_id):
            raise LifecycleError(
                f"tenant {tenant_label(tenant_id)} is suspended", remedy="resume_tenant switches it on again"
            )

    async def _load_required(
        self, plugin: InstalledPlugin, ref: InstanceRef, environment: str | None, *, wanted_active: bool
    ) -> None:
        installed = self.discovery.plugins
        manifests = {one: found.manifest for one, found in installed.items()}
        held = plan(manifests).held_back.get(plugin.id)
        if held is not None:
            if self._find(ref) is None:
                self._place(plugin, ref, environment).hold_back(held.reason)
            raise DependencyError(f"{plugin.id} is held back: {held.reason}", cycle=held.cycle, remedy=held.remedy)
        for required in plugin.manifest.requires:
            try:
                await self._load(InstanceRef(required, ref.tenant_id), environment, wanted_active=wanted_active)
            except Exception as error:
                instance = self._instance(plugin, ref, environment)
                async with instance.lock:
                    instance.wanted_active = instance.wanted_active or wanted_active
                    instance.hold_back(f"{required}, which it requires, cannot be loaded: {error}")
                raise DependencyError(f"{ref} is held back: {required} cannot be loaded: {error}") from error

    async def _start_required(self, instance: Instance) -> None:
        for required in instance.plugin.manifest.requires:
            try:
                await self.start_plugin(required, tenant_id=instance.ref.tenant_id)
            except Exception as error:
                async with instance.lock:
                    instance.hold_back(f"{required}, which it requires, does not run: {error}")
                raise DependencyError(f"{instance.ref} is held back: {required} does not run: {error}") from error

    async def _hold_back_dependants(self, ref: InstanceRef, reason: str) -> None:
        for instance in self._dependants(ref):
            async with instance.lock:
                if instance.state is _S.ACTIVE:
                    await instance.deactivate(reason)
                    instance.hold_back(reason)

    async def _release_held_back(self, ref: InstanceRef) -> None:
        if ref.tenant_id is None and self._audit_sinks is not None:
            await self._audit_sinks.ask(self._house.tenant(None).hooks, lasting=False)
        for instance in reversed(self._dependants(ref)):
            if instance.state is _S.HELD_BACK and instance.wanted_active:
                try:
                    await self.start_plugin(instance.ref.plugin_id, tenant_id=ref.tenant_id)
                except Exception as error:  # noqa: BLE001 - its state says why; it is not what was asked for
                    _LOG.warning("%s stays held back: %s", instance.ref, error)

    async def _settle_dependants(self, instance: Instance) -> None:
        """Let what requires the instance follow it: run again when it runs, else be held back."""
        if instance.state is _S.ACTIVE:
            await self._release_held_back(instance.ref)
        else:
            why = f"{instance.ref.plugin_id}, which it requires, is {instance.state.value}: {instance.reason}"
            await self._hold_back_dependants(instance.ref, why)

    async def _open_book(self, plugin: InstalledPlugin) -> None:
        """From the first plugin that demands a licence on, the host's licences decide; packages may bring their vendors' keys."""
        book = self._trust.book()
        if book is None:
            return
        self._house.gate.licences = book
        own = [one.id for one in self.discovery.plugins.values() if one.distribution == plugin.distribution]
        book.bring_keys(plugin.distribution, await self._running_services.licence_keys(plugin), own)

    async def _before_activation(self, instance: Instance, blueprint: Blueprint) -> None:
        await self._running_services.admit(instance, blueprint)
        if blueprint.plugin.manifest.provides is not None and self._audit_sinks is not None:
            await self._audit_sinks.ask(self._running_services.hooks, lasting=True)

    async def _retry(self, instance: Instance) -> None:
        """The next try of an instance that was not ready, or failed."""
        if self._find(instance.ref) is not instance or not instance.wanted_active:
            return
        await self._start_required(instance)
        async with instance.lock:
            if instance.state in {_S.RETRYING, _S.FAILED}:
                instance.settings = self._settings_for(instance)
                await instance.activate()
        await self._release_held_back(instance.ref)
