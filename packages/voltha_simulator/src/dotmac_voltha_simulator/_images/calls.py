"""The calls on ONU images: the new API and the legacy one (section 6.1; surprises 5 and 39 to 41)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
from voltha_protos import common_pb2, device_pb2

from .._devices.onu_life import boot_image
from .._events.messages import rpc_error
from .._serving.refusal import RefusedError, failed_precondition, invalid_argument, unknown
from .._stack.records import OltRecord, OnuRecord
from . import upgrades
from .slots import STATE, Upgrade
from .source import reachable

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._stack.stack import Stack


class ImageCalls:
    """Methods named as the RPCs; each takes the request and answers the response, or raises ``RefusedError``."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        #: device id -> name -> the legacy download as it was asked for
        self._legacy_downloads: dict[str, dict[str, Any]] = {}

    def get_onu_images(self, request: Any) -> Any:
        """GetOnuImages: two slots."""
        if not request.id:
            raise invalid_argument("empty device id")
        record = self.stack.device(request.id)
        if not isinstance(record, OnuRecord):
            raise unknown("not-implemented")
        return record.hardware.slots.message()

    async def download_image_to_device(self, request: Any) -> Any:
        """DownloadImageToDevice: vendor and checksum are not looked at; only this reply tells a wrong address (surprise 39)."""
        if not request.device_id or not request.HasField("image"):
            raise invalid_argument("invalid argument")
        image = request.image
        there = await reachable(image.url)

        def begin(onu: OnuRecord) -> Upgrade:
            upgrade = Upgrade(
                image.version,
                activate_on_success=request.activateOnSuccess,
                commit_on_success=request.commitOnSuccess,
            )
            if not there:
                upgrade.set(download=STATE.DOWNLOAD_FAILED, reason=STATE.INVALID_URL)
                return upgrade
            onu.upgrades[image.version] = upgrade
            self.stack.spawn(upgrades.load(self.stack, onu, upgrade, image.url, boot_image))
            return upgrade

        failed = {"download": STATE.DOWNLOAD_FAILED, "reason": STATE.UNKNOWN_ERROR}
        return self._answers(request, image.version, begin, **failed)

    async def get_image_status(self, request: Any) -> Any:
        """GetImageStatus: without device ids those of all ONUs; where there is none it never answers (surprise 5)."""
        await self._require_ids(request)
        return self._answers(request, request.version, lambda onu: _known(onu, request.version))

    async def activate_image(self, request: Any) -> Any:
        """ActivateImage: reboots the ONU, also when nothing was ever loaded (surprise 40)."""
        await self._require_ids(request)

        def activate(onu: OnuRecord) -> Upgrade:
            version = request.version
            upgrade = onu.upgrades.get(version) or Upgrade(version, download=STATE.DOWNLOAD_UNKNOWN)
            upgrade.commit_on_success = upgrade.commit_on_success or request.commitOnSuccess
            upgrades.activate(self.stack, onu, upgrade, boot_image)
            if upgrade.download != STATE.DOWNLOAD_UNKNOWN:
                return upgrade
            # Nothing was loaded: the adapter forgets the activation at once, and only CommitImage still knows of it.
            onu.phantom = request.version
            return upgrade

        return self._answers(request, request.version, activate, image=STATE.IMAGE_ACTIVATION_ABORTED)

    async def commit_image(self, request: Any) -> Any:
        """CommitImage: what runs, and was loaded and activated before."""
        await self._require_ids(request)

        def commit(onu: OnuRecord) -> Upgrade:
            upgrade = onu.upgrades.get(request.version)
            if upgrade is not None and upgrade.image == STATE.IMAGE_ACTIVE:
                upgrades.commit(self.stack, onu, upgrade)
                return upgrade
            refused = STATE.CANCELLED_ON_ONU_STATE
            if onu.phantom == request.version:
                image = STATE.IMAGE_ACTIVATING
                return Upgrade(request.version, STATE.DOWNLOAD_UNKNOWN, refused, image)
            download = STATE.DOWNLOAD_UNKNOWN if upgrade is None else upgrade.download
            return Upgrade(request.version, download, refused, STATE.IMAGE_COMMIT_ABORTED)

        return self._answers(request, request.version, commit, image=STATE.IMAGE_COMMIT_ABORTED)

    async def abort_image_upgrade_to_device(self, request: Any) -> Any:
        """AbortImageUpgradeToDevice: loading is cancelled, an activation taken back; what is done stays."""
        await self._require_ids(request)
        return self._answers(request, request.version, lambda onu: _abort(onu, request.version))

    async def _require_ids(self, request: Any) -> None:
        if not request.device_id and not any(isinstance(one, OnuRecord) for one in self.stack.devices.values()):
            await asyncio.Event().wait()

    def _answers(
        self,
        request: Any,
        version: str,
        ask: Callable[[OnuRecord], Upgrade],
        *,
        download: int = 0,
        reason: int = STATE.UNKNOWN_ERROR,
        image: int = 0,
    ) -> Any:
        """An entry for each device; `download`, `reason` and `image` stand in for what is no ONU."""
        response = device_pb2.DeviceImageResponse()
        devices = self.stack.devices
        wanted = [one.id for one in request.device_id] or [
            one.id for one in devices.values() if isinstance(one, OnuRecord)
        ]
        for device_id in wanted:
            onu = devices.get(device_id)
            found = ask(onu) if isinstance(onu, OnuRecord) else Upgrade(version, download, reason, image)
            state = response.device_image_states.add(device_id=device_id).imageState
            state.version, state.download_state = version, found.download
            state.reason, state.image_state = found.reason, found.image
        return response

    # the legacy calls (surprise 41)

    def list_image_downloads(self, request: Any) -> Any:
        """ListImageDownloads."""
        self.stack.device(request.id)
        return device_pb2.ImageDownloads(items=self._legacy_downloads.get(request.id, {}).values())

    def download_image(self, request: Any) -> Any:
        """DownloadImage (legacy): well received, and shown as done at once."""
        self._legacy(request)
        stored = device_pb2.ImageDownload()
        stored.CopyFrom(request)
        stored.download_state = device_pb2.ImageDownload.DOWNLOAD_SUCCEEDED
        self._legacy_downloads.setdefault(request.id, {})[request.name] = stored
        return common_pb2.OperationResp(code=common_pb2.OperationResp.OPERATION_SUCCESS)

    def get_image_download_status(self, request: Any) -> NoReturn:
        """GetImageDownloadStatus (legacy)."""
        self._legacy(request)
        raise unknown("unImplemented")

    def get_image_download(self, request: Any) -> Any:
        """GetImageDownload (legacy)."""
        return self._downloaded(request)

    def cancel_image_download(self, request: Any) -> NoReturn:
        """CancelImageDownload (legacy): it is done already, so there is nothing to cancel."""
        self._legacy(request)
        words = f"device not in image download state {request.id}"
        if request.name in self._legacy_downloads.get(request.id, {}):
            raise RefusedError(grpc.StatusCode.ABORTED, words)
        raise failed_precondition(words)

    def activate_image_update(self, request: Any) -> Any:
        """ActivateImageUpdate (legacy): accepted, and nothing happens."""
        self._downloaded(request)
        return self._unimplemented_behind("ActivateImageUpdate", request)

    def revert_image_update(self, request: Any) -> Any:
        """RevertImageUpdate (legacy): accepted, and nothing happens."""
        self._downloaded(request)
        return self._unimplemented_behind("RevertImageUpdate", request)

    def _unimplemented_behind(self, rpc: str, request: Any) -> Any:
        """The core says yes; the adapter's no comes as an event only."""
        words = "rpc error: code = Unknown desc = unImplemented"
        self.stack.emit(rpc_error(rpc, request.id, words, {}))
        return common_pb2.OperationResp(code=common_pb2.OperationResp.OPERATION_SUCCESS)

    def _downloaded(self, request: Any) -> Any:
        self._legacy(request)
        found = self._legacy_downloads.get(request.id, {}).get(request.name)
        if found is None:
            raise failed_precondition(f"device not in image download state {request.id}")
        return found

    def _legacy(self, request: Any) -> None:
        record = self.stack.device(request.id)
        if isinstance(record, OltRecord):
            words = "is an OLT. Image update not supported by VOLTHA. Use Device Manager or other means"
            raise failed_precondition(f"device-id:{record.id}, {words}")


def _known(onu: OnuRecord, version: str) -> Upgrade:
    return onu.upgrades.get(version) or Upgrade(version, download=STATE.DOWNLOAD_UNKNOWN)


def _abort(onu: OnuRecord, version: str) -> Upgrade:
    """What the reply says; what the next question says may differ (section 6.1)."""
    upgrade = onu.upgrades.get(version)
    if upgrade is None or upgrade.image == STATE.IMAGE_COMMITTED:
        return Upgrade(version, download=STATE.DOWNLOAD_UNKNOWN)
    told = Upgrade(version, upgrade.download, STATE.CANCELLED_ON_REQUEST, upgrade.image)
    upgrade.set(reason=STATE.CANCELLED_ON_REQUEST)
    if upgrade.loading:
        upgrade.set(download=STATE.DOWNLOAD_CANCELLED, image=STATE.IMAGE_DOWNLOADING_ABORTED)
    elif upgrade.image == STATE.IMAGE_ACTIVATING:
        upgrade.set(image=STATE.IMAGE_ACTIVATION_ABORTED)
    return told
