"""What can go wrong, as one tree.

::

    PluginError
    ├── TenantIdError                 a tenant id that is no tenant id
    ├── DiscoveryError                an installed plugin that cannot be used
    │   └── ManifestError             its manifest is missing or wrong
    ├── DependencyError               a missing, unsuitable or circular requirement
    ├── ConfigurationError            wrong settings, with file and key
    │   └── UnknownSettingError       a key nobody knows, with the nearest one
    ├── SecretError
    │   └── SecretMissingError        a required secret that no provider has
    ├── NotReady                      what the plugin needs is not there yet: try again later
    ├── CredentialsRefused            the vendor refused the credentials: wait for new ones
    ├── LifecycleError                the instance is in no state for what was asked
    │   ├── StepError                 one lifecycle step failed or hung
    │   └── ReloadError               a new instance was not taken; the one before goes on
    ├── InstanceNotFoundError         no such (plugin, tenant)
    ├── CallError                     a call that did not give a result; carries a Failure
    │   ├── PermissionDeniedError
    │   ├── LicenceError
    │   ├── CircuitOpenError
    │   ├── DeadlineError
    │   ├── ProcessEndedError         the instance's own process ended meanwhile
    │   └── HookError                 a hook that nobody answered and somebody failed
    └── StorageError
        ├── StorageConflictError      the document changed meanwhile
        └── LeaseLostError            the lease is somebody else's now

A plugin raises `NotReady`, `CredentialsRefused` and `ConfigurationError` itself; each has its own remedy (design, decision 9).
Every message says what was wrong, the value, and what would be right; none ever shows a secret.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .model import Failure

__all__ = [
    "CallError",
    "CircuitOpenError",
    "ConfigurationError",
    "CredentialsRefused",
    "DeadlineError",
    "DependencyError",
    "DiscoveryError",
    "HookError",
    "InstanceNotFoundError",
    "LeaseLostError",
    "LicenceError",
    "LifecycleError",
    "ManifestError",
    "NotReady",
    "PermissionDeniedError",
    "PluginError",
    "ProcessEndedError",
    "ReloadError",
    "SecretError",
    "SecretMissingError",
    "StepError",
    "StorageConflictError",
    "StorageError",
    "TenantIdError",
    "UnknownSettingError",
]


class PluginError(Exception):
    """The base of everything that this runtime raises on purpose.

    `remedy` is the sentence that tells a person what to do; it is part of the text.
    """

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        self.message = message
        self.remedy = remedy
        super().__init__(f"{message}. {remedy}" if remedy else message)


class TenantIdError(PluginError, ValueError):
    """A tenant id outside `[A-Za-z0-9][A-Za-z0-9_.-]{0,63}` (design, "Names that everyone must agree on")."""


class DiscoveryError(PluginError):
    """An installed plugin that cannot be used; the others are not affected."""

    def __init__(self, message: str, *, plugin_id: str, remedy: str | None = None) -> None:
        self.plugin_id = plugin_id
        super().__init__(message, remedy=remedy)


class ManifestError(DiscoveryError):
    """A plugin's manifest is missing, is not TOML, or says something that cannot be."""


class DependencyError(PluginError):
    """A requirement that is missing, of an unsuitable version, or circular.

    `cycle` is the path of plugin ids, first and last the same, or empty.
    """

    def __init__(self, message: str, *, cycle: Sequence[str] = (), remedy: str | None = None) -> None:
        self.cycle = tuple(cycle)
        super().__init__(message, remedy=remedy)


class ConfigurationError(PluginError):
    """Settings that cannot be used. A plugin raises it for what only the vendor's answer can show.

    `field` is the setting, `source` the file or layer that set it, `line` the line in that file where it is known.
    """

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        source: Path | str | None = None,
        line: int | None = None,
        remedy: str | None = None,
    ) -> None:
        self.field = field
        self.source = source
        self.line = line
        super().__init__(message, remedy=remedy)


class UnknownSettingError(ConfigurationError):
    """A setting that nobody knows; the message names the nearest one."""


class SecretError(PluginError):
    """A secret provider failed. The message names the secret and the provider, never the value."""


class SecretMissingError(SecretError):
    """Required secrets that no provider has; fails the load of the instance with their names."""

    def __init__(self, message: str, *, names: Sequence[str], remedy: str | None = None) -> None:
        self.names = tuple(names)
        super().__init__(message, remedy=remedy)


class NotReady(PluginError):  # noqa: N818 - it is a state that the plugin reports, named as in the design
    """What the plugin needs is not there yet. The host retries: 5·2ⁿ s with jitter, at most 600 s.

    `retry_after` (seconds) is a wish: the host waits at least that long, and never longer than a day.
    """

    def __init__(self, message: str, *, retry_after: float | None = None, remedy: str | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(message, remedy=remedy)


class CredentialsRefused(PluginError):  # noqa: N818 - as NotReady
    """The vendor refused the credentials. The host waits until one of the instance's secrets changes."""


class LifecycleError(PluginError):
    """The instance is in no state for what was asked; the message names the state and its reason."""


class ReloadError(LifecycleError):
    """A new instance failed, or is not healthy, and did not take over; the one before goes on. `__cause__` is what it failed at."""


class StepError(LifecycleError):
    """One lifecycle step (`initialize`, `activate`, …) failed or did not end in time. The cause is chained."""

    def __init__(self, message: str, *, step: str, failure: Failure | None = None, remedy: str | None = None) -> None:
        self.step = step
        self.failure = failure
        super().__init__(message, remedy=remedy)


class InstanceNotFoundError(PluginError, LookupError):
    """There is no instance of that plugin for that tenant."""


class CallError(PluginError):
    """A call that gave no result. `failure` says which plugin, what kind, and how it came about."""

    def __init__(self, message: str, *, failure: Failure | None = None, remedy: str | None = None) -> None:
        self.failure = failure
        super().__init__(message, remedy=remedy)


class PermissionDeniedError(CallError):
    """The tenant's policy does not allow the caller or the plugin to do this."""


class LicenceError(CallError):
    """The plugin's licence does not cover this."""


class CircuitOpenError(CallError):
    """The plugin failed too often; calls are refused until the breaker lets a trial through."""


class DeadlineError(CallError, TimeoutError):
    """The call did not end before its deadline and was cancelled."""


class ProcessEndedError(CallError):
    """The process of a jailed instance ended before it answered. `reason` says why: out of memory, a signal, an exit code."""

    def __init__(self, message: str, *, reason: str = "", remedy: str | None = None) -> None:
        self.reason = reason
        super().__init__(message, remedy=remedy)


class HookError(CallError):
    """A first-result hook that nobody answered and at least one plugin failed. `failures` has them all."""

    def __init__(self, message: str, *, failures: Sequence[Failure], remedy: str | None = None) -> None:
        self.failures = tuple(failures)
        super().__init__(message, failure=self.failures[0] if self.failures else None, remedy=remedy)


class StorageError(PluginError):
    """The document store could not do what was asked."""


class StorageConflictError(StorageError):
    """The document is not in the version that the writer expected."""


class LeaseLostError(StorageError):
    """The lease ended or is held by another host; whatever it guarded must not be done."""
