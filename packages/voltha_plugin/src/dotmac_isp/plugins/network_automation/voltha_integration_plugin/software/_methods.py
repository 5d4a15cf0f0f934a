"""The methods on ONU software that the plugin's handle has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._errors import DeviceNotFoundError
from ._image import ImageSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dotmac_isp.plugins.core.model import PluginContext

    from ..stacks._stacks import Stacks
    from ._control import SoftwareControl
    from ._rollout import Rollout

__all__ = ["SoftwareMethods"]


class SoftwareMethods:
    """Software of ONUs: load, activate, commit, abort, and rollouts in waves. What is so already is not done again.

    Loading takes minutes: give a deadline, or ask again; `StateTimeoutError` says what hangs, and the ONU goes on.
    """

    if TYPE_CHECKING:

        @property
        def _stacks(self) -> Stacks: ...

    async def list_images(self, device_id: str) -> dict[str, Any]:
        """The versions that an ONU has: `active`, `committed` and all `valid` ones."""
        work = await self._stacks.holding(device_id)
        return await work.software.images(await work.devices.require(device_id, "onu"))

    async def image_status(self, device_id: str, version: str) -> dict[str, Any]:
        """How far an image of an ONU is: VOLTHA's `download_state`, `reason`, `image_state`, and `trouble` in words."""
        work = await self._stacks.holding(device_id)
        return await work.software.status(await work.devices.require(device_id, "onu"), version)

    async def download_image(
        self,
        device_id: str,
        version: str,
        url: str,
        vendor: str = "",
        crc32: int = 0,
        context: PluginContext | None = None,
    ) -> dict[str, Any]:
        """Load an image (`http://…` that the ONU adapter can reach) onto an ONU and wait until it is there."""
        work = await self._stacks.holding(device_id)
        onu = await work.devices.require(device_id, "onu")
        image = ImageSpec(version=version, url=url, vendor=vendor, crc32=crc32)
        return await work.software.bring(onu, image, "load", context)

    async def activate_image(
        self, device_id: str, version: str, context: PluginContext | None = None
    ) -> dict[str, Any]:
        """Start an ONU with an image that it has, and wait until it takes services again.

        Raises `RequestRefusedError` when it does not have it: VOLTHA would only reboot the ONU.
        """
        work = await self._stacks.holding(device_id)
        onu = await work.devices.require(device_id, "onu")
        return await work.software.bring(onu, ImageSpec(version=version), "activate", context)

    async def commit_image(self, device_id: str, version: str, context: PluginContext | None = None) -> dict[str, Any]:
        """Keep the image that an ONU runs for its next start."""
        work = await self._stacks.holding(device_id)
        onu = await work.devices.require(device_id, "onu")
        return await work.software.bring(onu, ImageSpec(version=version), "commit", context)

    async def abort_image(self, device_id: str, version: str) -> dict[str, Any]:
        """Abort what is under way with an image; `aborted` says whether something was."""
        work = await self._stacks.holding(device_id)
        return await work.software.abort(await work.devices.require(device_id, "onu"), version)

    async def upgrade_onus(
        self,
        image: Mapping[str, Any],
        device_ids: Sequence[str],
        rules: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Begin to bring an image (`version`, `url`, `vendor`, `crc32`) to ONUs, or to all of an OLT, in waves.

        `rules`: `canary` (1), `wave` (32), `at_once` (8), `soak` (60 s), `stop_after` (1 failure), `timeout` (3600 s an ONU),
        `activate`, `commit`. Gives the rollout with its `id`; it goes on by itself, also after a restart of the host.
        """
        work = await self._stacks.holding(device_ids[0]) if device_ids else self._stacks.primary
        return await work.software.roll_out(ImageSpec(**image), device_ids, rules or {})

    async def list_upgrades(self) -> list[dict[str, Any]]:
        """All rollouts, newest first."""
        return [each for work in self._stacks.works for each in work.software.rollouts()]

    async def upgrade_status(self, upgrade_id: str) -> dict[str, Any]:
        """One rollout with the state of each ONU."""
        return self._rollout(upgrade_id)[1].plain()

    async def stop_upgrade(self, upgrade_id: str) -> dict[str, Any]:
        """Stop a rollout; ONUs that load are aborted, what is done stays."""
        software, rollout = self._rollout(upgrade_id)
        return await software.stop_rollout(rollout)

    async def resume_upgrade(self, upgrade_id: str) -> dict[str, Any]:
        """Go on with a rollout that was stopped; what failed is tried again."""
        software, rollout = self._rollout(upgrade_id)
        return await software.resume(rollout)

    def _rollout(self, upgrade_id: str) -> tuple[SoftwareControl, Rollout]:
        for work in self._stacks.works:
            found = work.software.find(upgrade_id)
            if found is not None:
                return work.software, found
        raise DeviceNotFoundError(f"no rollout {upgrade_id!r}", remedy="list_upgrades lists them")
