"""What a person asks about a policy: is it right, why is this allowed, what would another one change."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Literal

import msgspec

from ..errors import ConfigurationError
from ..model import tenant_label
from ._file import read_policy
from ._globs import overlaps
from ._policy import caller_name
from ._rules import Rule

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    from ..discovery import Manifest
    from ._rules import Policy, TenantRules

__all__ = [
    "Explanation",
    "Finding",
    "PolicyChange",
    "Verdict",
    "known_permissions",
    "permissions_check",
    "permissions_diff",
    "permissions_explain",
    "policy_findings",
]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something about a policy file: an `error` keeps it from being used, a `warning` is probably not meant."""

    severity: Literal["error", "warning"]
    message: str
    line: int | None = None
    remedy: str | None = None

    def __str__(self) -> str:
        return f"{self.message}. {self.remedy}" if self.remedy else self.message


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One half of a decision: about the plugin, or about the caller."""

    about: Literal["plugin", "caller"]
    allowed: bool
    reason: str
    #: The rule that decided, where one did.
    rule: Rule | None = None
    file: str = ""
    line: int | None = None


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a caller may use what needs a permission, through a plugin for a tenant, and which rules say so."""

    permission: str
    plugin_id: str
    tenant_id: str | None
    allowed: bool
    verdicts: tuple[Verdict, ...]


class PolicyChange(msgspec.Struct, frozen=True, kw_only=True):
    """A decision that differs between two policies. `tenant` `None`: every tenant that neither names."""

    tenant: str | None
    #: plugins, roles or users; "tenant" for `max_security_level` and `anonymous`.
    kind: str
    subject: str
    #: The permission, or the name of what changed.
    what: str
    before: str
    after: str


def known_permissions(manifests: Iterable[Manifest], also: Iterable[str] = ()) -> frozenset[str]:
    """Every permission that a plugin's manifest names, for itself or for a feature."""
    names = {*also}
    for manifest in manifests:
        names.update(manifest.permissions)
        names.update(one.permission for one in manifest.features.values() if one.permission is not None)
    return frozenset(names)


def permissions_check(path: Path, known: Collection[str]) -> tuple[Finding, ...]:
    """What is wrong with a policy file, and what in it is probably not meant. Raises `FileNotFoundError` where there is none."""
    try:
        policy = read_policy(path)
    except ConfigurationError as error:
        return (Finding(severity="error", message=error.message, line=error.line, remedy=error.remedy),)
    return tuple(policy_findings(policy, known))


def policy_findings(policy: Policy, known: Collection[str]) -> Iterator[Finding]:
    """What in a policy that can be used is probably not meant."""
    if known:
        yield from (_unknown(policy, rule, known) for rule in policy.rules if not _means_something(rule.pattern, known))
    try:
        open_to_all = policy.path.stat().st_mode & stat.S_IWOTH
    except OSError:
        open_to_all = 0
    if open_to_all:
        remedy = f"chmod o-w {policy.path}"
        yield Finding(severity="warning", message=f"every user of this machine may change {policy.path}", remedy=remedy)


def _means_something(pattern: str, known: Collection[str]) -> bool:
    return pattern in known or any(overlaps(pattern, one) for one in known if "*" in pattern or "*" in one)


def _unknown(policy: Policy, rule: Rule, known: Collection[str]) -> Finding:
    import difflib  # noqa: PLC0415 - only for errors

    close = difflib.get_close_matches(rule.pattern, sorted(known), n=1, cutoff=0.6)
    remedy = f"Did you mean {close[0]!r}?" if close else "Is its plugin not installed?"
    return Finding(
        severity="warning",
        message=f"{policy.path}, line {rule.line}: no installed plugin knows the permission {rule.pattern!r}",
        line=rule.line,
        remedy=remedy,
    )


