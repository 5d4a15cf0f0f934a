"""Alarms of OLT and ONU: raising, clearing, and the events they come with (sections 5.3, 5.4; recording 07)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._devices.ports import pon_number, uni_number
from .messages import PublishedEvent, device_event

if TYPE_CHECKING:
    from .._stack.records import OltRecord, OnuRecord
    from .._stack.stack import Stack

#: BBSim's names for an alarm -> VOLTHA's
_ALIASES = {
    "ONU_ALARM_LOS": "ONU_LOSS_OF_SIGNAL",
    "ONU_ALARM_LOB": "ONU_LOSS_OF_BURST",
    "ONU_ALARM_LOFI": "ONU_LOSS_OF_FRAME",
    "ONU_ALARM_LOAMI": "ONU_LOSS_OF_PLOAM",
    "ONU_ALARM_LOPC_MISS": "ONU_LOPC_MISS",
    "ONU_ALARM_LOPC_MIC_ERROR": "ONU_LOPC_MIC_ERROR",
    "ONU_LOSS_OF_KEY_SYNC_FAILURE": "ONU_LOSS_OF_KEY_SYNC",
    "ONU_LOSS_OF_OMCI_CHANNEL_FAILURE": "ONU_LOSS_OF_OMCI_CHANNEL",
    "ONU_SIGNALS_FAILURE": "ONU_SIGNALS_FAIL",
    "ONU_STARTUP_FAILURE": "ONU_STARTUP_FAIL",
    "ONU_ITU_PON_STATS": "ONU_REMOTE_DEFECT",
    "DYING_GASP": "ONU_DYING_GASP",
    "OLT_PON_LOS": "OLT_LOSS_OF_SIGNAL",
    "OLT_NNI_LOS": "OLT_LOSS_OF_SIGNAL",
}
_EXTRA_CONTEXT: dict[str, tuple[str, ...]] = {
    "ONU_SIGNALS_FAIL": ("inverse-bit-error-rate",),
    "ONU_SIGNAL_DEGRADE": ("inverse-bit-error-rate",),
    "ONU_DRIFT_OF_WINDOW": ("drift", "new-eqd"),
    "ONU_LOSS_OF_GEM_CHANNEL_DELINEATION": ("delineation-errors",),
    "ONU_REMOTE_DEFECT": ("rdi-count",),
    "ONU_DIFFERENTIAL_REACH_EXCEEDED": ("differential-distance",),
}
_CATEGORIES = {"ONU_LOSS_OF_KEY_SYNC": "SECURITY", "ONU_REMOTE_DEFECT": "EQUIPMENT"}
_OLT_ADAPTER = frozenset(
    [
        "ONU_LOSS_OF_SIGNAL",
        "ONU_LOSS_OF_BURST",
        "ONU_LOSS_OF_FRAME",
        "ONU_LOSS_OF_PLOAM",
        "ONU_LOPC_MISS",
        "ONU_LOPC_MIC_ERROR",
        "ONU_LOSS_OF_OMCI_CHANNEL",
        "ONU_LOSS_OF_ACKNOWLEDGEMENT",
        "ONU_PHYSICAL_EQUIPMENT_ERROR",
        "ONU_DEACTIVATION_FAILURE",
        "ONU_DYING_GASP",
        "ONU_LOSS_OF_KEY_SYNC",
        "ONU_STARTUP_FAIL",
    ]
) | frozenset(_EXTRA_CONTEXT)
_ONU_ADAPTER = frozenset(
    [
        "ONU_EQUIPMENT",
        "ONU_SELF_TEST_FAIL",
        "ONU_LASER_EOL",
        "ONU_TEMP_YELLOW",
        "ONU_TEMP_RED",
        "ONU_VOLTAGE_YELLOW",
        "ONU_VOLTAGE_RED",
        "ONU_Ethernet_UNI",
        "ONU_LOW_RX_OPTICAL",
        "ONU_HIGH_RX_OPTICAL",
        "ONU_LOW_TX_OPTICAL",
        "ONU_HIGH_TX_OPTICAL",
        "ONU_LASER_BIAS_CURRENT",
        "ONU_BIT_ERROR_BASED_SIGNAL_FAIL",
        "ONU_BIT_ERROR_BASED_SIGNAL_DEGRADE",
    ]
)
ONU_ALARMS = _OLT_ADAPTER | _ONU_ADAPTER
OLT_ALARMS = frozenset({"OLT_LOSS_OF_SIGNAL"})

#: the OLT adapter still counts uplinks as an earlier release did when it tells of them
_FORMER_NNI_BASE = 1 << 20
_LAN_LOSS = "LAN Loss Of Signal Event - ONU_Ethernet_UNI - "


def canonical(name: str) -> str:
    """VOLTHA's name of an alarm, also from BBSim's; raises ``ValueError`` listing those there are."""
    found = _ALIASES.get(name, name)
    if found not in ONU_ALARMS | OLT_ALARMS:
        raise ValueError(f"no alarm {name!r}; there are: {', '.join(sorted(ONU_ALARMS | OLT_ALARMS))}")
    return found


def set_onu_alarm(stack: Stack, onu: OnuRecord, name: str, *, raised: bool) -> None:
    """Raise or clear an alarm of an ONU. Raising twice gives one event, clearing what is not raised none."""
    if _tell_onu(stack, onu, name, raised=raised) and name == "ONU_LOSS_OF_SIGNAL":
        set_lan_loss(stack, onu, raised=raised)


def _tell_onu(stack: Stack, onu: OnuRecord, name: str, *, raised: bool) -> bool:
    """Whether that was news, and so was told."""
    if raised == (name in onu.raised):
        return False
    (onu.raised.add if raised else onu.raised.discard)(name)
    stack.emit(_onu_event(onu, name, raised=raised))
    return True


def set_lan_loss(stack: Stack, onu: OnuRecord, *, raised: bool) -> None:
    """The ONU adapter's alarm for its first UNI; it comes along with loss of signal and with a disabled ONU."""
    set_onu_alarm(stack, onu, "ONU_Ethernet_UNI", raised=raised)


