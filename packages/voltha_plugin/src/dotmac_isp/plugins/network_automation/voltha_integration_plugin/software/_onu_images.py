"""Asking VOLTHA about an ONU's images and telling it what to do with them. Each request names its ONUs (surprise 5)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from voltha_protos import common_pb2, device_pb2

from .._client import identified
from .._errors import DeviceNotFoundError, RequestRefusedError, VolthaUnavailableError
from ._image import ImageSpec, ImageState, Slots, slots_from, state_from
from ._step import next_step

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._device import DeviceView
    from .._follow import Follower
    from .._session import Session
    from ._step import Command, Goal

__all__ = ["abort", "drive", "read_slots", "read_state", "refuse_reboot", "send"]

_FIRST_WAIT: Final = 0.05
_LONGEST_WAIT: Final = 5.0
_GROWTH: Final = 1.5
_RPC: Final = {"activate": "ActivateImage", "commit": "CommitImage"}


async def read_slots(session: Session, onu_id: str) -> Slots:
    """What the ONU has in its slots."""
    return slots_from(await session.client.call("GetOnuImages", identified(onu_id)))


async def read_state(session: Session, onu_id: str, version: str) -> ImageState:
    """How far an image of an ONU is."""
    return _only(await session.client.call("GetImageStatus", _request(onu_id, version)))


def _request(onu_id: str, version: str) -> Any:
    return device_pb2.DeviceImageRequest(device_id=[common_pb2.ID(id=onu_id)], version=version)


def _only(response: Any) -> ImageState:
    states = response.device_image_states
    return state_from(states[0].imageState) if states else ImageState()


async def send(session: Session, onu_id: str, image: ImageSpec, command: Command) -> ImageState:
    """Send a command and give what VOLTHA says at once: a bad address is told here only (surprise 39)."""
    if command == "download":
        content = device_pb2.Image(version=image.version, url=image.url, vendor=image.vendor, crc32=image.crc32)
        request = device_pb2.DeviceImageDownloadRequest(device_id=[common_pb2.ID(id=onu_id)], image=content)
        return _only(await session.client.call("DownloadImageToDevice", request, repeat=False))
    return _only(await session.client.call(_RPC[command], _request(onu_id, image.version), repeat=False))


async def abort(session: Session, onu: DeviceView, version: str) -> tuple[bool, ImageState]:
    """Abort what is under way; `False` when nothing is."""
    state = await read_state(session, onu.id, version)
    if not state.is_moving:
        return False, state
    return True, _only(await session.client.call("AbortImageUpgradeToDevice", _request(onu.id, version)))


async def drive(
    session: Session,
    onu: DeviceView,
    image: ImageSpec,
    goal: Goal,
    follower: Follower,
    *,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Bring one ONU to the goal, following it by serial number while it restarts; raises where it cannot be.

    `tell` hears what is being done. Raises `RequestRefusedError` with VOLTHA's reason, or `StateTimeoutError` with the step that hangs.
    """
    attempt = _Attempt(session, onu, image, goal, tell)
    wait = _FIRST_WAIT
    while True:
        try:
            reached = await attempt.advance()
            if reached is not None:
                return reached
        except (VolthaUnavailableError, DeviceNotFoundError) as error:
            attempt.seen = error.message  # it restarts, or VOLTHA does
        if follower.remaining <= 0:
            raise follower.timed_out(f"ONU {onu.serial} to {goal} image {image.version}", attempt.seen)
        await asyncio.sleep(min(wait, follower.remaining))
        wait = min(wait * _GROWTH, _LONGEST_WAIT)


class _Attempt:
    """One ONU on its way to an image."""

    def __init__(
        self, session: Session, onu: DeviceView, image: ImageSpec, goal: Goal, tell: Callable[[str], None]
    ) -> None:
        self._session: Final = session
        self._onu: Final = onu
        self._image: Final = image
        self._goal: Final = goal
        self._tell: Final = tell
        self._sent: Final[list[Command]] = []
        self.seen = "nothing yet"

    async def advance(self) -> dict[str, Any] | None:
        """Look and do the next step; gives what was reached, or `None` when it is still under way."""
        onu, image = self._onu, self._image
        now = await _current(self._session, onu)
        slots = await read_slots(self._session, now.id)
        state = await read_state(self._session, now.id, image.version)
        step = next_step(slots, state, image.version, self._goal, self._sent)
        self.seen = step.why or step.what
        if step.what == "failed":
            raise _refused(onu, image, step.why)
        if step.what == "done":
            # Started with the image is not enough: it has to take services again.
            if self._goal == "load" or now.is_ready:
                return {**now.plain(), "version": image.version, "reached": step.why, "images": slots.plain()}
            self.seen = f"it runs the image and is {now.state}"
        if step.command is not None:
            await self._do(now.id, step.command)
        return None

    async def _do(self, onu_id: str, command: Command) -> None:
        self._tell(command)
        self.seen = f"{command} was asked for"
        self._sent.append(command)
        said = await send(self._session, onu_id, self._image, command)
        if said.trouble:
            raise _refused(self._onu, self._image, said.trouble)


def _refused(onu: DeviceView, image: ImageSpec, why: str) -> RequestRefusedError:
    return RequestRefusedError(f"ONU {onu.serial}: image {image.version}: {why}")


async def _current(session: Session, onu: DeviceView) -> DeviceView:
    now = await session.directory.find(onu.serial)
    if now is None:
        raise DeviceNotFoundError(f"ONU {onu.serial} is not in VOLTHA at the moment")
    return now


def refuse_reboot(onu: DeviceView, slots: Slots, version: str) -> None:
    """Raise where activating would only reboot the ONU: it does not have that version (surprise 40)."""
    if version not in slots.valid:
        raise RequestRefusedError(
            f"ONU {onu.serial} has no valid image {version}; it has {', '.join(slots.valid) or 'none'}",
            remedy="Load it first; activating what is not loaded only reboots the ONU",
        )
