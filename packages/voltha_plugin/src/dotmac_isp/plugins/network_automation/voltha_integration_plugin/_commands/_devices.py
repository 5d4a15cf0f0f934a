"""Commands on devices: the table of voltctl (domain specification, section 1.3), followed to their end."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from ._shared import (
    Deadline,
    Device,
    Devices,
    Json,
    Olt,
    Pon,
    Stack,
    Tenant,
    ask,
    ask_each,
    fail,
    local_time,
    show,
)

__all__ = ["add_device_commands"]

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
_ADAPTER_COLUMNS: Final = ("id", "type", "vendor", "version", "endpoint", "last_communication")
_STUCK_COLUMNS: Final = ("name", "serial_number", "since", "sentence", "remedy")
_PORT_COLUMNS: Final = ("port_no", "label", "type", "admin_state", "oper_status", "peers")

_olt = typer.Typer(no_args_is_help=True, help="OLTs.")
_onu = typer.Typer(no_args_is_help=True, help="ONUs.")
_port = typer.Typer(no_args_is_help=True, help="Ports of devices.")
_logical = typer.Typer(no_args_is_help=True, help="Logical devices: one for each OLT that works.")


def add_device_commands(app: typer.Typer) -> None:
    """Put the commands into the app."""
    for command in (
        version,
        adapters,
        types,
        stacks,
        devices,
        status,
        enable,
        disable,
        reboot,
        delete,
        flows,
        groups,
        stuck,
    ):
        app.command()(command)
    app.add_typer(_olt, name="olt")
    app.add_typer(_onu, name="onu")
    app.add_typer(_port, name="port")
    app.add_typer(_logical, name="logical")


def version(tenant: Tenant = None, as_json: Json = False, stack: Stack = None) -> None:
    """Show which VOLTHA it is."""
    show(ask(tenant, None, as_json, "voltha_version", stack=stack), as_json)


def adapters(tenant: Tenant = None, as_json: Json = False, stack: Stack = None) -> None:
    """List the adapters and when they were heard last."""
    found = ask(tenant, None, as_json, "list_adapters", stack=stack)
    if not as_json:
        found = [each | {"last_communication": local_time(each["last_communication"])} for each in found]
    show(found, as_json, _ADAPTER_COLUMNS)


def types(tenant: Tenant = None, as_json: Json = False, stack: Stack = None) -> None:
    """List the device types that there are adapters for."""
    found = ask(tenant, None, as_json, "list_device_types", stack=stack)
    show(found, as_json, ("id", "adapter", "vendor_ids"))


def stacks(tenant: Tenant = None, as_json: Json = False) -> None:
    """List the VOLTHA stacks of the tenant."""
    found = ask(tenant, None, as_json, "list_stacks")
    show(found, as_json, ("name", "target", "connected", "kafka_bootstrap", "error"))


def devices(tenant: Tenant = None, as_json: Json = False) -> None:
    """List all OLTs and ONUs."""
    show(ask(tenant, None, as_json, "discover_devices"), as_json, _DEVICE_COLUMNS)


def status(device: Device, tenant: Tenant = None, as_json: Json = False) -> None:
    """Show one OLT or ONU with its ports."""
    found = ask(tenant, None, as_json, "get_device_status", device)
    if found is None:
        fail(as_json, f"VOLTHA has no device {device!r}", "`dotmac-plugins voltha devices` lists what it has")
    show(found, as_json)


def enable(device: Devices, tenant: Tenant = None, as_json: Json = False, deadline: Deadline = None) -> None:
    """Enable OLTs or ONUs and wait until they are active."""
    ask_each(tenant, deadline, as_json, "enable_device", device)


def disable(device: Devices, tenant: Tenant = None, as_json: Json = False, deadline: Deadline = None) -> None:
    """Disable OLTs or ONUs and wait until they are."""
    ask_each(tenant, deadline, as_json, "disable_device", device)


def reboot(
    device: Devices,
    wait: Annotated[bool, typer.Option(help="Wait until it went down and came back.")] = True,
    tenant: Tenant = None,
    as_json: Json = False,
    deadline: Deadline = None,
) -> None:
    """Reboot OLTs or ONUs (give an OLT some minutes as --deadline)."""
    ask_each(tenant, deadline, as_json, "reboot_device", device, wait=wait)


def delete(
    device: Devices,
    force: Annotated[bool, typer.Option("--force", help="Whatever the adapter says.")] = False,
    tenant: Tenant = None,
    as_json: Json = False,
    deadline: Deadline = None,
) -> None:
    """Delete OLTs with their ONUs, or ONUs, which are discovered again if they are still connected."""
    ask_each(tenant, deadline, as_json, "delete_device", device, force=force)


def flows(device: Device, tenant: Tenant = None, as_json: Json = False) -> None:
    """List the flows on a device."""
    show(ask(tenant, None, as_json, "list_device_flows", device), as_json, _FLOW_COLUMNS)


def groups(device: Device, tenant: Tenant = None, as_json: Json = False) -> None:
    """List the multicast groups on a device."""
    show(ask(tenant, None, as_json, "list_device_groups", device), as_json, ("desc",))


def stuck(tenant: Tenant = None, as_json: Json = False) -> None:
    """List the devices that hang, in which state, and what helps."""
    found = ask(tenant, None, as_json, "stuck_devices")
    if not as_json:
        found = [each | {"since": local_time(each["since"])} for each in found]
    show(found, as_json, _STUCK_COLUMNS)


_FLOW_COLUMNS: Final = ("id", "table_id", "priority", "cookie", "match", "instructions")


@_olt.command("add")
def add_olt(
    address: Annotated[str, typer.Argument(metavar="HOST:PORT", help="Where the OLT's agent listens, or its MAC.")],
    device_type: Annotated[str, typer.Option("--type", help="The adapter's device type.")] = "openolt",
    tenant: Tenant = None,
    as_json: Json = False,
    deadline: Deadline = None,
    stack: Stack = None,
) -> None:
    """Bring an OLT into service and wait until it is active."""
    show(ask(tenant, deadline, as_json, "provision_olt", address, device_type, stack=stack), as_json)


@_olt.command("create")
def create_olt(
    address: Annotated[str, typer.Argument(metavar="HOST:PORT", help="Where the OLT's agent listens, or its MAC.")],
    device_type: Annotated[str, typer.Option("--type", help="The adapter's device type.")] = "openolt",
    tenant: Tenant = None,
    as_json: Json = False,
    stack: Stack = None,
) -> None:
    """Create an OLT and leave it as it is; `enable` brings it up."""
    show(ask(tenant, None, as_json, "create_olt", address, device_type, stack=stack), as_json)


@_olt.command("address")
def change_address(
    olt: Olt,
    address: Annotated[str, typer.Argument(metavar="HOST:PORT", help="Where the OLT's agent listens now.")],
    tenant: Tenant = None,
    as_json: Json = False,
    deadline: Deadline = None,
) -> None:
    """Tell VOLTHA an OLT's new address."""
    show(ask(tenant, deadline, as_json, "change_olt_address", olt, address), as_json)


