"""Commands on subscriber services: one, or many from a file, and what is stored against what is there."""

from __future__ import annotations

import asyncio
import csv
import json
import sys
from pathlib import Path  # noqa: TC003 - typer reads it
from typing import Annotated, Any, Final

import typer

from dotmac_isp.plugins.core.errors import PluginError

from ._shared import PLUGIN, Deadline, Device, Json, Subscriber, Tenant, ask, fail, show

__all__ = ["add_service_commands"]

_COLUMNS: Final = ("subscriber_id", "name", "serial_number", "uni", "status", "owner", "service", "olt_serial_number")
_STEP_COLUMNS: Final = ("subscriber_id", "name", "serial_number", "status", "action", "reason", "error")
_POLL: Final = 0.5

_service = typer.Typer(no_args_is_help=True, help="Subscriber services: add, change, suspend, many at once.")

Name = Annotated[str | None, typer.Option("--name", help="Which of the subscriber's services; all when left out.")]
Some = Annotated[str | None, typer.Argument(metavar="DEVICE", help="Only those of this OLT or ONU.")]


def add_service_commands(app: typer.Typer) -> None:
    """Put the commands into the app."""
    app.add_typer(_service, name="service")
    app.command()(plan)
    app.command()(reconcile)


@_service.command("add")
def add(  # noqa: PLR0917 - typer's way to declare options
    device: Device,
    subscriber: Subscriber,
    down: Annotated[int | None, typer.Option("--down", metavar="KBIT/S", help="Downstream speed.")] = None,
    up: Annotated[int | None, typer.Option("--up", metavar="KBIT/S", help="Upstream speed.")] = None,
    workflow: Annotated[str | None, typer.Option("--workflow", help="att, dt, tt-hsia, tt-voip, tim, fttb-…")] = None,
    s_tag: Annotated[int | None, typer.Option("--s-tag", help="The outer tag.")] = None,
    c_tag: Annotated[int | None, typer.Option("--c-tag", help="The inner tag.")] = None,
    uni: Annotated[int | None, typer.Option("--uni", help="The ONU's user port, from 1.")] = None,
    profile: Annotated[int | None, typer.Option("--technology-profile", help="64 to 255.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="What the service is called.")] = None,
    mac: Annotated[str | None, typer.Option("--mac", help="The subscriber's MAC address.")] = None,
    more: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Anything else of a service, values as JSON.")
    ] = None,
    tenant: Tenant = None,
    as_json: Json = False,
    deadline: Deadline = None,
) -> None:
    """Install a service and see it on the devices; an existing one of that name is replaced."""
    given = {
        "bandwidth_down": down,
        "bandwidth_up": up,
        "workflow": workflow,
        "s_tag": s_tag,
        "c_tag": c_tag,
        "uni": uni,
        "technology_profile": profile,
        "name": name,
        "mac_address": mac,
    }
    config = {key: value for key, value in given.items() if value is not None} | _settings(more or [], as_json)
    show(ask(tenant, deadline, as_json, "add_subscriber_flow", device, subscriber, config), as_json)


@_service.command("speed")
def speed(
    device: Device,
    subscriber: Subscriber,
    down: Annotated[int | None, typer.Option("--down", metavar="KBIT/S", help="Downstream speed.")] = None,
    up: Annotated[int | None, typer.Option("--up", metavar="KBIT/S", help="Upstream speed.")] = None,
    name: Name = None,
    tenant: Tenant = None,
    as_json: Json = False,
    deadline: Deadline = None,
) -> None:
    """Change the speed of a service; what is not given stays."""
    speeds = {key: value for key, value in (("bandwidth_down", down), ("bandwidth_up", up)) if value is not None}
    show(ask(tenant, deadline, as_json, "change_subscriber_speed", device, subscriber, speeds, name), as_json)


@_service.command("mac")
def mac_address(
    device: Device,
    subscriber: Subscriber,
    mac: Annotated[str, typer.Argument(metavar="MAC", help="Like 02:00:00:00:00:01.")],
    name: Name = None,
    tenant: Tenant = None,
    as_json: Json = False,
    deadline: Deadline = None,
) -> None:
    """Tell the MAC address that a service waits for."""
    show(ask(tenant, deadline, as_json, "set_subscriber_mac", device, subscriber, mac, name), as_json)


@_service.command("suspend")
def suspend(
    device: Device,
    subscriber: Subscriber,
    name: Name = None,
    tenant: Tenant = None,
    as_json: Json = False,
    deadline: Deadline = None,
) -> None:
    """Take services out of VOLTHA and keep them, with their tags."""
    show(ask(tenant, deadline, as_json, "suspend_subscriber", device, subscriber, name), as_json)


@_service.command("restore")
def restore(
    device: Device,
    subscriber: Subscriber,
    name: Name = None,
    tenant: Tenant = None,
    as_json: Json = False,
    deadline: Deadline = None,
) -> None:
    """Bring suspended services back."""
    show(ask(tenant, deadline, as_json, "restore_subscriber", device, subscriber, name), as_json)


@_service.command("remove")
def remove(
    device: Device,
    subscriber: Subscriber,
    name: Name = None,
    tenant: Tenant = None,
    as_json: Json = False,
    deadline: Deadline = None,
) -> None:
    """Remove what was installed, and nothing else."""
    show(ask(tenant, deadline, as_json, "remove_subscriber_flow", device, subscriber, name), as_json)


@_service.command("list")
def list_services(device: Some = None, tenant: Tenant = None, as_json: Json = False) -> None:
    """List the services that are remembered."""
    show(ask(tenant, None, as_json, "list_subscribers", device), as_json, _COLUMNS)


@_service.command("uplink")
def uplink(
    device: Annotated[str, typer.Argument(metavar="OLT", help="The OLT's serial number or id.")],
    traps: Annotated[
        list[str] | None, typer.Argument(metavar="TRAP…", help="lldp, dhcp, dhcpv6, igmp, pppoe; none: no traps.")
    ] = None,
    dhcp_vlan: Annotated[int | None, typer.Option("--dhcp-vlan", help="Trap DHCP in this VLAN only.")] = None,
    tenant: Tenant = None,
    as_json: Json = False,
    deadline: Deadline = None,
) -> None:
    """Hand packets from an OLT's uplink to the controller, and no others."""
    show(ask(tenant, deadline, as_json, "set_uplink_traps", device, traps or [], dhcp_vlan), as_json)


@_service.command("bulk")
def bulk(
    action: Annotated[str, typer.Argument(metavar="ACTION", help="add, speed, suspend, restore or remove.")],
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="CSV with a header (device_id, subscriber_id, …), a JSON list, or JSON lines."
        ),
    ],
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """Do the same for many services at once, and say how far it is; ends with 1 when some failed."""
    items = _read_items(action, file, as_json)
    try:
        found = asyncio.run(_run_bulk(tenant, action, items, quiet=as_json))
    except PluginError as error:
        fail(as_json, error.message, error.remedy)
    failed = [result for result in found["results"] if not result["ok"]]
    if as_json:
        show(found, as_json)
    else:
        sys.stdout.write(
            f"{found['succeeded']} of {found['total']} services done, {found['failed']} failed, in {found['seconds']} s\n"
        )
        if failed:
            show(failed, as_json, ("subscriber_id", "device_id", "error", "remedy"))
    if failed or found["done"] < found["total"]:
        raise typer.Exit(1)


