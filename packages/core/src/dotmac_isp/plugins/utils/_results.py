"""What the loader gives: plain data with fixed keys, ready for JSON."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

__all__ = [
    "BulkOutcome",
    "DiscoveredPlugin",
    "DiscoveryProblem",
    "DiscoveryReport",
    "HealthSummary",
    "LoadResults",
    "PluginFailure",
    "PluginHealth",
    "PluginSecrets",
    "PluginStatus",
    "SecretReport",
    "VendorPluginStatus",
]

#: Whether a provider has the secret; `unknown` when a provider could not be asked.
Presence = Literal["present", "missing", "unknown"]


class PluginFailure(TypedDict):
    """Why a plugin could not be loaded, started or stopped, and what to do about it."""

    error: str
    remedy: str
    #: `configuration`, `secret missing`, `dependency`, `discovery`, `not ready`, `credentials refused`, …
    kind: str
    error_type: str
    #: Where it is wrong, as far as that is known: a file (or an environment variable), the line in it, the key.
    file: str | None
    line: int | None
    key: str | None


class LoadResults(TypedDict):
    """What `load_vendor_integrations` did. `failed_plugins` and `skipped_plugins` are by plugin id."""

    environment: str | None
    tenant_id: str | None
    #: In the order in which they were loaded.
    loaded_plugins: list[str]
    failed_plugins: dict[str, PluginFailure]
    #: Switched off, not installed, or of a suspended tenant: the reason.
    skipped_plugins: dict[str, str]
    #: In the order in which they were started; empty where loading was all that was asked for.
    started_plugins: list[str]


class BulkOutcome(TypedDict):
    """What a bulk operation did, in its order."""

    tenant_id: str | None
    succeeded: list[str]
    failed: dict[str, PluginFailure]


class PluginHealth(TypedDict):
    """How one plugin is. `health`: healthy, degraded, unhealthy or unknown (loaded, but not started)."""

    health: str
    message: str
    details: dict[str, Any]
    state: str
    #: Unix time in seconds; `None` when it could not be asked.
    checked_at: float | None


class HealthSummary(TypedDict):
    """How a tenant's plugins are. The four numbers make the total."""

    tenant_id: str | None
    healthy_plugins: int
    degraded_plugins: int
    unhealthy_plugins: int
    unknown_plugins: int
    total_plugins: int
    plugins: dict[str, PluginHealth]


class PluginStatus(TypedDict):
    """One plugin now. Times are Unix times in seconds."""

    plugin_id: str
    tenant_id: str | None
    state: str
    #: Why it is in this state.
    reason: str
    since: float | None
    health: str
    health_message: str
    version: str | None
    environment: str | None
    #: `closed`, `open` (calls are refused for a while) or `half-open`.
    breaker: str | None
    #: When the host tries again by itself.
    retry_at: float | None
    #: Features that are off for want of optional secrets, with the names of these.
    switched_off: dict[str, list[str]]


class VendorPluginStatus(TypedDict):
    """A tenant's plugins now: loaded ones, and those that failed or were skipped at the last load."""

    tenant_id: str | None
    environment: str | None
    total_plugins: int
    active_plugins: int
    plugins: dict[str, PluginStatus]


class PluginSecrets(TypedDict):
    """Which secrets of a plugin are there, by name. Values never appear."""

    valid: bool
    required: dict[str, Presence]
    optional: dict[str, Presence]
    #: Features that are off for want of a secret.
    switched_off: dict[str, list[str]]
    remedy: str | None


class SecretReport(TypedDict):
    """The secrets of a tenant's plugins. `valid`: every required one is there."""

    tenant_id: str | None
    valid: bool
    #: Required secrets that are missing, as `plugin_id: name`.
    missing: list[str]
    plugins: dict[str, PluginSecrets]


class DiscoveredPlugin(TypedDict):
    """An installed plugin that can be used."""

    name: str
    version: str
    category: str
    description: str
    distribution: str
    enabled: bool
    #: What switched it on or off.
    why: str
    #: Its state for the tenant; `None` when it is not loaded.
    state: str | None


class DiscoveryProblem(TypedDict):
    """An installed plugin that cannot be used (`error`), or something the operator should know (`warning`)."""

    plugin_id: str
    distribution: str
    severity: str
    error: str
    remedy: str | None


class DiscoveryReport(TypedDict):
    """What is installed."""

    plugins: dict[str, DiscoveredPlugin]
    problems: list[DiscoveryProblem]
