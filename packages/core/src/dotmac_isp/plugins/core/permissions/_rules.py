"""A policy as rules, compiled once for each tenant; pure: what it decides depends on its arguments alone."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from ..model import SecurityLevel, tenant_label
from ._globs import PatternIndex

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["LEVELS", "Choice", "Policy", "Rule", "TenantRules"]

Effect = Literal["allow", "deny"]
Kind = Literal["plugins", "roles", "users"]
#: From the least to the most that a plugin may do to the machine.
LEVELS: Final = (SecurityLevel.MINIMAL, SecurityLevel.STANDARD, SecurityLevel.ELEVATED, SecurityLevel.SYSTEM)
_NOTHING_SAID: Final = {"max_security_level": SecurityLevel.STANDARD.value, "anonymous": "allow"}


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One pattern of one `allow` or `deny` list: for the subject (a plugin, role or user) of a tenant (`None`: of every tenant)."""

    effect: Effect
    pattern: str
    kind: Kind
    subject: str
    tenant: str | None
    line: int

    @property
    def table(self) -> str:
        """The table of the file that it stands in."""
        above = f"tenants.{_key(self.tenant)}." if self.tenant is not None else ""
        return f"[permissions.{above}{self.kind}.{_key(self.subject)}]"

    def __str__(self) -> str:
        return f'{self.table} {self.effect} "{self.pattern}"'


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant's `max_security_level` or `anonymous`; `line` 0: nobody said it, so it is what holds otherwise."""

    value: str
    tenant: str | None = None
    line: int = 0


class Policy(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """What a `policy.toml` says. `choices` holds, by name, what the file and its tenants' tables say; exact tenants before patterns."""

    path: Path
    rules: tuple[Rule, ...]
    choices: Mapping[str, tuple[Choice, ...]]
    #: Tables of the file that are not about permissions, as they are.
    other: Mapping[str, Any] = {}

    def for_tenant(self, tenant_id: str | None) -> TenantRules:
        """The rules that hold for a tenant, compiled once."""
        label = tenant_label(tenant_id)
        compiled = self._tenants.get(label)
        if compiled is None:
            if len(self._tenants) >= _MOST_TENANTS:
                self._tenants.clear()
            compiled = self._tenants[label] = self._compile(label)
        return compiled

    @functools.cached_property
    def _tenants(self) -> dict[str, TenantRules]:
        return {}

    @functools.cached_property
    def _layers(self) -> list[tuple[str | None, _Layer]]:
        """The rules of the file for every tenant, and those of each tenant's table. Tenants share them."""
        layers: dict[str | None, _Layer] = {None: _Layer()}
        for rule in self.rules:
            layers.setdefault(rule.tenant, _Layer()).add(rule)
        return list(layers.items())

    def _compile(self, label: str) -> TenantRules:
        layers = [layer for tenant, layer in self._layers if tenant is None or fits(tenant, label)]
        return TenantRules(layers, {name: self._choose(name, label) for name in _NOTHING_SAID})

    def _choose(self, name: str, label: str) -> Choice:
        """The tenant's own word, else the strictest of the patterns that fit, else the file's, else what holds otherwise."""
        said = [one for one in self.choices.get(name, ()) if one.tenant is None or fits(one.tenant, label)]
        own = [one for one in said if one.tenant == label]
        patterns = [one for one in said if one.tenant is not None]
        for candidates in (own, patterns, said):
            if candidates:
                return min(candidates, key=_strictness)
        return Choice(value=_NOTHING_SAID[name])


_MOST_TENANTS: Final = 10_000
_STRICTNESS: Final = {**{level.value: place for place, level in enumerate(LEVELS)}, "deny": 0, "allow": 1}


def _strictness(choice: Choice) -> int:
    return _STRICTNESS[choice.value]


def fits(pattern: str, name: str) -> bool:
    """Whether a subject's or tenant's name is the pattern, or fits its stars; they stand for any characters, dots too."""
    return pattern == name or ("*" in pattern and _subject_pattern(pattern).fullmatch(name) is not None)


@functools.lru_cache(maxsize=4096)
def _subject_pattern(pattern: str) -> re.Pattern[str]:
    """A pattern for the names of tenants, plugins, roles or users."""
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)


class _Grants:
    """What one subject's tables say."""

    __slots__ = ("allow", "deny")

    def __init__(self) -> None:
        self.allow: Final[PatternIndex[Rule]] = PatternIndex()
        self.deny: Final[PatternIndex[Rule]] = PatternIndex()

    def add(self, rule: Rule) -> None:
        (self.deny if rule.effect == "deny" else self.allow).add(rule.pattern, rule)


class _Subjects:
    """The grants of all plugins, roles or users of a layer."""

    __slots__ = ("_exact", "_patterns")

    def __init__(self) -> None:
        self._exact: dict[str, _Grants] = {}
        self._patterns: dict[str, _Grants] = {}

    def add(self, rule: Rule) -> None:
        grants = self._patterns if "*" in rule.subject else self._exact
        grants.setdefault(rule.subject, _Grants()).add(rule)

    def of(self, name: str) -> list[_Grants]:
        found = [grants for pattern, grants in self._patterns.items() if fits(pattern, name)]
        own = self._exact.get(name)
        return found if own is None else [own, *found]


class _Layer:
    """Rules of one place, by kind of subject."""

    __slots__ = ("by_kind",)

    def __init__(self) -> None:
        self.by_kind: Final[dict[str, _Subjects]] = {"plugins": _Subjects(), "roles": _Subjects(), "users": _Subjects()}

    def add(self, rule: Rule) -> None:
        self.by_kind[rule.kind].add(rule)


class TenantRules:
    """The compiled rules of one tenant."""

    __slots__ = ("_layers", "anonymous", "max_level")

    def __init__(self, layers: list[_Layer], choices: Mapping[str, Choice]) -> None:
        self._layers: Final = layers
        #: Whether calls without user and roles (the host's own) may use what needs a permission.
        self.anonymous: Final = choices["anonymous"]
        self.max_level: Final = choices["max_security_level"]

    def plugin(self, plugin_id: str, permission: str) -> Rule | None:
        """The rule that decides whether the plugin is granted this; `None`: none does, so it is not."""
        return _decide(self._grants([("plugins", plugin_id)]), permission)

    def caller(self, user_id: str | None, roles: Iterable[str], permission: str) -> Rule | None:
        """The rule that decides whether a user with these roles holds this; `None`: none does."""
        names = [("users", user_id)] if user_id is not None else []
        names += [("roles", role) for role in roles]
        return _decide(self._grants(names), permission)

    def _grants(self, names: list[tuple[str, str]]) -> list[_Grants]:
        return [grants for layer in self._layers for kind, name in names for grants in layer.by_kind[kind].of(name)]


def _decide(grants: list[_Grants], permission: str) -> Rule | None:
    """Deny wins, wherever it stands. A plugin may ask for a pattern: denied where they meet, allowed where it is wholly covered."""
    if "*" in permission:
        denied = (one.deny.first_overlapping(permission) for one in grants)
        allowed = (one.allow.first_covering(permission) for one in grants)
    else:
        denied = (one.deny.first(permission) for one in grants)
        allowed = (one.allow.first(permission) for one in grants)
    for found in (denied, allowed):
        rule = next((one for one in found if one is not None), None)
        if rule is not None:
            return rule
    return None


def _key(text: str) -> str:
    """A part of a table's name as TOML writes it."""
    plain = text.isascii() and text.replace("_", "").replace("-", "").isalnum()
    return text if plain else msgspec.json.encode(text).decode()
