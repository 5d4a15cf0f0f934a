"""The life of an ONU: discovery, activation, loss, return, disable, reboot, delete (sections 2.3 and 12.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voltha_protos import device_pb2

from .._events.alarms import set_lan_loss, set_onu_alarm
from .._events.messages import PublishedEvent, device_event
from .._images import upgrades
from .._stack import delays
from .._stack.records import LogicalRecord, OltRecord, OnuRecord
from .._stack.stack import ADAPTER_ENDPOINTS, ADMIN, CONNECT, OLT_TYPE, ONU_TYPE, OPER, Stack
from .pm import onu_pm_configs
from .ports import logical_port, onu_pon_port, pon_number, uni_port

if TYPE_CHECKING:
    from .hardware import OnuHardware

#: reasons in which the device has run through its activation
READY_REASONS = ("initial-mib-downloaded", "tech-profile-config-download-success", "omci-flows-pushed")


def discover_all(stack: Stack, olt: OltRecord) -> None:
    """Report the ONUs of an OLT that has come up: one of each PON after the other."""
    if olt.hardware is None:
        return
    for pon in olt.hardware.onus:
        for place, hardware in enumerate(pon):
            wait = delays.ONU_DISCOVERY + place * delays.ONU_DISCOVERY_STEP
            olt.timers.later(wait, discover, stack, olt, hardware)


def discover(stack: Stack, olt: OltRecord, hardware: OnuHardware) -> None:
    """An ONU answers on a PON: make its device, or bring a known one back."""
    if not _reachable(olt, hardware):
        return
    known = stack.devices.get(olt.onu_ids.get(hardware.serial, ""))
    if isinstance(known, OnuRecord):
        come_back(stack, known)
        return
    onu = _create(stack, olt, hardware)
    stack.emit(_discovery_event(olt, onu))
    stack.set_state(onu, admin=ADMIN.ENABLED, oper=OPER.ACTIVATING)
    onu.timers.later(delays.ONU_DISCOVERED, _discovered, stack, onu)


def _reachable(olt: OltRecord, hardware: OnuHardware) -> bool:
    device, pon = olt.hardware, hardware.pon
    if device is None or not device.answers or pon in device.disabled_pons:
        return False
    return hardware.powered and olt.message.admin_state == ADMIN.ENABLED and olt.message.oper_status == OPER.ACTIVE


def _create(stack: Stack, olt: OltRecord, hardware: OnuHardware) -> OnuRecord:
    taken = olt.taken_ids.setdefault(hardware.pon, set())
    onu_id = next(number for number in range(1, 257) if number not in taken)
    taken.add(onu_id)
    device = device_pb2.Device(
        id=stack.new_id(),
        type=ONU_TYPE,
        parent_id=olt.id,
        parent_port_no=pon_number(hardware.pon),
        serial_number=hardware.serial,
        vendor_id=hardware.serial[:4],
        admin_state=ADMIN.PREPROVISIONED,
        adapter_endpoint=ADAPTER_ENDPOINTS[ONU_TYPE],
    )
    proxy = device.proxy_address
    proxy.device_id, proxy.device_type, proxy.channel_id = olt.id, OLT_TYPE, hardware.pon
    proxy.onu_id, proxy.adapter_endpoint = onu_id, ADAPTER_ENDPOINTS[OLT_TYPE]
    group = stack.timers.group()
    onu = OnuRecord(device, group, hardware=hardware, olt_id=olt.id, onu_id=onu_id)
    olt.onu_ids[hardware.serial] = onu.id
    stack.remember(onu)
    return onu


def _discovery_event(olt: OltRecord, onu: OnuRecord) -> PublishedEvent:
    context = {
        "intf-id": str(onu.hardware.pon),
        "onu-id": str(onu.onu_id),
        "onu-device-id": onu.id,
        "serial-number": onu.hardware.serial,
        "pon-technology": "XGS-PON",
        "port-label": f"pon-{onu.hardware.pon}",
    }
    return device_event("ONU_DISCOVERY_RAISE_EVENT", olt.id, context, category="EQUIPMENT", key=onu.id)


def _discovered(stack: Stack, onu: OnuRecord) -> None:
    stack.set_state(onu, oper=OPER.DISCOVERED, connect=CONNECT.REACHABLE, reason="activating-onu")
    onu.timers.later(delays.ONU_OMCI, _omci_started, stack, onu)


def _omci_started(stack: Stack, onu: OnuRecord) -> None:
    stack.set_state(onu, oper=OPER.ACTIVATING, connect=CONNECT.REACHABLE, reason="starting-openomci")
    onu.timers.later(delays.ONU_MIB, _mib_read, stack, onu)


def _mib_read(stack: Stack, onu: OnuRecord) -> None:
    device = onu.message
    device.vendor, device.model = onu.hardware.serial[:4], "v0.0.1"
    if not device.HasField("pm_configs"):
        device.pm_configs.CopyFrom(onu_pm_configs(onu.id, measures=stack.onu_metrics))
        onu.measures = stack.onu_metrics
    _add_ports(stack, onu)
    stack.set_state(onu, connect=CONNECT.UNKNOWN, reason="discovery-mibsync-complete")
    onu.timers.later(delays.ONU_READY, _ready, stack, onu)


def _add_ports(stack: Stack, onu: OnuRecord) -> None:
    hardware, olt = onu.hardware, stack.olt_of(onu)
    if onu.ports or olt is None:
        return
    upstream = onu_pon_port(onu.id, olt.id, hardware.pon)
    onu.ports[upstream.port_no] = upstream
    for index in range(hardware.unis):
        port = uni_port(onu.id, hardware.serial, hardware.pon, onu.onu_id, index)
        onu.ports[port.port_no] = port
    pon = olt.ports.get(pon_number(hardware.pon))
    if pon is not None:
        pon.peers.add(device_id=onu.id, port_no=pon.port_no)


def _ready(stack: Stack, onu: OnuRecord) -> None:
    upgrades.came_up(onu)
    onu.phantom = ""
    stack.set_state(onu, oper=OPER.ACTIVE, connect=CONNECT.REACHABLE, reason="initial-mib-downloaded")
    logical = logical_of(stack, onu)
    if logical is not None:
        for number in uni_numbers(onu):
            if number not in logical.ports:
                stack.add_logical_port(logical, logical_port(onu.ports[number]))
    onu.timers.later(delays.UNI_LIVE, _live, stack, onu)


def _live(stack: Stack, onu: OnuRecord) -> None:
    stack.emit(_activated_event(stack, onu))
    set_ports(stack, onu, live=True)
    set_lan_loss(stack, onu, raised=False)


def _activated_event(stack: Stack, onu: OnuRecord) -> PublishedEvent:
    olt = stack.olt_of(onu)
    context = {
        "device-id": onu.id,
        "registration-id": onu.id,
        "serial-number": onu.hardware.serial,
        "olt-serial-number": olt.message.serial_number if olt is not None else "",
        "pon-id": str(onu.hardware.pon),
        "onu-id": str(onu.onu_id),
        "num-of-unis": str(onu.hardware.unis),
        "vendor-id": onu.message.vendor_id,
        "model": onu.message.model,
        "equipment-id": "12345123451234512345",
        "software-version": onu.hardware.slots.running,
        "inactive-software-version": onu.hardware.slots.resting,
    }
    words = "ONU Event - ONU_ACTIVATED - Raised"
    name = "ONU_ACTIVATED_RAISE_EVENT"
    return device_event(name, onu.id, context, category="EQUIPMENT", description=words, key=onu.id)


def reconcile_failed_event(onu: OnuRecord) -> PublishedEvent:
    """The adapter has given up on an ONU after its own restart (recording 11)."""
    context = {"device-id": onu.id, "onu-serial-number": onu.hardware.serial, "parent-id": onu.olt_id}
    words = "ONU reconcile failed - aborted"
    return device_event("ONU_RECONCILE_FAILED", onu.id, context, category="EQUIPMENT", sub="ONU", description=words)


def uni_numbers(onu: OnuRecord) -> list[int]:
    """The numbers of the ONU's UNI ports."""
    return [number for number, port in onu.ports.items() if port.type == device_pb2.Port.ETHERNET_UNI]


