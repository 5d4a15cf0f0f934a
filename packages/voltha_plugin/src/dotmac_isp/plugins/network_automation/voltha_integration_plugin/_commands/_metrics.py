"""Commands on measured values: voltctl's `getextval` and `pmconfig`, and values over time."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any

import typer

from ._shared import Deadline, Device, Json, Tenant, ask, local_time, show

__all__ = ["add_metric_commands"]

_pm = typer.Typer(no_args_is_help=True, help="What VOLTHA measures by itself, and how often.")
_group = typer.Typer(no_args_is_help=True, help="Groups of metrics (ONUs).")
_metric = typer.Typer(no_args_is_help=True, help="Single metrics (OLTs).")
_pm.add_typer(_group, name="group")
_pm.add_typer(_metric, name="metric")

Seconds = Annotated[int, typer.Argument(metavar="SECONDS", help="A multiple of 5.")]
Names = Annotated[list[str], typer.Argument(metavar="NAME…")]


def add_metric_commands(app: typer.Typer) -> None:
    """Put the commands into the app."""
    for command in (value, offload, metrics, history):
        app.command()(command)
    app.command("onu-offload")(onu_offload)
    app.add_typer(_pm, name="pm")


def value(  # noqa: PLR0917 - typer's way to declare options
    device: Device,
    name: Annotated[str, typer.Argument(metavar="VALUE", help="onu_pon_optical_info, portstats, onu_distance, …")],
    port: Annotated[str | None, typer.Option("--port", help="A port's label: pon-0, nni-16777216.")] = None,
    uni: Annotated[int | None, typer.Option("--uni", help="A user port, from 1.")] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Set the counters to 0.")] = False,
    app: Annotated[str | None, typer.Option("--app", help="dhcpv4, dhcpv6 or pppoe.")] = None,
    serial_number: Annotated[str | None, typer.Option("--onu", help="Only this ONU's (pon_rx_power).")] = None,
    tenant: Tenant = None,
    as_json: Json = False,
    deadline: Deadline = None,
) -> None:
    """Ask a device for one value."""
    given = {"port": port, "uni": uni, "reset": reset or None, "app": app, "serial_number": serial_number}
    options = {key: each for key, each in given.items() if each is not None}
    found = ask(tenant, deadline, as_json, "get_value", device, name, options)
    show(found if as_json else found["content"], as_json)


def offload(
    olt: Device,
    dhcpv4: Annotated[bool, typer.Option(help="Relay DHCPv4.")] = False,
    dhcpv6: Annotated[bool, typer.Option(help="Relay DHCPv6.")] = False,
    pppoe: Annotated[bool, typer.Option(help="Be PPPoE intermediate agent.")] = False,
    access_node_id: Annotated[str, typer.Option(help="The OLT's name in what it relays.")] = "",
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """Let an OLT relay DHCP and PPPoE by itself."""
    apps = {"dhcpv4": dhcpv4, "dhcpv6": dhcpv6, "pppoe": pppoe, "access_node_id": access_node_id}
    show(ask(tenant, None, as_json, "set_offload", olt, apps), as_json)


def onu_offload(
    onu: Device,
    uni: Annotated[int, typer.Option(help="The user port, from 1.")] = 1,
    circuit_id: Annotated[str, typer.Option(help="Agent circuit id.")] = "",
    remote_id: Annotated[str, typer.Option(help="Agent remote id.")] = "",
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """Say what the OLT puts into what it relays for a user port."""
    show(ask(tenant, None, as_json, "set_onu_offload", onu, uni, circuit_id, remote_id), as_json)


def metrics(
    device: Annotated[list[str] | None, typer.Argument(metavar="DEVICE…", help="Measure these now.")] = None,
    prometheus: Annotated[bool, typer.Option("--prometheus", help="Write the text that Prometheus reads.")] = False,
    tenant: Tenant = None,
    as_json: Json = False,
    deadline: Deadline = None,
) -> None:
    """Show the values of devices: measured now, and published by VOLTHA."""
    found = ask(tenant, deadline, as_json, "collect_metrics", device or [])
    if prometheus:
        from ..metrics._text import render_prometheus  # noqa: PLC0415 - only here

        sys.stdout.write(render_prometheus(found))
        return
    rows = [
        {"device": name, **sample, "timestamp": local_time(sample["timestamp"])}
        for name, entry in found["resources"].items()
        for sample in entry["samples"]
    ]
    show(found if as_json else rows, as_json, () if as_json else ("device", "name", "labels", "value", "timestamp"))


def history(
    device: Device,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A value's name; all when left out.")] = "",
    hours: Annotated[float, typer.Option("--hours", help="How far back.")] = 24.0,
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """Show a device's values over time."""
    found: list[dict[str, Any]] = ask(
        tenant, None, as_json, "metric_history", device, name, since=time.time() - hours * 3600
    )
    rows = [
        {"name": series["name"], "labels": series["labels"], "time": local_time(at), "value": amount}
        for series in found
        for at, amount in series["points"]
    ]
    show(found if as_json else rows, as_json, ("name", "labels", "time", "value"))


