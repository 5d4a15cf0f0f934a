"""The configuration file and the tenants' files: read, checked to the key, with the line of whatever is wrong. No pydantic here."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from ..discovery._shape import dotted, find_fault
from ..errors import ConfigurationError, UnknownSettingError
from ._positions import Positions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ._layers import PathOfKeys

__all__ = [
    "ConfigurationFile",
    "Integration",
    "ScenarioEntry",
    "SecurityNeeds",
    "TenantEntry",
    "TenantFile",
    "read_tenant",
]

T = TypeVar("T")
Place = Annotated[str, msgspec.Meta(pattern=r"^(inline|jailed)\Z", description="Write 'inline' or 'jailed'")]


class SecurityNeeds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`security` of an integration, as the specification prints it."""

    required_permissions: tuple[str, ...] = ()
    secrets_required: tuple[str, ...] = ()


class Integration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry of `vendor_integrations`: exactly the keys of the specification. A key that is not given is `UNSET`."""

    plugin_id: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    module_path: str | UnsetType = UNSET
    class_name: str | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    configuration: dict[str, Any] = {}
    security: SecurityNeeds | UnsetType = UNSET


class ScenarioEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a deployment scenario says about one plugin."""

    enabled: bool | UnsetType = UNSET
    #: Where its instances run in this scenario: `inline` in the host's process, or `jailed` in processes of their own.
    isolation: Place | UnsetType = UNSET
    configuration: dict[str, Any] = {}


class TenantEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a tenant's file says about one plugin."""

    enabled: bool | UnsetType = UNSET
    configuration: dict[str, Any] = {}


class _FileShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    vendor_integrations: dict[str, Integration] = {}
    deployment_scenarios: dict[str, dict[str, ScenarioEntry]] = {}


class _TenantShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    plugins: dict[str, TenantEntry] = {}
    suspended: bool = False


class _Source:
    """A file's text, and the lines of its keys when somebody asks."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self._text = text

    @functools.cached_property
    def positions(self) -> Positions:
        return Positions(self._text)

    def line_of(self, path: Sequence[str | int]) -> int | None:
        position = self.positions.of(tuple(path))
        return position.line if position else None


class ConfigurationFile:
    """A `vendor_integrations.json`: the packaged default or the operator's own."""

    def __init__(self, source: _Source, shape: _FileShape) -> None:
        self._source = source
        self.path = source.path
        self.vendor_integrations = shape.vendor_integrations
        self.deployment_scenarios = shape.deployment_scenarios

    @classmethod
    def load(cls, path: Path) -> ConfigurationFile:
        """Read and check. Raises `ConfigurationError` with file, line and key, `UnknownSettingError` for an unknown key."""
        source, shape = _read(path, _FileShape)
        for key, entry in shape.vendor_integrations.items():
            if entry.plugin_id is not UNSET and entry.plugin_id != key:
                at = ("vendor_integrations", key, "plugin_id")
                _refuse(source, at, f"is {entry.plugin_id!r}", f"It must be {key!r}, the key of its entry")
        return cls(source, shape)

    @classmethod
    def packaged(cls) -> ConfigurationFile:
        """The default that core ships."""
        from ...config import PATH  # noqa: PLC0415 - the only use

        return cls.load(PATH)

    def line_of(self, path: Sequence[str | int]) -> int | None:
        """The line of a key, such as `("vendor_integrations", "voltha_integration", "enabled")`."""
        return self._source.line_of(path)


class TenantFile:
    """A `tenants/<tenant>.json`: `{"plugins": {"<plugin id>": {"enabled": …, "configuration": {…}}}, "suspended": …}`."""

    def __init__(self, source: _Source, shape: _TenantShape) -> None:
        self._source = source
        self.path = source.path
        self.plugins = shape.plugins
        self.suspended = shape.suspended

    @classmethod
    def load(cls, path: Path) -> TenantFile:
        """Read and check as `ConfigurationFile.load` does."""
        return cls(*_read(path, _TenantShape))

    @classmethod
    def empty(cls, path: Path) -> TenantFile:
        """What a tenant without a file has."""
        return cls(_Source(path, "{}"), _TenantShape())

    def line_of(self, path: PathOfKeys) -> int | None:
        return self._source.line_of(path)


def read_tenant(path: Path) -> dict[str, Any]:
    """A tenant's file as plain data, for changing it; checked first. An empty table when there is none."""
    if not path.exists():
        return {}
    source, _ = _read(path, _TenantShape)
    data: dict[str, Any] = json.loads(source._text)  # noqa: SLF001 - same module
    return data


def _read(path: Path, kind: type[T]) -> tuple[_Source, T]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror or error}", source=path) from error
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not UTF-8", source=path, remedy="Save it as UTF-8") from None
    source = _Source(path, text)
    data = _parse(source, text)
    try:
        return source, msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        fault = find_fault(data, kind)
        if fault is None:  # pragma: no cover - the walk finds whatever msgspec finds
            raise ConfigurationError(f"{path}: {error}", source=path) from None
        _refuse(source, fault.path, fault.problem, fault.remedy, unknown=fault.unknown)


class _DuplicateError(ValueError):
    pass


def _parse(source: _Source, text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise ConfigurationError(
            f"{source.path}, line {error.lineno}, column {error.colno}: {error.msg}",
            source=source.path,
            line=error.lineno,
            remedy="Write JSON: keys and texts in double quotes, no comma after the last entry, no comments",
        ) from None
    except RecursionError:
        raise ConfigurationError(f"{source.path} is nested too deeply", source=source.path) from None
    except _DuplicateError:
        path, first, again = source.positions.duplicates[0]
        raise ConfigurationError(
            f"{source.path}, line {again.line}, column {again.column}: {dotted(path)} is there twice, first in line {first.line}",
            field=dotted(path),
            source=source.path,
            line=again.line,
            remedy="Keep one of them",
        ) from None
    except ValueError as error:
        raise ConfigurationError(f"{source.path}: {error}", source=source.path) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise _DuplicateError
    return table


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


def _refuse(
    source: _Source, path: tuple[str | int, ...], problem: str, remedy: str | None, *, unknown: bool = False
) -> NoReturn:
    line = source.line_of(path)
    kind = UnknownSettingError if unknown else ConfigurationError
    where = f"{source.path}, line {line}" if line else str(source.path)
    key = dotted(path) or "the file"
    raise kind(f"{where}: {key} {problem}", field=dotted(path) or None, source=source.path, line=line, remedy=remedy)
