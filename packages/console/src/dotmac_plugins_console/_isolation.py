"""`dotmac-plugins isolation`: where a plugin runs, within which limits, and who says so; no host is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ._options import Debug, Environment, Home, Json, OneTenant, Plugin  # noqa: TC001 - typer reads the annotations
from ._output import guarded, write_json

if TYPE_CHECKING:
    import typer

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(isolation)


def isolation(
    plugin: Plugin,
    tenant: OneTenant = None,
    environment: Environment = None,
    home: Home = None,
    as_json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Explain where a plugin runs for a tenant, its limits and the guarantees that it must have, each with who says so."""

    def work() -> Any:
        from dotmac_isp.plugins.core.manager import PluginManager  # noqa: PLC0415 - not for --help

        from ._places import find_home  # noqa: PLC0415
        from ._who import tenant_of  # noqa: PLC0415

        manager = PluginManager(home=find_home(home))
        manager.read_policy()
        return manager.explain_isolation(plugin, tenant_id=tenant_of(tenant), environment=environment)

    facts = guarded(work, as_json=as_json)
    if as_json:
        write_json({"plugin_id": plugin, "tenant": tenant, "facts": [msgspec.to_builtins(one) for one in facts]})
        return
    from ._views import rows  # noqa: PLC0415 - loads rich

    lines = (
        (one.key, _shown(one), one.source + (f", line {one.line}" if one.line else ""), "; ".join(one.overrode))
        for one in facts
    )
    rows(("WHAT", "VALUE", "WHO SAYS SO", "OVERRODE"), lines)


def _shown(fact: Any) -> str:
    if isinstance(fact.value, (tuple, list)):
        return ", ".join(fact.value)
    if fact.key in {"limits.memory", "limits.file_size", "limits.disk"} and fact.value:
        return f"{fact.value / (1 << 20):g} MiB"
    return str(fact.value)
