"""`[isolation]` of `policy.toml`: which instances run jailed, within which limits, and which guarantees they must have.

What is said for a tenant stands over what is said for a plugin, that over what is said for a security level, and that over
what is said for all.
"""

from __future__ import annotations

import difflib
import fnmatch
import ipaddress
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import msgspec
from msgspec import UNSET, UnsetType

from ..discovery import HostingLimits
from ..discovery._shape import dotted, find_fault
from ..errors import ConfigurationError, UnknownSettingError
from ..model import SecurityLevel, tenant_label
from ..permissions._lines import Lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from ..discovery import Hosting

__all__ = ["LEVEL_NEEDS", "IsolationFact", "IsolationPolicy", "IsolationRules", "read_isolation"]

Mode = Annotated[str, msgspec.Meta(pattern=r"^(inline|jailed)\Z", description="Write 'inline' or 'jailed'")]
Strength = Annotated[
    str,
    msgspec.Meta(pattern=r"^(enforced|advisory|none)\Z", description="Write 'enforced', 'advisory' or 'none'"),
]
_GUARANTEES: Final = ("memory", "cpu", "processes", "files", "network", "syscalls")

#: What an instance of each level must have of each guarantee at least, where no policy says otherwise.
LEVEL_NEEDS: Final[dict[SecurityLevel, dict[str, str]]] = {
    SecurityLevel.MINIMAL: dict.fromkeys(_GUARANTEES, "enforced"),
    SecurityLevel.STANDARD: {
        **dict.fromkeys(("processes", "files", "network", "syscalls"), "enforced"),
        **dict.fromkeys(("memory", "cpu"), "advisory"),
    },
    SecurityLevel.ELEVATED: {
        **dict.fromkeys(("processes", "files", "network", "syscalls"), "enforced"),
        **dict.fromkeys(("memory", "cpu"), "advisory"),
    },
    SecurityLevel.SYSTEM: {},
}


class IsolationRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is said at one place."""

    mode: Mode | UnsetType = UNSET
    #: Guarantee → how far it must hold, or the instance is not activated.
    require: dict[str, Strength] = {}
    limits: HostingLimits = HostingLimits()
    #: Host names and addresses (patterns) that a Kafka cluster may advertise as brokers.
    kafka_hosts: tuple[str, ...] = ()
    #: Networks (CIDR) that names may resolve to although they are refused otherwise: loopback, link-local.
    networks: tuple[str, ...] = ()


class _Scope(IsolationRules, frozen=True, kw_only=True, forbid_unknown_fields=True):
    plugins: dict[str, IsolationRules] = {}


class _Table(_Scope, frozen=True, kw_only=True, forbid_unknown_fields=True):
    levels: dict[str, IsolationRules] = {}
    tenants: dict[str, _Scope] = {}
    #: Whether the zygote may load libraries that manifests ask for.
    preload: bool = True


class IsolationFact(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that holds for an instance: its value, and where that is said."""

    key: str
    value: Any
    source: str
    line: int | None = None
    #: What others said that counts no more.
    overrode: tuple[str, ...] = ()


class IsolationPolicy:
    """The whole table. Without one, nothing is demanded: what a machine cannot give is a warning."""

    def __init__(self, table: _Table | None = None, *, lines: Lines | None = None) -> None:
        self._table: Final = table or _Table()
        self._lines: Final = lines
        #: Whether there is a table at all.
        self.given: Final = table is not None

    @property
    def preload(self) -> bool:
        """Whether the zygote may load libraries that manifests ask for."""
        return self._table.preload

    def rules(self, plugin_id: str, tenant_id: str | None, level: SecurityLevel) -> IsolationRules:
        """What holds for one instance."""
        merged = IsolationRules(require=LEVEL_NEEDS[level])
        for _, said in self._said(plugin_id, tenant_id, level):
            merged = _over(merged, said)
        return merged

    def explain(
        self, plugin_id: str, tenant_id: str | None, level: SecurityLevel, hosting: Hosting
    ) -> list[IsolationFact]:
        """What holds for one instance, and who says so. `hosting`: what the plugin's manifest asks for."""
        facts: dict[str, IsolationFact] = {}
        needed = f"what the level {level.value!r} needs"
        for name, strength in LEVEL_NEEDS[level].items():
            _put(facts, f"require.{name}", strength, needed, None)
        for name, value in hosting.limits.given().items():
            _put(facts, f"limits.{name}", value, "its manifest", None)
        for keys, rules in self._said(plugin_id, tenant_id, level):
            for key, value in _values(rules):
                where = ("isolation", *keys, *key)
                line = self._lines.of(where) if self._lines is not None else None
                _put(facts, ".".join(key), value, dotted(where), line)
        return list(facts.values())

    def _said(
        self, plugin_id: str, tenant_id: str | None, level: SecurityLevel
    ) -> Iterator[tuple[tuple[str, ...], IsolationRules]]:
        """What is said about an instance, with the keys that lead there; the later has the last word."""
        table = self._table
        yield (), table
        if level.value in table.levels:
            yield ("levels", level.value), table.levels[level.value]
        yield from _matching(("plugins",), table.plugins, plugin_id)
        for keys, tenant in _matching(("tenants",), table.tenants, tenant_label(tenant_id)):
            yield keys, tenant
            yield from _matching((*keys, "plugins"), tenant.plugins, plugin_id)