@_onu.command("add")
def add_onu(
    olt: Olt,
    serial_number: Annotated[str, typer.Argument(metavar="SERIAL", help="The ONU's serial number.")],
    pon: Annotated[int | None, typer.Option("--pon", help="The PON that it should be on, from 0.")] = None,
    onu_id: Annotated[int | None, typer.Option("--onu-id", help="The ONU id that it should have.")] = None,
    tenant: Tenant = None,
    as_json: Json = False,
    deadline: Deadline = None,
) -> None:
    """Wait until an ONU is there and ready for services."""
    show(ask(tenant, deadline, as_json, "provision_onu", olt, pon, onu_id, serial_number), as_json)


_BySerial = Annotated[bool, typer.Option("--by-serial", help="Ask the OLT by serial number and PON, not by id.")]


@_onu.command("on")
def onu_on(
    onu: Device, by_serial: _BySerial = False, tenant: Tenant = None, as_json: Json = False, deadline: Deadline = None
) -> None:
    """Let the OLT activate an ONU again (PLOAM)."""
    show(ask(tenant, deadline, as_json, "enable_onu", onu, by_serial), as_json)


@_onu.command("off")
def onu_off(
    onu: Device, by_serial: _BySerial = False, tenant: Tenant = None, as_json: Json = False, deadline: Deadline = None
) -> None:
    """Let the OLT deactivate an ONU (PLOAM): its laser stays dark."""
    show(ask(tenant, deadline, as_json, "disable_onu", onu, by_serial), as_json)


