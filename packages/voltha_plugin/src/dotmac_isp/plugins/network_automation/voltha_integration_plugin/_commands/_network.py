"""Commands that show the network and what happens in it."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any, Final

import typer

from ._shared import Device, Json, Olt, Stack, Tenant, ask, console, fail, local_time, show

__all__ = ["add_network_commands"]

_plant = typer.Typer(no_args_is_help=True, help="What VOLTHA does not know: splitters, cables, places.")

_ALARM_COLUMNS: Final = ("severity", "name", "serial_number", "port", "raised_at", "cleared_at", "occurrences")


def add_network_commands(app: typer.Typer) -> None:
    """Put the commands into the app."""
    for command in (topology, alarms, events):
        app.command()(command)
    app.add_typer(_plant, name="plant")


def topology(
    tenant: Tenant = None,
    as_json: Json = False,
    output_format: Annotated[
        str, typer.Option("--format", "-f", metavar="FORMAT", help="tree, table, json, graphml, dot or svg.")
    ] = "tree",
) -> None:
    """Show the network from OLT to subscriber, as a tree or for another program."""
    from ..topology._formats import TOPOLOGY_FORMATS, render_topology  # noqa: PLC0415 - only here

    chosen = "json" if as_json else output_format
    if chosen not in ("tree", "table", *TOPOLOGY_FORMATS):
        fail(as_json, f"no format {chosen!r}", f"Give tree, table, {', '.join(TOPOLOGY_FORMATS)}")
    found = ask(tenant, None, as_json, "topology")
    if chosen == "tree":
        from ..topology._terminal import tree  # noqa: PLC0415 - loads rich

        console().print(tree(found))
    elif chosen == "table":
        from ..topology._table import TABLE_COLUMNS, rows  # noqa: PLC0415

        show(list(rows(found)), False, TABLE_COLUMNS)
    else:
        sys.stdout.write(render_topology(found, chosen))


def alarms(
    device: Annotated[str | None, typer.Argument(metavar="DEVICE", help="Only those of this OLT or ONU.")] = None,
    history: Annotated[bool, typer.Option("--history", help="Those that are over, newest first.")] = False,
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """List the alarms that are raised; without kafka_bootstrap those that polling shows."""
    found = ask(tenant, None, as_json, "alarm_history" if history else "active_alarms", device)
    if not as_json:
        found = [each | {name: local_time(each[name]) for name in ("raised_at", "cleared_at")} for each in found]
    show(found, as_json, _ALARM_COLUMNS)


def events(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until interrupted.")] = False,
    count: Annotated[int, typer.Option("--count", "-c", help="Stop after so many; 0: do not.")] = 0,
    wait: Annotated[float, typer.Option("--wait", metavar="SECONDS", help="How long to wait for one.")] = 10.0,
    kind: Annotated[list[str] | None, typer.Option("--kind", help="Only events of this kind (again for more).")] = None,
    device: Annotated[str, typer.Option("--device", help="Only those of this OLT or ONU.")] = "",
    tenant: Tenant = None,
    as_json: Json = False,
    stack: Stack = None,
) -> None:
    """Show what happens from now on: state changes, alarms, services."""
    cursor: str | None = None
    seen = 0
    while True:
        answer = ask(tenant, wait + 15, as_json, "next_events", cursor, wait, 500, kind or [], device, stack=stack)
        cursor = answer["cursor"]
        for event in answer["events"]:
            _print_event(event, as_json)
            seen += 1
            if seen == count:
                return
        if not follow and not (count and answer["events"]):
            return


def _print_event(event: dict[str, Any], as_json: bool) -> None:
    line = (
        json.dumps(event, ensure_ascii=False, default=str)
        if as_json
        else f"{local_time(event['timestamp'])} {event['severity']:8} {event['event_type']}: {event['message']}"
    )
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


@_plant.command("list")
def list_plant(tenant: Tenant = None, as_json: Json = False) -> None:
    """List splitters and places."""
    found = ask(tenant, None, as_json, "list_plant")
    if as_json:
        show(found, as_json)
        return
    show(found["splitters"], False, ("id", "olt_serial_number", "pon", "ports", "parent", "location", "cable", "note"))
    show(found["places"], False, ("serial_number", "splitter", "location", "cable", "note"))


@_plant.command("splitter")
def set_splitter(  # noqa: PLR0917 - typer's way to declare options
    name: Annotated[str, typer.Argument(metavar="NAME", help="The splitter's name.")],
    olt: Olt,
    pon: Annotated[int, typer.Argument(metavar="PON", help="The PON, from 0.")],
    ports: Annotated[int, typer.Option("--ports", help="Into how many it splits.")] = 0,
    parent: Annotated[str, typer.Option("--behind", help="The splitter that it is behind.")] = "",
    location: Annotated[str, typer.Option("--location", help="Where it is.")] = "",
    cable: Annotated[str, typer.Option("--cable", help="The cable that leads to it.")] = "",
    note: Annotated[str, typer.Option("--note", help="A remark.")] = "",
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """Tell of a splitter."""
    answer = ask(tenant, None, as_json, "set_splitter", name, olt, pon, ports, parent, location, cable, note)
    show(answer, as_json)


@_plant.command("remove-splitter")
def remove_splitter(name: str, tenant: Tenant = None, as_json: Json = False) -> None:
    """Forget a splitter that has nothing behind it."""
    show(ask(tenant, None, as_json, "remove_splitter", name), as_json)


@_plant.command("place")
def set_place(
    device: Device,
    splitter: Annotated[str, typer.Option("--splitter", help="The splitter that it is behind.")] = "",
    location: Annotated[str, typer.Option("--location", help="Where it is.")] = "",
    cable: Annotated[str, typer.Option("--cable", help="The cable that leads to it.")] = "",
    note: Annotated[str, typer.Option("--note", help="A remark.")] = "",
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """Tell where a device is; without anything it is forgotten."""
    show(ask(tenant, None, as_json, "set_place", device, location, splitter, cable, note), as_json)