async def _run_bulk(tenant: str | None, action: str, items: list[dict[str, Any]], *, quiet: bool) -> dict[str, Any]:
    from dotmac_plugins_console import connect  # noqa: PLC0415 - loads the runtime

    async with connect(tenant, deadline=None) as host:
        status = await host.call(PLUGIN, "start_bulk", action, items)
        results: list[dict[str, Any]] = []
        while True:
            status = await host.call(PLUGIN, "bulk_status", status["job"], len(results))
            results += status["results"]
            if not quiet:
                sys.stderr.write(f"\r{status['done']} of {status['total']}, {status['failed']} failed ")
                sys.stderr.flush()
            if status["finished"]:
                break
            await asyncio.sleep(_POLL)
    if not quiet:
        sys.stderr.write("\n")
    return {**status, "results": results}


def plan(device: Some = None, tenant: Tenant = None, as_json: Json = False) -> None:
    """Compare the stored services with VOLTHA and say what would be done, without doing it."""
    found = ask(tenant, None, as_json, "plan_services", device)
    if as_json:
        show(found, as_json)
        return
    sys.stdout.write(f"{found['in_order']} of {found['checked']} services are in order\n")
    _show_rest(found, found["steps"])


def reconcile(
    device: Some = None,
    remove_orphans: Annotated[
        bool, typer.Option("--remove-orphans", help="Also take away flows of ours that no service has.")
    ] = False,
    tenant: Tenant = None,
    as_json: Json = False,
    deadline: Deadline = None,
) -> None:
    """Compare the stored services with VOLTHA and repair what is not in order; ends with 1 when something failed."""
    found = ask(tenant, deadline, as_json, "reconcile_services", device, remove_orphans)
    if as_json:
        show(found, as_json)
    else:
        sys.stdout.write(
            f"{found['in_order']} of {found['checked']} were in order, {len(found['repaired'])} repaired\n"
        )
        _show_rest(found, found["failed"] + found["waiting"] + found["blocked"])
    if found["failed"]:
        raise typer.Exit(1)


