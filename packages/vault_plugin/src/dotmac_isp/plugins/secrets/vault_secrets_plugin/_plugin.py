"""The plugin `vault_secrets`: its life, and the hook by which the host asks it."""

from __future__ import annotations

import asyncio
import importlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from dotmac_isp.plugins.core.base import BasePlugin
from dotmac_isp.plugins.core.errors import (
    ConfigurationError,
    CredentialsRefused,
    NotReady,
    PluginError,
    SecretMissingError,
)
from dotmac_isp.plugins.core.model import HealthReport, HealthStatus

from ._failures import Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dotmac_isp.plugins.core.api import PluginAPI
    from dotmac_isp.plugins.core.model import Secret

    from ._client import Vault
    from ._supply import Supply
    from ._tokens import TokenKeeper
    from .settings import VaultSettings

__all__ = ["VaultSecretsPlugin"]


class _Works:
    """What an instance that has a Vault consists of."""

    def __init__(self, api: PluginAPI, settings: VaultSettings) -> None:
        # Hosts without a Vault need none of these; `initialize` has imported them in a thread.
        from ._client import Vault  # noqa: PLC0415
        from ._reading import Reader  # noqa: PLC0415
        from ._supply import Supply  # noqa: PLC0415
        from ._tokens import TokenKeeper  # noqa: PLC0415

        self.vault: Final[Vault] = Vault(settings)
        self.tokens: Final[TokenKeeper] = TokenKeeper(self.vault, settings, api.secrets, api.logger)
        self.reader: Final = Reader(self.tokens)
        self.supply: Final[Supply] = Supply(settings, self.reader, self.vault.contact, api.logger, api.secret_changed)


class VaultSecretsPlugin(BasePlugin):
    """Secrets from HashiCorp Vault or OpenBao for all tenants.

    The system tenant's instance does the work. Instances of other tenants have nothing to do: the host asks only that one.
    """

    def __init__(self, api: PluginAPI) -> None:
        super().__init__(api)
        self._works: _Works | None = None

    async def initialize(self) -> None:
        """Check the settings. Raises `ConfigurationError`; the host does not even start a provider that nobody configured."""
        if self.api.tenant_id is not None:
            return
        settings: VaultSettings = self.api.settings
        if not settings.vault_addr:
            raise ConfigurationError(
                "no Vault is configured",
                field="vault_addr",
                remedy="Set VAULT_ADDR, or remove its other settings: secrets come from files and the environment then",
            )
        _check_files(settings)
        address = urlsplit(settings.vault_addr)
        if address.scheme == "http" and address.hostname not in {"localhost", "127.0.0.1", "::1"}:
            self.api.logger.warning("the way to Vault at %s is not encrypted", settings.vault_addr)
        # hvac and requests take longer to import than the rest together; the event loop is not to wait for that.
        await asyncio.to_thread(importlib.import_module, f"{__package__}._client")
        self._works = _Works(self.api, settings)

    async def activate(self) -> None:
        """Log in. Raises `NotReady` while Vault cannot answer, `CredentialsRefused`, `ConfigurationError`."""
        works = self._works
        if works is None:
            return
        method = self.api.settings.auth_method
        try:
            await works.tokens.log_in(anyway=True)
        except Unavailable as error:
            raise NotReady(error.message, retry_after=error.retry_after) from None
        except SecretMissingError as error:
            raise CredentialsRefused(error.message, remedy=error.remedy) from None
        except Refused as error:
            raise CredentialsRefused(
                f"Vault refuses the login by {method}: {error.message}", remedy="Then tell the host that they changed"
            ) from None
        self.api.spawn(works.tokens.keep(), name="token")
        self.api.spawn(works.supply.poll_for_ever(), name="poll")
        self.api.spawn(works.supply.keep_leases(), name="leases")
        self.api.spawn(self._follow_logins(works), name="logins")

    async def cleanup(self) -> None:
        works, self._works = self._works, None
        if works is not None:
            works.vault.close()

    async def provide_secret(self, reference: str, tenant: str | None) -> Secret | None:
        """The secret for the tenant, else the one for all tenants, else `None`.

        A refusal is no `SecretError` here, but a `PluginError`: it says nothing about this plugin's own health, and must not
        open its breaker. The host makes a `SecretError` of it.
        """
        works = self._works
        if works is None:
            return None
        try:
            return await works.supply.provide(reference, tenant)
        except PluginError as error:
            raise PluginError(error.message, remedy=error.remedy) from None

    async def on_secret_rotated(self, name: str) -> None:
        """Our own credentials changed: log in with them, and keep the token that there is where that fails."""
        works = self._works
        if works is None:
            return
        try:
            await works.tokens.log_in(anyway=True)
        except (Refused, Unavailable, PluginError) as error:
            works.tokens.trouble = f"the new {name} does not work: {error}"
            self.api.logger.error("the new %s does not work: %s", name, error)  # noqa: TRY400 - the text says it all

    async def health_check(self) -> HealthReport:
        """Whether Vault answers, and whether we are logged in."""
        works = self._works
        if works is None:
            return HealthReport(status=HealthStatus.HEALTHY, message="the system tenant's instance serves every tenant")
        try:
            server = await works.vault.health()
        except (Refused, Unavailable) as error:
            return self._away(works, error.message, {})
        told: dict[str, object] = {
            key: server[key] for key in ("version", "sealed", "standby", "initialized") if key in server
        }
        if server.get("sealed"):
            return self._away(works, "Vault is sealed", told)
        if works.tokens.trouble:
            token = works.tokens.token
            lives = token is not None and token.ends > time.monotonic()
            status = HealthStatus.DEGRADED if lives else HealthStatus.UNHEALTHY
            return HealthReport(status=status, message=works.tokens.trouble, details=told)
        return HealthReport(status=HealthStatus.HEALTHY, message="logged in", details=told)

    async def get_metrics(self) -> Mapping[str, float]:
        """Counts since the start."""
        works = self._works
        if works is None:
            return {}
        token = works.tokens.token
        left = max(token.ends - time.monotonic(), 0.0) if token is not None else 0.0
        return {
            "vault_requests": works.vault.contact.requests,
            "vault_requests_failed": works.vault.contact.failures,
            "vault_logins": works.tokens.logins,
            "vault_token_renewals": works.tokens.renewals,
            "vault_lease_renewals": works.reader.renewals,
            "vault_reads": works.reader.reads,
            "vault_changes": works.supply.changes,
            "vault_documents": works.supply.documents,
            "vault_leases": works.supply.leases,
            **({"vault_token_seconds_left": left} if left != float("inf") else {}),
        }

    # inside

    async def _follow_logins(self, works: _Works) -> None:
        while True:
            await works.tokens.changed.wait()
            works.tokens.changed.clear()
            await works.supply.replace_leased()

    def _away(self, works: _Works, why: str, told: dict[str, object]) -> HealthReport:
        limit = self.api.settings.max_stale
        gone = time.monotonic() - works.vault.contact.heard_at
        text = f"{why}; values that were read serve for {max(limit - gone, 0.0):.0f} s more"
        status = HealthStatus.DEGRADED if gone < limit else HealthStatus.UNHEALTHY
        return HealthReport(status=status, message=text, details=told)


def _check_files(settings: VaultSettings) -> None:
    for field in ("vault_cacert", "vault_client_cert", "vault_client_key"):
        file = getattr(settings, field)
        if file and not Path(file).is_file():
            raise ConfigurationError(f"there is no file {file}", field=field)
