"""The values that cross the borders between host, core and plugins.

They are msgspec structs: cheap to make (one per call), immutable where shared, and ready for the wire of a jailed instance.
"""

from __future__ import annotations

import enum
import hmac
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Generic, NoReturn, TypeVar, overload

import msgspec

from .errors import TenantIdError

__all__ = [
    "Alert",
    "AlertStatus",
    "Device",
    "DeviceEvent",
    "DeviceStatus",
    "Failure",
    "FailureKind",
    "HealthReport",
    "HealthStatus",
    "HookResults",
    "InstanceRef",
    "MetricSample",
    "PluginContext",
    "PluginInfo",
    "PluginState",
    "Secret",
    "SecurityLevel",
    "SettingChange",
    "tenant_label",
    "validate_tenant_id",
]

T_co = TypeVar("T_co", covariant=True)

#: What `discover_devices` gives: at least `device_id` and `type`; VOLTHA adds serial_number, parent_id, states and more.
Device = dict[str, Any]
#: What `get_device_status` gives: at least `device_id` and `status`.
DeviceStatus = dict[str, Any]
#: What `create_alert` takes.
Alert = Mapping[str, Any]
#: What `get_alert_status` gives: at least `alert_id` and `state`.
AlertStatus = dict[str, Any]

_TENANT_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_SHOWN: Final = 40


def validate_tenant_id(tenant_id: object) -> str | None:
    """Return the tenant id as it is, or raise `TenantIdError`. `None` is the system tenant."""
    if tenant_id is None:
        return None
    if isinstance(tenant_id, str):
        if _TENANT_ID.fullmatch(tenant_id):
            return tenant_id
        shown = repr(tenant_id[:_SHOWN])
        if len(tenant_id) > _SHOWN:
            shown += f"… ({len(tenant_id)} characters)"
    else:
        shown = f"a {type(tenant_id).__name__}"
    raise TenantIdError(
        f"{shown} is no tenant id",
        remedy="A tenant id has 1 to 64 letters, digits, '_', '.' or '-' and starts with a letter or digit",
    )


def tenant_label(tenant_id: str | None) -> str:
    """How a tenant is shown to people and in metrics; the system tenant is `-`."""
    return "-" if tenant_id is None else tenant_id


class PluginState(enum.Enum):
    """The states of an instance (a plugin for a tenant). Each has a reason and a time beside it."""

    CREATED = "created"
    INITIALIZING = "initialising"
    INITIALIZED = "initialised"
    ACTIVATING = "activating"
    ACTIVE = "active"
    DEACTIVATING = "deactivating"
    CLEANING_UP = "cleaning up"
    UNLOADED = "unloaded"
    #: Not ready; the host tries again by itself.
    RETRYING = "retrying"
    #: Credentials were refused; the host waits for new ones.
    AWAITING_SECRET = "awaiting secret"  # noqa: S105 - the name of a state
    MISCONFIGURED = "misconfigured"
    #: Something that it requires has failed or is not active.
    HELD_BACK = "held back"
    FAILED = "failed"
    #: Switched off: by configuration, by the operator, or by the give-up rule.
    DISABLED = "disabled"
    #: The tenant is suspended.
    SUSPENDED = "suspended"


class HealthStatus(enum.Enum):
    """How an instance is, from best to worst."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"


class SecurityLevel(enum.Enum):
    """What a plugin may do to the machine (design, decision 8)."""

    MINIMAL = "minimal"
    STANDARD = "standard"
    ELEVATED = "elevated"
    SYSTEM = "system"


class FailureKind(enum.Enum):
    """Why a call gave no result."""

    ERROR = "error"
    #: The plugin could not do what was asked as it was asked (`ValueError`, `PluginError`): the caller's matter.
    REQUEST = "request"
    #: SystemExit, KeyboardInterrupt or another BaseException out of plugin code.
    CRASHED = "crashed"
    DEADLINE = "deadline"
    CANCELLED = "cancelled"
    WRONG_TYPE = "wrong type"
    PERMISSION = "permission"
    LICENCE = "licence"
    CIRCUIT_OPEN = "circuit open"
    NOT_READY = "not ready"
    CREDENTIALS = "credentials refused"
    CONFIGURATION = "configuration"
    NOT_ACTIVE = "not active"
    #: The process of a jailed instance ended meanwhile.
    PROCESS_ENDED = "process ended"


class InstanceRef(msgspec.Struct, frozen=True):
    """Names one instance: a plugin for a tenant (`None`: the system tenant)."""

    plugin_id: str
    tenant_id: str | None

    def __str__(self) -> str:
        return f"{self.plugin_id}@{tenant_label(self.tenant_id)}"


class PluginContext(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks for what, until when. Travels with every call.

    `deadline` is a `time.monotonic()` value in seconds; `None` lets the host's default apply.
    """

    tenant_id: str | None = None
    user_id: str | None = None
    roles: tuple[str, ...] = ()
    request_id: str = ""
    deadline: float | None = None
    attributes: Mapping[str, Any] = msgspec.field(default_factory=dict)

    @classmethod
    def within(cls, seconds: float, **values: Any) -> PluginContext:
        """Make a context whose deadline is `seconds` from now."""
        return cls(deadline=time.monotonic() + seconds, **values)

    @property
    def remaining(self) -> float | None:
        """Seconds left until the deadline (negative when it has passed), or `None` without one."""
        return None if self.deadline is None else self.deadline - time.monotonic()


class PluginInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a plugin is, from its manifest; known before any of its code runs."""

    id: str
    name: str
    version: str
    category: str = "general"
    description: str = ""
    distribution: str = ""
    security_level: SecurityLevel = SecurityLevel.STANDARD
    permissions: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    editable: bool = False


class HealthReport(msgspec.Struct, frozen=True, kw_only=True):
    """How something is, in a sentence and in details. `details` holds plain values only."""

    status: HealthStatus
    message: str = ""
    details: Mapping[str, Any] = msgspec.field(default_factory=dict)
    #: Unix time, seconds.
    checked_at: float = msgspec.field(default_factory=time.time)
    #: How the vendor's side is, where the plugin can tell it from its own; `None`: it cannot.
    vendor: HealthStatus | None = None

    @property
    def healthy(self) -> bool:
        return self.status is HealthStatus.HEALTHY


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why one plugin gave no result to one call."""

    plugin_id: str
    tenant_id: str | None
    operation: str
    kind: FailureKind
    message: str
    error_type: str = ""
    #: The plugin's traceback as text; redacted.
    traceback: str = ""
    request_id: str = ""

    def __str__(self) -> str:
        return f"{self.plugin_id}@{tenant_label(self.tenant_id)} {self.operation}: {self.kind.value}: {self.message}"


class SettingChange(msgspec.Struct, frozen=True, kw_only=True):
    """One setting that changed in a running instance. Secrets never appear here."""

    key: str
    before: Any
    after: Any
    layer: str


class DeviceEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to a device, as `on_device_event` carries it.

    `timestamp` is Unix time in seconds; `severity` one of debug, info, warning, minor, major, critical.
    """

    event_type: str
    device_id: str
    source: str
    tenant_id: str | None = None
    serial_number: str = ""
    severity: str = "info"
    message: str = ""
    timestamp: float = msgspec.field(default_factory=time.time)
    attributes: Mapping[str, Any] = msgspec.field(default_factory=dict)


class MetricSample(msgspec.Struct, frozen=True, kw_only=True):
    """One measured value. `name` in Prometheus terms, with its unit (`voltha_onu_receive_power_dbm`)."""

    name: str
    value: float
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    timestamp: float = msgspec.field(default_factory=time.time)


class Secret:
    """A secret's value in a coat: printing, formatting, logging, pickling and copying never show it."""

    __slots__ = ("_value", "name")

    def __init__(self, name: str, value: str) -> None:
        self.name: Final = name
        self._value: Final = value

    def reveal(self) -> str:
        """The value itself. Call it as late as possible, and keep the result in no attribute."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({self.name!r}, '********')"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(("Secret", self.name))

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"the secret {self.name!r} is never pickled or copied; hand on its name instead")


class HookResults(Sequence[T_co], Generic[T_co]):
    """What the plugins answered to one hook call: a sequence of the answers, and who failed.

    Iterating gives the answers in call order (`None` answers left out, as in pluggy).
    """

    __slots__ = ("_answers", "failures")

    def __init__(self, answers: Sequence[tuple[str, T_co]], failures: Sequence[Failure] = ()) -> None:
        self._answers = tuple(answers)
        #: One for each plugin that gave no answer because of an error, a deadline or a refusal.
        self.failures = tuple(failures)

    @property
    def by_plugin(self) -> dict[str, T_co]:
        """The answers by plugin id."""
        return dict(self._answers)

    @overload
    def __getitem__(self, index: int) -> T_co: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T_co]: ...
    def __getitem__(self, index: int | slice) -> T_co | Sequence[T_co]:
        if isinstance(index, slice):
            return tuple(value for _, value in self._answers[index])
        return self._answers[index][1]

    def __len__(self) -> int:
        return len(self._answers)

    def __iter__(self) -> Iterator[T_co]:
        return (value for _, value in self._answers)

    def __repr__(self) -> str:
        return f"HookResults({dict(self._answers)!r}, failures={list(map(str, self.failures))!r})"
