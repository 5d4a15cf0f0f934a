"""`[isolation]` of `policy.toml`: which instances run jailed, within which limits, and which guarantees they must have.

What is said for a tenant stands over what is said for a plugin, that over what is said for a security level, and that over
what is said for all.
"""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from ..discovery import HostingLimits
from ..discovery._shape import dotted, find_fault
from ..errors import ConfigurationError, UnknownSettingError
from ..model import SecurityLevel, tenant_label

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["LEVEL_NEEDS", "IsolationPolicy", "IsolationRules", "read_isolation"]

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


class IsolationPolicy:
    """The whole table. Without one, nothing is demanded: what a machine cannot give is a warning."""

    def __init__(self, table: _Table | None = None) -> None:
        self._table: Final = table or _Table()
        #: Whether there is a table at all.
        self.given: Final = table is not None

    @property
    def preload(self) -> bool:
        """Whether the zygote may load libraries that manifests ask for."""
        return self._table.preload

    def rules(self, plugin_id: str, tenant_id: str | None, level: SecurityLevel) -> IsolationRules:
        """What holds for one instance."""
        merged = IsolationRules(require=LEVEL_NEEDS[level])
        for said in self._said(plugin_id, tenant_id, level):
            merged = _over(merged, said)
        return merged

    def _said(self, plugin_id: str, tenant_id: str | None, level: SecurityLevel) -> Iterator[IsolationRules]:
        table = self._table
        yield table
        if level.value in table.levels:
            yield table.levels[level.value]
        yield from _matching(table.plugins, plugin_id)
        for tenant in _matching(table.tenants, tenant_label(tenant_id)):
            yield tenant
            yield from _matching(tenant.plugins, plugin_id)


def read_isolation(plain: Mapping[str, Any], path: Path) -> IsolationPolicy:
    """Check the table. Raises `ConfigurationError` with file and key."""
    if "isolation" not in plain:
        return IsolationPolicy()
    data = plain["isolation"]
    try:
        table = msgspec.convert(data, _Table)
    except msgspec.ValidationError as error:
        fault = find_fault(data, _Table)
        if fault is None:  # pragma: no cover - the walk finds whatever msgspec finds
            raise ConfigurationError(f"{path}: isolation: {error}", source=path) from None
        kind = UnknownSettingError if fault.unknown else ConfigurationError
        key = dotted(("isolation", *fault.path))
        raise kind(f"{path}: {key} {fault.problem}", field=key, source=path, remedy=fault.remedy) from None
    _check_names(path, ("levels",), table.levels, [level.value for level in SecurityLevel])
    for keys, rules in _everything(table):
        _check_names(path, (*keys, "require"), rules.require, _GUARANTEES)
    return IsolationPolicy(table)


def _everything(table: _Table) -> Iterator[tuple[tuple[str, ...], IsolationRules]]:
    """Each place where rules stand, with the keys that lead to it."""
    scopes: list[tuple[tuple[str, ...], _Scope]] = [((), table)]
    scopes += [(("tenants", name), scope) for name, scope in table.tenants.items()]
    yield from ((("levels", name), rules) for name, rules in table.levels.items())
    for keys, scope in scopes:
        yield keys, scope
        yield from (((*keys, "plugins", name), rules) for name, rules in scope.plugins.items())


def _check_names(path: Path, keys: tuple[str, ...], names: Iterable[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            key = dotted(("isolation", *keys, name))
            remedy = f"There are: {', '.join(known)}"
            raise UnknownSettingError(f"{path}: {key} is not known", field=key, source=path, remedy=remedy)


def _matching(table: Mapping[str, Any], name: str) -> list[Any]:
    """Entries whose pattern fits, patterns before the exact name, so that this one has the last word."""
    fits = [key for key in table if fnmatch.fnmatchcase(name, key)]
    return [table[key] for key in sorted(fits, key=lambda key: (key == name, len(key)))]


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
