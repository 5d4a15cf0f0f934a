"""What the host asks about licences, and the book of a host that has none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from ..model import InstanceRef

__all__ = ["CommunityLicences", "LicenceBook", "LicenceState"]


class LicenceState(msgspec.Struct, frozen=True):
    """How the licence of an instance stands, for people. `degraded`: it works on borrowed time."""

    text: str
    degraded: bool = False


class LicenceBook(Protocol):
    """Decides for the host; `refuse_…` give `None` for "covered", else the sentence that says what is missing."""

    def refuse_call(self, instance: InstanceRef, operation: str) -> str | None:
        """Does the licence cover this operation now (empty: that the plugin runs)? Called for every call, so it is quick."""

    def refuse_activation(self, instance: InstanceRef) -> str | None:
        """May this instance run at all?"""

    def count(self, instance: InstanceRef, limit: str, amount: int) -> str | None:
        """Count against a limit of the licence: a level (`devices`) or more of a kind (`events_per_day`)."""

    def state_of(self, instance: InstanceRef) -> LicenceState | None:
        """How the instance's licence stands, for status and health; `None`: it needs none."""


class CommunityLicences:
    """The book of a host without licences: every plugin is a community plugin."""

    __slots__ = ()

    def refuse_call(self, instance: InstanceRef, operation: str) -> str | None:  # noqa: ARG002 - the protocol's arguments
        return None

    def refuse_activation(self, instance: InstanceRef) -> str | None:  # noqa: ARG002
        return None

    def count(self, instance: InstanceRef, limit: str, amount: int) -> str | None:  # noqa: ARG002
        return None

    def state_of(self, instance: InstanceRef) -> LicenceState | None:  # noqa: ARG002
        return None
