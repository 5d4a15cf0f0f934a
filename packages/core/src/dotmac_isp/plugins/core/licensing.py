"""Whether a plugin's licence covers what is asked: at the gate for every call, and once before an instance activates.

Plugins whose manifest demands no licence (community plugins) need none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .model import InstanceRef

__all__ = ["CommunityLicences", "LicenceBook"]


class LicenceBook(Protocol):
    """Decides for the host; both methods give `None` for "covered", else the sentence that says what is missing."""

    def refuse_call(self, instance: InstanceRef, operation: str) -> str | None:
        """Does the licence cover this operation now? Called for every call, so it is quick."""

    def refuse_activation(self, instance: InstanceRef) -> str | None:
        """May this instance run at all?"""


class CommunityLicences:
    """The book of a host without licences: every plugin is a community plugin."""

    __slots__ = ()

    def refuse_call(self, instance: InstanceRef, operation: str) -> str | None:  # noqa: ARG002 - the protocol's arguments
        return None

    def refuse_activation(self, instance: InstanceRef) -> str | None:  # noqa: ARG002
        return None
