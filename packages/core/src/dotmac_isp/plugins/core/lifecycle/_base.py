"""What an instance is and knows; its steps and remedies build on it."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final

from ..errors import LicenceError, LifecycleError, PermissionDeniedError
from ..health import GiveUpRule
from ..model import HealthReport, HealthStatus, InstanceRef, PluginState
from ._announcements import Announcements, InstanceLock
from ._blueprint import Blueprint
from ._life import Life
from ._parts import HealthParts, parts_of
from ._retry import Retry
from ._states import StateMachine
from ._status import InstanceStatus

if TYPE_CHECKING:
    import asyncio

    from ..discovery import InstalledPlugin
    from ..dispatch import Hold, Member, Method, StreamMethod
    from ..errors import PluginError
    from ..model import Failure
    from ..secrets import InstanceSecrets
    from ..settings import ResolvedSettings, SecurityNeeds
    from ._house import House

__all__ = ["InstanceBase"]

_S = PluginState


class InstanceBase(ABC):
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
        self.ref: Final = InstanceRef(plugin.id, tenant_id)
        self._house: Final = house
        self._announcements: Final = Announcements(functools.partial(house.run, name=f"tell about {self.ref}"))
        self.lock: Final = InstanceLock(self._announcements)
        self.health = HealthReport(status=HealthStatus.UNKNOWN, message="not checked yet")
        #: Optional secrets that no provider has, and the features that are off for want of them.
        self.switched_off: dict[str, tuple[str, ...]] = {}
        #: What the operator or the loader wants it to be: active, or only loaded.
        self.wanted_active = False
        #: Whether policy or licence kept it from running the last time that they were asked.
        self.barred = False
        #: The environment (deployment scenario) that its settings were made for.
        self.environment: str | None = None
        self._states: Final = StateMachine(self.ref)
        self._give_up: Final = GiveUpRule(house.limits.give_up_failures, house.limits.give_up_window)
        self._retry: Final = Retry(self.ref, self._again, functools.partial(house.run, name=f"retry {self.ref}"))
        self._life = self._new_life(Blueprint(plugin, self.ref, house, settings, needs))
        #: The life that is about to take over, and those that another one took over from and that have not ended yet.
        self._candidate: Life | None = None
        self._retiring: dict[Life, asyncio.Event] = {}
        self._hold: Hold | None = None
        #: Whether the life that is being replaced has stopped its work already.
        self._resting = False
        #: Why its process last ended by itself, and how often that was.
        self._last_end: str | None = None
        self._ends = 0
        #: What an operator should know beside the state, by subject (`reload`, `version`).
        self.notes: dict[str, str] = {}
        self._close("not loaded yet")

    # what it is

    @property
    def plugin(self) -> InstalledPlugin:
        """The plugin in the version that it runs."""
        return self._life.blueprint.plugin

    @property
    def settings(self) -> ResolvedSettings:
        return self._life.blueprint.settings

    @settings.setter
    def settings(self, settings: ResolvedSettings) -> None:
        self._life.blueprint.settings = settings

    @property
    def secrets(self) -> InstanceSecrets:
        return self._life.blueprint.secrets

    @property
    def permissions(self) -> tuple[str, ...]:
        return self._life.blueprint.permissions

    @property
    def member(self) -> Member:
        """Who answers its calls now."""
        return self._life.member

    @property
    def state(self) -> PluginState:
        return self._states.state

    @property
    def reason(self) -> str:
        return self._states.now.reason

    @property
    def loaded(self) -> bool:
        """Whether the plugin's object is there, active or not."""
        return self._life.object is not None

    @property
    def inline(self) -> bool:
        """Whether its code runs in the host's own process, whose modules stay until the host is started anew."""
        return self._life.inline

    @property
    def code_from(self) -> float:
        """When its object was made, with the code of that time (Unix time, seconds)."""
        return self._life.made_at

    @property
    def running_tasks(self) -> int:
        """How many tasks its code has running."""
        return sum(life.tasks for life in (self._life, *self._retiring))

    @property
    def isolation(self) -> dict[str, Any]:
        """Where it runs and what keeps it apart; empty while it is nowhere."""
        host = self._life.host
        return {} if host is None or not self.loaded else host.isolation

    def parts(self) -> HealthParts:
        """How its process, its plugin and its vendor are, each for itself."""
        return parts_of(
            self.state,
            self.reason,
            self.health,
            isolation=self.isolation,
            breaker=self.member.breaker.state,
            last_end=self._last_end,
            ends=self._ends,
        )

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
            parts=self.parts(),
            breaker=self.member.breaker.state,
            attempts=self._retry.attempts,
            retry_at=self._retry.at,
            policy=self._house.gate.authoriser.describe(),
            licence=None if licence is None else licence.text,
            security_level=self.plugin.info.security_level,
            switched_off=self.switched_off,
            notes=tuple(self.notes.values()),
            tasks=self.running_tasks,
            isolation=self.isolation,
            history=tuple(self._states.history),
        )

    def method(self, name: str) -> Method | StreamMethod:
        """A public method of the plugin, to be called through the gate. Raises `AttributeError` with the names there are."""
        if not self.loaded:
            raise LifecycleError(f"{self.ref} is {self.state.value} ({self.reason}); it has no methods to call")
        return self._life.method(name)

    # inside

    def _new_life(self, blueprint: Blueprint, *, begun: bool = True) -> Life:
        life = Life(self.ref, self._house, blueprint, successor=self.method, begun=begun)
        life.member.accepting = False
        life.member.why_not = f"it takes no calls: {self.state.value}: {self.reason}"
        life.member.on_strike = functools.partial(self._struck, life)
        life.on_exit = functools.partial(self._exited, life)
        return life

    @abstractmethod
    async def _again(self) -> None:
        """The time of the next try has come."""

    @abstractmethod
    async def _admit(self, blueprint: Blueprint) -> None:
        """Tell the plugin's host services that a life made from the blueprint is about to work. Raises what stands in the way."""

    @abstractmethod
    def _struck(self, life: Life, failure: Failure) -> None:
        """Calls to this life fail too often."""

    @abstractmethod
    def _exited(self, life: Life, reason: str) -> None:
        """The process of this life ended by itself."""

    def _move(self, state: PluginState, reason: str) -> None:
        reason = self._house.redact(reason)
        self._states.move(state, reason)
        if state is not _S.ACTIVE:
            self._close(f"{state.value}: {reason}")
        self._house.telemetry.set_state(self.ref.plugin_id, self.ref.tenant_id, state)
        self._house.audit.record(
            "lifecycle", state.value, detail=reason, plugin_id=self.ref.plugin_id, tenant_id=self.ref.tenant_id
        )

    def _close(self, why: str) -> None:
        member = self.member
        member.accepting = False
        member.why_not = f"it takes no calls: {why}"

    def _announce(self, hook: str, **values: Any) -> None:
        """Tell the others, when the lock is free."""
        hooks = self._house.hooks_without(self.ref.tenant_id, self.ref.plugin_id)
        self._announcements.add(functools.partial(getattr(hooks, hook), instance=self.ref, **values))

    def _check_allowed(self, blueprint: Blueprint) -> None:
        """Whether policy and licence let it run. Raises what says why not."""
        gate = self._house.gate
        why = gate.authoriser.refuse_activation(self.ref, blueprint.permissions)
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