def set_ports(stack: Stack, onu: OnuRecord, *, live: bool) -> None:
    """Bring the UNIs up or down; up only the first, as the adapter's UNI mask has it (surprise 43)."""
    logical = logical_of(stack, onu)
    for place, number in enumerate(uni_numbers(onu)):
        onu.ports[number].oper_status = OPER.ACTIVE if live and not place else OPER.UNKNOWN
        if logical is not None and (place == 0 or not live):
            stack.set_link(logical, number, live=live)


def logical_of(stack: Stack, onu: OnuRecord) -> LogicalRecord | None:
    """The logical device the ONU's UNIs belong to."""
    olt = stack.olt_of(onu)
    return stack.logical_of(olt) if olt is not None else None


def lose(stack: Stack, onu: OnuRecord, reason: str = "stopping-openomci") -> None:
    """The ONU no longer answers. Its flows stay in all tables, though nothing of them is left in the ONU."""
    onu.timers.cancel()
    onu.fresh.clear()
    onu.profiles.clear()
    upgrades.lost(onu)
    if onu.message.connect_status == CONNECT.UNREACHABLE:
        return
    stack.set_state(onu, oper=OPER.DISCOVERED, connect=CONNECT.UNREACHABLE, reason=reason)
    set_ports(stack, onu, live=False)


def come_back(stack: Stack, onu: OnuRecord) -> None:
    """A known ONU answers again: it runs through its activation up to ``initial-mib-downloaded`` (surprise 7)."""
    if onu.message.connect_status == CONNECT.REACHABLE or onu.ploam_disabled:
        return
    onu.timers.cancel()
    if onu.message.admin_state == ADMIN.DISABLED:
        stack.set_state(onu, oper=OPER.UNKNOWN, connect=CONNECT.REACHABLE, reason="omci-admin-lock")
        return
    # The adapter begins anew with an empty list of alarms: nobody is told that the UNI's is over (recordings 07, 10).
    onu.raised.discard("ONU_Ethernet_UNI")
    set_onu_alarm(stack, onu, "ONU_LOSS_OF_SIGNAL", raised=False)
    stack.set_state(onu, oper=OPER.ACTIVATING, connect=CONNECT.REACHABLE)
    onu.timers.later(delays.ONU_OMCI, _omci_started, stack, onu)


