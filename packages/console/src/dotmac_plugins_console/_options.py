"""The options that many commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Debug", "Environment", "Home", "Json", "OneTenant", "Plugin", "Tenant"]


def _debug(value: bool) -> bool:
    if value:
        os.environ["DOTMAC_DEBUG"] = "1"
    return value


def _home(value: Path | None) -> Path | None:
    if value is not None:
        os.environ["DOTMAC_HOME"] = str(value.expanduser().absolute())
    return value


Home = Annotated[
    Path | None,
    typer.Option("--home", metavar="DIR", callback=_home, help="State and configuration folder [env: DOTMAC_HOME]."),
]
Tenant = Annotated[
    str | None, typer.Option("--tenant", "-t", metavar="ID", help="Only this tenant; '-' is the system tenant.")
]
OneTenant = Annotated[
    str | None, typer.Option("--tenant", "-t", metavar="ID", help="The tenant; the system tenant when left out.")
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON to stdout.")]
Debug = Annotated[bool, typer.Option("--debug", callback=_debug, help="Show tracebacks.")]
Environment = Annotated[str | None, typer.Option("--environment", "-e", metavar="NAME", help="Deployment scenario.")]
Plugin = Annotated[str, typer.Argument(metavar="PLUGIN", help="The plugin's id, such as voltha_integration.")]
