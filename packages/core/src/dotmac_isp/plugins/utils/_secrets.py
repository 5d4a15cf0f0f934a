"""Which secrets are there: by name, never by value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from dotmac_isp.plugins.core.errors import SecretError
from dotmac_isp.plugins.core.secrets import InstanceSecrets

from ._results import PluginSecrets, SecretReport

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dotmac_isp.plugins.core.discovery import InstalledPlugin
    from dotmac_isp.plugins.core.manager import PluginManager

    from ._results import Presence

__all__ = ["check_file_secrets", "secret_report"]


def _required(manager: PluginManager, plugin: InstalledPlugin) -> tuple[str, ...]:
    """What the manifest requires, and what the configuration file requires beyond it."""
    entry = manager.configuration.integration(plugin.id)
    by_file = () if entry is None or entry.security is UNSET else entry.security.secrets_required
    return tuple(dict.fromkeys((*plugin.manifest.secrets.required, *by_file)))


def _reader(
    manager: PluginManager, plugin: InstalledPlugin, tenant_id: str | None, required: Sequence[str]
) -> InstanceSecrets:
    chain = manager._house.secrets  # noqa: SLF001 - the loader is the floor above the manager, in the same distribution
    return InstanceSecrets(chain, plugin.manifest, tenant_id, also_required=required)


async def check_file_secrets(manager: PluginManager, plugin: InstalledPlugin, tenant_id: str | None) -> None:
    """Raise `SecretMissingError` for what only the file's `secrets_required` demands.

    What the manifest requires is the manager's own matter, which remembers it in the instance's state.
    """
    required = _required(manager, plugin)
    if len(required) == len(plugin.manifest.secrets.required):
        return
    reader = _reader(manager, plugin, tenant_id, required)
    beyond = [name for name in await reader.missing_required() if name not in plugin.manifest.secrets.required]
    if beyond:
        raise reader.missing_error(beyond)


async def secret_report(
    manager: PluginManager, plugins: Iterable[InstalledPlugin], tenant_id: str | None
) -> SecretReport:
    """Ask the host's providers for every secret of the plugins."""
    found: dict[str, PluginSecrets] = {}
    for plugin in plugins:
        found[plugin.id] = await _plugin_secrets(manager, plugin, tenant_id)
    missing = [f"{one}: {name}" for one, report in found.items() for name in _not_present(report["required"])]
    return SecretReport(tenant_id=tenant_id, valid=not missing, missing=missing, plugins=found)


async def _plugin_secrets(manager: PluginManager, plugin: InstalledPlugin, tenant_id: str | None) -> PluginSecrets:
    required = _required(manager, plugin)
    reader = _reader(manager, plugin, tenant_id, required)
    optional = [name for name in reader.names if name not in required]
    try:
        missing = {*await reader.missing_required(), *await reader.missing_optional()}
        off = await reader.switched_off()
    except SecretError as error:
        return PluginSecrets(
            valid=False,
            required=dict.fromkeys(required, "unknown"),
            optional=dict.fromkeys(optional, "unknown"),
            switched_off={},
            remedy=str(error),
        )
    lacking = [name for name in required if name in missing]
    return PluginSecrets(
        valid=not lacking,
        required=_presence(required, missing),
        optional=_presence(optional, missing),
        switched_off={feature: list(names) for feature, names in off.items()},
        remedy=reader.missing_error(lacking).remedy if lacking else None,
    )


def _presence(names: Iterable[str], missing: set[str]) -> dict[str, Presence]:
    return {name: "missing" if name in missing else "present" for name in names}


def _not_present(secrets: dict[str, Presence]) -> list[str]:
    return [name for name, presence in secrets.items() if presence != "present"]
