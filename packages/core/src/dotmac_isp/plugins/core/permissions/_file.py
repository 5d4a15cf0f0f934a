"""`policy.toml`: read and checked to the key, with the line of whatever is wrong."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NoReturn

import msgspec
from msgspec import UNSET, UnsetType

from ..discovery._shape import dotted, find_fault
from ..errors import ConfigurationError, UnknownSettingError
from ..model import SecurityLevel
from ._globs import NAME_PATTERN
from ._lines import Lines
from ._rules import Choice, Policy, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["read_policy"]

Pattern = Annotated[
    str,
    msgspec.Meta(
        pattern=NAME_PATTERN,
        description="A permission is a dotted name such as 'network.fiber.manage'; '*' stands for many, as in 'network.*'",
    ),
]
_LEVEL_NAMES: Final = ", ".join(repr(level.value) for level in SecurityLevel)
Level = Annotated[
    str,
    msgspec.Meta(
        pattern=f"^({'|'.join(level.value for level in SecurityLevel)})\\Z", description=f"Write one of {_LEVEL_NAMES}"
    ),
]
Anonymous = Annotated[
    str, msgspec.Meta(pattern=r"^(allow|deny)\Z", description="Write 'allow' or 'deny': calls without user and roles")
]
_KINDS: Final[tuple[Literal["plugins", "roles", "users"], ...]] = ("plugins", "roles", "users")
_EFFECTS: Final[tuple[Literal["deny", "allow"], ...]] = ("deny", "allow")
_TENANT_KEY: Final = re.compile(r"-|[A-Za-z0-9*][A-Za-z0-9_.*-]{0,63}")
_PLUGIN_KEY: Final = re.compile(r"[A-Za-z*][A-Za-z0-9_.*-]{0,63}")


class _Grants(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    allow: tuple[Pattern, ...] = ()
    deny: tuple[Pattern, ...] = ()


class _Scope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    max_security_level: Level | UnsetType = UNSET
    anonymous: Anonymous | UnsetType = UNSET
    plugins: dict[str, _Grants] = {}
    roles: dict[str, _Grants] = {}
    users: dict[str, _Grants] = {}


class _Permissions(_Scope, frozen=True, kw_only=True, forbid_unknown_fields=True):
    tenants: dict[str, _Scope] = {}


class _Shape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    permissions: _Permissions = _Permissions()
    #: Read by what isolates instances; it checks its table itself.
    isolation: dict[str, Any] = {}


class _Source:
    """The text of a policy file, and the lines of its keys."""

    def __init__(self, path: Path, text: str) -> None:
        self.path: Final = path
        self.lines: Final = Lines(text)

    def line(self, *keys: str | int) -> int:
        return self.lines.of(keys) or 0

    def refuse(
        self, keys: tuple[str | int, ...], problem: str, remedy: str | None, *, unknown: bool = False
    ) -> NoReturn:
        line = self.lines.of(keys)
        kind = UnknownSettingError if unknown else ConfigurationError
        where = f"{self.path}, line {line}" if line else str(self.path)
        raise kind(f"{where}: {dotted(keys)} {problem}", field=dotted(keys), source=self.path, line=line, remedy=remedy)


def read_policy(path: Path) -> Policy:
    """Read and check a policy file. Raises `FileNotFoundError` where there is none, `ConfigurationError` with file, line and key."""
    text = _text(path)
    data = _parse(path, text)
    source = _Source(path, text)
    try:
        shape = msgspec.convert(data, _Shape)
    except msgspec.ValidationError as error:
        fault = find_fault(data, _Shape)
        if fault is None:  # pragma: no cover - the walk finds whatever msgspec finds
            raise ConfigurationError(f"{path}: {error}", source=path) from None
        source.refuse(fault.path, fault.problem, fault.remedy, unknown=fault.unknown)
    _check_names(source, shape.permissions)
    other = {"isolation": shape.isolation} if "isolation" in data else {}
    return Policy(path=path, rules=tuple(_rules(source, shape)), choices=_choices(source, shape), other=other)


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror or error}", source=path) from error
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not UTF-8", source=path, remedy="Save it as UTF-8") from None


def _parse(path: Path, text: str) -> dict[str, Any]:
    import tomli  # noqa: PLC0415 - needed only where there is a policy

    try:
        return tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        found = re.search(r"line (\d+)", str(error))
        line = int(found[1]) if found else None
        raise ConfigurationError(
            f"{path} is not TOML: {error}", source=path, line=line, remedy="The policy is written in TOML 1.0"
        ) from None
    except RecursionError:
        raise ConfigurationError(f"{path} is nested too deeply", source=path) from None


def _scopes(permissions: _Permissions) -> Iterator[tuple[str | None, _Scope, tuple[str, ...]]]:
    """Each tenant pattern (`None`: the whole file) with what is said there, and the keys that lead to it."""
    yield None, permissions, ("permissions",)
    for tenant, scope in permissions.tenants.items():
        yield tenant, scope, ("permissions", "tenants", tenant)


def _check_names(source: _Source, permissions: _Permissions) -> None:
    for tenant, scope, keys in _scopes(permissions):
        if tenant is not None and not _TENANT_KEY.fullmatch(tenant):
            source.refuse(
                keys, "is no tenant", "Write a tenant's id, '-' for the system tenant, or a pattern such as 'isp-*'"
            )
        for plugin_id in scope.plugins:
            if not _PLUGIN_KEY.fullmatch(plugin_id):
                source.refuse(
                    (*keys, "plugins", plugin_id), "is no plugin", "Write a plugin's id, or a pattern such as '*'"
                )


def _rules(source: _Source, shape: _Shape) -> Iterator[Rule]:
    for tenant, scope, keys in _scopes(shape.permissions):
        for kind in _KINDS:
            for subject, grants in getattr(scope, kind).items():
                for effect in _EFFECTS:
                    for place, pattern in enumerate(getattr(grants, effect)):
                        yield Rule(
                            effect=effect,
                            pattern=pattern,
                            kind=kind,
                            subject=subject,
                            tenant=tenant,
                            line=source.line(*keys, kind, subject, effect, place),
                        )


def _choices(source: _Source, shape: _Shape) -> dict[str, tuple[Choice, ...]]:
    found: dict[str, tuple[Choice, ...]] = {}
    for name in ("max_security_level", "anonymous"):
        found[name] = tuple(
            Choice(value=getattr(scope, name), tenant=tenant, line=source.line(*keys, name))
            for tenant, scope, keys in _scopes(shape.permissions)
            if getattr(scope, name) is not UNSET
        )
    return found
