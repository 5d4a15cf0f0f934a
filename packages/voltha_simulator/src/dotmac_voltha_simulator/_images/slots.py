"""An ONU's two software slots, and how far each upgrade is (section 6.1, surprises 39 to 41)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from voltha_protos import device_pb2

STATE = device_pb2.ImageState


@dataclass(slots=True)
class Slots:
    """The software in an ONU; it stays there when VOLTHA forgets the device."""

    versions: list[str] = field(default_factory=lambda: ["BBSM_IMG_00001", "BBSM_IMG_00000"])
    active: int = 0
    committed: int = 0

    @property
    def running(self) -> str:
        """The version that runs."""
        return self.versions[self.active]

    @property
    def resting(self) -> str:
        """The version in the other slot."""
        return self.versions[1 - self.active]

    def load(self, version: str) -> None:
        """Put an image into the slot that does not run."""
        self.versions[1 - self.active] = version

    def swap(self) -> None:
        """Start from the other slot."""
        self.active = 1 - self.active

    def commit(self) -> None:
        """Start with what runs now also after the next loss of power."""
        self.committed = self.active

    def message(self) -> Any:
        """The answer of GetOnuImages."""
        images = device_pb2.OnuImages()
        for place, version in enumerate(self.versions):
            images.items.add(
                version=version,
                isCommited=place == self.committed,
                isActive=place == self.active,
                isValid=True,
                productCode="BBSIM-ONU",
                hash=version.encode().hex().ljust(32, "0")[:32],
            )
        return images


@dataclass(slots=True)
class Upgrade:
    """One version on its way into one ONU."""

    version: str
    download: int = STATE.DOWNLOAD_STARTED
    reason: int = STATE.NO_ERROR
    image: int = STATE.IMAGE_UNKNOWN
    activate_on_success: bool = False
    commit_on_success: bool = False

    def set(self, *, download: int | None = None, reason: int | None = None, image: int | None = None) -> None:
        """Change what is given."""
        self.download = self.download if download is None else download
        self.reason = self.reason if reason is None else reason
        self.image = self.image if image is None else image

    @property
    def loading(self) -> bool:
        """True until the image is in the ONU, or has failed."""
        return bool(self.download == STATE.DOWNLOAD_STARTED)
