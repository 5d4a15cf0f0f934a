"""The login methods: from the plugin's own credentials to a token."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dotmac_isp.plugins.core.errors import ConfigurationError, SecretMissingError
from dotmac_isp.plugins.core.model import Secret

from ._failures import Unavailable

if TYPE_CHECKING:
    import hvac  # type: ignore[import-untyped]

    from dotmac_isp.plugins.core.api import SecretReader

    from .settings import VaultSettings

__all__ = ["Token", "gather_credentials", "log_in", "renew"]

#: Of the time to live; HashiCorp's own agents renew there as well.
_RENEW_AT: Final = 2 / 3
_OVER: Final = 0.001


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it was granted or last renewed. Times are monotonic seconds."""

    value: Secret
    #: Seconds; 0: it never ends.
    ttl: float
    renewable: bool
    policies: tuple[str, ...]
    since: float
    #: What a login gave, by which a renewal that is cut short (near the longest time to live) is known.
    granted: float

    @property
    def ends(self) -> float:
        return self.since + self.ttl if self.ttl else float("inf")

    @property
    def due(self) -> float:
        """When to renew it, or to log in anew."""
        return self.since + self.ttl * _RENEW_AT if self.ttl else float("inf")

    @property
    def spent(self) -> bool:
        """Renewals give less and less: its longest time to live is near."""
        return self.ttl > 0 and self.ttl <= self.granted * (1 - _RENEW_AT)


async def gather_credentials(settings: VaultSettings, secrets: SecretReader) -> tuple[Secret, ...]:
    """What the method shows Vault, read now. Raises `SecretMissingError` and `ConfigurationError`, naming what is missing."""
    match settings.auth_method:
        case "token":
            return (await _needed(secrets, "vault-token", "VAULT_TOKEN", settings),)
        case "approle":
            role = await _needed(secrets, "vault-role-id", "VAULT_ROLE_ID", settings)
            bound = await secrets.get("vault-secret-id")
            return (role, bound) if bound is not None else (role,)
        case "userpass":
            return (await _needed(secrets, "vault-password", "VAULT_PASSWORD", settings),)
        case "kubernetes":
            return (_service_account(settings.kubernetes_jwt_file),)


async def _needed(secrets: SecretReader, name: str, variable: str, settings: VaultSettings) -> Secret:
    found = await secrets.get(name)
    if found is None:
        raise SecretMissingError(
            f"the Vault login by {settings.auth_method} lacks the secret {name!r}",
            names=[name],
            remedy=f"Set {variable}, or put it into a file of that name where the host's secret files are",
        )
    return found


def _service_account(file: str) -> Secret:
    try:
        return Secret("kubernetes service account", Path(file).read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"the service account's token {file} cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}",
            field="kubernetes_jwt_file",
            remedy="Outside of Kubernetes take another auth_method",
        ) from None


def log_in(client: hvac.Client, settings: VaultSettings, credentials: tuple[Secret, ...]) -> Token:
    """Log in; called in a thread. Raises `Refused` and `Unavailable`."""
    shown = [one.reveal() for one in credentials]
    mount = settings.auth_mount or settings.auth_method
    match settings.auth_method:
        case "token":
            client.token = shown[0]
            return _looked_up(credentials[0], client.auth.token.lookup_self())
        case "approle":
            answer = client.auth.approle.login(*shown, use_token=False, mount_point=mount)
        case "userpass":
            answer = client.auth.userpass.login(settings.username, shown[0], use_token=False, mount_point=mount)
        case "kubernetes":
            answer = client.auth.kubernetes.login(
                settings.kubernetes_role, shown[0], use_token=False, mount_point=mount
            )
    return _granted(answer)


def renew(client: hvac.Client, token: Token) -> Token:
    """Renew the token; called in a thread. Raises `Refused` where that is over."""
    renewed = _granted(client.auth.token.renew_self())
    # Seconds are rounded down: at the end of the longest time to live it is 0, which elsewhere means "never ends".
    ttl = renewed.ttl or (_OVER if token.ttl else 0.0)
    return Token(token.value, ttl, renewed.renewable, renewed.policies, renewed.since, token.granted)


def _granted(answer: Any) -> Token:
    auth = answer.get("auth") or {}
    value = auth.get("client_token")
    if not value:
        raise Unavailable("what answers the login is no Vault: its answer has no token")
    ttl = float(auth.get("lease_duration") or 0)
    return Token(
        Secret("vault token", value),
        ttl,
        bool(auth.get("renewable")),
        tuple(auth.get("policies") or ()),
        time.monotonic(),
        ttl,
    )


def _looked_up(value: Secret, answer: Any) -> Token:
    data = answer.get("data") or {}
    if "policies" not in data:
        raise Unavailable("what answers is no Vault: it says nothing about the token")
    ttl = float(data.get("ttl") or (1 if data.get("expire_time") else 0))
    granted = max(float(data.get("creation_ttl") or 0), ttl)
    return Token(value, ttl, bool(data.get("renewable")), tuple(data["policies"] or ()), time.monotonic(), granted)
