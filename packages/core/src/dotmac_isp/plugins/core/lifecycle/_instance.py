"""One instance: a plugin for a tenant, from its first step to its last.

Every public method is called with the instance's lock held (`async with instance.lock`), so that no two steps overlap.
"""

from __future__ import annotations

import inspect
import time
from typing import TYPE_CHECKING, Any

import msgspec

from ..dispatch import Failed, Seat
from ..errors import SecretError
from ..model import HealthReport, HealthStatus, PluginContext, PluginState
from ._said import plain_numbers, with_isolation
from ._takeover import TakeOver
from ._whole import to_the_end

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..discovery import InstalledPlugin
    from ..model import SettingChange
    from ..settings import ResolvedSettings, SecurityNeeds
    from ._blueprint import Blueprint

__all__ = ["Instance"]

_S = PluginState


class Instance(TakeOver):
    """A (plugin, tenant) pair with its own settings, secrets, storage, breaker and state."""

    # steps

    async def initialize(self) -> None:
        """Make the plugin's object and let it prepare. Raises `SecretMissingError`, `StepError`, or what the plugin raised on purpose."""
        if self.loaded:
            await to_the_end(self._release())
        if self._life.ended:
            self._life = self._new_life(self._life.blueprint)
        self._move(_S.INITIALIZING, "load")
        try:
            self._check_allowed(self._life.blueprint)
            missing = await self.secrets.missing_required()
            if missing:
                raise self.secrets.missing_error(missing)
            self.switched_off = await self.secrets.switched_off()
            await self._life.make()
        except BaseException as error:
            await to_the_end(self._recover("initialize", error))
            raise
        self._move(_S.INITIALIZED, "loaded")
        self._announce("on_initialized")

    async def activate(self) -> None:
        """Let it work. Raises `NotReady`, `CredentialsRefused`, `ConfigurationError`, or `StepError`; the remedy is under way then."""
        if not self.loaded:
            await self.initialize()
        life = self._life
        self._move(_S.ACTIVATING, "start")
        try:
            self._check_allowed(self._life.blueprint)
            await self._admit(life.blueprint)
            await life.activate()
            self._house.registry_of(self.ref.tenant_id).register(life.object, life.member, name=self.ref.plugin_id)
        except BaseException as error:
            await to_the_end(self._recover("activate", error))
            raise
        self._retry.forget()
        life.member.breaker.succeeded()
        # Nothing may be awaited between the registration and the state: a call must never find one without the other.
        life.member.accepting = True
        self._move(_S.ACTIVE, "started")
        self.health = HealthReport(status=HealthStatus.HEALTHY, message="active")
        self._announce("on_activated")

    async def deactivate(self, reason: str = "stopped", *, into: PluginState = _S.INITIALIZED) -> None:
        """Take no calls any more, let those under way end, stop the plugin's work. Always ends; what fails is reported."""
        if self.state is _S.ACTIVE:
            await to_the_end(self._deactivate(reason, into))

    async def _deactivate(self, reason: str, into: PluginState) -> None:
        self._close(reason)
        self._house.registry_of(self.ref.tenant_id).unregister(self.ref.plugin_id)
        self._move(_S.DEACTIVATING, reason)
        await self._life.deactivate()
        self.health = HealthReport(status=HealthStatus.UNKNOWN, message=reason)
        self._move(into, reason)
        self._announce("on_deactivated")

    async def unload(self, reason: str = "unloaded") -> None:
        """Release everything and be gone. Always ends; what fails is reported."""
        await to_the_end(self._unload(reason))

    async def _unload(self, reason: str) -> None:
        self._retry.cancel()
        await self.deactivate(reason)
        if self.state is _S.UNLOADED:
            return
        had_object = self.loaded
        if self.state not in {_S.CREATED, _S.INITIALIZING}:
            self._move(_S.CLEANING_UP, reason)
        await self._release()
        self._move(_S.UNLOADED, reason)
        if had_object:
            self._announce("on_cleaned_up")
        self._house.telemetry.drop(self.ref.plugin_id, self.ref.tenant_id)

    async def suspend(self, reason: str) -> None:
        """The tenant is switched off: stop, and remember to go on at `resume`."""
        self._retry.cancel()
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
        elif self.loaded:
            self._move(_S.INITIALIZED, reason)
        else:
            await self.initialize()

    async def restart(self, reason: str, blueprint: Blueprint | None = None) -> None:
        """Stop, release, make anew (from `blueprint`, where one is given) and start: calls are refused meanwhile."""
        await self.deactivate(reason)
        await to_the_end(self._begin_anew(reason))
        if blueprint is not None:
            self.begin_with(blueprint)
        await self.activate()

    def blueprint(self, *, plugin: InstalledPlugin, settings: ResolvedSettings, needs: SecurityNeeds) -> Blueprint:
        """What the instance would be made from with these."""
        return self._life.blueprint.renewed(plugin=plugin, settings=settings, needs=needs)

    def begin_with(self, blueprint: Blueprint) -> None:
        """What is not loaded is made from this when it is."""
        if not self.loaded:
            self._life = self._new_life(blueprint)

    async def renew(self, blueprint: Blueprint, reason: str) -> None:
        """Go on with this blueprint: an active instance without losing a call, another one from its next start on.

        Raises `ReloadError` when the new life was not taken.
        """
        if self.state is _S.ACTIVE:
            await self.take_over(blueprint, reason)
            return
        if self.state is _S.SUSPENDED or not self.wanted_active:
            was_loaded, suspended = self.loaded, self.state is _S.SUSPENDED
            await to_the_end(self._release())
            self._life = self._new_life(blueprint)
            if was_loaded and not suspended:
                self._move(_S.HELD_BACK, reason)
                await self.initialize()
            return
        await to_the_end(self._begin_anew(reason))
        self._life = self._new_life(blueprint)
        await self.activate()

    async def apply_settings(self, new: ResolvedSettings) -> tuple[Sequence[SettingChange], bool]:
        """Give the running instance new settings: the changes, and whether it had to be made anew for them.

        Raises `ReloadError` when it cannot be made with them; an active one goes on with the old ones then.
        """
        changes, previous, life = new.changes_from(self.settings), self.settings, self._life
        if not changes or life.api is None or self.state is not _S.ACTIVE:
            self.settings = new
            return changes, bool(changes) and life.api is not None and await self._made_anew("settings changed")
        if hasattr(life.object, "on_settings_changed") and await life.change_settings(new):
            self.settings = new
            if await self._tell("on_settings_changed", changes=changes):
                return changes, False
            # Until another life has taken over, this one is what it was made as.
            self.settings = previous
            await life.change_settings(previous)
        await self.take_over(self._life.blueprint.renewed(settings=new), "settings changed")
        return changes, True

    async def rotate(self, name: str) -> bool:
        """A secret has a new value: tell the instance, or start what waited for it. `True` when it was made anew."""
        self.switched_off = await self.secrets.switched_off()
        if self.state is _S.AWAITING_SECRET:
            await self.restart(f"secret {name} changed") if self.wanted_active else await self.initialize()
            return True
        if self.state is not _S.ACTIVE or await self._tell("on_secret_rotated", name=name):
            return False
        if await self._secrets_are_there():
            await self.take_over(self._life.blueprint.renewed(), f"secret {name} changed")
        else:
            await self.restart(f"secret {name} changed")  # what was withdrawn must not be used any longer
        return True

    async def check_health(self) -> HealthReport:
        """Ask the plugin how it is. What is not active is unhealthy, with the reason."""
        life = self._life
        if self.state is not _S.ACTIVE:
            resting = (
                HealthStatus.UNKNOWN
                if self.state in {_S.INITIALIZED, _S.CREATED, _S.SUSPENDED}
                else HealthStatus.UNHEALTHY
            )
            self.health = HealthReport(status=resting, message=f"{self.state.value}: {self.reason}")
            return self.health
        report = await self._examined(life)
        if life is not self._life or not life.member.accepting:
            return self.health  # it was stopped meanwhile
        self.health = with_isolation(report, self.isolation)
        if self.switched_off and self.health.healthy:
            text = f"features off for want of secrets: {', '.join(self.switched_off)}"
            self.health = msgspec.structs.replace(self.health, status=HealthStatus.DEGRADED, message=text)
        licence = self._house.gate.licences.state_of(self.ref)
        if licence is not None and licence.degraded and self.health.healthy:
            text = f"licence: {licence.text}"
            self.health = msgspec.structs.replace(self.health, status=HealthStatus.DEGRADED, message=text)
        return self.health

    async def plugin_metrics(self) -> dict[str, float]:
        """The plugin's own numbers; empty when it has none or fails to say."""
        if self.state is not _S.ACTIVE:
            return {}
        life = self._life
        outcome = await life.steps.outcome(life.object, "get_metrics", self._house.limits.health_check)
        return plain_numbers(self.ref, outcome)

    def hold_back(self, reason: str) -> None:
        """Something that it requires is not there."""
        if self.state not in {_S.ACTIVE, _S.SUSPENDED, _S.UNLOADED}:
            self._move(_S.HELD_BACK, reason)

    def misconfigured(self, reason: str) -> None:
        """Its settings cannot be used."""
        self._move(_S.MISCONFIGURED, reason)

    def disable(self, reason: str) -> None:
        """It is switched off."""
        self._retry.cancel()
        self._move(_S.DISABLED, reason)

    # inside

    async def _admit(self, blueprint: Blueprint) -> None:
        await self._house.before_activation(self, blueprint)

    async def _again(self) -> None:
        await self._house.retry(self)

    async def _fell(self) -> None:
        await self._house.fell(self)

    async def _tell(self, hook: str, **values: Any) -> bool:
        """Call a lifecycle hook of the instance itself; `False` when it has none or failed."""
        function = getattr(self._life.object, hook, None)
        if function is None:
            return False
        takes = inspect.signature(function).parameters
        values = {name: value for name, value in values.items() if name in takes}
        seat = Seat(self.member, hook, function)
        context = PluginContext(tenant_id=self.ref.tenant_id, request_id=f"{hook}-{time.time_ns():x}")
        outcome = await self._house.gate.call(seat, context, (), values)
        return not isinstance(outcome, Failed)

    async def _made_anew(self, reason: str) -> bool:
        """What is suspended or held back stays so, and its next start makes the object anew; what is loaded is loaded anew."""
        await to_the_end(self._release())
        if self.state is _S.INITIALIZED:
            self._move(_S.HELD_BACK, reason)
            await self.initialize()
        return True

    async def _secrets_are_there(self) -> bool:
        try:
            return not await self.secrets.missing_required()
        except SecretError:
            return False

    async def _begin_anew(self, reason: str) -> None:
        await self._release()
        if self.state not in {_S.FAILED, _S.RETRYING, _S.AWAITING_SECRET, _S.MISCONFIGURED, _S.HELD_BACK, _S.DISABLED}:
            self._move(_S.HELD_BACK, reason)
