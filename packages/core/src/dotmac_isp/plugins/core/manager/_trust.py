"""What a host trusts: the policy that is in force, kept as its file is while the host runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from ..discovery import Problem
from ..permissions import PolicyAuthoriser, PolicyKeeper, known_permissions, policy_findings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ..audit import AuditTrail
    from ..discovery import Discovery
    from ..model import InstanceRef, SecurityLevel
    from ..permissions import Authoriser
    from ..settings import Configuration

__all__ = ["Trust", "permissions_of"]


class Trust:
    """The policy of one host. An authoriser that the host application gave decides instead of the file."""

    def __init__(
        self, home: Path, authoriser: Authoriser | None, level_of: Callable[[InstanceRef], SecurityLevel | None]
    ) -> None:
        self._given: Final = authoriser
        self._keeper: Final = PolicyKeeper(home, level_of=level_of)

    def load(self) -> None:
        """Read the policy as the host starts. Raises `ConfigurationError`."""
        if self._given is None:
            self._keeper.load()

    @property
    def authoriser(self) -> Authoriser:
        """What decides now."""
        return self._keeper.authoriser if self._given is None else self._given

    def refresh(self, audit: AuditTrail, *, force: bool = False) -> bool:
        """Look at the file again: whether another policy is in force now. What changed is recorded."""
        if self._given is not None:
            return False
        before = self._keeper.trouble
        changed = self._keeper.refresh(force=force)
        now = self._keeper.trouble
        if changed:
            audit.record("policy", "in force", detail=self.authoriser.describe())
        elif now is not None and (force or now != before):
            audit.record("policy", "refused", detail=now)
        return changed

    def problems(self, discovery: Discovery, configuration: Configuration) -> Iterator[Problem]:
        """What the operator should know about the policy."""
        if self._keeper.trouble is not None:
            yield _problem(f"the policy that was in force before stays in force: {self._keeper.trouble}", None, "error")
        if isinstance(self.authoriser, PolicyAuthoriser):
            known = permissions_of(discovery, configuration)
            for finding in policy_findings(self.authoriser.policy, known):
                yield _problem(finding.message, finding.remedy, finding.severity)


def permissions_of(discovery: Discovery, configuration: Configuration) -> frozenset[str]:
    """Every permission that an installed plugin, or the configuration file for one, asks for."""
    manifests = [plugin.manifest for plugin in discovery.plugins.values()]
    entries = (configuration.integration(plugin_id) for plugin_id in configuration.plugin_ids())
    needs = (entry.security for entry in entries if entry is not None and entry.security)
    return known_permissions(manifests, (name for need in needs for name in need.required_permissions))


def _problem(message: str, remedy: str | None, severity: Literal["error", "warning"]) -> Problem:
    return Problem(plugin_id="", distribution="", message=message, remedy=remedy, severity=severity)
