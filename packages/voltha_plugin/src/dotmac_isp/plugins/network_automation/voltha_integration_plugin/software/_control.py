"""What the plugin does with ONU software on one stack: single ONUs, and rollouts that go on over restarts."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import TYPE_CHECKING, Any, Final

import msgspec

from dotmac_isp.plugins.core.model import DeviceEvent

from .._device import DeviceView, onus_of
from .._errors import DeviceNotFoundError, RequestRefusedError, ServiceConfigError, VolthaError
from .._follow import Follower, time_limit
from ._image import ImageSpec, check_version
from ._onu_images import abort, drive, read_slots, read_state, refuse_reboot
from ._rollout import Rollout, RolloutRules, Target
from ._runner import RolloutRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dotmac_isp.plugins.core.api import PluginAPI
    from dotmac_isp.plugins.core.model import PluginContext

    from .._session import Locks, Session
    from ._step import Goal

__all__ = ["SoftwareControl"]

_PREFIX: Final = "rollout/"
#: Below the 30 s after which a host ends calls without a deadline, so that our error says what hangs.
_USUAL: Final = 25.0


class SoftwareControl:
    """The ONU software of one stack."""

    def __init__(
        self,
        api: PluginAPI,
        *,
        session: Callable[[], Session],
        locks: Locks,
        tell: Callable[[DeviceEvent], None],
    ) -> None:
        self._api: Final = api
        self._session_now: Final = session
        self._locks: Final = locks
        self._tell: Final = tell
        self._rollouts: Final[dict[str, Rollout]] = {}
        self._tasks: Final[dict[str, asyncio.Task[None]]] = {}

    @property
    def _session(self) -> Session:
        return self._session_now()

    async def images(self, onu: DeviceView) -> dict[str, Any]:
        """The slots of an ONU."""
        slots = await read_slots(self._session, onu.id)
        return {"device_id": onu.id, "serial_number": onu.serial, **slots.plain()}

    async def status(self, onu: DeviceView, version: str) -> dict[str, Any]:
        """How far an image of an ONU is."""
        state = await read_state(self._session, onu.id, check_version(version))
        return {"device_id": onu.id, "serial_number": onu.serial, **state.plain(), "trouble": state.trouble}

    async def bring(
        self, onu: DeviceView, image: ImageSpec, goal: Goal, context: PluginContext | None
    ) -> dict[str, Any]:
        """Load, activate or commit an image, and wait until it is so; what is so already is not done again."""
        image.checked(with_url=goal == "load")
        follower = Follower(f"{goal} image {image.version} on {onu.serial}", time_limit(_USUAL, context))
        async with self._locks[f"onu/{onu.serial}/software"]:
            if goal != "load":
                await self._require_loaded(onu, image.version, goal)
            return await drive(self._session, onu, image, goal, follower)

    async def _require_loaded(self, onu: DeviceView, version: str, goal: Goal) -> None:
        slots = await read_slots(self._session, onu.id)
        refuse_reboot(onu, slots, version)
        if goal == "commit" and slots.active != version:
            raise RequestRefusedError(
                f"ONU {onu.serial} runs {slots.active}, not {version}",
                remedy="Activate it first; only what runs can be committed",
            )

    async def abort(self, onu: DeviceView, version: str) -> dict[str, Any]:
        """Abort what is under way with an image; asking for what is not under way changes nothing."""
        done, state = await abort(self._session, onu, check_version(version))
        return {"device_id": onu.id, "serial_number": onu.serial, "aborted": done, **state.plain()}

    async def load(self) -> None:
        """Read the rollouts, and go on with those that ran when the instance ended."""
        for document in await self._api.storage.list(_PREFIX):
            rollout = msgspec.convert(document.value, Rollout)
            self._rollouts[rollout.id] = rollout
            if rollout.state == "running":
                self._begin(rollout)

    async def stop(self) -> None:
        """End the tasks; the rollouts go on when the instance is started again."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def roll_out(self, image: ImageSpec, names: Sequence[str], rules: Mapping[str, Any]) -> dict[str, Any]:
        """Begin a rollout to ONUs (by name, or all of an OLT)."""
        image.checked()
        how = RolloutRules.parse(rules)
        serials = await self._serials(names)
        busy = self._busy() & set(serials)
        if busy:
            raise RequestRefusedError(
                f"ONU {min(busy)} is in another rollout", remedy="Stop that one first, or wait until it is done"
            )
        rollout = Rollout(
            id=uuid.uuid4().hex[:12],
            image=image,
            rules=how.model_dump(),
            targets=[Target(serial=serial) for serial in serials],
        )
        await self._save(rollout)
        self._rollouts[rollout.id] = rollout
        self._begin(rollout)
        return rollout.plain()

    def _busy(self) -> set[str]:
        running = (rollout for rollout in self._rollouts.values() if rollout.state == "running")
        return {target.serial for rollout in running for target in rollout.targets if target.state != "done"}

    async def _serials(self, names: Sequence[str]) -> list[str]:
        devices = await self._session.devices()
        found: list[str] = []
        for name in names:
            device = next((each for each in devices if name in (each.id, each.serial)), None)
            if device is None:
                raise DeviceNotFoundError(f"no device with the id or serial number {name!r}")
            found += [onu.serial for onu in onus_of(devices, device)] if device.is_olt else [device.serial]
        if not found:
            raise ServiceConfigError("there is no ONU to roll out to", remedy="Name ONUs, or an OLT that has some")
        return list(dict.fromkeys(found))

    def _begin(self, rollout: Rollout) -> None:
        runner = RolloutRunner(
            rollout,
            session=self._session_now,
            locks=self._locks,
            save=self._save,
            tell=self._say,
            logger=self._api.logger,
        )
        task = self._api.spawn(runner.run(), name=f"voltha rollout {rollout.id}")
        self._tasks[rollout.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(rollout.id, None))

    async def _save(self, rollout: Rollout) -> None:
        rollout.updated_at = time.time()
        await self._api.storage.put(_PREFIX + rollout.id, msgspec.to_builtins(rollout))

    def _say(self, kind: str, severity: str, message: str, serial: str, attributes: dict[str, Any]) -> None:
        self._tell(
            DeviceEvent(
                event_type=kind,
                device_id=serial or "voltha",
                serial_number=serial,
                source=self._api.plugin_id,
                tenant_id=self._api.tenant_id,
                severity=severity,
                message=message,
                attributes=attributes,
            )
        )

    def rollouts(self) -> list[dict[str, Any]]:
        """All rollouts, newest first, without their ONUs."""
        newest = sorted(self._rollouts.values(), key=lambda rollout: rollout.began_at, reverse=True)
        return [rollout.plain(with_targets=False) for rollout in newest]

    def find(self, rollout_id: str) -> Rollout | None:
        """A rollout by its id."""
        return self._rollouts.get(rollout_id)

    async def stop_rollout(self, rollout: Rollout) -> dict[str, Any]:
        """Stop a rollout: ONUs that are loading are aborted, the others stay as they are."""
        task = self._tasks.get(rollout.id)
        if rollout.state != "running" or task is None:
            return rollout.plain()
        task.cancel()
        await asyncio.wait([task])
        for target in rollout.targets:
            if target.state == "working":
                await self._abort_target(rollout, target)
        rollout.state, rollout.why = "stopped", "an operator stopped it"
        await self._save(rollout)
        return rollout.plain()

    async def _abort_target(self, rollout: Rollout, target: Target) -> None:
        target.state, target.why = "waiting", "stopped"
        try:
            onu = await self._session.directory.find(target.serial)
            if onu is not None:
                await abort(self._session, onu, rollout.image.version)
        except VolthaError as error:
            target.why = f"stopped; aborting failed: {error.message}"

    async def resume(self, rollout: Rollout) -> dict[str, Any]:
        """Go on with a rollout that was stopped; ONUs that failed are tried again."""
        if rollout.state == "running":
            return rollout.plain()
        for target in rollout.targets:
            if target.state in ("failed", "working"):
                target.state, target.why = "waiting", ""
        rollout.state, rollout.why = "running", ""
        await self._save(rollout)
        self._begin(rollout)
        return rollout.plain()