def _set(device: str, change: dict[str, Any], tenant: str | None, as_json: bool) -> None:
    show(ask(tenant, None, as_json, "set_pm_config", device, change), as_json)


@_pm.command("get")
def get_pm(device: Device, tenant: Tenant = None, as_json: Json = False) -> None:
    """Show a device's PM configuration."""
    show(ask(tenant, None, as_json, "get_pm_config", device), as_json)


@_pm.command("frequency")
def frequency(device: Device, seconds: Seconds, tenant: Tenant = None, as_json: Json = False) -> None:
    """Set how often a device is measured."""
    _set(device, {"default_freq": seconds}, tenant, as_json)


@_pm.command("maxskew")
def max_skew(device: Device, seconds: int, tenant: Tenant = None, as_json: Json = False) -> None:
    """Set by how much measurements are spread."""
    _set(device, {"max_skew": seconds}, tenant, as_json)


@_group.command("enable")
def enable_group(device: Device, group: Names, tenant: Tenant = None, as_json: Json = False) -> None:
    """Measure groups."""
    _set(device, {"groups": dict.fromkeys(group, True)}, tenant, as_json)


@_group.command("disable")
def disable_group(device: Device, group: Names, tenant: Tenant = None, as_json: Json = False) -> None:
    """Measure groups no more."""
    _set(device, {"groups": dict.fromkeys(group, False)}, tenant, as_json)


@_group.command("frequency")
def group_frequency(device: Device, group: str, seconds: Seconds, tenant: Tenant = None, as_json: Json = False) -> None:
    """Set how often a group is measured."""
    _set(device, {"groups": {group: {"freq": seconds}}}, tenant, as_json)


@_group.command("list")
def list_groups(device: Device, tenant: Tenant = None, as_json: Json = False) -> None:
    """List the groups with their metrics."""
    groups = ask(tenant, None, as_json, "get_pm_config", device)["groups"]
    rows = [{"group": name, **group, "metrics": list(group["metrics"])} for name, group in groups.items()]
    show(groups if as_json else rows, as_json, ("group", "enabled", "freq", "metrics"))


@_metric.command("enable")
def enable_metric(device: Device, metric: Names, tenant: Tenant = None, as_json: Json = False) -> None:
    """Measure single metrics."""
    _set(device, {"metrics": dict.fromkeys(metric, True)}, tenant, as_json)


@_metric.command("disable")
def disable_metric(device: Device, metric: Names, tenant: Tenant = None, as_json: Json = False) -> None:
    """Measure single metrics no more."""
    _set(device, {"metrics": dict.fromkeys(metric, False)}, tenant, as_json)


@_metric.command("list")
def list_metrics(device: Device, tenant: Tenant = None, as_json: Json = False) -> None:
    """List single metrics and whether they are measured."""
    found = ask(tenant, None, as_json, "get_pm_config", device)["metrics"]
    rows = [{"metric": name, "enabled": on} for name, on in found.items()]
    show(found if as_json else rows, as_json, ("metric", "enabled"))
