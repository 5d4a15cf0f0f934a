"""Secrets from plugins: the provider that asks the `provide_secret` hooks of the system tenant, and the operator's order of providers."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from ..errors import ConfigurationError, HookError, SecretError
from ..lifecycle import provides_secrets
from ..model import PluginState, Secret
from ..secrets import EnvironmentSecrets, FileSecrets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ..dispatch import TenantHooks
    from ..lifecycle import Instance
    from ..secrets import SecretProvider

__all__ = ["SECRET_ORDER", "PluginSecrets", "in_order"]

#: The variable by which the operator orders providers: `plugins,files,environment`. A kind that it leaves out is not asked.
SECRET_ORDER: Final = "DOTMAC_SECRET_ORDER"  # noqa: S105 - a name
_KINDS: Final = ("plugins", "files", "environment")

#: An instance in one of these was never meant to answer; it is passed over.
_SILENT: Final = frozenset({PluginState.CREATED, PluginState.DISABLED, PluginState.SUSPENDED, PluginState.UNLOADED})


class PluginSecrets:
    """Asks the secret plugins. One that should answer and cannot ends the search: the next provider might have an old value."""

    name: Final = "secret plugins"

    def __init__(self, hooks: Callable[[], TenantHooks], instances: Callable[[], Iterable[Instance]]) -> None:
        self._hooks: Final = hooks
        self._instances: Final = instances

    async def provide(self, reference: str, tenant: str | None) -> Secret | str | None:
        """The first plugin's answer. Raises `SecretError` when one that should answer does not run, or refuses."""
        for instance in self._instances():
            if provides_secrets(instance.plugin) and instance.state not in _SILENT | {PluginState.ACTIVE}:
                raise SecretError(f"{instance.ref.plugin_id} is {instance.state.value}: {instance.reason}")
        try:
            answer: Secret | str | None = await self._hooks().provide_secret(reference=reference, tenant=tenant)
        except HookError as error:
            # What plugins say on purpose is for people to read; the failures' texts are redacted.
            raise SecretError("; ".join(f"{one.plugin_id}: {one.message}" for one in error.failures)) from None
        return answer


def in_order(said: str | None, plugins: SecretProvider, own: Sequence[SecretProvider]) -> list[SecretProvider]:
    """The providers as the operator orders them; where nothing is said, plugins first and then the host's own as they come.

    Providers of the host's own that are neither files nor the environment come right after the first kind named.
    Raises `ConfigurationError` for a kind that is unknown or named twice.
    """
    if said is None or not said.strip():
        return [plugins, *own]
    kinds = [one.strip().lower() for one in said.split(",")]
    for place, kind in enumerate(kinds):
        if kind not in _KINDS or kind in kinds[:place]:
            nearest = get_close_matches(kind, _KINDS, n=1)
            raise ConfigurationError(
                f"{SECRET_ORDER} names {kind!r}" + (" twice" if kind in _KINDS else ", which is no kind of provider"),
                field=SECRET_ORDER,
                remedy=f"Did you mean {nearest[0]!r}?"
                if nearest and kind not in _KINDS
                else f"Known are {', '.join(_KINDS)}",
            )
    of_kind: dict[str, list[SecretProvider]] = {"plugins": [plugins], "files": [], "environment": []}
    others: list[SecretProvider] = []
    for provider in own:
        of_kind.get(_kind_of(provider), others).append(provider)
    first, *rest = kinds
    return [*of_kind[first], *others, *(provider for kind in rest for provider in of_kind[kind])]


def _kind_of(provider: SecretProvider) -> str:
    return {FileSecrets: "files", EnvironmentSecrets: "environment"}.get(type(provider), "")
