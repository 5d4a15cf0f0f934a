"""Reload without a lost call: a new life begins beside the one that works, and takes over once it is healthy (design, decision 10).

What the two have in common during that time, and why it stays right, is written down in docs/decisions/0003.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from ..dispatch import Failed, Hold
from ..errors import ReloadError, StepError
from ..hosting import told
from ..model import HealthReport, HealthStatus, PluginState
from ._recovery import Recovery
from ._said import plain_report
from ._whole import to_the_end

if TYPE_CHECKING:
    from ._blueprint import Blueprint
    from ._life import Life

__all__ = ["TakeOver"]

_LOG: Final = logging.getLogger("dotmac.lifecycle")
_S = PluginState


class TakeOver(Recovery):
    """One life of an instance takes over from another."""

    async def take_over(self, blueprint: Blueprint, reason: str) -> None:
        """Let a life made from the blueprint take over from the active one. Called with the lock held.

        Raises `ReloadError`, and the old life goes on: whatever the new one failed at. `retired` waits for the old one's end.
        """
        old, new = self._life, self._new_life(blueprint, begun=False)
        self._candidate = new
        self._hold = None
        try:
            change = (
                self._in_turn
                if "in turn" in {one.blueprint.plugin.manifest.reload for one in (old, new)}
                else self._beside
            )
            await change(old, new)
            self._swap(old, new, reason)
        except BaseException as error:
            await to_the_end(self._stay(old, new, error))
            if not isinstance(error, Exception):
                raise
            raise self._not_taken(new, error) from error
        finally:
            self._candidate = None
            self._end_hold(old)
        self._retire(old)

    async def retired(self) -> None:
        """Wait until every life that another one took over from has ended."""
        for ended in list(self._retiring.values()):
            await ended.wait()

    def uses_secret(self, name: str) -> bool:
        """Whether it may read the secret, or the life may that is about to take over."""
        lives = [self._life, *([self._candidate] if self._candidate is not None else [])]
        return any(name in life.blueprint.secrets.names for life in lives)

    # the two ways

    async def _beside(self, old: Life, new: Life) -> None:
        """Both live for a while. Only a state that is handed over makes calls wait, and no longer than the longest one under way."""
        await self._begin(new)
        if old.hands_over and new.takes_over:
            self._begin_hold(old)
            await old.steps.drain(self._house.limits.deactivate)
            await self._give_state(new, await self._state_of(old))

    async def _in_turn(self, old: Life, new: Life) -> None:
        """For a plugin that cannot be there twice: calls wait while the old life ends its work and the new one begins."""
        hold = self._begin_hold(old)
        await old.steps.drain(self._house.limits.deactivate)
        state = await self._state_of(old) if old.hands_over and new.takes_over else None
        hold.everybody = True
        self._resting = True
        await to_the_end(old.deactivate())
        await self._begin(new)
        if state is not None:
            await self._give_state(new, state)

    async def _begin(self, new: Life) -> None:
        """Make, activate and examine the new life. Raises whatever is wrong with it."""
        blueprint = new.blueprint
        self._check_allowed(blueprint)
        missing = await blueprint.secrets.missing_required()
        if missing:
            raise blueprint.secrets.missing_error(missing)
        new.switched_off = await blueprint.secrets.switched_off()
        await new.make()
        await self._admit(blueprint)
        await new.activate()
        new.health = await self._examined(new)
        if new.health.status is HealthStatus.UNHEALTHY and self.health.status is not HealthStatus.UNHEALTHY:
            raise StepError(f"{self.ref}: it is unhealthy: {new.health.message}", step="health_check")

    async def _examined(self, life: Life) -> HealthReport:
        outcome = await life.steps.outcome(life.object, "health_check", self._house.limits.health_check)
        if isinstance(outcome, Failed):
            return HealthReport(status=HealthStatus.UNHEALTHY, message=str(outcome.failure))
        return plain_report(outcome, self._house.redact)

    # state

    async def _state_of(self, old: Life) -> Any:
        return await old.steps.ask("hand_over_state", old.object, limit=self._house.limits.health_check)

    async def _give_state(self, new: Life, state: Any) -> None:
        if state is not None:
            await new.steps.ask("take_over_state", new.object, state, limit=self._house.limits.health_check)

    # calls

    def _begin_hold(self, old: Life) -> Hold:
        hold = self._hold = old.member.held = Hold()
        self._house.registry_of(self.ref.tenant_id).holds += 1
        return hold

    def _end_hold(self, old: Life) -> None:
        hold, self._hold = self._hold, None
        if hold is not None:
            old.member.held = None
            self._house.registry_of(self.ref.tenant_id).holds -= 1
            hold.end()

    def _swap(self, old: Life, new: Life, reason: str) -> None:
        """From one call to the next, the new life answers. Nothing is awaited here."""
        registry = self._house.registry_of(self.ref.tenant_id)
        new.member.accepting = True
        registry.replace(new.object, new.member, name=self.ref.plugin_id)
        self._life = new
        old.give_way()
        new.numbers.begin()
        self._resting = False
        self.switched_off = new.switched_off
        self.health = new.health
        self.notes.pop("reload", None)
        self._move(_S.ACTIVE, reason)
        self._audit("taken", f"{reason}; version {new.blueprint.plugin.version}")

    # afterwards

    async def _stay(self, old: Life, new: Life, error: BaseException) -> None:
        """The new life was not taken: release it, and let the old one go on as it was."""
        was_made = new.api is not None
        await new.release()
        if self._resting:
            self._resting = False
            try:
                await old.activate()
            except Exception as second:  # noqa: BLE001 - the old life cannot go on either: its own remedy is under way
                self._close("it could not go on after a reload that failed")
                self._house.registry_of(self.ref.tenant_id).unregister(self.ref.plugin_id)
                self._move(_S.DEACTIVATING, f"a reload failed: {told(error)}")
                await self._recover("activate", second)
                return
        if was_made:
            try:
                await self._admit(old.blueprint)
            except Exception as second:  # noqa: BLE001 - it was admitted before, and goes on
                _LOG.warning("%s: its host service does not take it back: %s", self.ref, second)

    def _not_taken(self, new: Life, error: Exception) -> ReloadError:
        version = new.blueprint.plugin.version
        text = self._house.redact(told(error))
        goes_on = "the one before goes on" if self.state is _S.ACTIVE else f"the one before is {self.state.value}"
        self.notes["reload"] = f"version {version} was not taken, {goes_on}: {text}"
        self._audit("not taken", self.notes["reload"])
        _LOG.warning("%s: %s", self.ref, self.notes["reload"])
        return ReloadError(f"{self.ref}: {self.notes['reload']}")

    def _audit(self, outcome: str, detail: str) -> None:
        self._house.audit.record(
            "reload", outcome, detail=detail, plugin_id=self.ref.plugin_id, tenant_id=self.ref.tenant_id
        )

    def _retire(self, old: Life) -> None:
        self._retiring[old] = asyncio.Event()
        self._house.run(self._end_of(old), name=f"retire {self.ref}")

    async def _end_of(self, old: Life) -> None:
        try:
            await old.retire()
        finally:
            self._retiring.pop(old).set()

    async def _release(self) -> None:
        for life in self._retiring:
            life.steps.hurry()
        await self.retired()
        await super()._release()
