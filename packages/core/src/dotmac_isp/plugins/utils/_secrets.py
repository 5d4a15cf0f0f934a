"""Which secrets are there: by name, never by value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dotmac_isp.plugins.core.errors import SecretError

from ._results import PluginSecrets, SecretReport

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dotmac_isp.plugins.core.discovery import InstalledPlugin
    from dotmac_isp.plugins.core.manager import PluginManager

    from ._results import Presence

__all__ = ["secret_report"]


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
    reader = manager.secret_reader(plugin.id, tenant_id=tenant_id)
    required = reader.required
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
