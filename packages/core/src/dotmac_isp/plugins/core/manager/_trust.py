"""What a host trusts: the policy that is in force and the licences, kept as their files are while the host runs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, Literal

from ..discovery import Problem
from ..errors import ConfigurationError
from ..hosting import IsolationPolicy, read_isolation
from ..licensing import CommunityLicences
from ..permissions import PolicyKeeper

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from ..audit import AuditTrail
    from ..discovery import Discovery, Manifest
    from ..licensing import LicenceBook, SignedLicences
    from ..model import InstanceRef, SecurityLevel
    from ..permissions import Authoriser, Explanation
    from ..settings import Configuration

__all__ = ["Trust", "permissions_of"]

_LOG: Final = logging.getLogger("dotmac.policy")
_COMMUNITY: Final = CommunityLicences()


class Trust:
    """The policy and the licences of one host. What the host application gave decides instead of the files.

    :param manifest_of: the manifest of an instance's plugin.
    :param peers: the tenants for which a plugin is loaded now.
    """

    def __init__(
        self,
        home: Path,
        authoriser: Authoriser | None,
        licences: LicenceBook | None,
        *,
        manifest_of: Callable[[InstanceRef], Manifest | None],
        peers: Callable[[str], Collection[str | None]],
    ) -> None:
        self._home: Final = home
        self._given: Final = authoriser
        self._given_licences: Final = licences
        self._manifest_of: Final = manifest_of
        self._peers: Final = peers
        self._keeper: Final = PolicyKeeper(home, level_of=self._level_of)
        self._signed: SignedLicences | None = None
        self._isolation = IsolationPolicy()
        self._isolation_of: object = None
        self._isolation_trouble: str | None = None

    def load(self) -> None:
        """Read the policy as the host starts. Raises `ConfigurationError`."""
        self._signed = None
        if self._given is None:
            self._keeper.load()
            policy = self._isolation_of = self._keeper.policy
            self._isolation = IsolationPolicy() if policy is None else read_isolation(policy.other, policy.path)

    @property
    def isolation(self) -> IsolationPolicy:
        """What the policy says about where instances run. A table that turned bad while the host runs changes nothing."""
        policy = self._keeper.policy
        if policy is not None and policy is not self._isolation_of:
            self._isolation_of = policy
            try:
                self._isolation = read_isolation(policy.other, policy.path)
                self._isolation_trouble = None
            except ConfigurationError as error:
                self._isolation_trouble = str(error)
                _LOG.error("what was in force before about isolation stays in force: %s", error)
        return self._isolation

    @property
    def authoriser(self) -> Authoriser:
        """What decides about permissions now."""
        return self._keeper.authoriser if self._given is None else self._given

    @property
    def licences(self) -> LicenceBook:
        """What decides about licences now; nothing of them is read before a plugin demands one."""
        return self._given_licences or self._signed or _COMMUNITY

    def book(self) -> SignedLicences | None:
        """The host's own licences, for a plugin that demands one; `None` where the host application decides."""
        if self._signed is None and self._given_licences is None:
            from ..licensing import SignedLicences  # noqa: PLC0415 - most hosts need none

            self._signed = SignedLicences(self._home, manifest_of=self._manifest_of, peers=self._peers)
        return self._signed

    def explain(self, **asked: Any) -> Explanation | None:
        """As `permissions_explain`, by the policy in force; `None`: there is none."""
        policy = self._keeper.policy
        if policy is None:
            return None
        from ..permissions import permissions_explain  # noqa: PLC0415 - only when somebody asks

        return permissions_explain(policy, **asked)

    def forget(self, ref: InstanceRef) -> None:
        """The instance is unloaded."""
        if self._signed is not None:
            self._signed.forget(ref)

    def close(self) -> None:
        """The host stops."""
        if self._signed is not None:
            self._signed.remember()

    def refresh(self, audit: AuditTrail, *, force: bool = False) -> bool:
        """Look at the files again: whether another decision may be due. What changed is recorded."""
        licences = self._signed is not None and self._signed.refresh(
            lambda text: audit.record("licence", "warning", detail=text)
        )
        return self._refresh_policy(audit, force=force) or licences

    def _refresh_policy(self, audit: AuditTrail, *, force: bool) -> bool:
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

    def _level_of(self, ref: InstanceRef) -> SecurityLevel | None:
        manifest = self._manifest_of(ref)
        return None if manifest is None else manifest.security_level

    def problems(self, discovery: Discovery, configuration: Configuration) -> Iterator[Problem]:
        """What the operator should know about the policy and the licences."""
        for text in self._signed.problems() if self._signed is not None else ():
            yield _problem(text, None, "warning")
        if self._isolation_trouble is not None:
            text = f"what was in force before about isolation stays in force: {self._isolation_trouble}"
            yield _problem(text, None, "error")
        if self._keeper.trouble is not None:
            yield _problem(f"the policy that was in force before stays in force: {self._keeper.trouble}", None, "error")
        policy = self._keeper.policy
        if policy is not None:
            from ..permissions import policy_findings  # noqa: PLC0415 - hosts without a policy need none

            known = permissions_of(discovery, configuration)
            for finding in policy_findings(policy, known):
                yield _problem(finding.message, finding.remedy, finding.severity)


def permissions_of(discovery: Discovery, configuration: Configuration) -> frozenset[str]:
    """Every permission that an installed plugin, or the configuration file for one, asks for."""
    from ..permissions import known_permissions  # noqa: PLC0415 - as above

    manifests = [plugin.manifest for plugin in discovery.plugins.values()]
    entries = (configuration.integration(plugin_id) for plugin_id in configuration.plugin_ids())
    needs = (entry.security for entry in entries if entry is not None and entry.security)
    return known_permissions(manifests, (name for need in needs for name in need.required_permissions))


def _problem(message: str, remedy: str | None, severity: Literal["error", "warning"]) -> Problem:
    return Problem(plugin_id="", distribution="", message=message, remedy=remedy, severity=severity)
