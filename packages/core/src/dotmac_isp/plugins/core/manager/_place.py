"""Where an instance runs: a decision over what the policy, the deployment scenario and the manifest say."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..model import SecurityLevel

if TYPE_CHECKING:
    from ..discovery import InstalledPlugin
    from ..hosting import IsolationRules

__all__ = ["Place", "choose_place"]


class Place(NamedTuple):
    """Where an instance runs, and who says so."""

    mode: str
    why: str


def choose_place(plugin: InstalledPlugin, rules: IsolationRules, scenario: tuple[str, str] | None) -> Place:
    """The first that says something wins: the policy, the deployment scenario, the manifest; else inline (docs/decisions/0005)."""
    if isinstance(rules.mode, str):
        return Place(rules.mode, "policy.toml")
    if plugin.manifest.security_level is SecurityLevel.SYSTEM:
        return Place("inline", "its security level is 'system'")
    if scenario is not None:
        return Place(*scenario)
    if plugin.manifest.hosting.mode is not None:
        return Place(plugin.manifest.hosting.mode, "its manifest")
    return Place("inline", "nobody says otherwise")
