"""What every instance shares with the others of its host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from pathlib import Path

    from .._scope import CallScope
    from ..api import HookRelay, Storage
    from ..audit import AuditTrail
    from ..discovery import InstalledPlugin
    from ..dispatch import Gate, TenantRegistry
    from ..health import Limits
    from ..hosting import Fence, Host, TaskKeeper
    from ..secrets import SecretChain
    from ..telemetry import Telemetry
    from ._blueprint import Blueprint
    from ._instance import Instance
    from ._life import Life

__all__ = ["House", "Tenant"]


class Tenant(msgspec.Struct, kw_only=True):
    """One tenant in this host."""

    id: str | None
    registry: Any  # TenantRegistry; msgspec needs run-time types
    hooks: Any  # TenantHooks
    instances: dict[str, Any] = msgspec.field(default_factory=dict)
    suspended: bool = False


class House(Protocol):
    """The host's side of an instance; the manager is one."""

    @property
    def home(self) -> Path: ...
    @property
    def limits(self) -> Limits: ...
    @property
    def gate(self) -> Gate: ...
    @property
    def fence(self) -> Fence: ...
    @property
    def tasks(self) -> TaskKeeper: ...
    @property
    def telemetry(self) -> Telemetry: ...
    @property
    def audit(self) -> AuditTrail: ...
    def secrets_for(self, plugin: InstalledPlugin) -> SecretChain:
        """The providers that the plugin's secrets come from; a plugin that provides secrets gets its own from the others."""

    def secret_changed(self, name: str, tenant_id: str | None) -> None:
        """A provider says that a secret has a new value."""

    def redact(self, text: str) -> str: ...
    def storage_for(self, tenant_id: str | None, plugin_id: str) -> Storage: ...
    def hooks_without(self, tenant_id: str | None, plugin_id: str) -> HookRelay: ...
    def relay_for(self, tenant_id: str | None, plugin_id: str) -> HookRelay:
        """The hooks that a plugin may call itself."""

    def host_for(self, life: Life) -> Host:
        """Where this life of the instance is to be. Raises what speaks against it."""

    def registry_of(self, tenant_id: str | None) -> TenantRegistry: ...
    def report(self, scope: CallScope, error: BaseException) -> None: ...
    def run(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        """Run host work in the background; it ends with the host."""

    @property
    def before_activation(self) -> Callable[[Instance, Blueprint], Awaitable[None]]:
        """Starts what the plugin needs once per host, and tells it about the instance."""

    @property
    def fell(self) -> Callable[[Instance], Awaitable[None]]:
        """The instance was stopped for its failures: what requires it must be, too."""

    @property
    def retry(self) -> Callable[[Instance], Awaitable[None]]:
        """Starts the instance anew, as the operator would."""
