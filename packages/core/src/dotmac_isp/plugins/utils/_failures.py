"""From an exception to what the loader says of it."""

from __future__ import annotations

from typing import Final

from dotmac_isp.plugins.core.errors import (
    CallError,
    ConfigurationError,
    CredentialsRefused,
    DependencyError,
    DiscoveryError,
    InstanceNotFoundError,
    LicenceError,
    LifecycleError,
    NotReady,
    PermissionDeniedError,
    PluginError,
    SecretError,
    SecretMissingError,
    StepError,
    TenantIdError,
)

from ._results import PluginFailure

__all__ = ["failure_of"]

#: The first that fits counts: narrow ones come first.
_KINDS: Final[tuple[tuple[type[PluginError], str], ...]] = (
    (SecretMissingError, "secret missing"),
    (SecretError, "secret"),
    (ConfigurationError, "configuration"),
    (DependencyError, "dependency"),
    (DiscoveryError, "discovery"),
    (NotReady, "not ready"),
    (CredentialsRefused, "credentials refused"),
    (PermissionDeniedError, "permission"),
    (LicenceError, "licence"),
    (InstanceNotFoundError, "not loaded"),
    (TenantIdError, "tenant id"),
    (StepError, "step"),
    (LifecycleError, "lifecycle"),
)
#: What to do where the error itself does not say.
_REMEDIES: Final = {
    "not ready": "Nothing: the host tries again by itself. Make what it waits for reachable",
    "credentials refused": "Give the right credentials to the secret provider; the host goes on by itself then",
    "configuration": "Correct the setting; explain shows which layer set it",
    "permission": "Ask the operator for the permission",
    "licence": "Ask the vendor for a licence that covers it",
}
_LOOK: Final = "The host's log has the traceback; the fault is in the plugin, so tell its author"


def failure_of(error: Exception) -> PluginFailure:
    """Say what went wrong, of which kind it is, where, and what to do."""
    kind = _kind_of(error)
    return PluginFailure(
        error=error.message if isinstance(error, PluginError) else f"{type(error).__name__}: {error}",
        remedy=getattr(error, "remedy", None) or _REMEDIES.get(kind, _LOOK),
        kind=kind,
        error_type=type(error).__name__,
        file=_text(getattr(error, "source", None)),
        line=getattr(error, "line", None),
        key=getattr(error, "field", None),
    )


def _kind_of(error: Exception) -> str:
    failure = getattr(error, "failure", None)
    if isinstance(error, (StepError, CallError)) and failure is not None:
        return str(failure.kind.value)
    return next((kind for cause, kind in _KINDS if isinstance(error, cause)), "error")


def _text(value: object) -> str | None:
    return None if value is None else str(value)