def permissions_explain(
    policy: Policy,
    *,
    plugin_id: str,
    permission: str,
    tenant_id: str | None = None,
    user_id: str | None = None,
    roles: Iterable[str] = (),
) -> Explanation:
    """Why a call is allowed or refused: the rule, the file and the line for the plugin's part and for the caller's."""
    rules = policy.for_tenant(tenant_id)
    where = f"in tenant {tenant_label(tenant_id)}"
    plugin = _verdict(policy, "plugin", plugin_id, where, rules.plugin(plugin_id, permission))
    names = tuple(roles)
    if user_id is None and not names:
        caller = _anonymous(policy, rules)
    else:
        found = rules.caller(user_id, names, permission)
        caller = _verdict(policy, "caller", caller_name(user_id, names), where, found)
    return Explanation(
        permission=permission,
        plugin_id=plugin_id,
        tenant_id=tenant_id,
        allowed=plugin.allowed and caller.allowed,
        verdicts=(plugin, caller),
    )


def _verdict(policy: Policy, about: Literal["plugin", "caller"], name: str, where: str, rule: Rule | None) -> Verdict:
    if rule is None:
        text = f"{name} is not granted it {where}: no rule does, and what is not granted is denied"
        return Verdict(about=about, allowed=False, reason=text, file=str(policy.path))
    allowed = rule.effect == "allow"
    reason = f"{name} is {'granted' if allowed else 'denied'} it {where} by {rule}"
    return Verdict(about=about, allowed=allowed, reason=reason, rule=rule, file=str(policy.path), line=rule.line)


def _anonymous(policy: Policy, rules: TenantRules) -> Verdict:
    choice = rules.anonymous
    said = "said in the policy" if choice.line else "nobody said otherwise"
    return Verdict(
        about="caller",
        allowed=choice.value == "allow",
        reason=f'the call names no user and no roles, and anonymous = "{choice.value}" ({said})',
        file=str(policy.path),
        line=choice.line or None,
    )


#: A tenant that only patterns of stars fit.
_ANY_OTHER = "*"
_NOT_GRANTED = "not granted"


def permissions_diff(old: Policy, new: Policy, known: Collection[str] = ()) -> tuple[PolicyChange, ...]:
    """The decisions that differ: for every tenant, plugin, role and user that either policy names, and every known permission."""
    rules = (*old.rules, *new.rules)
    choices = (one for policy in (old, new) for said in policy.choices.values() for one in said)
    named = {*(rule.tenant for rule in rules), *(choice.tenant for choice in choices)}
    tenants = sorted(named - {None, _ANY_OTHER}, key=str)
    exact = {*known, *(rule.pattern for rule in rules if "*" not in rule.pattern)}
    # A pattern is only named where no permission is known that could stand for it.
    names = sorted(exact | {rule.pattern for rule in rules if not _means_something(rule.pattern, exact)})
    subjects = sorted({(rule.kind, rule.subject) for rule in rules})
    found: list[PolicyChange] = []
    for tenant in (None, *tenants):
        label = _ANY_OTHER if tenant is None else tenant
        before, after = old.for_tenant(label), new.for_tenant(label)
        found += _changes_of_choices(tenant, before, after)
        for kind, subject in subjects:
            found += (
                PolicyChange(tenant=tenant, kind=kind, subject=subject, what=name, before=was, after=now)
                for name in names
                if (was := _said(before, kind, subject, name)) != (now := _said(after, kind, subject, name))
            )
    return tuple(found)


def _said(rules: TenantRules, kind: str, subject: str, permission: str) -> str:
    if kind == "plugins":
        rule = rules.plugin(subject, permission)
    elif kind == "roles":
        rule = rules.caller(None, (subject,), permission)
    else:
        rule = rules.caller(subject, (), permission)
    return _NOT_GRANTED if rule is None else "granted" if rule.effect == "allow" else "denied"


def _changes_of_choices(tenant: str | None, before: TenantRules, after: TenantRules) -> Iterator[PolicyChange]:
    pairs: Mapping[str, tuple[str, str]] = {
        "max_security_level": (before.max_level.value, after.max_level.value),
        "anonymous": (before.anonymous.value, after.anonymous.value),
    }
    for name, (was, now) in pairs.items():
        if was != now:
            yield PolicyChange(tenant=tenant, kind="tenant", subject="", what=name, before=was, after=now)
