"""Commands that look: list, show, explain, health."""

from __future__ import annotations

from typing import Annotated

import typer

from ._options import Debug, Environment, Home, Json, OneTenant, Plugin, Tenant  # noqa: TC001 - typer reads the annotations
from ._output import ask, write_json

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(name="list")(list_plugins)
    app.command()(show)
    app.command()(explain)
    app.command()(health)


def list_plugins(tenant: Tenant = None, home: Home = None, as_json: Json = False, debug: Debug = False) -> None:  # noqa: ARG001
    """Show what is installed, what runs, and what does not and why."""
    answer = ask("list", {"tenant": tenant}, home=home, as_json=as_json)
    if as_json:
        write_json(answer)
        return
    from ._views import show_list  # noqa: PLC0415 - loads rich

    show_list(answer)


def show(
    plugin: Plugin,
    tenant: Tenant = None,
    home: Home = None,
    as_json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Show everything about one plugin: manifest, features, settings, states, health, problems."""
    answer = ask("show", {"plugin_id": plugin, "tenant": tenant}, home=home, as_json=as_json)
    if as_json:
        write_json(answer)
        return
    from ._show import show_plugin  # noqa: PLC0415 - loads rich

    show_plugin(answer)


def explain(
    plugin: Plugin,
    tenant: OneTenant = None,
    environment: Environment = None,
    home: Home = None,
    as_json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Show each setting of a plugin, the layer that set it, and what that overrode."""
    given = {"plugin_id": plugin, "tenant": tenant, "environment": environment}
    answer = ask("explain", given, home=home, as_json=as_json)
    if as_json:
        write_json(answer)
        return
    from ._views import show_settings  # noqa: PLC0415 - loads rich

    show_settings(answer["settings"])


def health(
    plugin: Annotated[str | None, typer.Argument(metavar="[PLUGIN]", help="Only this plugin.")] = None,
    tenant: Tenant = None,
    details: Annotated[bool, typer.Option("--details", help="All that each tells, not only what is not well.")] = False,
    home: Home = None,
    as_json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Ask instances how they are, now; exit code 1 when one is unhealthy. A short-lived host starts them first."""
    answer = ask("health", {"plugin_id": plugin, "tenant": tenant}, home=home, as_json=as_json)
    if as_json:
        write_json(answer)
    else:
        from ._views import show_health  # noqa: PLC0415 - loads rich

        show_health(answer, details=details)
    if not answer["healthy"]:
        raise typer.Exit(1)
