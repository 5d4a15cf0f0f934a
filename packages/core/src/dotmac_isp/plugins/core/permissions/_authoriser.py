"""Who may do what: asked by the gate for every call, and once before an instance activates.

Without a policy every plugin gets what its manifest asks for and every caller may call; status says "no policy" wherever it matters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..model import InstanceRef, PluginContext

__all__ = ["NO_POLICY", "Authoriser", "OpenAuthoriser"]

#: What status shows where a policy would decide and there is none.
NO_POLICY: Final = "no policy"


class Authoriser(Protocol):
    """Decides for the host. Both methods give `None` for "allowed", else the sentence that says which rule refused."""

    def refuse_call(self, instance: InstanceRef, permission: str | None, context: PluginContext) -> str | None:
        """May the caller in `context` use the feature that needs `permission`? Called for every call, so it is quick."""

    def refuse_activation(self, instance: InstanceRef, permissions: Sequence[str]) -> str | None:
        """Has the tenant granted the plugin what its manifest asks for?"""

    def describe(self) -> str:
        """What decides here, for status."""


class OpenAuthoriser:
    """Decides where there is no policy file: everything that a manifest asks for is granted."""

    __slots__ = ("trouble",)

    def __init__(self) -> None:
        #: Why a policy file that is there is not in force; shown wherever the policy is named.
        self.trouble: str | None = None

    def refuse_call(self, instance: InstanceRef, permission: str | None, context: PluginContext) -> str | None:  # noqa: ARG002 - the protocol's arguments
        return None

    def refuse_activation(self, instance: InstanceRef, permissions: Sequence[str]) -> str | None:  # noqa: ARG002
        return None

    def describe(self) -> str:
        return NO_POLICY if self.trouble is None else f"{NO_POLICY}: {self.trouble}"
