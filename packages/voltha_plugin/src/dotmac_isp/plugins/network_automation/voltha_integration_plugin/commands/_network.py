"""Commands that show the network and what happens in it."""

from __future__ import annotations

import sys
from typing import Annotated, Final

import typer

from ._shared import Json, Tenant, ask, console, fail, local_time, show

__all__ = ["add_network_commands"]

_ALARM_COLUMNS: Final = ("severity", "name", "serial_number", "port", "raised_at", "cleared_at", "occurrences")


def add_network_commands(app: typer.Typer) -> None:
    """Put the commands into the app."""
    for command in (topology, alarms):
        app.command()(command)


def topology(
    tenant: Tenant = None,
    as_json: Json = False,
    output_format: Annotated[
        str, typer.Option("--format", "-f", metavar="FORMAT", help="tree, json, graphml or dot.")
    ] = "tree",
) -> None:
    """Show the network from OLT to subscriber, as a tree or for another program."""
    from ..topology._formats import TOPOLOGY_FORMATS, render_topology  # noqa: PLC0415 - only here

    chosen = "json" if as_json else output_format
    if chosen not in ("tree", *TOPOLOGY_FORMATS):
        fail(as_json, f"no format {chosen!r}", f"Give tree, {', '.join(TOPOLOGY_FORMATS)}")
    found = ask(tenant, None, as_json, "topology")
    if chosen == "tree":
        from ..topology._terminal import tree  # noqa: PLC0415 - loads rich

        console().print(tree(found))
    else:
        sys.stdout.write(render_topology(found, chosen))


def alarms(
    device: Annotated[str | None, typer.Argument(metavar="DEVICE", help="Only those of this OLT or ONU.")] = None,
    history: Annotated[bool, typer.Option("--history", help="Those that are over, newest first.")] = False,
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """List the alarms that are raised (needs kafka_bootstrap)."""
    found = ask(tenant, None, as_json, "alarm_history" if history else "active_alarms", device)
    if not as_json:
        found = [each | {name: local_time(each[name]) for name in ("raised_at", "cleared_at")} for each in found]
    show(found, as_json, _ALARM_COLUMNS)
