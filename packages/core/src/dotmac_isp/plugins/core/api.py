"""What a plugin gets from its host: `PluginAPI` and its parts, as protocols.

The same plugin code runs in the host's process or in a jailed one, so it may rely on these and on nothing behind them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    import asyncio
    import logging
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from .model import (
        Alert,
        AlertStatus,
        Device,
        DeviceEvent,
        DeviceStatus,
        HookResults,
        MetricSample,
        PluginContext,
        PluginInfo,
        Secret,
    )

__all__ = [
    "Change",
    "Document",
    "HookRelay",
    "Lease",
    "MetricRecorder",
    "PluginAPI",
    "SecretReader",
    "Storage",
]

T = TypeVar("T")


class SecretReader(Protocol):
    """The secrets that the manifest names, for this instance's tenant; resolved at each call, never cached by the plugin."""

    async def get(self, name: str) -> Secret | None:
        """The secret, or `None` when no provider has it. Raises `SecretError` for a name that the manifest does not list."""

    async def require(self, name: str) -> Secret:
        """The secret; raises `SecretMissingError` when no provider has it."""


class Document(Protocol):
    """One stored document: plain JSON data under a key, in a version that grows with each write."""

    @property
    def key(self) -> str: ...
    @property
    def value(self) -> Any: ...
    @property
    def version(self) -> int: ...
    @property
    def updated_at(self) -> float:
        """Unix time, seconds."""


class Change(Protocol):
    """One change that a watcher sees: the key, and its document (`None`: deleted)."""

    @property
    def key(self) -> str: ...
    @property
    def document(self) -> Document | None: ...


class Lease(Protocol):
    """The right to act, held by one host at a time. `token` grows with every new holder, and fences writes."""

    @property
    def name(self) -> str: ...
    @property
    def token(self) -> int: ...
    @property
    def held(self) -> bool:
        """Whether it is still ours, as far as the clock tells."""

    async def renew(self) -> None:
        """Hold it for another time to live; raises `LeaseLostError` when somebody else has it."""

    async def release(self) -> None:
        """Give it back; no error when it is lost already."""

    async def __aenter__(self) -> Lease: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Storage(Protocol):
    """Documents of one plugin for one tenant. Keys are free text of 1 to 512 characters; other tenants' cannot be named."""

    async def get(self, key: str) -> Document | None:
        """The document, or `None`."""

    async def put(
        self, key: str, value: Any, *, expected_version: int | None = None, lease: Lease | None = None
    ) -> Document:
        """Write. `expected_version` 0 means "must not exist". Raises `StorageConflictError`, `LeaseLostError`."""

    async def update(self, key: str, change: Callable[[Any], Any], *, lease: Lease | None = None) -> Document:
        """Read, change, write as one atomic step; `change` gets the value or `None`, may be called again, and must be pure."""

    async def delete(self, key: str, *, expected_version: int | None = None, lease: Lease | None = None) -> bool:
        """Remove; `False` when there was nothing."""

    async def list(self, prefix: str = "", *, limit: int | None = None, after: str | None = None) -> Sequence[Document]:
        """Documents whose key begins with `prefix`, by key; `after` pages on."""

    def watch(self, prefix: str = "") -> AsyncIterator[Change]:
        """Changes from now on, also those that another host made."""

    async def acquire_lease(self, name: str, *, ttl: float) -> Lease | None:
        """Try to hold the lease `name` for `ttl` seconds; `None` when another holder has it."""


class MetricRecorder(Protocol):
    """Numbers that a plugin counts about itself; exported with plugin and tenant as labels."""

    def count(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Add to a counter (`…_total`)."""

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Put a value (seconds, bytes) into a histogram."""


class HookRelay(Protocol):
    """Calls hooks of the same tenant's other plugins, through the gate. The caller's own implementation is left out."""

    async def discover_devices(self, *, context: PluginContext | None = None) -> HookResults[list[Device]]: ...
    async def configure_device(
        self, *, device_id: str, config: Mapping[str, Any], context: PluginContext | None = None
    ) -> bool | None: ...
    async def get_device_status(
        self, *, device_id: str, context: PluginContext | None = None
    ) -> DeviceStatus | None: ...
    async def on_device_event(
        self, *, event: DeviceEvent, context: PluginContext | None = None
    ) -> HookResults[None]: ...
    async def collect_metrics(
        self, *, resource_ids: Sequence[str] = (), context: PluginContext | None = None
    ) -> HookResults[Mapping[str, Any]]: ...
    async def create_alert(self, *, alert_data: Alert, context: PluginContext | None = None) -> str | None: ...
    async def get_alert_status(self, *, alert_id: str, context: PluginContext | None = None) -> AlertStatus | None: ...
    async def on_metrics(
        self, *, samples: Sequence[MetricSample], context: PluginContext | None = None
    ) -> HookResults[None]: ...


@runtime_checkable
class PluginAPI(Protocol):
    """Everything that an instance may ask of its host."""

    @property
    def info(self) -> PluginInfo:
        """The plugin's manifest in short."""

    @property
    def plugin_id(self) -> str: ...
    @property
    def tenant_id(self) -> str | None:
        """`None`: the system tenant."""

    @property
    def settings(self) -> Any:
        """The validated settings model; a new object after `on_settings_changed`, so do not keep it."""

    @property
    def secrets(self) -> SecretReader: ...
    @property
    def storage(self) -> Storage: ...
    @property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """Logs with tenant, plugin and request id on every record."""

    @property
    def metrics(self) -> MetricRecorder: ...
    @property
    def hooks(self) -> HookRelay: ...
    @property
    def data_dir(self) -> Path:
        """An owner-only folder for this instance's files; made at first use, kept over restarts."""

    def spawn(self, work: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T | None]:
        """Run work beside the calls, fenced: what it raises is reported as this instance's failure, and it ends with the instance."""

    def on_cleanup(self, callback: Callable[[], Awaitable[None] | None]) -> None:
        """Call this when the instance is cleaned up, last registered first, also after a failed step."""

    def count_licensed(self, limit: str, amount: int) -> None:
        """Count against a limit of the plugin's licence: `devices` (how many there are now), `events_per_day` (how many more).

        Raises `LicenceError` when there is no room, and counts nothing then. A plugin without a licence has no limits.
        """

    def secret_changed(self, name: str, tenant_id: str | None) -> None:
        """For plugins of category `secrets` only: `name` has a new value for the tenant (`None`: for all that share it).

        The host tells the instances concerned. Raises `PermissionError` for any other plugin.
        """

    def grpc_target(self, host: str, port: int) -> tuple[str, list[tuple[str, Any]]]:
        """Target and channel options by which grpcio reaches `host:port` from where this instance runs."""
