"""The life of an OLT: enable, link loss, disable, reboot, delete (sections 2.2 and 12.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from voltha_protos import logical_device_pb2

from .._events.alarms import olt_event, set_lan_loss
from .._events.messages import device_event
from .._stack import delays
from .._stack.stack import ADAPTER_ENDPOINTS, ADMIN, CONNECT, OLT_TYPE, OPER, Stack
from . import onu_life
from .pm import olt_pm_configs
from .ports import logical_port, nni_number, nni_port, pon_number, pon_port

if TYPE_CHECKING:
    from .._stack.records import OltRecord
    from .hardware import OltHardware

_OFPC_CAPABILITIES = 15  # flow, table, port and group statistics


def enable(stack: Stack, olt: OltRecord) -> None:
    """Start dialling, or bring a disabled OLT back."""
    if olt.message.admin_state == ADMIN.DISABLED and olt.message.connect_status == CONNECT.REACHABLE:
        stack.set_state(olt, admin=ADMIN.ENABLED, oper=OPER.ACTIVATING)
        olt.timers.later(delays.OLT_REENABLE, _active, stack, olt)
        return
    olt.message.adapter_endpoint = ADAPTER_ENDPOINTS[OLT_TYPE]
    stack.set_state(olt, admin=ADMIN.ENABLED, oper=OPER.ACTIVATING)
    olt.timers.later(delays.OLT_DIAL, dial, stack, olt)


def dial(stack: Stack, olt: OltRecord) -> None:
    """One attempt to reach the hardware; the return of the hardware starts the next one."""
    hardware = _hardware_at(stack, olt.message.host_and_port)
    olt.hardware = hardware
    if hardware is None or not hardware.answers or olt.message.admin_state != ADMIN.ENABLED:
        return
    device = olt.message
    device.serial_number, device.mac_address = hardware.serial, hardware.mac
    device.vendor, device.model = "BBSim", "asfvolt16"
    olt.timers.later(delays.OLT_HEARTBEAT, _active, stack, olt)


def _hardware_at(stack: Stack, address: str) -> OltHardware | None:
    return next((hardware for hardware in stack.hardware if hardware.address == address), None)


def _active(stack: Stack, olt: OltRecord) -> None:
    hardware = olt.hardware
    if hardware is None or not hardware.answers:
        return
    olt.run = hardware.runs
    stack.set_state(olt, oper=OPER.ACTIVE, connect=CONNECT.REACHABLE)
    tell_up(stack, olt)
    _set_pon_ports(stack, olt, hardware)
    _ensure_logical_device(stack, olt)
    onu_life.discover_all(stack, olt)


def _set_pon_ports(stack: Stack, olt: OltRecord, hardware: OltHardware) -> None:
    # After a restart the PONs come up before anybody is connected, and nobody is told (recordings 02 and 02b).
    told = bool(olt.ports) or not hardware.runs
    if not olt.ports:
        uplink = nni_port(olt.id, hardware.mac)
        olt.ports[uplink.port_no] = uplink
        for pon in range(len(hardware.onus)):
            olt.ports[pon_number(pon)] = pon_port(olt.id, hardware.mac, pon)
        olt.message.pm_configs.CopyFrom(olt_pm_configs(olt.id))
    for pon in range(len(hardware.onus)):
        if pon not in hardware.disabled_pons:
            olt.ports[pon_number(pon)].oper_status = OPER.ACTIVE
            if told:
                olt_event(stack, olt, "OLT_PON_INTERFACE_DOWN", {"oper-state": "up"}, raised=False)


def _ensure_logical_device(stack: Stack, olt: OltRecord) -> None:
    if stack.logical_of(olt) is not None:
        return
    message = _logical_message(stack.new_id(), olt)
    record = stack.add_logical(message, olt)
    uplink = nni_number(0)
    stack.add_logical_port(record, logical_port(olt.ports[uplink]))


def _logical_message(logical_id: str, olt: OltRecord) -> Any:
    message = logical_device_pb2.LogicalDevice(
        id=logical_id, root_device_id=olt.id, datapath_id=int(olt.message.mac_address.replace(":", ""), 16)
    )
    message.desc.mfr_desc, message.desc.serial_num = "VOLTHA Project", olt.message.serial_number
    message.desc.hw_desc = message.desc.sw_desc = "open_pon"
    message.switch_features.n_buffers, message.switch_features.n_tables = 256, 2
    message.switch_features.capabilities = _OFPC_CAPABILITIES
    return message


def tell_up(stack: Stack, olt: OltRecord) -> None:
    """What the adapter says whenever it has connected to an OLT, also when nothing was raised (surprise 30)."""
    olt_event(stack, olt, "OLT_DOWN_INDICATION", {"oper-state": "up"}, raised=False)
    _tell_communication(stack, olt, raised=False)


def _tell_communication(stack: Stack, olt: OltRecord, *, raised: bool) -> None:
    device = olt.message
    states = {
        "admin-state": ADMIN.Types.Name(device.admin_state),
        "oper-state": OPER.Types.Name(device.oper_status),
        "connect-state": CONNECT.Types.Name(device.connect_status),
    }
    identity = {
        "id": olt.id,
        "type": device.type,
        "vendor": device.vendor,
        "serial-number": device.serial_number,
        "mac-address": device.mac_address,
        "parent-id": device.parent_id,
        "parent-port-no": "0",
        "hardware-version": "",
        "firmware-version": "",
    }
    olt_event(stack, olt, "OLT_COMMUNICATION_FAILURE", {**identity, **states}, raised=raised)


def disable(stack: Stack, olt: OltRecord) -> None:
    """All PONs go dark; ports, flows and ids stay."""
    olt.timers.cancel()
    stack.set_state(olt, admin=ADMIN.DISABLED, oper=OPER.UNKNOWN)
    for number, port in olt.ports.items():
        if number != nni_number(0):
            port.oper_status = OPER.UNKNOWN
            olt_event(stack, olt, "OLT_PON_INTERFACE_DOWN", {"oper-state": "down"}, raised=True)
    lose_onus(stack, olt)
    olt_event(stack, olt, "OLT_DOWN_INDICATION", {"oper-state": "down"}, raised=True)


def lose_onus(stack: Stack, olt: OltRecord, pon: int | None = None) -> None:
    """No ONU of the OLT, or of one PON, answers any more."""
    for onu in stack.onus_of(olt):
        if pon is None or onu.hardware.pon == pon:
            onu_life.lose(stack, onu)


def set_pon(stack: Stack, olt: OltRecord, number: int, *, enabled: bool) -> None:
    """EnablePort and DisablePort of a PON."""
    port, pon = olt.ports[number], number - pon_number(0)
    port.admin_state = ADMIN.ENABLED if enabled else ADMIN.DISABLED
    olt.timers.later(delays.OLT_REENABLE, _pon_switched, stack, olt, pon)


def _pon_switched(stack: Stack, olt: OltRecord, pon: int) -> None:
    port, hardware = olt.ports[pon_number(pon)], olt.hardware
    if hardware is None:
        return
    if port.admin_state == ADMIN.DISABLED:
        hardware.disabled_pons.add(pon)
        port.oper_status = OPER.DISCOVERED
        lose_onus(stack, olt, pon)
        return
    was_dark = pon in hardware.disabled_pons
    hardware.disabled_pons.discard(pon)
    port.oper_status = OPER.ACTIVE
    if was_dark:
        olt_event(stack, olt, "OLT_PON_INTERFACE_DOWN", {"oper-state": "up"}, raised=False)
        for onu in hardware.onus[pon]:
            onu_life.discover(stack, olt, onu)


def link_lost(stack: Stack, olt: OltRecord) -> None:
    """The connection to the hardware breaks; nothing is deleted, the ONUs keep their states."""
    olt.timers.cancel()
    olt.timers.later(delays.OLT_LINK_CHECK, _unreachable, stack, olt)


def _unreachable(stack: Stack, olt: OltRecord) -> None:
    stack.set_state(olt, oper=OPER.UNKNOWN, connect=CONNECT.UNREACHABLE)
    _tell_communication(stack, olt, raised=True)


def link_back(stack: Stack, olt: OltRecord) -> None:
    """The hardware answers again: everything is as it was, unless it has restarted meanwhile."""
    hardware = olt.hardware
    if hardware is not None and hardware.restarting:
        return
    olt.timers.cancel()
    if olt.message.connect_status == CONNECT.UNKNOWN:
        dial(stack, olt)
        return
    if hardware is not None and hardware.runs != olt.run:
        _start_anew(stack, olt)
        return
    olt.timers.later(delays.OLT_LINK_CHECK, _linked, stack, olt)


def _linked(stack: Stack, olt: OltRecord) -> None:
    active = olt.message.admin_state == ADMIN.ENABLED
    stack.set_state(olt, oper=OPER.ACTIVE if active else OPER.UNKNOWN, connect=CONNECT.REACHABLE)
    tell_up(stack, olt)
    if active:
        onu_life.discover_all(stack, olt)


def reboot(stack: Stack, olt: OltRecord) -> None:
    """The hardware restarts: ONUs are lost at once, the OLT's own loss is noticed seconds later (surprise 27)."""
    for onu in stack.onus_of(olt):
        if onu.message.oper_status == OPER.ACTIVE:
            set_lan_loss(stack, onu, raised=True)
    lose_onus(stack, olt)
    hardware = olt.hardware
    if hardware is None or hardware.restarting:
        return
    hardware.restarting = True
    olt.timers.cancel()
    olt.timers.later(delays.OLT_REBOOT_NOTICED, _unreachable, stack, olt)
    stack.background.later(delays.OLT_RESTART, restarted, stack, hardware)