def _show_rest(found: dict[str, Any], steps: list[dict[str, Any]]) -> None:
    if steps:
        show(steps, False, _STEP_COLUMNS)
    if found["orphans"]:
        sys.stdout.write(f"{len(found['orphans'])} flows of ours belong to no service (reconcile --remove-orphans)\n")
    for bare in found["uplinks"]:
        sys.stdout.write(f"OLT {bare['olt_serial_number']} misses traps at its uplink\n")
    for olt, owners in found["foreign"].items():
        whose = ", ".join(f"{owner}: {count}" for owner, count in owners.items())
        sys.stdout.write(f"OLT {olt} has flows of others: {whose}\n")


def _settings(given: list[str], as_json: bool) -> dict[str, Any]:
    made = {}
    for each in given:
        key, equals, value = each.partition("=")
        if not equals or not key:
            fail(as_json, f"--set {each!r} is not KEY=VALUE", "For example --set us_c_priority=5")
        made[key.strip()] = _value(value)
    return made


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _read_items(action: str, file: Path, as_json: bool) -> list[dict[str, Any]]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        fail(as_json, f"{file} cannot be read: {error}", None)
    try:
        rows = _rows(text, file.suffix.lower())
    except (ValueError, csv.Error) as error:
        fail(as_json, f"{file}: {error}", "Give CSV with a header (.csv), a JSON list, or one JSON object on each line")
    return [_item(action, row) for row in rows]


def _rows(text: str, suffix: str) -> list[dict[str, Any]]:
    if suffix == ".csv":
        rows = csv.DictReader(text.splitlines(), strict=True)
        return [{key: _value(value) for key, value in row.items() if value not in (None, "")} for row in rows]
    if text.lstrip().startswith("["):
        rows_of_list: list[dict[str, Any]] = json.loads(text)
        return rows_of_list
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def _item(action: str, row: dict[str, Any]) -> dict[str, Any]:
    """A row as an item: what is not the device, the subscriber or a name is the service, or its speeds."""
    inner = {"add": "service", "speed": "speeds"}.get(action)
    if inner is None or inner in row:
        return _texts(row)
    outer = {"device_id", "subscriber_id"} | ({"name"} if action == "speed" else set())
    kept = {key: value for key, value in row.items() if key in outer}
    return _texts({**kept, inner: {key: value for key, value in row.items() if key not in outer}})


def _texts(item: dict[str, Any]) -> dict[str, Any]:
    """Ids are texts, also where a file has them as numbers."""
    return {key: str(value) if key in ("device_id", "subscriber_id") else value for key, value in item.items()}
