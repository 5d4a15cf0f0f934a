"""The hooks: pluggy specifications in four families, and the rules by which each is called.

A plugin implements a hook by defining a method of that name (`BasePlugin` subclasses), or with `@hookimpl` on functions and modules.
Hooks are called by keyword; an implementation takes the arguments it wants. Implementations may be `async def` or plain functions
(a plain one runs on the event loop, so it must be quick).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
import pluggy

if TYPE_CHECKING:
    from .base import HostService, HostSettings
    from .model import (
        Alert,
        AlertStatus,
        Device,
        DeviceEvent,
        DeviceStatus,
        Failure,
        InstanceRef,
        MetricSample,
        PluginContext,
        Secret,
        SettingChange,
    )

__all__ = [
    "HOOKS",
    "PROJECT",
    "DeviceHooks",
    "HookRule",
    "LifecycleHooks",
    "MetricsHooks",
    "ProviderHooks",
    "hookimpl",
    "hookspec",
]

#: The project name of pluggy's markers.
PROJECT: Final = "dotmac_isp"

hookspec: Final = pluggy.HookspecMarker(PROJECT)
#: Marks a function as an implementation; takes pluggy's options (`tryfirst`, `trylast`, `wrapper`, `specname`, …).
hookimpl: Final = pluggy.HookimplMarker(PROJECT)

F = TypeVar("F", bound=Callable[..., Any])


class HookRule(msgspec.Struct, frozen=True, kw_only=True):
    """How one hook is called: its family, who answers, what an answer must be."""

    name: str
    family: str
    #: The first answer that is not `None` ends the call.
    firstresult: bool
    #: May be repeated safely, so that a call lost in a restart is made again.
    idempotent: bool
    #: What an answer must be an instance of; `None` is always a valid "not mine".
    answers: tuple[type, ...]


#: Every hook by name.
HOOKS: Final[dict[str, HookRule]] = {}


def _hook(
    family: str, *, firstresult: bool = False, idempotent: bool = False, answers: tuple[type, ...] = ()
) -> Callable[[F], F]:
    def mark(function: F) -> F:
        name = function.__name__
        HOOKS[name] = HookRule(
            name=name, family=family, firstresult=firstresult, idempotent=idempotent, answers=answers
        )
        return hookspec(function, firstresult=firstresult)

    return mark


class LifecycleHooks:
    """Tell others what became of an instance. The instance concerned is told by its own methods instead."""

    @_hook("lifecycle")
    async def on_initialized(self, instance: InstanceRef) -> None:
        """`instance` was initialised: its settings and secrets are valid; it does no work yet."""

    @_hook("lifecycle")
    async def on_activated(self, instance: InstanceRef) -> None:
        """`instance` works from now on: calls reach it."""

    @_hook("lifecycle")
    async def on_deactivated(self, instance: InstanceRef) -> None:
        """`instance` takes no calls any more."""

    @_hook("lifecycle")
    async def on_cleaned_up(self, instance: InstanceRef) -> None:
        """`instance` released everything and is gone."""

    @_hook("lifecycle")
    async def on_failed(self, instance: InstanceRef, failure: Failure) -> None:
        """`instance` failed in a lifecycle step, or was given up; `failure` says why."""

    @_hook("lifecycle")
    async def on_settings_changed(self, changes: Sequence[SettingChange]) -> None:
        """The settings of this instance changed; `api.settings` has the new ones already.

        Called on the instance concerned only. One that does not implement it is restarted instead.
        """

    @_hook("lifecycle")
    async def on_secret_rotated(self, name: str) -> None:
        """The secret `name` of this instance has a new value; the next `api.secrets.get` gives it.

        Called on the instance concerned only. One that does not implement it is restarted instead.
        """

    @_hook("lifecycle")
    async def hand_over_state(self) -> Any:
        """Give what this instance keeps in memory to the one that takes over from it at a reload; `None`: nothing.

        Called on the instance concerned only, when its calls have ended and new ones wait. It may go on afterwards, when the new one
        is not taken. Plain data, which a jailed instance can send and another version of the plugin can understand.
        """

    @_hook("lifecycle")
    async def take_over_state(self, state: Any) -> None:
        """Take what the instance before kept in memory; `activate` has returned, and no call has come yet.

        Called on the instance concerned only. What it raises keeps the old instance, which goes on.
        """


class DeviceHooks:
    """Devices of the network: find, configure, ask, be told."""

    @_hook("device", idempotent=True, answers=(list, tuple))
    async def discover_devices(self, context: PluginContext) -> list[Device]:
        """List the devices that this plugin manages for the tenant. All plugins answer; each gives its own list."""
        return []

    @_hook("device", firstresult=True, answers=(bool,))
    async def configure_device(self, device_id: str, config: Mapping[str, Any], context: PluginContext) -> bool | None:
        """Apply `config` to a device. `True`: done and seen; `None`: not my device, ask the next plugin."""

    @_hook("device", firstresult=True, idempotent=True, answers=(dict, Mapping))
    async def get_device_status(self, device_id: str, context: PluginContext) -> DeviceStatus | None:
        """Say how a device is, or `None`: not my device, ask the next plugin."""

    @_hook("device")
    async def on_device_event(self, event: DeviceEvent, context: PluginContext) -> None:
        """Something happened to a device. Reaches every plugin of the same tenant but the one that told it."""


class MetricsHooks:
    """Numbers and alerts."""

    @_hook("metrics", idempotent=True, answers=(dict, Mapping))
    async def collect_metrics(self, resource_ids: Sequence[str], context: PluginContext) -> Mapping[str, Any]:
        """Measure the resources (all of them when the list is empty). All plugins answer; each gives its own mapping."""
        return {}

    @_hook("metrics", firstresult=True, answers=(str,))
    async def create_alert(self, alert_data: Alert, context: PluginContext) -> str | None:
        """Make an alert or an alert rule and return its id, or `None`: I keep no alerts."""

    @_hook("metrics", firstresult=True, idempotent=True, answers=(dict, Mapping))
    async def get_alert_status(self, alert_id: str, context: PluginContext) -> AlertStatus | None:
        """Say how an alert is, or `None`: not mine."""

    @_hook("metrics")
    async def on_metrics(self, samples: Sequence[MetricSample], context: PluginContext) -> None:
        """Samples were collected in this tenant. Reaches every plugin of the tenant but the one that told it."""


class ProviderHooks:
    """What a package supplies to the host itself; implemented in the module that the manifest's `provides` names."""

    @_hook("provider", firstresult=True, idempotent=True)
    async def provide_secret(self, reference: str, tenant: str | None) -> Secret | str | None:
        """Look a secret up. The operator's order decides who is asked first; `None`: ask the next."""

    @_hook("provider")
    async def provide_audit_sink(self) -> object | None:
        """Give a sink that is to receive every audit record (`await sink.write(records)`)."""

    @_hook("provider")
    async def provide_licence_keys(self) -> Mapping[str, bytes] | None:
        """Give public keys of licence issuers by key id."""

    @_hook("provider", answers=(list, tuple))
    async def provide_host_services(self, settings: HostSettings) -> list[HostService] | None:
        """Give services that the host starts, supervises and stops, once per host (a collector, say).

        Called before the first instance of the plugin activates.
        """
