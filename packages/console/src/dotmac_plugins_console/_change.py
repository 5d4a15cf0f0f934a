"""Changing settings as a person wrote them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from dotmac_isp.plugins.core.errors import ConfigurationError

from ._assignments import put

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dotmac_isp.plugins.core.manager import PluginManager
    from dotmac_isp.plugins.core.model import InstanceRef, SettingChange

__all__ = ["Change"]


class Change:
    """One change of an instance's settings. What cannot be used changes nothing, neither the instance nor the file."""

    def __init__(self, manager: PluginManager, ref: InstanceRef, *, persist: bool) -> None:
        self._manager: Final = manager
        self._ref: Final = ref
        self._persist: Final = persist

    async def apply(
        self, settings: Mapping[str, Any], texts: Mapping[str, Any], unset: Sequence[str]
    ) -> Sequence[SettingChange]:
        """Make the change. Raises `ConfigurationError`, `DiscoveryError`."""
        if not unset:
            return await self._set(settings, texts)
        self._manager.explain(self._ref.plugin_id)  # raises for a plugin that is not there
        configuration, tenant_id, plugin_id = self._manager.configuration, self._ref.tenant_id, self._ref.plugin_id
        entry = configuration.tenant(tenant_id).plugins.get(plugin_id)
        before = {key: entry.configuration[key] for key in unset if entry and key in entry.configuration}
        lacking = [key for key in unset if key not in before]
        if lacking:
            raise ConfigurationError(
                f"the tenant's file does not set {', '.join(lacking)}",
                field=lacking[0],
                source=configuration.tenant(tenant_id).path,
                remedy=f"dotmac-plugins explain {plugin_id} shows where each setting comes from",
            )
        configuration.write_tenant_configuration(tenant_id, plugin_id, {}, remove=unset)
        try:
            return await self._set(settings, texts)
        except BaseException:
            configuration.write_tenant_configuration(tenant_id, plugin_id, before)
            raise

    async def _set(self, settings: Mapping[str, Any], texts: Mapping[str, Any]) -> Sequence[SettingChange]:
        wanted = dict(settings)
        tried: set[str] = set()
        while True:
            try:
                return await self._manager.configure(
                    self._ref.plugin_id, wanted, tenant_id=self._ref.tenant_id, persist=self._persist
                )
            except ConfigurationError as error:
                field = error.field
                text = None if field is None or field in tried else _at(texts, field)
                if field is None or text is None or _at(wanted, field) == text:
                    raise
                tried.add(field)
                wanted = _with(wanted, field, text)


def _at(table: Mapping[str, Any], field: str) -> Any:
    value: Any = table
    for key in field.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _with(table: Mapping[str, Any], field: str, value: Any) -> dict[str, Any]:
    copy: dict[str, Any] = {key: dict(one) if isinstance(one, dict) else one for key, one in table.items()}
    put(copy, tuple(field.split(".")), value)
    return copy
