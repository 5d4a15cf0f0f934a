"""Commands on ONU software: voltctl's `onuimage`, and rollouts in waves."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from ._shared import Deadline, Device, Devices, Json, Tenant, ask, local_time, show

__all__ = ["add_software_commands"]

_image = typer.Typer(no_args_is_help=True, help="Software of ONUs.")
_rollout = typer.Typer(no_args_is_help=True, help="Rollouts of an image in waves.")
_image.add_typer(_rollout, name="rollout")

Version = Annotated[str, typer.Argument(metavar="VERSION", help="The version as the ONU reports it.")]
Url = Annotated[str, typer.Argument(metavar="URL", help="http://… that the ONU adapter can reach.")]
Vendor = Annotated[str, typer.Option("--vendor", help="The vendor's four characters.")]
Crc = Annotated[int, typer.Option("--crc32", help="The file's CRC-32.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="The rollout's id.")]

_COLUMNS: Final = ("id", "version", "state", "wave", "waves", "onus", "done", "failed", "began_at", "why")


def add_software_commands(app: typer.Typer) -> None:
    """Put the commands into the app."""
    app.add_typer(_image, name="image")


@_image.command("list")
def list_images(onu: Device, tenant: Tenant = None, as_json: Json = False) -> None:
    """Show the versions that an ONU has."""
    show(ask(tenant, None, as_json, "list_images", onu), as_json)


@_image.command("status")
def status(onu: Device, version: Version, tenant: Tenant = None, as_json: Json = False) -> None:
    """Show how far an image of an ONU is."""
    show(ask(tenant, None, as_json, "image_status", onu, version), as_json)


@_image.command("download")
def download(
    onu: Device,
    version: Version,
    url: Url,
    vendor: Vendor = "",
    crc32: Crc = 0,
    tenant: Tenant = None,
    as_json: Json = False,
    deadline: Deadline = None,
) -> None:
    """Load an image onto an ONU and wait until it is there."""
    show(ask(tenant, deadline, as_json, "download_image", onu, version, url, vendor, crc32), as_json)


@_image.command("activate")
def activate(
    onu: Device, version: Version, tenant: Tenant = None, as_json: Json = False, deadline: Deadline = None
) -> None:
    """Start an ONU with an image that it has."""
    show(ask(tenant, deadline, as_json, "activate_image", onu, version), as_json)


@_image.command("commit")
def commit(
    onu: Device, version: Version, tenant: Tenant = None, as_json: Json = False, deadline: Deadline = None
) -> None:
    """Keep the image that an ONU runs for its next start."""
    show(ask(tenant, deadline, as_json, "commit_image", onu, version), as_json)


@_image.command("abort")
def abort(onu: Device, version: Version, tenant: Tenant = None, as_json: Json = False) -> None:
    """Abort what is under way with an image."""
    show(ask(tenant, None, as_json, "abort_image", onu, version), as_json)


@_rollout.command("start")
def start(  # noqa: PLR0917 - typer's way to declare options
    version: Version,
    url: Url,
    device: Devices,
    canary: Annotated[int, typer.Option("--canary", help="How many ONUs go first.")] = 1,
    wave: Annotated[int, typer.Option("--wave", help="How many ONUs a wave has.")] = 32,
    at_once: Annotated[int, typer.Option("--at-once", help="How many of them at the same time.")] = 8,
    soak: Annotated[float, typer.Option("--soak", metavar="SECONDS", help="How long a wave is watched.")] = 60.0,
    stop_after: Annotated[int, typer.Option("--stop-after", help="So many failures stop it.")] = 1,
    activate_it: Annotated[bool, typer.Option("--activate/--load-only", help="Start the image.")] = True,
    commit_it: Annotated[bool, typer.Option("--commit/--no-commit", help="Keep it for the next start.")] = True,
    vendor: Vendor = "",
    crc32: Crc = 0,
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """Begin to bring an image to ONUs, or to all ONUs of an OLT; it goes on by itself."""
    image = {"version": version, "url": url, "vendor": vendor, "crc32": crc32}
    rules: dict[str, Any] = {"canary": canary, "wave": wave, "at_once": at_once, "soak": soak, "stop_after": stop_after}
    rules |= {"activate": activate_it, "commit": commit_it}
    _one(ask(tenant, None, as_json, "upgrade_onus", image, device, rules), as_json)


@_rollout.command("list")
def list_rollouts(tenant: Tenant = None, as_json: Json = False) -> None:
    """List the rollouts, newest first."""
    found = ask(tenant, None, as_json, "list_upgrades")
    if not as_json:
        found = [each | {"began_at": local_time(each["began_at"])} for each in found]
    show(found, as_json, _COLUMNS)


@_rollout.command("status")
def rollout_status(rollout: Id, tenant: Tenant = None, as_json: Json = False) -> None:
    """Show a rollout with each ONU."""
    _one(ask(tenant, None, as_json, "upgrade_status", rollout), as_json)


@_rollout.command("stop")
def stop(rollout: Id, tenant: Tenant = None, as_json: Json = False) -> None:
    """Stop a rollout."""
    _one(ask(tenant, None, as_json, "stop_upgrade", rollout), as_json)


@_rollout.command("resume")
def resume(rollout: Id, tenant: Tenant = None, as_json: Json = False) -> None:
    """Go on with a rollout; what failed is tried again."""
    _one(ask(tenant, None, as_json, "resume_upgrade", rollout), as_json)


def _one(rollout: dict[str, Any], as_json: bool) -> None:
    if not as_json:
        rollout |= {name: local_time(rollout[name]) for name in ("began_at", "updated_at")}
    show(rollout, as_json)