def power_off(stack: Stack, onu: OnuRecord) -> None:
    """The ONU loses its power: dying gasp, loss of signal, gone. The gasp is never cleared (surprise 30)."""
    onu.hardware.powered = False
    _gasp_and_lose(stack, onu, "stopping-openomci")


def _gasp_and_lose(stack: Stack, onu: OnuRecord, reason: str) -> None:
    onu.raised.discard("ONU_DYING_GASP")
    set_onu_alarm(stack, onu, "ONU_DYING_GASP", raised=True)
    set_onu_alarm(stack, onu, "ONU_LOSS_OF_SIGNAL", raised=True)
    lose(stack, onu, reason)


def reboot(stack: Stack, onu: OnuRecord) -> None:
    """The ONU goes away for ten seconds."""
    stack.set_state(onu, oper=OPER.DISCOVERED, reason="rebooting")
    _gasp_and_lose(stack, onu, "rebooting")
    onu.timers.later(delays.ONU_REBOOT, _rebooted, stack, onu)


def boot_image(stack: Stack, onu: OnuRecord) -> None:
    """An image was activated: the ONU restarts by itself, which VOLTHA sees as a loss."""
    _gasp_and_lose(stack, onu, "stopping-openomci")
    onu.timers.later(delays.ONU_REBOOT, _rebooted, stack, onu)


def _rebooted(stack: Stack, onu: OnuRecord) -> None:
    olt = stack.olt_of(onu)
    if olt is not None:
        discover(stack, olt, onu.hardware)


def disable(stack: Stack, onu: OnuRecord) -> None:
    """Lock the ONU; its flows stay."""
    onu.timers.cancel()
    stack.set_state(onu, admin=ADMIN.DISABLED, oper=OPER.UNKNOWN)
    if onu.message.connect_status == CONNECT.REACHABLE:
        set_lan_loss(stack, onu, raised=True)
    set_ports(stack, onu, live=False)
    onu.timers.later(delays.ONU_DISABLE, _locked, stack, onu)


def _locked(stack: Stack, onu: OnuRecord) -> None:
    stack.set_state(onu, reason="omci-admin-lock")


def enable(stack: Stack, onu: OnuRecord) -> None:
    """Unlock the ONU; while its OLT is away it stays ACTIVATING until the OLT is back."""
    onu.timers.cancel()
    stack.set_state(onu, admin=ADMIN.ENABLED, oper=OPER.ACTIVATING)
    if onu.message.connect_status == CONNECT.REACHABLE:
        set_lan_loss(stack, onu, raised=False)
        onu.timers.later(delays.ONU_READY, _unlocked, stack, onu)


def _unlocked(stack: Stack, onu: OnuRecord) -> None:
    stack.set_state(onu, oper=OPER.ACTIVE)
    set_ports(stack, onu, live=True)
    onu.timers.later(delays.ONU_REENABLED, _reenabled, stack, onu)


def _reenabled(stack: Stack, onu: OnuRecord) -> None:
    stack.set_state(onu, reason="onu-reenabled")


def remove(stack: Stack, onu: OnuRecord, *, rediscover: bool) -> None:
    """The device vanishes with its ports; a connected ONU is found again five seconds later, with a new id."""
    olt, logical = stack.olt_of(onu), logical_of(stack, onu)
    if logical is not None:
        for number in uni_numbers(onu):
            stack.remove_logical_port(logical, number)
    stack.forget(onu)
    stack.emit(_deleted_event(onu))
    if olt is None:
        return
    olt.onu_ids.pop(onu.hardware.serial, None)
    olt.taken_ids[onu.hardware.pon].discard(onu.onu_id)
    _remove_peer(olt, onu)
    if rediscover:
        olt.timers.later(delays.ONU_REDISCOVERY, discover, stack, olt, onu.hardware)


def _remove_peer(olt: OltRecord, onu: OnuRecord) -> None:
    pon = olt.ports.get(pon_number(onu.hardware.pon))
    if pon is not None:
        kept = [(peer.device_id, peer.port_no) for peer in pon.peers if peer.device_id != onu.id]
        del pon.peers[:]
        for device_id, port_no in kept:
            pon.peers.add(device_id=device_id, port_no=port_no)


def _deleted_event(onu: OnuRecord) -> PublishedEvent:
    context = {
        "id": onu.id,
        "serial-number": onu.hardware.serial,
        "parent-id": onu.olt_id,
        "pon-id": str(onu.hardware.pon),
        "onu-id": str(onu.onu_id),
    }
    return device_event("ONU_DELETED_RAISE_EVENT", onu.id, context, category="EQUIPMENT", sub="ONU")
