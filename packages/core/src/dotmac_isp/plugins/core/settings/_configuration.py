"""Everything that is configured in files, as one: the packaged default, the operator's file, the tenants' files."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import UNSET

from ..discovery import Problem
from ..errors import ConfigurationError
from ._file import ConfigurationFile, Integration, TenantFile
from ._layers import Layer
from ._tenant_store import TenantStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ..discovery import Discovery, InstalledPlugin
    from ._model import PluginSettings

__all__ = ["Configuration", "state_home"]

FILE_NAME: Final = "vendor_integrations.json"


def state_home() -> Path:
    """The state and configuration folder: `DOTMAC_HOME`, else what the system has for `dotmac-plugins`. Not created here."""
    given = os.environ.get("DOTMAC_HOME")
    if given:
        return Path(given).expanduser()
    import platformdirs  # noqa: PLC0415 - not needed where DOTMAC_HOME is set

    return platformdirs.user_data_path("dotmac-plugins")


class Configuration:
    """What the files say. `files` come lowest first; the operator's stands over the packaged one, key by key.

    Tenants' files are read when they are asked for and read again when they change.
    """

    def __init__(self, home: Path, files: Iterable[ConfigurationFile]) -> None:
        self.home: Final = home
        self.files: Final = tuple(files)
        self._tenants = TenantStore(home / "tenants")

    @classmethod
    def read(cls, home: Path) -> Configuration:
        """Read the packaged default and `vendor_integrations.json` in `home`, where there is one. Raises `ConfigurationError`."""
        own = home / FILE_NAME
        return cls(home, [ConfigurationFile.packaged(), *([ConfigurationFile.load(own)] if own.exists() else [])])

    def environments(self) -> tuple[str, ...]:
        """The deployment scenarios that there are."""
        return tuple(dict.fromkeys(name for file in self.files for name in file.deployment_scenarios))

    def check_environment(self, environment: str | None) -> None:
        """Raise `ConfigurationError` for a scenario that no file has. `None` is none."""
        if environment is not None and environment not in self.environments():
            raise ConfigurationError(
                f"there is no environment {environment!r}",
                field="deployment_scenarios",
                source=self.files[-1].path,
                remedy=f"There are: {', '.join(self.environments())}",
            )

    def plugin_ids(self) -> tuple[str, ...]:
        """The plugins that the files name, in the file's order; what only the operator's file names comes last."""
        return tuple(dict.fromkeys(name for file in self.files for name in file.vendor_integrations))

    def integration(self, plugin_id: str) -> Integration | None:
        """The entry of a plugin, merged from the files; `configuration` only shows what `layers` explains."""
        entries = [file.vendor_integrations[plugin_id] for file in self.files if plugin_id in file.vendor_integrations]
        return functools.reduce(_over, entries) if entries else None

    def enabled(self, plugin_id: str, environment: str | None = None, tenant_id: str | None = None) -> tuple[bool, str]:
        """Whether the plugin is on, and why: the tenant decides, else the scenario, else the file; installed is enabled."""
        self.check_environment(environment)
        for answer, where, line in self._switches(plugin_id, environment, tenant_id):
            if answer is not UNSET:
                return bool(
                    answer
                ), f"{'enabled' if answer else 'disabled'} by {where}{f', line {line}' if line else ''}"
        return True, "installed, and nothing switches it off"

    def _switches(
        self, plugin_id: str, environment: str | None, tenant_id: str | None
    ) -> Iterator[tuple[object, str, int | None]]:
        """Who may switch a plugin, the highest first."""
        tenant = self.tenant(tenant_id)
        entry = tenant.plugins.get(plugin_id)
        if entry is not None and entry.enabled is not UNSET:
            yield entry.enabled, str(tenant.path), tenant.line_of(("plugins", plugin_id, "enabled"))
        for file in reversed(self.files):
            scenario = file.deployment_scenarios.get(environment or "", {}).get(plugin_id)
            if scenario is not None and scenario.enabled is not UNSET:
                path = ("deployment_scenarios", environment or "", plugin_id, "enabled")
                yield scenario.enabled, f"the scenario {environment!r} of {file.path}", file.line_of(path)
        for file in reversed(self.files):
            integration = file.vendor_integrations.get(plugin_id)
            if integration is not None and integration.enabled is not UNSET:
                line = file.line_of(("vendor_integrations", plugin_id, "enabled"))
                yield integration.enabled, str(file.path), line

    def isolation(self, plugin_id: str, environment: str | None) -> tuple[str, str] | None:
        """Where the scenario lets the plugin run (`inline`, `jailed`), and which file says so; `None`: it does not say."""
        for file in reversed(self.files):
            scenario = file.deployment_scenarios.get(environment or "", {}).get(plugin_id)
            if scenario is not None and isinstance(scenario.isolation, str):
                return scenario.isolation, f"the scenario {environment!r} of {file.path}"
        return None

    def layers(
        self,
        plugin: InstalledPlugin,
        *,
        environment: str | None = None,
        tenant_id: str | None = None,
        override: Mapping[str, Any] | None = None,
        model_class: type[PluginSettings] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> list[Layer]:
        """The layers of a plugin's settings, lowest first; `resolve` adds the plugin's defaults below them.

        `model_class` is loaded when it is not given and the manifest names environment variables.
        """
        self.check_environment(environment)
        found = [_layer("file", file, ("vendor_integrations", plugin.id)) for file in self.files]
        if environment is not None:
            found += [_layer("scenario", file, ("deployment_scenarios", environment, plugin.id)) for file in self.files]
        found.append(_environment_layer(plugin, model_class, environ))
        found.append(_layer("tenant", self.tenant(tenant_id), ("plugins", plugin.id)))
        if override:
            found.append(Layer(name="override", source="override at run time", values=override))
        return [layer for layer in found if layer is not None]

    def check_against(self, discovery: Discovery) -> tuple[Problem, ...]:
        """Compare with what is installed. Errors: another module or class than the entry point's. Warnings: not installed."""
        return tuple(problem for plugin_id in self.plugin_ids() for problem in self._check(plugin_id, discovery))

    def _check(self, plugin_id: str, discovery: Discovery) -> Iterator[Problem]:
        from ..dependencies import pip_name  # noqa: PLC0415 - needs graphlib, which nothing else here does

        plugin = discovery.plugins.get(plugin_id)
        if plugin is None:
            if discovery.problem(plugin_id) is None:
                package = pip_name(plugin_id)
                how = f"python -m pip install {package}" if " " not in package else f"Install {package}"
                file = next(one for one in reversed(self.files) if plugin_id in one.vendor_integrations)
                message = f"{self._place(file, plugin_id, None)}: the plugin {plugin_id!r} is not installed"
                yield Problem(plugin_id=plugin_id, distribution="", message=message, remedy=how, severity="warning")
            return
        for key, right in (("module_path", plugin.module), ("class_name", plugin.class_name)):
            for file in self.files:
                entry = file.vendor_integrations.get(plugin_id)
                said = getattr(entry, key, UNSET)
                if said is not UNSET and said != right:
                    message = f"{self._place(file, plugin_id, key)}: {plugin_id}.{key} is {said!r}"
                    remedy = (
                        f"The entry point of {plugin.distribution} says {right!r}: write that, or leave the key out"
                    )
                    yield Problem(plugin_id=plugin_id, distribution=plugin.distribution, message=message, remedy=remedy)

    @staticmethod
    def _place(file: ConfigurationFile, plugin_id: str, key: str | None) -> str:
        line = file.line_of(("vendor_integrations", plugin_id, *([key] if key else [])))
        return f"{file.path}, line {line}"

    def tenant(self, tenant_id: str | None) -> TenantFile:
        """What the tenant's file says; an empty one when there is none. Raises `ConfigurationError`, `TenantIdError`."""
        return self._tenants.read(tenant_id)

    def tenants(self) -> tuple[str, ...]:
        """The tenants that have a file."""
        return self._tenants.names()

    def suspended(self, tenant_id: str | None) -> bool:
        """Whether the tenant's file says that it is suspended."""
        return self.tenant(tenant_id).suspended

    def write_tenant_configuration(
        self, tenant_id: str | None, plugin_id: str, configuration: Mapping[str, Any], *, remove: Iterable[str] = ()
    ) -> None:
        """Keep settings of a plugin for a tenant over restarts: merged into what the tenant's file has, written atomically.

        `remove` takes top-level keys out again. Raises `ConfigurationError` and changes nothing when the file is damaged.
        """
        self._tenants.write_configuration(tenant_id, plugin_id, configuration, remove)

    def write_tenant_enabled(self, tenant_id: str | None, plugin_id: str, enabled: bool | None) -> None:
        """Keep a plugin on or off for a tenant; `None` takes the tenant's say back."""
        self._tenants.write_enabled(tenant_id, plugin_id, enabled)

    def write_tenant_suspended(self, tenant_id: str, suspended: bool) -> None:
        """Keep a tenant suspended, or not, over restarts."""
        self._tenants.write_suspended(tenant_id, suspended)

    def remove_tenant(self, tenant_id: str) -> bool:
        """Remove the tenant's file; `False` when there was none."""
        return self._tenants.remove(tenant_id)

    def __repr__(self) -> str:
        return f"Configuration({', '.join(str(file.path) for file in self.files)})"


