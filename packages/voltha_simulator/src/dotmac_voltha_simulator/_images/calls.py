"""The calls on ONU images: what can be asked and answered without the upgrade itself (section 6.1)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NoReturn

from voltha_protos import common_pb2, device_pb2

from .._serving.refusal import failed_precondition, invalid_argument, unknown
from .._stack.records import OltRecord, OnuRecord

if TYPE_CHECKING:
    from .._stack.stack import Stack

_STATE = device_pb2.ImageState
_SLOTS = (("BBSM_IMG_00001", True), ("BBSM_IMG_00000", False))


class ImageCalls:
    """Methods named as the RPCs; each takes the request and answers the response, or raises ``RefusedError``."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack

    def get_onu_images(self, request: Any) -> Any:
        """GetOnuImages: two slots."""
        if not request.id:
            raise invalid_argument("empty device id")
        record = self.stack.device(request.id)
        if not isinstance(record, OnuRecord):
            raise unknown("not-implemented")
        images = device_pb2.OnuImages()
        for version, active in _SLOTS:
            digest = version.encode().hex().ljust(32, "0")
            images.items.add(
                version=version,
                isCommited=active,
                isActive=active,
                isValid=True,
                productCode="BBSIM-ONU",
                hash=digest[:32],
            )
        return images

    def download_image_to_device(self, request: Any) -> Any:
        """DownloadImageToDevice: no image server is simulated, so each device answers that the URL is wrong."""
        if not request.device_id or not request.HasField("image"):
            raise invalid_argument("invalid argument")
        failed = _STATE.DOWNLOAD_FAILED
        return self._answers(request, request.image.version, download=failed, reason=_STATE.INVALID_URL)

    async def get_image_status(self, request: Any) -> Any:
        """GetImageStatus: without device ids it never answers (surprise 5)."""
        await self._require_ids(request)
        return self._answers(request, request.version)

    async def activate_image(self, request: Any) -> Any:
        """ActivateImage: nothing was ever loaded."""
        await self._require_ids(request)
        return self._answers(request, request.version, image=_STATE.IMAGE_ACTIVATION_ABORTED)

    async def commit_image(self, request: Any) -> Any:
        """CommitImage: nothing was ever activated."""
        await self._require_ids(request)
        return self._answers(request, request.version, image=_STATE.IMAGE_COMMIT_ABORTED)

    async def abort_image_upgrade_to_device(self, request: Any) -> Any:
        """AbortImageUpgradeToDevice: nothing is under way."""
        await self._require_ids(request)
        return self._answers(request, request.version)

    @staticmethod
    async def _require_ids(request: Any) -> None:
        if not request.device_id:
            await asyncio.Event().wait()

    def _answers(self, request: Any, version: str, *, download: int = 0, reason: int = 0, image: int = 0) -> Any:
        response = device_pb2.DeviceImageResponse()
        for wanted in request.device_id:
            known = isinstance(self.stack.devices.get(wanted.id), OnuRecord)
            state = response.device_image_states.add(device_id=wanted.id).imageState
            state.version, state.download_state, state.image_state = version, download, image
            state.reason = reason if known else _STATE.UNKNOWN_ERROR
        return response

    # the legacy calls

    def list_image_downloads(self, request: Any) -> Any:
        """ListImageDownloads: none."""
        self.stack.device(request.id)
        return device_pb2.ImageDownloads()

    def download_image(self, request: Any) -> Any:
        """DownloadImage (legacy): well received; nothing is loaded."""
        self._legacy(request)
        return common_pb2.OperationResp(code=common_pb2.OperationResp.OPERATION_SUCCESS)

    def get_image_download_status(self, request: Any) -> NoReturn:
        """GetImageDownloadStatus (legacy)."""
        self._legacy(request)
        raise unknown("unImplemented")

    def get_image_download(self, request: Any) -> NoReturn:
        """GetImageDownload (legacy)."""
        self._not_downloading(request)

    def cancel_image_download(self, request: Any) -> NoReturn:
        """CancelImageDownload (legacy)."""
        self._not_downloading(request)

    def activate_image_update(self, request: Any) -> NoReturn:
        """ActivateImageUpdate (legacy)."""
        self._not_downloading(request)

    def revert_image_update(self, request: Any) -> NoReturn:
        """RevertImageUpdate (legacy)."""
        self._not_downloading(request)

    def _legacy(self, request: Any) -> None:
        record = self.stack.device(request.id)
        if isinstance(record, OltRecord):
            words = "is an OLT. Image update not supported by VOLTHA. Use Device Manager or other means"
            raise failed_precondition(f"device-id:{record.id}, {words}")

    def _not_downloading(self, request: Any) -> NoReturn:
        self._legacy(request)
        raise failed_precondition(f"device not in image download state {request.id}")
