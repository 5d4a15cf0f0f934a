"""Runs lifecycle steps of one instance: fenced, timed, with a warning when one is slow and an end when it hangs."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from typing import TYPE_CHECKING, Any, Final

from ..dispatch import Failed, Member, Seat, next_request_id
from ..errors import (
    ConfigurationError,
    CredentialsRefused,
    DiscoveryError,
    NotReady,
    PermissionDeniedError,
    StepError,
)
from ..health import Breaker
from ..model import PluginContext

if TYPE_CHECKING:
    from ..base import BasePlugin
    from ..hosting import Host, InlineAPI
    from ._house import House

__all__ = ["StepRunner"]

_LOG: Final = logging.getLogger("dotmac.lifecycle")
#: Steps have no breaker: their failures have remedies of their own.
_NEVER: Final = 1 << 62
_DRAIN_LOOK: Final = 0.01
#: What is raised on purpose, with a remedy of its own: by the plugin, or by the place where it is to run.
_PURPOSE: Final = (NotReady, CredentialsRefused, ConfigurationError, DiscoveryError, PermissionDeniedError)


class StepRunner:
    """Runs the steps of one instance."""

    def __init__(self, house: House, member: Member) -> None:
        self._house: Final = house
        self._calls: Final = member
        self._hurried = False
        self._member: Final = Member(
            member.ref, breaker=Breaker(_NEVER, 0.0), metrics=member.metrics, owner=member.owner
        )

    async def make(self, host: Host, api: InlineAPI) -> BasePlugin:
        """Make the plugin's object where it is to live. Raises `StepError` when its constructor fails, `DiscoveryError`."""
        made = await self._outcome(lambda: host.make(api), "construct", self._house.limits.initialize)
        if isinstance(made, Failed):
            raise self._error("construct", made)
        plugin: BasePlugin = made
        return plugin

    async def run(self, target: object, step: str, limit: float) -> None:
        """Run a step. Raises what the plugin raised on purpose (`NotReady` and its kin), or `StepError`."""
        outcome = await self.outcome(target, step, limit)
        if isinstance(outcome, Failed):
            raise self._error(step, outcome)

    async def attempt(self, target: object, step: str, limit: float) -> None:
        """Run a step of the way down: a failure is reported and nothing more."""
        outcome = await self.outcome(target, step, limit)
        if isinstance(outcome, Failed):
            _LOG.warning("%s: %s failed and was passed over: %s", self._member.ref, step, outcome.failure.message)

    async def outcome(self, target: object, step: str, limit: float) -> Any:
        """Run a step: its result or a `Failed`."""
        return await self._outcome(getattr(target, step), step, limit)

    async def drain(self, limit: float) -> None:
        """Wait for the calls under way, at most `limit` seconds."""
        end = time.monotonic() + limit
        while self._calls.calls and time.monotonic() < end and not self._hurried:  # noqa: ASYNC110 - an event would cost every call, a look costs only a stop
            await asyncio.sleep(_DRAIN_LOOK)

    def hurry(self) -> None:
        """Wait for calls under way no more: the instance is to stop."""
        self._hurried = True

    async def ask(self, hook: str, target: object, *args: Any, limit: float) -> Any:
        """Call a hook of the object itself: its answer. Raises `StepError` when it fails."""
        function = functools.partial(getattr(target, hook), *args)
        outcome = await self._outcome(function, hook, limit)
        if isinstance(outcome, Failed):
            raise self._error(hook, outcome)
        return outcome

    async def end_tasks(self, host: Host | None) -> None:
        """End the instance's tasks, also those in a process of its own; those that ignore it are named."""
        ref = self._member.ref
        patience = self._house.limits.cancellation
        ignoring = [] if host is None else await self._end_remote_tasks(host, patience)
        ignoring += [task.get_name() for task in await self._member.owner.end(patience=patience)]
        for name in ignoring:
            detail = f"{name} ignores its cancellation since {patience:g} s"
            _LOG.error("%s: %s", ref, detail)
            self._house.audit.record(
                "task", "ignores cancellation", detail=detail, plugin_id=ref.plugin_id, tenant_id=ref.tenant_id
            )

    async def _end_remote_tasks(self, host: Host, patience: float) -> list[str]:
        try:
            async with asyncio.timeout(2 * patience):
                return await host.end_tasks(patience)
        except TimeoutError:
            _LOG.warning("%s: its process does not end its tasks; they end with it", self._member.ref)
            return []

    async def _outcome(self, function: Any, step: str, limit: float) -> Any:
        seat = Seat(self._member, step, function)
        context = PluginContext.within(limit, tenant_id=self._member.ref.tenant_id, request_id=next_request_id())
        slow = asyncio.get_running_loop().call_later(self._house.limits.step_warning, self._warn, step)
        try:
            return await self._house.gate.step(seat, context)
        finally:
            slow.cancel()

    def _warn(self, step: str) -> None:
        seconds = self._house.limits.step_warning
        _LOG.warning("%s: %s has been running for %g s", self._member.ref, step, seconds)
        self._house.audit.record(
            "lifecycle",
            "slow",
            detail=f"{step} has been running for {seconds:g} s",
            plugin_id=self._member.ref.plugin_id,
            tenant_id=self._member.ref.tenant_id,
        )

    def _error(self, step: str, failed: Failed) -> BaseException:
        cause = failed.cause
        if isinstance(cause, _PURPOSE):
            return cause
        error = StepError(
            f"{self._member.ref}: {step} failed: {failed.failure.error_type}: {failed.failure.message}",
            step=step,
            failure=failed.failure,
        )
        error.__cause__ = cause
        return error
