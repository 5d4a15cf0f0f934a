"""An image, what an ONU has in its two slots, and how far loading it has come (domain specification, section 6.1). Pure."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from .._errors import ServiceConfigError

__all__ = ["ImageSpec", "ImageState", "Slots", "slots_from", "state_from"]

_DOWNLOAD: Final = (
    "UNKNOWN",
    "SUCCEEDED",
    "REQUESTED",
    "STARTED",
    "FAILED",
    "UNSUPPORTED",
    "CANCELLING",
    "CANCELLED",
)
_REASON: Final = (
    "NO_ERROR",
    "INVALID_URL",
    "DEVICE_BUSY",
    "INSUFFICIENT_SPACE",
    "UNKNOWN_ERROR",
    "CANCELLED_ON_REQUEST",
    "CANCELLED_ON_ONU_STATE",
    "VENDOR_DEVICE_MISMATCH",
    "OMCI_TRANSFER_ERROR",
    "IMAGE_REFUSED_BY_ONU",
)
_IMAGE: Final = (
    "UNKNOWN",
    "INACTIVE",
    "ACTIVATING",
    "ACTIVE",
    "COMMITTING",
    "COMMITTED",
    "ACTIVATION_ABORTING",
    "ACTIVATION_ABORTED",
    "COMMIT_ABORTING",
    "COMMIT_ABORTED",
    "DOWNLOADING",
    "DOWNLOADING_ABORTED",
)
#: What a reason means to a person. "Cancelled on ONU state" is also said of an image with another version inside (surprise 39).
_MEANING: Final = {
    "INVALID_URL": "the adapter cannot load it from that address",
    "DEVICE_BUSY": "the ONU is busy",
    "INSUFFICIENT_SPACE": "the adapter or the ONU has no space for it",
    "UNKNOWN_ERROR": "VOLTHA does not know the ONU, or says nothing more",
    "CANCELLED_ON_REQUEST": "it was cancelled",
    "CANCELLED_ON_ONU_STATE": "the ONU went away, or the image has another version inside than was said",
    "VENDOR_DEVICE_MISMATCH": "it is for another vendor's ONUs",
    "OMCI_TRANSFER_ERROR": "the transfer to the ONU failed",
    "IMAGE_REFUSED_BY_ONU": "the ONU refused it",
}
_VERSION: Final = re.compile(r"[\x21-\x7e]{1,14}")
_URL: Final = re.compile(r"http://[^\s/]+/\S+")


class ImageSpec(msgspec.Struct, frozen=True, kw_only=True):
    """An image: its version as the ONU will report it (up to 14 characters), and where the adapter loads it from (http only)."""

    version: str
    url: str = ""
    vendor: str = ""
    crc32: int = 0

    def checked(self, *, with_url: bool = True) -> ImageSpec:
        """The image as it is; raises `ServiceConfigError` where it cannot be."""
        check_version(self.version)
        if with_url and not _URL.fullmatch(self.url):
            raise ServiceConfigError(
                f"url is {self.url[:80]!r}",
                remedy="Give the address of a file as http://host/path; VOLTHA's adapter does not speak https",
            )
        if not 0 <= self.crc32 < 1 << 32:
            raise ServiceConfigError(f"crc32 is {self.crc32}", remedy="Give 0 to 4294967295; 0: not checked")
        return self


def check_version(version: object) -> str:
    """A version as it is, or `ServiceConfigError`."""
    if isinstance(version, str) and _VERSION.fullmatch(version):
        return version
    raise ServiceConfigError(
        f"version is {str(version)[:40]!r}",
        remedy="Give the version as the ONU reports it: 1 to 14 characters, no blanks",
    )


class Slots(msgspec.Struct, frozen=True):
    """The versions that an ONU has: active, committed (it starts with that one), and all that are valid."""

    active: str = ""
    committed: str = ""
    valid: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        return {"active": self.active, "committed": self.committed, "valid": list(self.valid)}


def slots_from(images: Any) -> Slots:
    """The slots of a `device.OnuImages`."""
    active = next((item.version for item in images.items if item.isActive), "")
    committed = next((item.version for item in images.items if item.isCommited), "")
    return Slots(active, committed, tuple(item.version for item in images.items if item.isValid))


class ImageState(msgspec.Struct, frozen=True, kw_only=True):
    """VOLTHA's three words on one image of one ONU."""

    version: str = ""
    download: str = "UNKNOWN"
    reason: str = "NO_ERROR"
    image: str = "UNKNOWN"

    @property
    def is_moving(self) -> bool:
        """Something is under way that will end by itself."""
        return self.download in ("REQUESTED", "STARTED", "CANCELLING") or self.image in (
            "ACTIVATING",
            "COMMITTING",
            "DOWNLOADING",
            "ACTIVATION_ABORTING",
            "COMMIT_ABORTING",
        )

    @property
    def trouble(self) -> str:
        """Why it failed, as a sentence; empty when it did not."""
        failed = self.download in ("FAILED", "UNSUPPORTED", "CANCELLED") or self.image.endswith("_ABORTED")
        if not failed:
            return ""
        words = f"{self.download}/{self.reason}/{self.image}"
        return f"{_MEANING[self.reason]} ({words})" if self.reason in _MEANING else words

    def plain(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "download_state": self.download,
            "reason": self.reason,
            "image_state": self.image,
        }


def state_from(state: Any) -> ImageState:
    """The state of a `device.ImageState`."""
    return ImageState(
        version=state.version,
        download=_name(_DOWNLOAD, state.download_state),
        reason=_name(_REASON, state.reason),
        image=_name(_IMAGE, state.image_state),
    )


def _name(names: tuple[str, ...], value: int) -> str:
    return names[value] if 0 <= value < len(names) else f"UNKNOWN_{value}"
