"""The command line. Only typer loads here; each command loads what it needs when it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from . import _audit, _isolation, _licences, _look, _operate, _permissions, _serve_command, _simulate, _tenants
from ._options import Debug, Home  # noqa: TC001 - typer reads the annotations
from ._plugin_commands import CommandGroup

__all__ = ["app"]

app = typer.Typer(
    name="dotmac-plugins",
    cls=CommandGroup,
    help="Run, look at and configure dotmac plugins. Commands ask the running host where there is one, "
    "else a short-lived one of their own, and say which.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version  # noqa: PLC0415 - only here

        typer.echo(f"dotmac-plugins {version('dotmac-plugins-console')}")
        raise typer.Exit


@app.callback()
def root(
    home: Home = None,
    debug: Debug = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and end.")
    ] = False,
) -> None:
    """Options that hold for every command."""


_serve_command.add_to(app)
_look.add_to(app)
_operate.add_to(app)
_tenants.add_to(app)
_permissions.add_to(app)
_isolation.add_to(app)
_licences.add_to(app)
_audit.add_to(app)
_simulate.add_to(app)