def restarted(stack: Stack, hardware: OltHardware) -> None:
    """The hardware is back; whoever had it before the restart starts anew, with new ids."""
    hardware.restarting = False
    hardware.runs += 1
    hardware.disabled_pons.clear()
    if not hardware.link:
        return
    for olt in stack.olts():
        if olt.message.host_and_port != hardware.address or olt.busy:
            continue
        if olt.message.connect_status == CONNECT.UNKNOWN:
            if olt.message.admin_state == ADMIN.ENABLED:
                dial(stack, olt)
        else:
            _start_anew(stack, olt)


def _start_anew(stack: Stack, olt: OltRecord) -> None:
    olt.timers.cancel()
    stack.set_state(olt, oper=OPER.REBOOTED, connect=CONNECT.REACHABLE)
    clear(stack, olt)
    _tell_communication(stack, olt, raised=True)
    olt.timers.later(delays.OLT_REBOOTED, _after_reboot, stack, olt)


def _after_reboot(stack: Stack, olt: OltRecord) -> None:
    stack.set_state(olt, oper=OPER.UNKNOWN, connect=CONNECT.UNREACHABLE)
    if olt.message.admin_state == ADMIN.ENABLED:
        olt.timers.later(delays.OLT_RETURN, _active, stack, olt)


def clear(stack: Stack, olt: OltRecord) -> None:
    """Everything below the OLT goes: logical ports, ONUs, flows, meters, the logical device."""
    logical = stack.logical_of(olt)
    if logical is not None:
        for number in list(logical.ports):
            stack.remove_logical_port(logical, number)
    for onu in stack.onus_of(olt):
        onu_life.remove(stack, onu, rediscover=False)
    olt.ports.clear()
    olt.clear_flows()
    olt.groups.clear()
    olt.raised.clear()
    if logical is not None:
        stack.remove_logical(logical, olt)


def restart_hardware(stack: Stack, olt: OltRecord) -> None:
    """What the adapter does to the hardware of an OLT that is deleted."""
    hardware = olt.hardware
    if hardware is not None and hardware.answers and not hardware.restarting:
        hardware.restarting = True
        stack.background.later(delays.OLT_RESTART, restarted, stack, hardware)


def remove(stack: Stack, olt: OltRecord) -> None:
    """The OLT and everything below it is gone."""
    clear(stack, olt)
    stack.forget(olt)
    context = {"id": olt.id, "serial-number": olt.message.serial_number}
    stack.emit(device_event("OLT_DELETED_RAISE_EVENT", olt.id, context, category="EQUIPMENT", sub="OLT"))