def set_pon_los(stack: Stack, olt: OltRecord, pon: int, *, raised: bool) -> None:
    """Loss of signal on a PON: raising it raises LOS for each ONU, clearing it clears only the OLT's (surprise 29)."""
    key = f"pon-{pon}"
    if raised == (key in olt.raised):
        return
    (olt.raised.add if raised else olt.raised.discard)(key)
    context = {"intf-id": str(pon), "port-label": f"pon-{pon_number(pon)}"}
    stack.emit(device_event(_with_suffix("OLT_LOSS_OF_SIGNAL", raised=raised), olt.id, context))
    if raised:
        for onu in stack.onus_of(olt):
            if onu.hardware.pon == pon:
                _tell_onu(stack, onu, "ONU_LOSS_OF_SIGNAL", raised=True)


def set_nni_los(stack: Stack, olt: OltRecord, nni: int, *, raised: bool) -> None:
    """Loss of signal on an uplink: the same name as a PON's, and numbers of a PON that is none (surprise 29)."""
    key = f"nni-{nni}"
    if raised == (key in olt.raised):
        return
    (olt.raised.add if raised else olt.raised.discard)(key)
    number = _FORMER_NNI_BASE + nni
    context = {"intf-id": str(pon_number(number)), "port-label": f"pon-{number}"}
    stack.emit(device_event(_with_suffix("OLT_LOSS_OF_SIGNAL", raised=raised), olt.id, context))


def olt_event(stack: Stack, olt: OltRecord, name: str, context: dict[str, str], *, raised: bool) -> None:
    """An event of the OLT itself."""
    stack.emit(device_event(_with_suffix(name, raised=raised), olt.id, context, sub="OLT"))


def _onu_event(onu: OnuRecord, name: str, *, raised: bool) -> PublishedEvent:
    full = _with_suffix(name, raised=raised)
    if name in _ONU_ADAPTER:
        uni = uni_number(onu.hardware.pon, onu.onu_id, 0)
        context = {"onu-id": onu.id, "onu-serial-number": onu.hardware.serial, "onu-intf-id": str(uni)}
        words = _LAN_LOSS + ("Raised" if raised else "Cleared") if name == "ONU_Ethernet_UNI" else ""
        return device_event(full, onu.id, context, category="EQUIPMENT", sub="ONU", description=words)
    context = {
        "intf-id": str(onu.hardware.pon),
        "onu-id": str(onu.onu_id),
        "serial-number": onu.hardware.serial,
        "onu-device-id": onu.id,
        "port-label": f"pon-{onu.hardware.pon}",
        **dict.fromkeys(_EXTRA_CONTEXT.get(name, ()), "0"),
    }
    category = _CATEGORIES.get(name, "COMMUNICATION")
    sub = "PON" if name == "ONU_STARTUP_FAIL" else "ONU"
    return device_event(full, onu.olt_id, context, category=category, sub=sub, key=onu.id)


def _with_suffix(name: str, *, raised: bool) -> str:
    return f"{name}_{'RAISE' if raised else 'CLEAR'}_EVENT"
