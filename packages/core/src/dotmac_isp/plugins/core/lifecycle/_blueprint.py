"""What an instance's object is made from, and where its files are."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from ..model import tenant_label
from ..secrets import InstanceSecrets

if TYPE_CHECKING:
    from pathlib import Path

    from ..discovery import InstalledPlugin
    from ..model import InstanceRef
    from ..settings import ResolvedSettings, SecurityNeeds
    from ._house import House

__all__ = ["Blueprint", "instance_folder", "provides_secrets"]


class Blueprint:
    """A plugin in one version, with the settings, secrets and permissions of one tenant."""

    __slots__ = ("_house", "_ref", "needs", "permissions", "plugin", "secrets", "settings")

    def __init__(
        self,
        plugin: InstalledPlugin,
        ref: InstanceRef,
        house: House,
        settings: ResolvedSettings,
        needs: SecurityNeeds,
    ) -> None:
        self.plugin: Final = plugin
        self.needs: Final = needs
        self._ref: Final = ref
        self._house: Final = house
        self.settings = settings
        self.secrets: Final = InstanceSecrets(
            house.secrets_for(plugin), plugin.manifest, ref.tenant_id, also_required=needs.secrets_required
        )
        #: What the manifest asks for, and what the configuration file demands beyond it.
        self.permissions: Final = tuple(dict.fromkeys((*plugin.manifest.permissions, *needs.required_permissions)))

    def renewed(
        self,
        *,
        plugin: InstalledPlugin | None = None,
        settings: ResolvedSettings | None = None,
        needs: SecurityNeeds | None = None,
    ) -> Blueprint:
        """The same with another version of the plugin, other settings, or other demands of the configuration file."""
        return Blueprint(plugin or self.plugin, self._ref, self._house, settings or self.settings, needs or self.needs)


def provides_secrets(plugin: InstalledPlugin) -> bool:
    """Whether its instances of the system tenant are asked for other plugins' secrets."""
    return plugin.manifest.category == "secrets"


def instance_folder(home: Path, ref: InstanceRef) -> Path:
    """The folder of an instance's files. A tenant id may be told from another by case alone, which a file system may not see."""
    tenant = tenant_label(ref.tenant_id)
    digest = hashlib.sha256(tenant.encode()).hexdigest()[:8]
    return home / "data" / f"{tenant}.{digest}" / ref.plugin_id
