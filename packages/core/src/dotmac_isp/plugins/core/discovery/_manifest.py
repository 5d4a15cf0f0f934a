"""The manifest of a plugin: what it is and needs, as data (design, decision 4)."""

from __future__ import annotations

import functools
import operator
import re
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec

from ..errors import ManifestError
from ..model import PluginInfo, SecurityLevel
from ._hosting import Hosting
from ._shape import dotted, find_fault, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["API_VERSION", "Feature", "Manifest", "SecretNames", "in_range", "read_manifest"]

#: The version of what core promises to plugins; `core` in a manifest is a range of it (PEP 440).
API_VERSION: Final = "0.1.0"
#: The manifest's name where the plugin is in a package.
PACKAGE_MANIFEST: Final = "dotmac-plugin.toml"

PluginId = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,63}\Z",
        description="A plugin id has 1 to 64 letters, digits, '_', '.' or '-' and starts with a letter",
    ),
]
Variable = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[A-Z][A-Z0-9_]*\Z",
        description="The name of an environment variable has capitals, digits and '_', such as VOLTHA_HOST",
    ),
]
SecretName = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}\Z",
        description="The name of a secret has letters, digits, '_', '.' or '-', such as 'voltha-username'",
    ),
]
ClassPath = Annotated[
    str,
    msgspec.Meta(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*\Z", description="Write it as 'package.module:Class'"),
]
ModulePath = Annotated[
    str, msgspec.Meta(pattern=r"^[A-Za-z_][\w.]*\Z", description="Write a module's name, such as 'package.module'")
]
Permission = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[A-Za-z0-9_*-]+(\.[A-Za-z0-9_*-]+)*\Z",
        description="A permission is a dotted name such as 'network.fiber.manage'",
    ),
]
Method = Annotated[
    str,
    msgspec.Meta(pattern=r"^[A-Za-z]\w*\Z", description="Write the name of a public method, such as 'provision_olt'"),
]
LicensedFeature = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}\Z",
        description="Write the name that licences give the feature, such as 'reconciliation'",
    ),
]
Category = Literal["network_automation", "monitoring", "secrets", "general"]


class SecretNames(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The secrets that a plugin reads; it can read no others."""

    required: tuple[SecretName, ...] = ()
    optional: tuple[SecretName, ...] = ()


class Feature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a plugin with a permission of its own. Without one of its `secrets` it is off."""

    permission: Permission | None = None
    methods: tuple[Method, ...] = ()
    secrets: tuple[SecretName, ...] = ()
    #: The feature that a licence must have for it; `None`: it needs none of its own.
    licence: LicensedFeature | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of `dotmac-plugin.toml`. `id` is the table's name (the entry point's)."""

    id: PluginId
    name: str
    #: PEP 440; the distribution's when the manifest has none.
    version: str
    category: Category = "general"
    description: str = ""
    #: Range of `API_VERSION`.
    core: str = ""
    #: Range of Python versions.
    python: str = ""
    settings: ClassPath | None = None
    #: Variables each of which sets the field of the same lower-case name.
    environment: tuple[Variable, ...] = ()
    security_level: SecurityLevel = SecurityLevel.STANDARD
    permissions: tuple[Permission, ...] = ()
    #: Whether the plugin runs without a licence.
    licence: Literal["community", "required"] = "community"
    #: How a new instance takes over from the old: `beside` it, or `in turn`, for a plugin that cannot be there twice at once.
    reload: Literal["beside", "in turn"] = "beside"
    #: A module with provider hooks, registered once per host.
    provides: ModulePath | None = None
    #: Plugin id -> version range.
    requires: dict[PluginId, str] = {}
    #: Plugin ids after which this one comes where they are there.
    after: tuple[PluginId, ...] = ()
    secrets: SecretNames = SecretNames()
    features: dict[str, Feature] = {}
    hosting: Hosting = Hosting()

    @property
    def needs_licence(self) -> bool:
        """Whether anything of it needs one."""
        return self.licence != "community" or any(one.licence is not None for one in self.features.values())

    @property
    def secret_names(self) -> tuple[str, ...]:
        """Every secret that the plugin may read: required, optional, then those of features."""
        of_features = (name for feature in self.features.values() for name in feature.secrets)
        return tuple(dict.fromkeys((*self.secrets.required, *self.secrets.optional, *of_features)))

    def info(self, *, distribution: str = "", editable: bool = False) -> PluginInfo:
        """What hosts and people are shown of it."""
        return PluginInfo(
            id=self.id,
            name=self.name,
            version=self.version,
            category=self.category,
            description=self.description,
            distribution=distribution,
            security_level=self.security_level,
            permissions=self.permissions,
            features=tuple(self.features),
            editable=editable,
        )


@functools.lru_cache(maxsize=1024)
def in_range(version: str, specifier: str) -> bool:
    """Whether a version is in a PEP 440 range (pre-releases count). Raises `ValueError` when one of them is none."""
    if not specifier:
        return True
    simple = _in_simple_range(version, specifier)
    if simple is not None:
        return simple
    from packaging.specifiers import SpecifierSet  # noqa: PLC0415 - takes longer to import than 50 plugins to find

    return SpecifierSet(specifier).contains(version, prereleases=True)


_PLAIN_VERSION: Final = re.compile(r"\d+(\.\d+)*")
_SIMPLE_CLAUSE: Final = re.compile(r"\s*(>=|<=|==|!=|<|>)\s*(\d+(?:\.\d+)*)\s*")
_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}


def _in_simple_range(version: str, specifier: str) -> bool | None:
    """The answer where version and range are plain numbers, as nearly all are; `None`: ask packaging."""
    if not _PLAIN_VERSION.fullmatch(version):
        return None
    release = _release(version)
    clauses = [_SIMPLE_CLAUSE.fullmatch(clause) for clause in specifier.split(",")]
    if not all(clauses):
        return None
    return all(_COMPARE[clause[1]](release, _release(clause[2])) for clause in clauses if clause)


def _release(version: str) -> tuple[int, ...]:
    """Numbers without zeros at the end: 1.0 and 1 are the same version."""
    numbers = [int(number) for number in version.split(".")]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def read_manifest(path: Path, plugin_id: str, *, version: str = "0") -> Manifest:
    """Read and check one plugin's table. Raises `ManifestError` that names the file, the key and what would be right."""
    tables = _read_tables(path, plugin_id)
    table = tables.get(plugin_id)
    if not isinstance(table, dict):
        there = ", ".join(f"[{name}]" for name, content in tables.items() if isinstance(content, dict)) or "none"
        raise ManifestError(
            f"{path} has no table [{plugin_id}]",
            plugin_id=plugin_id,
            remedy=f"Each entry point needs a table of its name; there are: {there}",
        )
    if table.get("id", plugin_id) != plugin_id:
        raise _error(path, plugin_id, ("id",), f"is {shown(table['id'])}", "Leave it out; the table's name is the id")
    data = {"version": version, **table, "id": plugin_id}
    try:
        manifest = msgspec.convert(data, Manifest)
    except msgspec.ValidationError as error:
        fault = find_fault(data, Manifest)
        if fault is None:  # pragma: no cover - the walk finds whatever msgspec finds
            raise _error(path, plugin_id, (), str(error), None) from None
        raise _error(path, plugin_id, fault.path, fault.problem, fault.remedy) from None
    _check_versions(manifest, path)
    return manifest


