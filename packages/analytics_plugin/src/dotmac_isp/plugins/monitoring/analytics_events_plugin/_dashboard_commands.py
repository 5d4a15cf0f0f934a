"""`dotmac-plugins analytics dashboard …`: dashboards as files, pictures and links."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from ._command_tools import AsJson, Tenant, ask, fail, json_file, show

__all__ = ["add_dashboard_commands"]

_dashboard = typer.Typer(no_args_is_help=True, help="Dashboards.")
_SHOWN: Final = ("id", "title", "path")
DashboardId = Annotated[str, typer.Argument(metavar="ID", help="As `dashboard list` shows it.")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="A JSON file; - is standard input.")]


@_dashboard.command("list")
def list_dashboards(tenant: Tenant = None, as_json: AsJson = False) -> None:
    """List the stored dashboards."""
    show(ask(tenant, as_json, "dashboards"), as_json, ("id", "title"))


@_dashboard.command("templates")
def templates(tenant: Tenant = None, as_json: AsJson = False) -> None:
    """List the ready-made dashboards."""
    show(ask(tenant, as_json, "dashboard_templates"), as_json)


@_dashboard.command("create")
def create_dashboard(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="A JSON file; - is standard input.")] = None,
    template: Annotated[str, typer.Option("--template", help="One of `dashboard templates` instead of a file.")] = "",
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Store a dashboard and draw its page."""
    if (file is None) == (not template):
        raise typer.BadParameter("a file or --template", param_hint="FILE")
    config: Any = {"template": template} if file is None else json_file(file)
    show([ask(tenant, as_json, "create_dashboard", config)], as_json, _SHOWN)


@_dashboard.command("change")
def change_dashboard(dashboard_id: DashboardId, file: File, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """Put another dashboard in the place of one; its links go on."""
    show([ask(tenant, as_json, "change_dashboard", dashboard_id, json_file(file))], as_json, _SHOWN)


@_dashboard.command("draw")
def draw_dashboard(
    dashboard_id: DashboardId,
    form: Annotated[str, typer.Option("--format", help="html, png or pdf.")] = "html",
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Draw a stored dashboard with the numbers of now."""
    show([ask(tenant, as_json, "export_dashboard", dashboard_id, form)], as_json, ("dashboard_id", "title", "path"))


@_dashboard.command("share")
def share_dashboard(
    dashboard_id: DashboardId,
    expires_in: Annotated[str, typer.Option("--for", help="How long the link opens: 1h, 7d.")] = "7d",
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Make a link under which a browser shows it, live, without a key."""
    show([ask(tenant, as_json, "share_dashboard", dashboard_id, expires_in)], as_json, ("share_id", "url"))


@_dashboard.command("unshare")
def unshare_dashboard(
    dashboard_id: DashboardId,
    share_id: Annotated[str, typer.Argument(metavar="SHARE-ID")],
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """End a link now."""
    if not ask(tenant, as_json, "unshare_dashboard", dashboard_id, share_id):
        fail(as_json, f"there is no link {share_id!r}", "it may have expired")


@_dashboard.command("delete")
def delete_dashboard(dashboard_id: DashboardId, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """Forget a dashboard and end its links."""
    if not ask(tenant, as_json, "delete_dashboard", dashboard_id):
        fail(as_json, f"there is no dashboard {dashboard_id!r}", "`dotmac-plugins analytics dashboard list` lists them")


def add_dashboard_commands(app: typer.Typer) -> None:
    app.add_typer(_dashboard, name="dashboard")
