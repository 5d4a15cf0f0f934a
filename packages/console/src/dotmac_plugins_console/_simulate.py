"""`dotmac-plugins simulate`: the VOLTHA simulator, where it is installed."""

from __future__ import annotations

import os
import sys
from importlib import metadata
from typing import Final

import typer

from ._output import fail

__all__ = ["add_to"]

_COMMAND: Final = "dotmac-voltha-simulator"
_RUN: Final = "import sys; sys.argv[0] = {name!r}; from {module} import {attribute}; sys.exit({attribute}())"


def add_to(app: typer.Typer) -> None:
    """Add the command. Every option but ours goes to the simulator, `--help` too."""
    settings = {"allow_extra_args": True, "ignore_unknown_options": True}
    app.command(context_settings=settings, add_help_option=False)(simulate)


def simulate(context: typer.Context) -> None:
    """Run a VOLTHA in one process (dotmac-voltha-simulator) with the options that follow; --help shows them."""
    point = next(iter(metadata.entry_points(group="console_scripts", name=_COMMAND)), None)
    if point is None:
        fail("the simulator is not installed", f"python -m pip install {_COMMAND}")
        raise typer.Exit(1)
    code = _RUN.format(name=_COMMAND, module=point.module, attribute=point.attr)
    sys.stdout.flush()
    # It takes this process's place, so that signals and its exit code are its own.
    os.execv(sys.executable, [sys.executable, "-c", code, *context.args])  # noqa: S606 - an installed package's own command