def _read_tables(path: Path, plugin_id: str) -> Mapping[str, Any]:
    import tomli  # noqa: PLC0415 - compiled, twice as fast as tomllib; needed only when there are plugins

    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - half the time of Path.open
            return tomli.loads(file.read())
    except FileNotFoundError:
        where = "in the package" if path.name == PACKAGE_MANIFEST else "beside the module"
        raise ManifestError(
            f"the plugin {plugin_id!r} has no manifest: {path} is not there",
            plugin_id=plugin_id,
            remedy=f"Its author must ship {path.name} {where}, with the table [{plugin_id}]",
        ) from None
    except OSError as error:
        raise ManifestError(
            f"{path} cannot be read: {error.strerror or error}",
            plugin_id=plugin_id,
            remedy="The package must ship its manifest; reinstall it, or ask its author",
        ) from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path} is not UTF-8", plugin_id=plugin_id, remedy="Save it as UTF-8") from error
    except tomli.TOMLDecodeError as error:
        raise ManifestError(f"{path} is not TOML: {error}", plugin_id=plugin_id) from error


def _error(path: Path, plugin_id: str, keys: tuple[str | int, ...], problem: str, remedy: str | None) -> ManifestError:
    key = dotted((plugin_id, *keys))
    return ManifestError(f"{path}: {key} {problem}", plugin_id=plugin_id, remedy=remedy)


def _check_versions(manifest: Manifest, path: Path) -> None:
    if not _is_version(manifest.version):
        remedy = "Write a version such as '1.2.0' (PEP 440)"
        raise _error(path, manifest.id, ("version",), f"is {shown(manifest.version)}", remedy)
    ranges: list[tuple[tuple[str, ...], str]] = [(("core",), manifest.core), (("python",), manifest.python)]
    ranges += [(("requires", one), specifier) for one, specifier in manifest.requires.items()]
    for keys, specifier in ranges:
        if not _is_range(specifier):
            remedy = "Write a version range such as '>=0.1,<1' (PEP 440)"
            raise _error(path, manifest.id, keys, f"is {shown(specifier)}", remedy)


def _is_version(text: str) -> bool:
    return _PLAIN_VERSION.fullmatch(text) is not None or _is_range(f"=={text}")


@functools.lru_cache(maxsize=1024)
def _is_range(specifier: str) -> bool:
    try:
        in_range("0", specifier)
    except ValueError:
        return False
    return True
