"""Secrets from plugins: the provider that asks the `provide_secret` hooks of the system tenant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..errors import SecretError
from ..lifecycle import provides_secrets
from ..model import PluginState, Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..dispatch import TenantHooks
    from ..lifecycle import Instance

__all__ = ["PluginSecrets"]

#: An instance in one of these was never meant to answer; it is passed over.
_SILENT: Final = frozenset(
    {PluginState.CREATED, PluginState.DISABLED, PluginState.MISCONFIGURED, PluginState.SUSPENDED, PluginState.UNLOADED}
)


class PluginSecrets:
    """Asks the secret plugins. One that should answer and cannot ends the search: the next provider might have an old value."""

    name: Final = "secret plugins"

    def __init__(self, hooks: Callable[[], TenantHooks], instances: Callable[[], Iterable[Instance]]) -> None:
        self._hooks: Final = hooks
        self._instances: Final = instances

    async def provide(self, reference: str, tenant: str | None) -> Secret | str | None:
        """The first plugin's answer. Raises `SecretError` when one that should answer does not run."""
        for instance in self._instances():
            if provides_secrets(instance.plugin) and instance.state not in _SILENT | {PluginState.ACTIVE}:
                raise SecretError(f"{instance.ref.plugin_id} is {instance.state.value}: {instance.reason}")
        answer: Secret | str | None = await self._hooks().provide_secret(reference=reference, tenant=tenant)
        return answer
