"""`dotmac-plugins tenants …`."""

from __future__ import annotations

from typing import Annotated

import typer

from ._options import Debug, Home, Json  # noqa: TC001 - typer reads the annotations
from ._output import ask, write_json

__all__ = ["add_to"]

TenantId = Annotated[str, typer.Argument(metavar="TENANT")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    tenants = typer.Typer(help="List, suspend, resume and remove tenants.", no_args_is_help=True, rich_markup_mode=None)
    tenants.command(name="list")(list_tenants)
    tenants.command()(suspend)
    tenants.command()(resume)
    tenants.command()(remove)
    app.add_typer(tenants, name="tenants")


def list_tenants(home: Home = None, as_json: Json = False, debug: Debug = False) -> None:  # noqa: ARG001
    """Show every tenant."""
    answer = ask("tenants", {}, home=home, as_json=as_json)
    if as_json:
        write_json(answer)
        return
    from ._views import show_tenants  # noqa: PLC0415 - loads rich

    show_tenants(answer)


def suspend(tenant: TenantId, home: Home = None, as_json: Json = False, debug: Debug = False) -> None:  # noqa: ARG001
    """Switch a tenant off, for good: its instances stop and keep their data."""
    answer = ask("suspend_tenant", {"tenant": tenant}, home=home, as_json=as_json)
    write_json(answer) if as_json else typer.echo(f"{tenant} is suspended")


def resume(tenant: TenantId, home: Home = None, as_json: Json = False, debug: Debug = False) -> None:  # noqa: ARG001
    """Switch a tenant on again: what ran before runs again."""
    answer = ask("resume_tenant", {"tenant": tenant}, home=home, as_json=as_json)
    if as_json:
        write_json(answer)
    else:
        typer.echo(f"{tenant} is resumed, {answer['active']} of {answer['instances']} instances are active")
        for instance, reason in answer["failed"].items():
            typer.echo(f"{instance} does not run: {reason}", err=True)
    if answer["failed"]:
        raise typer.Exit(1)


def remove(
    tenant: TenantId,
    yes: Annotated[bool, typer.Option("--yes", help="Do it: without this nothing is removed.")] = False,
    home: Home = None,
    as_json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Remove a tenant with its instances, documents, files and configuration. There is no way back."""
    if not yes:
        raise typer.BadParameter(
            f"this removes everything that is kept for {tenant!r}, for good; give --yes to do it", param_hint="--yes"
        )
    answer = ask("remove_tenant", {"tenant": tenant}, home=home, as_json=as_json)
    write_json(answer) if as_json else typer.echo(f"{tenant} is removed")