def read_isolation(plain: Mapping[str, Any], path: Path) -> IsolationPolicy:
    """Check the table. Raises `ConfigurationError` with file and key."""
    if "isolation" not in plain:
        return IsolationPolicy()
    data = plain["isolation"]
    lines = _lines_of(path)
    try:
        table = msgspec.convert(data, _Table)
    except msgspec.ValidationError as error:
        fault = find_fault(data, _Table)
        if fault is None:  # pragma: no cover - the walk finds whatever msgspec finds
            raise ConfigurationError(f"{path}: isolation: {error}", source=path) from None
        _refuse(path, lines, tuple(fault.path), fault.problem, fault.remedy, unknown=fault.unknown)
    _check_names(path, lines, ("levels",), table.levels, [level.value for level in SecurityLevel])
    for keys, rules in _everything(table):
        _check_names(path, lines, (*keys, "require"), rules.require, _GUARANTEES)
        for place, network in enumerate(rules.networks):
            if not _is_network(network):
                _refuse(
                    path, lines, (*keys, "networks", place), f"is {network!r}", "Write a network, such as '10.0.0.0/8'"
                )
    return IsolationPolicy(table, lines=lines)


def _lines_of(path: Path) -> Lines | None:
    try:
        return Lines(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, IndexError):
        return None  # the file changed since it was read; errors then name the key alone


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _refuse(
    path: Path,
    lines: Lines | None,
    keys: tuple[str | int, ...],
    problem: str,
    remedy: str | None,
    *,
    unknown: bool = False,
) -> NoReturn:
    whole = ("isolation", *keys)
    line = lines.of(whole) if lines is not None else None
    kind = UnknownSettingError if unknown else ConfigurationError
    where = f"{path}, line {line}" if line else str(path)
    raise kind(f"{where}: {dotted(whole)} {problem}", field=dotted(whole), source=path, line=line, remedy=remedy)


def _everything(table: _Table) -> Iterator[tuple[tuple[str, ...], IsolationRules]]:
    """Each place where rules stand, with the keys that lead to it."""
    scopes: list[tuple[tuple[str, ...], _Scope]] = [((), table)]
    scopes += [(("tenants", name), scope) for name, scope in table.tenants.items()]
    yield from ((("levels", name), rules) for name, rules in table.levels.items())
    for keys, scope in scopes:
        yield keys, scope
        yield from (((*keys, "plugins", name), rules) for name, rules in scope.plugins.items())


def _check_names(
    path: Path, lines: Lines | None, keys: tuple[str, ...], names: Iterable[str], known: Sequence[str]
) -> None:
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            remedy = f"Did you mean {close[0]!r}?" if close else f"There are: {', '.join(known)}"
            _refuse(path, lines, (*keys, name), "is not known", remedy, unknown=True)


def _matching(keys: tuple[str, ...], table: Mapping[str, Any], name: str) -> list[tuple[tuple[str, ...], Any]]:
    """Entries whose pattern fits, patterns before the exact name, so that this one has the last word."""
    fits = [key for key in table if fnmatch.fnmatchcase(name, key)]
    return [((*keys, key), table[key]) for key in sorted(fits, key=lambda key: (key == name, len(key)))]


def _values(rules: IsolationRules) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each thing that is said, by its key."""
    if rules.mode is not UNSET:
        yield ("mode",), rules.mode
    yield from ((("require", name), strength) for name, strength in rules.require.items())
    yield from ((("limits", name), value) for name, value in rules.limits.given().items())
    for name in ("kafka_hosts", "networks"):
        if getattr(rules, name):
            yield (name,), getattr(rules, name)


def _put(facts: dict[str, IsolationFact], key: str, value: Any, source: str, line: int | None) -> None:
    before = facts.get(key)
    added = isinstance(value, tuple) and before is not None
    overrode = () if before is None or added else (*before.overrode, f"{before.value} ({before.source})")
    whole = (*before.value, *value) if added and before is not None else value
    facts[key] = IsolationFact(key=key, value=whole, source=source, line=line, overrode=overrode)


def _over(low: IsolationRules, high: IsolationRules) -> IsolationRules:
    limits = {name: getattr(high.limits, name) for name in high.limits.__struct_fields__}
    return IsolationRules(
        mode=low.mode if high.mode is UNSET else high.mode,
        require={**low.require, **high.require},
        limits=msgspec.structs.replace(
            low.limits, **{name: value for name, value in limits.items() if value is not None}
        ),
        kafka_hosts=(*low.kafka_hosts, *high.kafka_hosts),
        networks=(*low.networks, *high.networks),
    )
