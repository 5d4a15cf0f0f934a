"""What can be done with a tenant, and with many instances at once."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from ..dependencies import plan
from ..errors import LifecycleError, PluginError
from ..lifecycle import instance_folder
from ..model import InstanceRef, validate_tenant_id
from ._bulk import BulkResult, in_bulk
from ._instances import InstanceOperations
from ._settles import settles

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..lifecycle import InstanceStatus, Tenant

__all__ = ["TenantOperations"]


class TenantOperations(InstanceOperations):
    """Suspend, resume and remove tenants; load, start and stop plugins × tenants."""

    def tenants(self) -> list[str]:
        """The tenants that have instances or a file."""
        return sorted({*(one for one in self._house.tenants if one is not None), *self.configuration.tenants()})

    @settles
    async def suspend_tenant(self, tenant_id: str, *, reason: str = "the tenant is suspended") -> list[InstanceStatus]:
        """Switch a tenant off, for good: its instances stop and keep their data."""
        tenant = self._named_tenant(tenant_id)
        self.configuration.write_tenant_suspended(tenant_id, True)
        tenant.suspended = True
        for instance in self._in_stop_order(tenant):
            async with instance.lock:
                await instance.suspend(reason)
        self._house.audit.record("tenant", "suspended", detail=reason, tenant_id=tenant_id)
        return [instance.status() for instance in tenant.instances.values()]

    @settles
    async def resume_tenant(self, tenant_id: str) -> BulkResult:
        """Switch a tenant on again: what ran before runs again. Gives a result for each instance."""
        tenant = self._named_tenant(tenant_id)
        self.configuration.write_tenant_suspended(tenant_id, False)
        tenant.suspended = False
        self._house.audit.record("tenant", "resumed", tenant_id=tenant_id)

        async def resume(ref: InstanceRef) -> InstanceStatus:
            instance = self._existing(ref)
            async with instance.lock:
                if not instance.loaded:
                    instance.settings = self._settings_for(instance)
                await instance.resume("the tenant was resumed")
            return instance.status()

        order = [instance.ref for instance in reversed(self._in_stop_order(tenant))]
        return await in_bulk([order], resume, at_once=1)

    @settles
    async def remove_tenant(self, tenant_id: str) -> None:
        """Remove a tenant with its instances, documents, files and configuration. There is no way back."""
        tenant = self._named_tenant(tenant_id)
        for instance in self._in_stop_order(tenant):
            await self.unload(instance.ref.plugin_id, tenant_id=tenant_id)
        await self._house.engine.drop_tenant(tenant_id)
        shutil.rmtree(instance_folder(self.home, InstanceRef("", tenant_id)), ignore_errors=True)
        self.configuration.remove_tenant(tenant_id)
        self._house.tenants.pop(tenant_id, None)
        self._house.audit.record("tenant", "removed", tenant_id=tenant_id)

    # many at once

    async def load_all(
        self, *, plugins: Iterable[str] | None = None, tenants: Iterable[str | None], environment: str | None = None
    ) -> BulkResult:
        """Load plugins (default: all that are installed and enabled) for tenants. A result for each."""

        async def load(ref: InstanceRef) -> InstanceStatus:
            return await self.load(ref.plugin_id, tenant_id=ref.tenant_id, environment=environment)

        chosen = list(plugins) if plugins is not None else None
        groups = [
            [InstanceRef(one, tenant) for one in self._to_load(chosen, tenant, environment)] for tenant in tenants
        ]
        return await in_bulk(groups, load, at_once=self._at_once)

    async def start_all(
        self, *, plugins: Iterable[str] | None = None, tenants: Iterable[str | None] | None = None
    ) -> BulkResult:
        """Start what is loaded. A result for each."""
        return await self._each(self.start_plugin, plugins, tenants)

    async def stop_all(
        self, *, plugins: Iterable[str] | None = None, tenants: Iterable[str | None] | None = None
    ) -> BulkResult:
        """Stop what is loaded, dependants first. A result for each."""
        return await self._each(self.stop_plugin, plugins, tenants, backwards=True)

    async def restart_all(
        self, *, plugins: Iterable[str] | None = None, tenants: Iterable[str | None] | None = None
    ) -> BulkResult:
        """Restart what is loaded. A result for each."""
        return await self._each(self.restart_plugin, plugins, tenants)

    async def unload_all(
        self, *, plugins: Iterable[str] | None = None, tenants: Iterable[str | None] | None = None
    ) -> BulkResult:
        """Unload what is loaded, dependants first. A result for each."""
        return await self._each(self.unload, plugins, tenants, backwards=True)

    def load_order(self, tenant_id: str | None = None, environment: str | None = None) -> list[str]:
        """The plugins that are installed and enabled, each after what it requires; the configuration file's order otherwise."""
        installed = self.discovery.plugins
        named = [one for one in self.configuration.plugin_ids() if one in installed]
        wanted = [*named, *(one for one in installed if one not in named)]
        off = {one: why for one in wanted if (why := self._why_off(one, environment, tenant_id)) is not None}
        manifests = {one: installed[one].manifest for one in wanted if one not in off}
        return list(plan(manifests, unusable=off).order)

    # inside

    def _to_load(self, chosen: list[str] | None, tenant_id: str | None, environment: str | None) -> list[str]:
        """In load order. What was asked for and cannot be loaded comes last, so that it gets a result that says why."""
        try:
            order = self.load_order(tenant_id, environment)
        except PluginError:  # a bad tenant id or file: each load says so, and the other tenants are not affected
            return list(self.discovery.plugins) if chosen is None else chosen
        if chosen is None:
            return order
        return [*(one for one in order if one in chosen), *(one for one in chosen if one not in order)]

    def _named_tenant(self, tenant_id: str) -> Tenant:
        if validate_tenant_id(tenant_id) is None:
            raise LifecycleError("the system tenant cannot be suspended or removed")
        return self._house.tenant(tenant_id)

    async def _each(
        self,
        action: Any,
        plugins: Iterable[str] | None,
        tenants: Iterable[str | None] | None,
        *,
        backwards: bool = False,
    ) -> BulkResult:
        wanted = None if tenants is None else {validate_tenant_id(one) for one in tenants}
        chosen = None if plugins is None else set(plugins)
        groups = []
        for tenant in list(self._house.tenants.values()):
            if wanted is None or tenant.id in wanted:
                order = [
                    one.ref for one in self._in_stop_order(tenant) if chosen is None or one.ref.plugin_id in chosen
                ]
                groups.append(order if backwards else order[::-1])
        return await in_bulk(groups, lambda ref: action(ref.plugin_id, tenant_id=ref.tenant_id), at_once=self._at_once)
