"""`dotmac-plugins voltha …`: what an operator does with OLTs, ONUs and subscribers. Mounted by the console package.

Loaded only there, so typer and rich come with it; each command goes to the running host, else to a short-lived one.
"""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import datetime
from typing import Annotated, Any, Final

import typer

from dotmac_isp.plugins.core.errors import PluginError

__all__ = ["app"]

_PLUGIN: Final = "voltha_integration"

app = typer.Typer(no_args_is_help=True, help="Fibre access over VOLTHA: OLTs, ONUs, subscriber services.")
_olt = typer.Typer(no_args_is_help=True, help="OLTs.")
_onu = typer.Typer(no_args_is_help=True, help="ONUs.")
_subscriber = typer.Typer(no_args_is_help=True, help="Subscriber services.")
app.add_typer(_olt, name="olt")
app.add_typer(_onu, name="onu")
app.add_typer(_subscriber, name="subscriber")

Tenant = Annotated[
    str | None, typer.Option("--tenant", "-t", metavar="ID", help="The tenant; the system tenant when left out.")
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON to stdout.")]
Deadline = Annotated[
    float | None, typer.Option("--deadline", metavar="SECONDS", help="How long it may take; default: the settings.")
]
Device = Annotated[str, typer.Argument(metavar="DEVICE", help="Serial number, or VOLTHA's id.")]
Subscriber = Annotated[str, typer.Argument(metavar="SUBSCRIBER", help="The subscriber's id.")]


@app.command()
def devices(tenant: Tenant = None, as_json: Json = False) -> None:
    """List all OLTs and ONUs."""
    _show(_ask(tenant, None, as_json, "discover_devices"), as_json, _DEVICE_COLUMNS)


@app.command()
def status(device: Device, tenant: Tenant = None, as_json: Json = False) -> None:
    """Show one OLT or ONU with its ports."""
    found = _ask(tenant, None, as_json, "get_device_status", device)
    if found is None:
        _fail(as_json, f"VOLTHA has no device {device!r}", "`dotmac-plugins voltha devices` lists what it has")
    _show(found, as_json)


@app.command()
def enable(device: Device, tenant: Tenant = None, as_json: Json = False, deadline: Deadline = None) -> None:
    """Enable an OLT or ONU and wait until it is active."""
    _switch(device, tenant, as_json, deadline, enabled=True)


@app.command()
def disable(device: Device, tenant: Tenant = None, as_json: Json = False, deadline: Deadline = None) -> None:
    """Disable an OLT or ONU and wait until it is."""
    _switch(device, tenant, as_json, deadline, enabled=False)


@app.command()
def topology(
    tenant: Tenant = None,
    as_json: Json = False,
    output_format: Annotated[
        str, typer.Option("--format", "-f", metavar="FORMAT", help="tree, json, graphml or dot.")
    ] = "tree",
) -> None:
    """Show the network from OLT to subscriber, as a tree or for another program."""
    from ._topology_formats import TOPOLOGY_FORMATS, render_topology  # noqa: PLC0415 - only here

    chosen = "json" if as_json else output_format
    if chosen not in ("tree", *TOPOLOGY_FORMATS):
        _fail(as_json, f"no format {chosen!r}", f"Give tree, {', '.join(TOPOLOGY_FORMATS)}")
    found = _ask(tenant, None, as_json, "topology")
    if chosen == "tree":
        from ._topology_tree import tree  # noqa: PLC0415 - loads rich

        _console().print(tree(found))
    else:
        sys.stdout.write(render_topology(found, chosen))


@app.command()
def alarms(
    device: Annotated[str | None, typer.Argument(metavar="DEVICE", help="Only those of this OLT or ONU.")] = None,
    history: Annotated[bool, typer.Option("--history", help="Those that are over, newest first.")] = False,
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """List the alarms that are raised (needs kafka_bootstrap)."""
    found = _ask(tenant, None, as_json, "alarm_history" if history else "active_alarms", device)
    if not as_json:
        found = [each | {name: _time(each[name]) for name in ("raised_at", "cleared_at")} for each in found]
    _show(found, as_json, _ALARM_COLUMNS)


@app.command()
def diagnose(subscriber: Subscriber, tenant: Tenant = None, as_json: Json = False) -> None:
    """Say what is wrong with a subscriber's line, how sure that is, and what to do."""
    found = _ask(tenant, None, as_json, "diagnose", subscriber)
    if as_json:
        _show(found, as_json)
    else:
        sure = f"{found['confidence']:.0%} sure"
        sys.stdout.write(f"{found['sentence']} ({sure})\n  do: {found['advice']}\n")


@_olt.command("add")
def add_olt(
    host_and_port: Annotated[str, typer.Argument(metavar="HOST:PORT", help="Where the OLT's agent listens.")],
    device_type: Annotated[str, typer.Option("--type", help="The adapter's device type.")] = "openolt",
    tenant: Tenant = None,
    as_json: Json = False,
    deadline: Deadline = None,
) -> None:
    """Bring an OLT into service and wait until it is active."""
    _show(_ask(tenant, deadline, as_json, "provision_olt", host_and_port, device_type), as_json)


@_onu.command("add")
def add_onu(
    olt: Annotated[str, typer.Argument(metavar="OLT", help="The OLT's serial number or id.")],
    serial_number: Annotated[str, typer.Argument(metavar="SERIAL", help="The ONU's serial number.")],
    pon: Annotated[int | None, typer.Option("--pon", help="The PON that it should be on, from 0.")] = None,
    onu_id: Annotated[int | None, typer.Option("--onu-id", help="The ONU id that it should have.")] = None,
    tenant: Tenant = None,
    as_json: Json = False,
    deadline: Deadline = None,
) -> None:
    """Wait until an ONU is there and ready for services."""
    _show(_ask(tenant, deadline, as_json, "provision_onu", olt, pon, onu_id, serial_number), as_json)


@_subscriber.command("add")
def add_subscriber(  # noqa: PLR0917 - typer's way to declare options
    device: Device,
    subscriber: Subscriber,
    s_tag: Annotated[int, typer.Option("--s-tag", help="The service tag on the uplink.")],
    down: Annotated[int, typer.Option("--down", metavar="KBIT/S", help="Downstream speed.")],
    up: Annotated[int, typer.Option("--up", metavar="KBIT/S", help="Upstream speed.")],
    uni: Annotated[int, typer.Option("--uni", help="The ONU's user port, from 1.")] = 1,
    technology_profile: Annotated[int, typer.Option("--technology-profile", help="64 to 255.")] = 64,
    tenant: Tenant = None,
    as_json: Json = False,
    deadline: Deadline = None,
) -> None:
    """Install a single-tagged service and see it on the devices."""
    config = {
        "s_tag": s_tag,
        "bandwidth_down": down,
        "bandwidth_up": up,
        "uni": uni,
        "technology_profile": technology_profile,
    }
    _show(_ask(tenant, deadline, as_json, "add_subscriber_flow", device, subscriber, config), as_json)


@_subscriber.command("remove")
def remove_subscriber(
    device: Device, subscriber: Subscriber, tenant: Tenant = None, as_json: Json = False, deadline: Deadline = None
) -> None:
    """Remove what was installed for a subscriber on an ONU."""
    _show(_ask(tenant, deadline, as_json, "remove_subscriber_flow", device, subscriber), as_json)


@_subscriber.command("list")
def list_subscribers(
    device: Annotated[str | None, typer.Argument(metavar="DEVICE", help="Only those of this OLT or ONU.")] = None,
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """List the services that are remembered."""
    _show(_ask(tenant, None, as_json, "list_subscribers", device), as_json, _SERVICE_COLUMNS)


_DEVICE_COLUMNS: Final = (
    "type",
    "serial_number",
    "status",
    "reason",
    "pon_port",
    "onu_id",
    "host_and_port",
    "device_id",
)
_ALARM_COLUMNS: Final = ("severity", "name", "serial_number", "port", "raised_at", "cleared_at", "occurrences")
_SERVICE_COLUMNS: Final = ("subscriber_id", "serial_number", "uni", "status", "service", "olt_serial_number")


def _switch(device: str, tenant: str | None, as_json: bool, deadline: float | None, *, enabled: bool) -> None:
    done = _ask(tenant, deadline, as_json, "configure_device", device, {"enabled": enabled})
    if done is None:
        _fail(as_json, f"VOLTHA has no device {device!r}", "`dotmac-plugins voltha devices` lists what it has")
    _show({"device": device, "enabled": enabled}, as_json)


def _ask(tenant: str | None, deadline: float | None, as_json: bool, method: str, *args: Any) -> Any:
    from dotmac_plugins_console import connect  # noqa: PLC0415 - loads the runtime

    async def ask() -> Any:
        async with connect(tenant, deadline=deadline) as host:
            return await host.call(_PLUGIN, method, *args)

    try:
        return asyncio.run(ask())
    except PluginError as error:
        _fail(as_json, error.message, error.remedy)


def _fail(as_json: bool, message: str, remedy: str | None) -> None:
    if as_json:
        sys.stdout.write(json.dumps({"error": {"message": message, "remedy": remedy}}, indent=2) + "\n")
    sys.stderr.write(f"error: {message}\n" + (f"  fix: {remedy}\n" if remedy else ""))
    raise typer.Exit(1)


def _show(value: Any, as_json: bool, columns: tuple[str, ...] = ()) -> None:
    if as_json:
        sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")
        return
    from rich.table import Table  # noqa: PLC0415 - only for people

    table = Table(box=None, header_style="bold")
    for name in columns or ("", " "):
        table.add_column(name, overflow="fold")
    for row in value if columns else value.items():
        table.add_row(*(_cell(row.get(name, "")) for name in columns) if columns else (row[0], _cell(row[1])))
    _console().print(table)


def _console() -> Any:
    from rich.console import Console  # noqa: PLC0415 - only for people

    return Console(width=None if sys.stdout.isatty() else 250, markup=False, highlight=False)


def _time(seconds: float | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "seconds")


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={_cell(each)}" for key, each in value.items())
    if isinstance(value, list):
        return "\n".join(_cell(each) for each in value)
    return str(value)
