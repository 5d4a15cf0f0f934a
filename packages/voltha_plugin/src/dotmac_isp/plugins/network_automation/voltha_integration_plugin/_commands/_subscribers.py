"""Commands on subscriber services."""

from __future__ import annotations

import sys
from typing import Annotated, Final

import typer

from ._shared import Deadline, Device, Json, Subscriber, Tenant, ask, show

__all__ = ["add_subscriber_commands"]

_SERVICE_COLUMNS: Final = ("subscriber_id", "serial_number", "uni", "status", "service", "olt_serial_number")

_subscriber = typer.Typer(no_args_is_help=True, help="Subscriber services.")


def add_subscriber_commands(app: typer.Typer) -> None:
    """Put the commands into the app."""
    app.command()(diagnose)
    app.add_typer(_subscriber, name="subscriber")


def diagnose(subscriber: Subscriber, tenant: Tenant = None, as_json: Json = False) -> None:
    """Say what is wrong with a subscriber's line, how sure that is, and what to do."""
    found = ask(tenant, None, as_json, "diagnose", subscriber)
    if as_json:
        show(found, as_json)
    else:
        sure = f"{found['confidence']:.0%} sure"
        sys.stdout.write(f"{found['sentence']} ({sure})\n  do: {found['advice']}\n")


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
    show(ask(tenant, deadline, as_json, "add_subscriber_flow", device, subscriber, config), as_json)


@_subscriber.command("remove")
def remove_subscriber(
    device: Device, subscriber: Subscriber, tenant: Tenant = None, as_json: Json = False, deadline: Deadline = None
) -> None:
    """Remove what was installed for a subscriber on an ONU."""
    show(ask(tenant, deadline, as_json, "remove_subscriber_flow", device, subscriber), as_json)


@_subscriber.command("list")
def list_subscribers(
    device: Annotated[str | None, typer.Argument(metavar="DEVICE", help="Only those of this OLT or ONU.")] = None,
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """List the services that are remembered."""
    show(ask(tenant, None, as_json, "list_subscribers", device), as_json, _SERVICE_COLUMNS)
