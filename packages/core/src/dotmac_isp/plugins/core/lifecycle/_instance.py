"""One instance: a plugin for a tenant, from its first step to its last.

Every public method is called with the instance's lock held (`async with instance.lock`), so that no two steps overlap.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import inspect
import logging
import time
from typing import TYPE_CHECKING, Any, Final

import pluggy

from ..discovery import load_class
from ..dispatch import Failed, Member, Method, Seat, kind_of, public_methods
from ..errors import LicenceError, LifecycleError, NotReady, PermissionDeniedError, PluginError, StepError
from ..health import Breaker, GiveUpRule, backoff
from ..hosting import InlineAPI, told
from ..model import (
    Failure,
    FailureKind,
    HealthReport,
    HealthStatus,
    InstanceRef,
    PluginContext,
    PluginState,
    tenant_label,
)
from ..secrets import InstanceSecrets
from ..telemetry import instance_logger
from ._said import plain_numbers, plain_report
from ._states import StateMachine
from ._status import InstanceStatus
from ._steps import StepRunner
from ._whole import to_the_end

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ..base import BasePlugin
    from ..discovery import InstalledPlugin
    from ..model import SettingChange
    from ..settings import ResolvedSettings, SecurityNeeds
    from ._house import House

__all__ = ["Instance", "instance_folder", "provides_secrets"]

_LOG: Final = logging.getLogger("dotmac.lifecycle")
_S = PluginState

#: What a failure of each kind makes of the instance; everything else is FAILED.
_REMEDIES: Final = {
    FailureKind.NOT_READY: _S.RETRYING,
    FailureKind.CREDENTIALS: _S.AWAITING_SECRET,
    FailureKind.CONFIGURATION: _S.MISCONFIGURED,
    FailureKind.PERMISSION: _S.DISABLED,
    FailureKind.LICENCE: _S.DISABLED,
}


class Instance:
    """A (plugin, tenant) pair with its own settings, secrets, storage, breaker and state."""

    def __init__(
        self,
        plugin: InstalledPlugin,
        tenant_id: str | None,
        house: House,
        settings: ResolvedSettings,
        *,
        needs: SecurityNeeds,
    ) -> None:
        self.plugin: Final = plugin
        self.ref: Final = InstanceRef(plugin.id, tenant_id)
        self.lock: Final = asyncio.Lock()
        self.settings = settings
        self.health = HealthReport(status=HealthStatus.UNKNOWN, message="not checked yet")
        self.secrets: Final = InstanceSecrets(
            house.secrets_for(plugin), plugin.manifest, tenant_id, also_required=needs.secrets_required
        )
        #: What the manifest asks for, and what the configuration file demands beyond it.
        self.permissions: Final = tuple(dict.fromkeys((*plugin.manifest.permissions, *needs.required_permissions)))
        #: Optional secrets that no provider has, and the features that are off for want of them.
        self.switched_off: dict[str, tuple[str, ...]] = {}
        self.retry_at: float | None = None
        #: What the operator or the loader wants it to be: active, or only loaded.
        self.wanted_active = False
        #: Whether policy or licence kept it from running the last time that they were asked.
        self.barred = False
        #: The environment (deployment scenario) that its settings were made for.
        self.environment: str | None = None
        self._house: Final = house
        self._states: Final = StateMachine(self.ref)
        self._api: InlineAPI | None = None
        self._object: BasePlugin | None = None
        self._methods: dict[str, Method] = {}
        self._attempts = 0
        self._retry_timer: asyncio.TimerHandle | None = None
        limits = house.limits
        self._give_up: Final = GiveUpRule(limits.give_up_failures, limits.give_up_window)
        self.member: Final = Member(
            self.ref,
            breaker=Breaker(limits.breaker_failures, limits.breaker_pause),
            metrics=house.telemetry.instance(plugin.id, tenant_id),
            permissions={
                method: feature.permission
                for feature in plugin.manifest.features.values()
                if feature.permission is not None
                for method in feature.methods
            },
            on_strike=self._struck,
        )
        self._steps: Final = StepRunner(house, self.member)
        self._close("not loaded yet")

    # what it is

    @property
    def state(self) -> PluginState:
        return self._states.state

    @property
    def reason(self) -> str:
        return self._states.now.reason

    def status(self) -> InstanceStatus:
        """Everything that a person may want to know about it."""
        now = self._states.now
        licence = self._house.gate.licences.state_of(self.ref)
        return InstanceStatus(
            plugin_id=self.ref.plugin_id,
            tenant_id=self.ref.tenant_id,
            version=self.plugin.version,
            state=now.state,
            reason=now.reason,
            since=now.since,
            health=self.health,
            breaker=self.member.breaker.state,
            attempts=self._attempts,
            retry_at=self.retry_at,
            policy=self._house.gate.authoriser.describe(),
            licence=None if licence is None else licence.text,
            security_level=self.plugin.info.security_level,
            switched_off=self.switched_off,
            tasks=len(self._house.tasks.of(self.ref.plugin_id, self.ref.tenant_id)),
            history=tuple(self._states.history),
        )

    def method(self, name: str) -> Method:
        """A public method of the plugin, to be called through the gate. Raises `AttributeError` with the names there are."""
        found = self._methods.get(name)
        if found is not None:
            return found
        if self._object is None:
            raise LifecycleError(f"{self.ref} is {self.state.value} ({self.reason}); it has no methods to call")
        names = public_methods(type(self._object))
        if name not in names:
            raise AttributeError(f"{self.ref.plugin_id} has no public method {name!r}; it has {', '.join(names)}")
        found = self._methods[name] = Method(self._house.gate, self.member, name, getattr(self._object, name))
        return found

    @property
    def loaded(self) -> bool:
        """Whether the plugin's object is there, active or not."""
        return self._object is not None

    # steps

    async def initialize(self) -> None:
        """Make the plugin's object and let it prepare. Raises `SecretMissingError`, `StepError`, or what the plugin raised on purpose."""
        if self._object is not None:
            await to_the_end(self._release())
        self._move(_S.INITIALIZING, "load")
        try:
            self._check_allowed()
            missing = await self.secrets.missing_required()
            if missing:
                raise self.secrets.missing_error(missing)
            self.switched_off = await self.secrets.switched_off()
            self._api = self._make_api()
            self._object = await self._steps.make(load_class(self.plugin), self._api)
            await self._steps.run(self._object, "initialize", self._house.limits.initialize)
            self._check_hooks()
        except BaseException as error:
            await to_the_end(self._recover("initialize", error))
            raise
        self._move(_S.INITIALIZED, "loaded")
        await self._announce("on_initialized")

    async def activate(self) -> None:
        """Let it work. Raises `NotReady`, `CredentialsRefused`, `ConfigurationError`, or `StepError`; the remedy is under way then."""
        if self._object is None:
            await self.initialize()
        assert self._object is not None  # noqa: S101 - initialize made it or raised
        self._move(_S.ACTIVATING, "start")
        try:
            self._check_allowed()
            await self._house.before_activation(self)
            await self._steps.run(self._object, "activate", self._house.limits.activate)
            self._house.registry_of(self.ref.tenant_id).register(self._object, self.member, name=self.ref.plugin_id)
        except BaseException as error:
            await to_the_end(self._recover("activate", error))
            raise
        self._attempts = 0
        self.member.breaker.succeeded()
        # Nothing may be awaited between the registration and the state: a call must never find one without the other.
        self.member.accepting = True
        self._move(_S.ACTIVE, "started")
        self.health = HealthReport(status=HealthStatus.HEALTHY, message="active")
        await self._announce("on_activated")

    async def deactivate(self, reason: str = "stopped", *, into: PluginState = _S.INITIALIZED) -> None:
        """Take no calls any more, let those under way end, stop the plugin's work. Always ends; what fails is reported."""
        if self.state is _S.ACTIVE:
            await to_the_end(self._deactivate(reason, into))

    async def _deactivate(self, reason: str, into: PluginState) -> None:
        assert self._object is not None  # noqa: S101 - an active instance has its object
        self._close(reason)
        self._house.registry_of(self.ref.tenant_id).unregister(self.ref.plugin_id)
        self._move(_S.DEACTIVATING, reason)
        await self._steps.drain(self._house.limits.deactivate)
        await self._steps.attempt(self._object, "deactivate", self._house.limits.deactivate)
        await self._steps.end_tasks()
        self.health = HealthReport(status=HealthStatus.UNKNOWN, message=reason)
        self._move(into, reason)
        await self._announce("on_deactivated")

    async def unload(self, reason: str = "unloaded") -> None:
        """Release everything and be gone. Always ends; what fails is reported."""
        await to_the_end(self._unload(reason))

    async def _unload(self, reason: str) -> None:
        self._cancel_retry()
        await self.deactivate(reason)
        if self.state is _S.UNLOADED:
            return
        had_object = self._object is not None
        if self.state not in {_S.CREATED, _S.INITIALIZING}:
            self._move(_S.CLEANING_UP, reason)
        await self._release()
        self._move(_S.UNLOADED, reason)
        if had_object:
            await self._announce("on_cleaned_up")
        self._house.telemetry.drop(self.ref.plugin_id, self.ref.tenant_id)

    async def suspend(self, reason: str) -> None:
        """The tenant is switched off: stop, and remember to go on at `resume`."""
        self._cancel_retry()
        if self.state is _S.ACTIVE:
            await self.deactivate(reason, into=_S.SUSPENDED)
        elif self.state not in {_S.SUSPENDED, _S.UNLOADED, _S.DISABLED}:
            self._move(_S.SUSPENDED, reason)

    async def resume(self, reason: str) -> None:
        """The tenant is switched on again."""
        if self.state is not _S.SUSPENDED:
            return
        if self.wanted_active:
            await self.activate()
        elif self._object is not None:
            self._move(_S.INITIALIZED, reason)
        else:
            await self.initialize()

    async def restart(self, reason: str) -> None:
        """Stop, release, make anew and start: the remedy for what cannot be changed in place."""
        await self.deactivate(reason)
        await to_the_end(self._begin_anew(reason))
        await self.activate()

    async def apply_settings(self, new: ResolvedSettings) -> tuple[Sequence[SettingChange], bool]:
        """Give the running instance new settings: the changes, and whether it had to be restarted for them."""
        changes = new.changes_from(self.settings)
        self.settings = new
        if not changes or self._object is None or self._api is None:
            return changes, False
        self._api.settings = new.model
        if self.state is not _S.ACTIVE:
            # What is suspended or held back stays so; its next start makes the object anew.
            await to_the_end(self._release())
            if self.state is _S.INITIALIZED:
                self._rest(_S.HELD_BACK, "settings changed")
                await self.initialize()
            return changes, True
        if await self._tell("on_settings_changed", changes=changes):
            return changes, False
        await self.restart("settings changed")
        return changes, True

    async def rotate(self, name: str) -> bool:
        """A secret has a new value: tell the instance, or start what waited for it. `True` when it was restarted."""
        self.switched_off = await self.secrets.switched_off()
        if self.state is _S.AWAITING_SECRET:
            await self.restart(f"secret {name} changed") if self.wanted_active else await self.initialize()
            return True
        if self.state is not _S.ACTIVE or await self._tell("on_secret_rotated", name=name):
            return False
        await self.restart(f"secret {name} changed")
        return True

    async def check_health(self) -> HealthReport:
        """Ask the plugin how it is. What is not active is unhealthy, with the reason."""
        if self.state is not _S.ACTIVE or self._object is None:
            resting = (
                HealthStatus.UNKNOWN
                if self.state in {_S.INITIALIZED, _S.CREATED, _S.SUSPENDED}
                else HealthStatus.UNHEALTHY
            )
            self.health = HealthReport(status=resting, message=f"{self.state.value}: {self.reason}")
            return self.health
        outcome = await self._steps.outcome(self._object, "health_check", self._house.limits.health_check)
        if not self.member.accepting:
            return self.health  # it was stopped meanwhile
        if isinstance(outcome, Failed):
            self.health = HealthReport(status=HealthStatus.UNHEALTHY, message=str(outcome.failure))
        else:
            self.health = plain_report(outcome, self._house.redact)
        if self.switched_off and self.health.healthy:
            text = f"features off for want of secrets: {', '.join(self.switched_off)}"
            self.health = HealthReport(status=HealthStatus.DEGRADED, message=text, details=self.health.details)
        licence = self._house.gate.licences.state_of(self.ref)
        if licence is not None and licence.degraded and self.health.healthy:
            text = f"licence: {licence.text}"
            self.health = HealthReport(status=HealthStatus.DEGRADED, message=text, details=self.health.details)
        return self.health

    async def plugin_metrics(self) -> dict[str, float]:
        """The plugin's own numbers; empty when it has none or fails to say."""
        if self.state is not _S.ACTIVE or self._object is None:
            return {}
        outcome = await self._steps.outcome(self._object, "get_metrics", self._house.limits.health_check)
        return plain_numbers(self.ref, outcome)

    def hold_back(self, reason: str) -> None:
        """Something that it requires is not there."""
        if self.state not in {_S.ACTIVE, _S.SUSPENDED, _S.UNLOADED}:
            self._rest(_S.HELD_BACK, reason)

    def misconfigured(self, reason: str) -> None:
        """Its settings cannot be used."""
        self._rest(_S.MISCONFIGURED, reason)

    def disable(self, reason: str) -> None:
        """It is switched off."""
        self._cancel_retry()
        self._rest(_S.DISABLED, reason)

    async def recheck(self) -> bool:
        """Policy or licences changed: stop it when it may not run any more. `True`: it was barred, and may run again.

        Called without the lock.
        """
        error = self._no_longer_allowed()
        if error is None:
            return self.barred and self.state is _S.DISABLED
        failure = self._failure("recheck", error)
        # One that is being started is waited for, and stopped then.
        await self._stop_for(failure, _S.DISABLED, str(error), barred=True)
        return False

    def forget_failures(self) -> None:
        """The operator begins anew."""
        self._give_up.forget()
        self._attempts = 0
        self._cancel_retry()

    # inside

    def _make_api(self) -> InlineAPI:
        house, ref = self._house, self.ref
        return InlineAPI(
            info=self.plugin.info,
            tenant_id=ref.tenant_id,
            settings=self.settings.model,
            secrets=self.secrets,
            storage=house.storage_for(ref.tenant_id, ref.plugin_id),
            logger=instance_logger(ref.plugin_id, ref.tenant_id),
            metrics=self.member.metrics.recorder,
            hooks=house.relay_for(ref.tenant_id, ref.plugin_id),
            data_dir=instance_folder(house.home, ref),
            report=house.report,
            count_licensed=lambda limit, amount: house.gate.licences.count(ref, limit, amount),
            secret_changed=house.secret_changed if provides_secrets(self.plugin) else None,
        )

    def _move(self, state: PluginState, reason: str) -> None:
        reason = self._house.redact(reason)
        self._states.move(state, reason)
        if state is not _S.ACTIVE:
            self._close(f"{state.value}: {reason}")
        self._house.telemetry.set_state(self.ref.plugin_id, self.ref.tenant_id, state)
        self._house.audit.record(
            "lifecycle", state.value, detail=reason, plugin_id=self.ref.plugin_id, tenant_id=self.ref.tenant_id
        )

    def _rest(self, state: PluginState, reason: str) -> None:
        self._move(state, reason)

    def _close(self, why: str) -> None:
        self.member.accepting = False
        self.member.why_not = f"it takes no calls: {why}"

    def _check_allowed(self) -> None:
        """Whether policy and licence let it run. Raises what says why not."""
        gate = self._house.gate
        why = gate.authoriser.refuse_activation(self.ref, self.permissions)
        self.barred = why is not None
        if why is not None:
            raise PermissionDeniedError(f"{self.ref} may not run: {why}")
        why = gate.licences.refuse_activation(self.ref)
        self.barred = why is not None
        if why is not None:
            raise LicenceError(f"{self.ref} may not run: {why}")

    def _no_longer_allowed(self) -> PluginError | None:
        """As `_check_allowed`, for what may be running already: it takes no place that it does not have."""
        gate = self._house.gate
        if (why := gate.authoriser.refuse_activation(self.ref, self.permissions)) is not None:
            return PermissionDeniedError(f"{self.ref} may not run any more: {why}")
        if (why := gate.licences.refuse_call(self.ref, "")) is not None:
            return LicenceError(f"{self.ref} may not run any more: {why}")
        return None

    def _check_hooks(self) -> None:
        """Let pluggy compare the hooks' arguments now, so that a wrong one fails the load and not the start."""
        registry = self._house.registry_of(self.ref.tenant_id)
        try:
            registry.register(self._object, self.member, name=self.ref.plugin_id)
        except pluggy.PluginValidationError as error:
            raise StepError(f"{self.ref}: a hook is not as specified: {error}", step="initialize") from error
        registry.unregister(self.ref.plugin_id)

    async def _recover(self, step: str, error: BaseException) -> None:
        """A step failed: release what was made, choose the remedy, tell the others."""
        failure = getattr(error, "failure", None) or self._failure(step, error)
        await self._release()
        state = _REMEDIES.get(failure.kind, _S.FAILED)
        reason = f"{step}: {failure.message}"
        if state is _S.FAILED and failure.kind is not FailureKind.CANCELLED and self._give_up.enough():
            state, reason = (
                _S.DISABLED,
                f"gave up after {self._house.limits.give_up_failures} failures; the last: {reason}",
            )
        self._rest(state, reason)
        if self.wanted_active and state in {_S.RETRYING, _S.FAILED} and failure.kind is not FailureKind.CANCELLED:
            asked = error.retry_after if isinstance(error, NotReady) else None
            self._schedule_retry(backoff(self._attempts, asked=asked, first=self._house.limits.retry_first))
        await self._announce("on_failed", failure=failure)

    def _failure(self, step: str, error: BaseException) -> Failure:
        return Failure(
            plugin_id=self.ref.plugin_id,
            tenant_id=self.ref.tenant_id,
            operation=step,
            kind=kind_of(error),
            message=self._house.redact(told(error)),
            error_type=type(error).__name__,
        )

    async def _announce(self, hook: str, **values: Any) -> None:
        hooks = self._house.hooks_without(self.ref.tenant_id, self.ref.plugin_id)
        await getattr(hooks, hook)(instance=self.ref, **values)

    async def _tell(self, hook: str, **values: Any) -> bool:
        """Call a lifecycle hook of the instance itself; `False` when it has none or failed."""
        function = getattr(self._object, hook, None)
        if function is None:
            return False
        takes = inspect.signature(function).parameters
        values = {name: value for name, value in values.items() if name in takes}
        seat = Seat(self.member, hook, function)
        context = PluginContext(tenant_id=self.ref.tenant_id, request_id=f"{hook}-{time.time_ns():x}")
        outcome = await self._house.gate.call(seat, context, (), values)
        return not isinstance(outcome, Failed)

    async def _begin_anew(self, reason: str) -> None:
        await self._release()
        if self.state not in {_S.FAILED, _S.RETRYING, _S.AWAITING_SECRET, _S.MISCONFIGURED, _S.HELD_BACK, _S.DISABLED}:
            self._rest(_S.HELD_BACK, reason)

    async def _release(self) -> None:
        """Run the cleanups, last registered first, then the plugin's own; end its tasks. Whatever fails is reported."""
        for name, method in self._methods.items():
            method.successor = functools.partial(self.method, name)
        self._methods.clear()
        api, self._api = self._api, None
        plugin, self._object = self._object, None
        if api is not None:
            await self._steps.attempt(api, "run_cleanups", self._house.limits.cleanup)
        if plugin is not None:
            await self._steps.attempt(plugin, "cleanup", self._house.limits.cleanup)
        await self._steps.end_tasks()
        if api is not None:
            api.ended = True

    def _schedule_retry(self, delay: float) -> None:
        self._cancel_retry()
        self._attempts += 1
        self.retry_at = time.time() + delay
        loop = asyncio.get_running_loop()
        self._retry_timer = loop.call_later(delay, self._retry_now)
        _LOG.info("%s: next try in %.0f s (%s)", self.ref, delay, self.reason)

    def _retry_now(self) -> None:
        self.retry_at = self._retry_timer = None

        async def again() -> None:
            try:
                await self._house.retry(self)
            except Exception as error:  # noqa: BLE001 - the instance's state says it
                _LOG.info("%s: the try failed: %s", self.ref, error)

        self._house.run(again(), name=f"retry {self.ref}")

    def _cancel_retry(self) -> None:
        if self._retry_timer is not None:
            self._retry_timer.cancel()
        self.retry_at = self._retry_timer = None

    def _struck(self, failure: Failure) -> None:
        """The breaker opened, or the credentials are refused. Too often, and the instance is switched off."""
        if failure.kind is FailureKind.CREDENTIALS:
            self._house.run(
                self._stop_for(failure, _S.AWAITING_SECRET, f"{failure.operation}: {failure.message}"),
                name=f"await secret {self.ref}",
            )
            return
        _LOG.warning("%s: calls fail, the breaker is open: %s", self.ref, failure)
        if self._give_up.enough():
            reason = f"gave up after {self._house.limits.give_up_failures} failures; the last: {failure}"
            self._house.run(self._stop_for(failure, _S.DISABLED, reason), name=f"give up {self.ref}")

    async def _stop_for(self, failure: Failure, state: PluginState, reason: str, *, barred: bool = False) -> None:
        async with self.lock:
            if self.state is not _S.ACTIVE and not (barred and self.state is _S.INITIALIZED):
                return
            self.barred = barred
            await self.deactivate(reason)
            await self._release()
            self._rest(state, reason)
            await self._announce("on_failed", failure=failure)
        await self._house.fell(self)


def provides_secrets(plugin: InstalledPlugin) -> bool:
    """Whether its instances of the system tenant are asked for other plugins' secrets."""
    return plugin.manifest.category == "secrets"


def instance_folder(home: Path, ref: InstanceRef) -> Path:
    """The folder of an instance's files. A tenant id may be told from another by case alone, which a file system may not see."""
    tenant = tenant_label(ref.tenant_id)
    digest = hashlib.sha256(tenant.encode()).hexdigest()[:8]
    return home / "data" / f"{tenant}.{digest}" / ref.plugin_id
