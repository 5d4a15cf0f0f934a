"""What becomes of an instance that failed, is struck, or may not run any more: released, in the state of its remedy, tried again."""

from __future__ import annotations

import logging
from abc import abstractmethod
from typing import TYPE_CHECKING, Final

import msgspec

from ..dispatch import kind_of
from ..errors import NotReady, ProcessEndedError
from ..hosting import told
from ..model import Failure, FailureKind, PluginState
from ._base import InstanceBase
from ._remedy import counts_against, remedy_for

if TYPE_CHECKING:
    from ..errors import PermissionDeniedError
    from ._life import Life

__all__ = ["Recovery"]

_LOG: Final = logging.getLogger("dotmac.lifecycle")
_S = PluginState


class Recovery(InstanceBase):
    """The failures of an instance and their remedies."""

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

    async def bar(self, error: PermissionDeniedError) -> None:
        """It may not go on as it runs: stop it, until the policy says otherwise. Called without the lock."""
        await self._stop_for(self._failure("recheck", error), _S.DISABLED, str(error), barred=True)

    def forget_failures(self) -> None:
        """The operator begins anew."""
        self._give_up.forget()
        self._retry.forget()
        self._last_end, self._ends = None, 0

    # inside

    @abstractmethod
    async def _fell(self) -> None:
        """It was stopped for its failures: what requires it must be, too."""

    @abstractmethod
    async def deactivate(self, reason: str = "stopped", *, into: PluginState = _S.INITIALIZED) -> None:
        """Take no calls any more and stop the plugin's work."""

    async def _release(self) -> None:
        """Release the object and all that it holds. Whatever fails is reported."""
        await self._life.release()

    async def _recover(self, step: str, error: BaseException) -> None:
        """A step failed: release what was made, choose the remedy, tell the others."""
        failure = getattr(error, "failure", None) or self._failure(step, error)
        await self._release()
        self.barred = self.barred or failure.kind is FailureKind.PERMISSION
        remedy = remedy_for(
            msgspec.structs.replace(failure, operation=step),
            gave_up_after=self._enough(failure),
            wanted_active=self.wanted_active,
            attempts=self._retry.attempts,
            first=self._house.limits.retry_first,
            asked=error.retry_after if isinstance(error, NotReady) else None,
        )
        self._move(remedy.state, remedy.reason)
        if remedy.retry_after is not None:
            self._retry.schedule(remedy.retry_after, remedy.reason)
        self._announce("on_failed", failure=failure)

    def _enough(self, failure: Failure) -> int | None:
        """Count the failure; how many there were when that was one too many."""
        return self._house.limits.give_up_failures if counts_against(failure) and self._give_up.enough() else None

    def _failure(self, step: str, error: BaseException) -> Failure:
        return Failure(
            plugin_id=self.ref.plugin_id,
            tenant_id=self.ref.tenant_id,
            operation=step,
            kind=kind_of(error),
            message=self._house.redact(told(error)),
            error_type=type(error).__name__,
        )

    def _struck(self, life: Life, failure: Failure) -> None:
        """The breaker opened, or the credentials are refused. Too often, and the instance is switched off."""
        if life is not self._life:
            return  # the last calls of an object that another one has taken the place of
        if failure.kind is FailureKind.CREDENTIALS:
            self._house.run(
                self._stop_for(failure, _S.AWAITING_SECRET, f"{failure.operation}: {failure.message}", life=life),
                name=f"await secret {self.ref}",
            )
            return
        _LOG.warning("%s: calls fail, the breaker is open: %s", self.ref, failure)
        if self._give_up.enough():
            reason = f"gave up after {self._house.limits.give_up_failures} failures; the last: {failure}"
            self._house.run(self._stop_for(failure, _S.DISABLED, reason, life=life), name=f"give up {self.ref}")

    def _exited(self, life: Life, reason: str) -> None:
        """Its process ended by itself: stop, and begin anew as after any failure."""
        life.member.gone = True
        if life is self._life:
            self._last_end, self._ends = reason, self._ends + 1
            self._house.run(self._after_exit(life, reason), name=f"process of {self.ref} ended")

    async def _after_exit(self, life: Life, reason: str) -> None:
        async with self.lock:
            if life is not self._life or self.state not in {_S.ACTIVE, _S.INITIALIZED}:
                return  # a step was under way, and has failed of it
            _LOG.error("%s: its process ended: %s", self.ref, reason)
            await self.deactivate(f"its process ended: {reason}")
            await self._recover("process", ProcessEndedError(f"its process ended: {reason}", reason=reason))
        await self._fell()

    async def _stop_for(
        self, failure: Failure, state: PluginState, reason: str, *, barred: bool = False, life: Life | None = None
    ) -> None:
        """Stop what runs. `life`: only this one, and not another that has taken over meanwhile."""
        async with self.lock:
            if life is not None and life is not self._life:
                return
            if self.state is not _S.ACTIVE and not (barred and self.state is _S.INITIALIZED):
                return
            self.barred = barred
            await self.deactivate(reason)
            await self._release()
            self._move(state, reason)
            self._announce("on_failed", failure=failure)
        await self._fell()