def _over(low: Integration, high: Integration) -> Integration:
    given = {name: getattr(high, name) for name in high.__struct_fields__ if getattr(high, name) is not UNSET}
    given["configuration"] = {**low.configuration, **high.configuration}
    return msgspec.structs.replace(low, **given)


def _layer(name: str, file: ConfigurationFile | TenantFile, path: tuple[str, ...]) -> Layer | None:
    """The `configuration` that a file has at a path, or `None` where it has none."""
    entry: Any = getattr(file, path[0])
    for key in path[1:]:
        entry = entry.get(key)
        if entry is None:
            return None
    if not entry.configuration:
        return None
    return Layer(
        name=name,
        source=str(file.path),
        values=entry.configuration,
        locate=lambda keys: file.line_of((*path, "configuration", *keys)),
    )


def _environment_layer(
    plugin: InstalledPlugin, model_class: type[PluginSettings] | None, environ: Mapping[str, str] | None
) -> Layer | None:
    if not plugin.manifest.environment:
        return None
    from ..discovery import load_settings_model  # noqa: PLC0415 - imports plugin code, so only here
    from ._resolve import environment_layer  # noqa: PLC0415

    layer = environment_layer(plugin.manifest, model_class or load_settings_model(plugin), environ)
    return layer if layer.values else None