@_onu.command("serial-on")
def serial_on(olt: Olt, pon: Pon, serial: str, tenant: Tenant = None, as_json: Json = False) -> None:
    """Let a serial number in again on a PON."""
    show(ask(tenant, None, as_json, "enable_onu_serial", olt, pon, serial), as_json)


@_onu.command("serial-off")
def serial_off(olt: Olt, pon: Pon, serial: str, tenant: Tenant = None, as_json: Json = False) -> None:
    """Keep a serial number off a PON."""
    show(ask(tenant, None, as_json, "disable_onu_serial", olt, pon, serial), as_json)


@_onu.command("allow")
def allow(
    serial: Annotated[str, typer.Argument(metavar="SERIAL", help="The ONU's serial number.")],
    olt: Annotated[str, typer.Option("--olt", help="Only below this OLT (serial number).")] = "",
    pon: Annotated[int | None, typer.Option("--pon", help="Only on this PON, from 0.")] = None,
    note: Annotated[str, typer.Option("--note", help="A remark for the list.")] = "",
    tenant: Tenant = None,
    as_json: Json = False,
    stack: Stack = None,
) -> None:
    """Let an ONU work (setting onu_admission = allow-list)."""
    show(ask(tenant, None, as_json, "allow_onu", serial, olt, pon, note, stack=stack), as_json)


@_onu.command("forbid")
def forbid(serial: str, tenant: Tenant = None, as_json: Json = False, stack: Stack = None) -> None:
    """Take an ONU off the list of those that may work."""
    show(ask(tenant, None, as_json, "forbid_onu", serial, stack=stack), as_json)


@_onu.command("allowed")
def allowed(tenant: Tenant = None, as_json: Json = False, stack: Stack = None) -> None:
    """List the ONUs that may work."""
    found = ask(tenant, None, as_json, "list_allowed_onus", stack=stack)
    show(found, as_json, ("serial_number", "olt_serial_number", "pon_port", "note"))


@_onu.command("waiting")
def waiting(tenant: Tenant = None, as_json: Json = False) -> None:
    """List the ONUs that were discovered and are not allowed to work."""
    show(ask(tenant, None, as_json, "list_waiting_onus"), as_json, _DEVICE_COLUMNS)


@_port.command("list")
def list_ports(device: Device, tenant: Tenant = None, as_json: Json = False) -> None:
    """List a device's ports."""
    show(ask(tenant, None, as_json, "list_ports", device), as_json, _PORT_COLUMNS)


@_port.command("enable")
def enable_port(olt: Olt, pon: Pon, tenant: Tenant = None, as_json: Json = False, deadline: Deadline = None) -> None:
    """Enable a PON port."""
    show(ask(tenant, deadline, as_json, "enable_port", olt, pon), as_json)


@_port.command("disable")
def disable_port(olt: Olt, pon: Pon, tenant: Tenant = None, as_json: Json = False, deadline: Deadline = None) -> None:
    """Disable a PON port, and with it every ONU on it."""
    show(ask(tenant, deadline, as_json, "disable_port", olt, pon), as_json)


@_logical.command("list")
def list_logical(tenant: Tenant = None, as_json: Json = False, stack: Stack = None) -> None:
    """List the logical devices."""
    found = ask(tenant, None, as_json, "list_logical_devices", stack=stack)
    show(found, as_json, ("id", "datapath_id", "root_device_id", "desc"))


def _inspect(what: str, columns: tuple[str, ...]) -> None:
    @_logical.command(what, help=f"List the {what} of an OLT's logical device, named by the OLT or by its own id.")
    def inspect(device: Device, tenant: Tenant = None, as_json: Json = False) -> None:
        found: list[Any] = ask(tenant, None, as_json, "inspect_logical_device", device, what)
        show(found, as_json, columns)


_inspect("flows", _FLOW_COLUMNS)
_inspect("groups", ("desc",))
_inspect("ports", ("id", "device_id", "device_port_no", "root_port", "ofp_port"))
_inspect("meters", ("config",))
