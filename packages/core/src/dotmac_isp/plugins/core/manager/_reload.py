"""Making instances anew while they work: without a lost call, and without losing what works."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import DependencyError
from ..model import PluginState
from ._settles import settles
from ._tenancy import TenantOperations

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..discovery import InstalledPlugin
    from ..lifecycle import Instance, InstanceStatus
    from ._bulk import BulkResult

__all__ = ["ReloadOperations"]

_S = PluginState


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
                self._record_change(ref, (), settings.changes_from(previous))
        await instance.retired()
        await self._settle_dependants(instance)
        return instance.status()

    async def reload_all(
        self, *, plugins: Iterable[str] | None = None, tenants: Iterable[str | None] | None = None
    ) -> BulkResult:
        """Reload what is loaded. A result for each."""
        return await self._each(self.reload_plugin, plugins, tenants)

    # inside

    async def _start_what_it_requires(self, instance: Instance, plugin: InstalledPlugin) -> None:
        """What the version that is installed now requires; an instance that works is not held back for want of it."""
        for required in plugin.manifest.requires:
            try:
                await self.start_plugin(required, tenant_id=instance.ref.tenant_id)
            except Exception as error:
                raise DependencyError(f"{instance.ref} stays as it is: {required} does not run: {error}") from error
