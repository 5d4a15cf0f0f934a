"""Who is asked for a secret, in which order, and which names an instance may ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..errors import SecretError, SecretMissingError
from ..model import Secret, tenant_label, validate_tenant_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ..discovery import Manifest
    from ._providers import SecretProvider
    from ._redactor import Redactor

__all__ = ["InstanceSecrets", "SecretChain"]


class SecretChain:
    """The providers in the operator's order: the first that has a secret gives it.

    A provider that fails ends the search with a `SecretError`: asking the next one could bring back an old value.
    """

    def __init__(
        self,
        providers: Iterable[SecretProvider],
        *,
        redactor: Redactor | None = None,
        audit: Callable[..., None] | None = None,
    ) -> None:
        self.providers: Final = tuple(providers)
        self._redactor = redactor
        self._audit = audit

    def accessed(self, name: str, outcome: str, plugin_id: str, tenant: str | None) -> None:
        """Record that a plugin asked for a secret: its name, never its value."""
        if self._audit is not None:
            self._audit("secret", outcome, plugin_id=plugin_id, tenant_id=tenant, values={"name": name})

    async def get(self, name: str, tenant: str | None) -> Secret | None:
        """The secret for the tenant, or `None`. What is found is registered with the redactor."""
        for provider in self.providers:
            secret = await self._ask(provider, name, tenant)
            if secret is not None:
                if self._redactor is not None:
                    self._redactor.register(secret.reveal())
                return secret
        return None

    async def _ask(self, provider: SecretProvider, name: str, tenant: str | None) -> Secret | None:
        try:
            answer: object = await provider.provide(name, tenant)
        except SecretError as error:
            raise SecretError(f"{_failed(provider, name, tenant)}: {error.message}", remedy=error.remedy) from None
        except (Exception, SystemExit) as error:  # noqa: BLE001 - providers are plugins; their texts may hold the value
            what = f"{_failed(provider, name, tenant)} with {type(error).__name__}"
            raise SecretError(what, remedy="The provider's own log says more") from None
        if isinstance(answer, str):
            answer = Secret(name, answer)
        if answer is None or isinstance(answer, Secret):
            return answer if answer is not None and answer.reveal() else None
        kind = type(answer).__name__
        raise SecretError(
            f"{_failed(provider, name, tenant)}: it gave something of type {kind}",
            remedy="It must give a Secret or None",
        )

    def where(self, name: str, tenant: str | None) -> str:
        """Where one could put a secret, for remedies."""
        told = (getattr(provider, "where", None) for provider in self.providers)
        return "; ".join(where(name, tenant) for where in told if where is not None)


def _failed(provider: SecretProvider, name: str, tenant: str | None) -> str:
    return f"the secret provider {provider.name!r} failed for {name!r} of tenant {tenant_label(tenant)}"


class InstanceSecrets:
    """The `SecretReader` of one instance: the names of its manifest, for its tenant, resolved at each call.

    `also_required` are names that the operator's configuration file demands beyond the manifest (`security.secrets_required`).
    """

    def __init__(
        self, chain: SecretChain, manifest: Manifest, tenant: str | None, *, also_required: Iterable[str] = ()
    ) -> None:
        self._chain = chain
        self._required = tuple(dict.fromkeys((*manifest.secrets.required, *also_required)))
        self._manifest = manifest
        self._tenant = validate_tenant_id(tenant)

    @property
    def required(self) -> tuple[str, ...]:
        """The names without which the plugin is not loaded."""
        return self._required

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that may be asked for."""
        return tuple(dict.fromkeys((*self._required, *self._manifest.secret_names)))

    async def get(self, name: str) -> Secret | None:
        """The secret, or `None` when no provider has it. Raises `SecretError` for a name that the manifest does not list."""
        if name not in self.names:
            self._chain.accessed(name, "refused", self._manifest.id, self._tenant)
            known = ", ".join(self.names) or "none"
            raise SecretError(
                f"the plugin {self._manifest.id!r} may not read the secret {name!r}",
                remedy=f"Its manifest lists: {known}",
            )
        outcome = "failed"
        try:
            secret = await self._chain.get(name, self._tenant)
            outcome = "missing" if secret is None else "given"
        finally:
            self._chain.accessed(name, outcome, self._manifest.id, self._tenant)
        return secret

    async def require(self, name: str) -> Secret:
        """The secret; raises `SecretMissingError` when no provider has it."""
        secret = await self.get(name)
        if secret is None:
            raise self.missing_error([name])
        return secret

    async def missing_required(self) -> tuple[str, ...]:
        """Required secrets that no provider has."""
        return await self._missing(self._required)

    async def missing_optional(self) -> tuple[str, ...]:
        """Optional secrets, those of features included, that no provider has."""
        return await self._missing(name for name in self.names if name not in self._required)

    async def switched_off(self) -> dict[str, tuple[str, ...]]:
        """Features that are off for want of a secret, with the secrets that they lack."""
        lacking = {name: await self._missing(one.secrets) for name, one in self._manifest.features.items()}
        return {name: secrets for name, secrets in lacking.items() if secrets}

    def missing_error(self, names: Sequence[str]) -> SecretMissingError:
        """The error that names missing secrets and where each could be put."""
        several = "s" if len(names) > 1 else ""
        listed = ", ".join(repr(name) for name in names)
        places = ", ".join(self._chain.where(name, self._tenant) for name in names)
        return SecretMissingError(
            f"the plugin {self._manifest.id!r} lacks the secret{several} {listed} for tenant {tenant_label(self._tenant)}",
            names=names,
            remedy=f"Set {places}" if places.strip(", ") else "Give it to one of the host's secret providers",
        )

    async def _missing(self, names: Iterable[str]) -> tuple[str, ...]:
        return tuple([name for name in names if await self._chain.get(name, self._tenant) is None])
