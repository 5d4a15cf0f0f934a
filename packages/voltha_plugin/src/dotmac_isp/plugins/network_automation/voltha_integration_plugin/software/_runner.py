"""Carrying out a rollout: wave after wave, some ONUs of it at once, until it is done or its rule stops it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from .._errors import VolthaError
from .._follow import Follower
from ._onu_images import drive, read_slots
from ._rollout import judge_wave, plan_waves

if TYPE_CHECKING:
    import logging
    from collections.abc import Awaitable, Callable, Sequence

    from .._session import Locks, Session
    from ._rollout import OnuState, Rollout, RolloutRules, Target
    from ._step import Goal

__all__ = ["RolloutRunner"]

_SAVE_EVERY: Final = 1.0

Tell = "Callable[[str, str, str, str, dict[str, Any]], None]"


class RolloutRunner:
    """One rollout under way. `save` stores it, `tell` tells the tenant's other plugins."""

    def __init__(
        self,
        rollout: Rollout,
        *,
        session: Callable[[], Session],
        locks: Locks,
        save: Callable[[Rollout], Awaitable[None]],
        tell: Callable[[str, str, str, str, dict[str, Any]], None],
        logger: logging.LoggerAdapter[logging.Logger],
    ) -> None:
        self._rollout: Final = rollout
        self._session: Final = session
        self._locks: Final = locks
        self._save: Final = save
        self._tell: Final = tell
        self._logger: Final = logger
        self._saved = 0.0

    async def run(self) -> None:
        """Work until it is over."""
        rollout = self._rollout
        rules = rollout.how
        waves = plan_waves(rollout.targets, rules)
        for number, wave in enumerate(waves):
            rollout.wave = number + 1
            if all(target.state == "done" for target in wave):
                continue
            await self._wave(wave, rules)
            stop = judge_wave(rollout, wave, is_canary=bool(rules.canary) and number == 0)
            if stop and number + 1 < len(waves):
                await self._end("stopped", stop)
                return
        failed = rollout.counts()["failed"]
        await self._end("done", f"{failed} ONUs failed" if failed else "")

    async def _end(self, state: Any, why: str) -> None:
        rollout = self._rollout
        rollout.state, rollout.why = state, why
        await self._save(rollout)
        text = f"rollout {rollout.id} of image {rollout.image.version} {state}" + (f": {why}" if why else "")
        self._logger.info("%s", text)
        self._tell(f"onu_rollout_{state}", "warning" if why else "info", text, "", rollout.plain(with_targets=False))

    async def _wave(self, wave: Sequence[Target], rules: RolloutRules) -> None:
        first: Goal = "activate" if rules.activate else "load"
        await self._all(wave, first, ("waiting", "working"), rules)
        if not rules.activate:
            return
        await self._soak(wave, rules)
        if rules.commit:
            await self._all(wave, "commit", ("activated",), rules)
        else:
            for target in wave:
                if target.state == "activated":
                    target.state = "done"
        await self._save(self._rollout)

    async def _all(self, wave: Sequence[Target], goal: Goal, states: tuple[OnuState, ...], rules: RolloutRules) -> None:
        slots = asyncio.Semaphore(rules.at_once)

        async def one(target: Target) -> None:
            async with slots:
                await self._one(target, goal, rules)

        async with asyncio.TaskGroup() as tasks:
            for target in wave:
                if target.state in states:
                    tasks.create_task(one(target))
        await self._save(self._rollout)

    async def _one(self, target: Target, goal: Goal, rules: RolloutRules) -> None:
        image = self._rollout.image
        follower = Follower(f"rollout {self._rollout.id}", rules.timeout)
        if goal != "commit":
            await self._mark(target, "working", "")
        try:
            async with self._locks[f"onu/{target.serial}/software"]:
                onu = await self._session().directory.require(target.serial, kind="onu")
                await drive(self._session(), onu, image, goal, follower, tell=lambda what: self._note(target, what))
        except VolthaError as error:
            await self._mark(target, "failed", error.message)
            self._tell("onu_software_failed", "major", error.message, target.serial, {"version": image.version})
            return
        reached: OnuState = "activated" if goal == "activate" else "done"
        await self._mark(target, reached, "")
        if reached == "done":
            text = f"ONU {target.serial} has image {image.version}"
            self._tell("onu_software_changed", "info", text, target.serial, {"version": image.version})

    def _note(self, target: Target, what: str) -> None:
        target.why = what

    async def _mark(self, target: Target, state: OnuState, why: str) -> None:
        target.state, target.why = state, why
        if time.monotonic() - self._saved >= _SAVE_EVERY:
            self._saved = time.monotonic()
            await self._save(self._rollout)

    async def _soak(self, wave: Sequence[Target], rules: RolloutRules) -> None:
        """Let the wave work with the image for a while; what is not well then is not committed and falls back at its next start."""
        active = [target for target in wave if target.state == "activated"]
        if not active:
            return
        await asyncio.sleep(rules.soak)
        session = self._session()
        devices = {device.serial: device for device in await session.devices()}
        for target in active:
            onu = devices.get(target.serial)
            if onu is None or not onu.is_ready:
                where = "gone from VOLTHA" if onu is None else onu.state
                await self._mark(target, "failed", f"did not keep working with the image: {where}")
                continue
            slots = await read_slots(session, onu.id)
            if slots.active != self._rollout.image.version:
                await self._mark(target, "failed", f"went back to {slots.active}")
