"""What is wrong with a subscriber's line, from facts that were collected before. Pure: a list of rules, the first that fits speaks.

The order is that of cause: an OLT that is away explains everything below it, a cut fibre every ONU on it, and so on down to the UNI.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from .._device import DeviceView

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Diagnosis", "Facts", "decide", "plain"]

#: Below it an ONU of class B+ optics loses frames; dBm.
_WEAKEST: Final = -27.0
_GASP: Final = "ONU_DYING_GASP"
_LOS: Final = "ONU_LOSS_OF_SIGNAL"
_PON_LOS: Final = "OLT_LOSS_OF_SIGNAL"
#: What an ONU says that cannot carry out a technology profile (section 5.4).
_CONFIG: Final = ("ONU_CONFIG_", "ONU_OMCI_COMMUNICATION_FAILURE_CONFIG")


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What was found about one subscriber. Serial numbers are the names of devices."""

    subscriber_id: str
    #: Why VOLTHA could not be asked.
    trouble: str = ""
    services: tuple[str, ...] = ()  # the states of the services: adding, active, removing
    olt_serial: str = ""
    onu_serial: str = ""
    olt: DeviceView | None = None
    onu: DeviceView | None = None
    pon_enabled: bool = True
    #: The other ONUs of the PON.
    neighbours: tuple[DeviceView, ...] = ()
    #: Whether alarms are known at all (Kafka), and which are raised, by serial number; of the PON by its own.
    alarms_known: bool = False
    alarms: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    pon_alarms: tuple[str, ...] = ()
    #: Switched off at the OLT by this plugin; not on the list of those that may work.
    deactivated: bool = False
    not_admitted: bool = False
    #: Splitters between the ONU and its PON, nearest first, with the neighbours behind each.
    splitters: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    #: Failures of the ONU that VOLTHA reported once (Kafka), newest last.
    recent: tuple[str, ...] = ()
    #: The controller that programs the flows; empty: this plugin does.
    controlled: str = ""
    flows: int = 0
    missing_logical: int = 0
    missing_on_devices: int = 0
    #: Technology profiles that the flows carry instead of the service's.
    wrong_profiles: tuple[int, ...] = ()
    missing_meters: tuple[int, ...] = ()
    wrong_meters: tuple[int, ...] = ()
    #: Whether the line itself was measured, and what came of it.
    measured: bool = False
    onu_receive_dbm: float | None = None
    olt_receive_dbm: float | None = None
    uni_unlocked: bool | None = None
    uni_up: bool | None = None

    def raised(self, serial: str) -> tuple[str, ...]:
        """The alarms that an ONU has raised."""
        return self.alarms.get(serial, ())


class Diagnosis(msgspec.Struct, frozen=True):
    """One finding: its code, a sentence, how sure (0 to 1), and what to do."""

    finding: str
    sentence: str
    confidence: float
    advice: str


def decide(facts: Facts) -> Diagnosis:
    """The first finding that fits."""
    for rule in _RULES:
        found = rule(facts)
        if found is not None:
            return found
    seen = "and so is the line" if facts.measured else "but the line itself was not measured"
    return Diagnosis(
        "nothing_found",
        f"Everything that VOLTHA knows of subscriber {facts.subscriber_id!r} is in order, {seen}.",
        0.6 if facts.measured else 0.3,
        "Look beyond the access network: the subscriber's router, DHCP or PPPoE, and the OLT's uplink.",
    )


def _voltha(facts: Facts) -> Diagnosis | None:
    if not facts.trouble:
        return None
    return Diagnosis(
        "voltha_unreachable",
        f"VOLTHA cannot be asked: {facts.trouble}.",
        0.9,
        "Bring VOLTHA back; a service that was up usually goes on meanwhile.",
    )


def _service(facts: Facts) -> Diagnosis | None:
    if facts.services:
        return None
    return Diagnosis(
        "never_installed",
        f"No service was installed for subscriber {facts.subscriber_id!r}.",
        1.0,
        "Install it with add_subscriber_flow, or correct the subscriber's id.",
    )


def _suspended(facts: Facts) -> Diagnosis | None:
    if not all(state == "suspended" for state in facts.services):
        return None
    text = f"The service of subscriber {facts.subscriber_id!r} is suspended by administration."
    return Diagnosis("suspended", text, 0.98, "Restore it with restore_subscriber if that is no intention any more.")


def _olt(facts: Facts) -> Diagnosis | None:
    olt, name = facts.olt, facts.olt_serial
    if olt is None:
        text = f"VOLTHA does not have OLT {name}, on which the service was installed."
        return Diagnosis("olt_missing", text, 0.95, "Bring the OLT in again with provision_olt, then the services.")
    if olt.admin == "DISABLED":
        text = f"OLT {name} is disabled by administration, and with it every subscriber on it."
        return Diagnosis("olt_disabled", text, 0.98, "Enable the OLT if that was no intention.")
    if not olt.is_active:
        text = f"OLT {name} is {olt.status} ({olt.state}), so no subscriber on it has service."
        return Diagnosis("olt_unreachable", text, 0.95, "Check the OLT's power and management link, and its adapter.")
    return None


def _pon(facts: Facts) -> Diagnosis | None:
    if facts.pon_enabled:
        return None
    text = f"The PON of ONU {facts.onu_serial} on OLT {facts.olt_serial} is disabled by administration."
    return Diagnosis("pon_disabled", text, 0.98, "Enable the PON port with configure_device if that was no intention.")


def _moved(facts: Facts) -> Diagnosis | None:
    onu, olt = facts.onu, facts.olt
    if onu is None or olt is None or onu.parent_id == olt.id:
        return None
    text = f"ONU {onu.serial} is on another OLT now, PON {onu.pon}, and its service is on OLT {olt.key}."
    return Diagnosis(
        "onu_moved", text, 0.95, "Remove the service and add it where the ONU is, or connect it where it was."
    )


def _lock(facts: Facts) -> Diagnosis | None:
    name = facts.onu_serial
    if facts.deactivated and (facts.onu is None or not facts.onu.is_active):
        text = f"ONU {name} is deactivated at its OLT by administration."
        return Diagnosis("onu_deactivated", text, 0.95, "Activate it with enable_onu if that was no intention.")
    if facts.not_admitted and facts.onu is not None and facts.onu.admin == "DISABLED":
        text = f"ONU {name} is disabled because it is not on the list of ONUs that may work there."
        return Diagnosis("onu_not_admitted", text, 0.98, "Allow it with allow_onu if it is the subscriber's.")
    if facts.onu is None or facts.onu.admin != "DISABLED":
        return None
    text = f"ONU {facts.onu_serial} is disabled by administration."
    return Diagnosis("onu_disabled", text, 0.98, "Enable the ONU if the subscriber is not suspended.")


def _dark(facts: Facts) -> Diagnosis | None:
    onu = facts.onu
    if onu is not None and onu.connect != "UNREACHABLE":
        return None
    others = [each for each in facts.neighbours if each.admin != "DISABLED"]
    dark = [each for each in others if each.connect == "UNREACHABLE"]
    if dark and len(dark) == len(others):
        return _whole_pon(facts, dark)
    branch = _branch(facts, {each.serial for each in others}, {each.serial for each in dark})
    if branch is not None:
        return branch
    if 2 * len(dark) > len(others) and len(dark) > 1:
        text = (
            f"ONU {facts.onu_serial} and {len(dark)} of {len(others)} others of its PON are dark, so one branch is cut."
        )
        return Diagnosis("branch_cut", text, 0.7, "Check the splitter and the cable that these ONUs have in common.")
    return _one_onu(facts, alone=not others)


def _branch(facts: Facts, others: set[str], dark: set[str]) -> Diagnosis | None:
    """The splitter nearest to the PON behind which everything is dark, while other ONUs of the PON work."""
    for splitter, behind in reversed(facts.splitters.items()):
        there = others.intersection(behind)
        if not there or there - dark:
            continue
        number = len(there) + 1
        gasped = sum(_GASP in facts.raised(serial) for serial in (*there, facts.onu_serial))
        if 2 * gasped > number:
            text = f"All {number} ONUs behind splitter {splitter} are dark, and {gasped} said that their power failed: a power cut there."
            return Diagnosis("power_cut", text, 0.85, "Ask the power supplier; the ONUs come back by themselves.")
        text = (
            f"All {number} ONUs behind splitter {splitter} are dark and others of the PON work: the cable to it is cut."
        )
        return Diagnosis(
            "branch_cut", text, 0.9, f"Send someone to splitter {splitter} and the cable that leads to it."
        )
    return None


def _whole_pon(facts: Facts, dark: list[DeviceView]) -> Diagnosis:
    gasped = sum(_GASP in facts.raised(each.serial) for each in dark) + (_GASP in facts.raised(facts.onu_serial))
    number = len(dark) + 1
    if 2 * gasped > number:
        text = f"All {number} ONUs of the PON are dark, and {gasped} of them said that their power failed: a power cut there."
        return Diagnosis("power_cut", text, 0.85, "Ask the power supplier; the ONUs come back by themselves.")
    heard = _PON_LOS in facts.pon_alarms
    text = f"All {number} ONUs of the PON are dark{' and the OLT lost its signal' if heard else ''}: its fibre is cut."
    confidence = 0.95 if heard else 0.85 if facts.alarms_known and number > 2 else 0.7  # noqa: PLR2004
    return Diagnosis(
        "pon_fibre_cut", text, confidence, "Send someone to the feeder fibre of this PON; check the OLT's optics."
    )


def _one_onu(facts: Facts, *, alone: bool) -> Diagnosis:
    name = facts.onu_serial
    raised = facts.raised(name)
    if _GASP in raised:
        text = f"ONU {name} lost its power: it said so when it went, and the rest of its PON works."
        return Diagnosis(
            "onu_without_power", text, 0.7 if alone else 0.95, "Ask the subscriber to check the ONU's power."
        )
    if facts.onu is None:
        text = f"VOLTHA does not have ONU {name}: it was deleted, replaced, or never came back."
        return Diagnosis(
            "onu_missing", text, 0.8, "Check power, fibre and serial number; install the service anew then."
        )
    if _LOS in raised:
        text = f"The OLT lost the signal of ONU {name} without a word of lost power: its fibre is cut or unplugged."
        return Diagnosis(
            "drop_fibre_cut", text, 0.6 if alone else 0.85, "Check the subscriber's own fibre to the splitter."
        )
    text = f"ONU {name} is unreachable: it has no power, or its own fibre is cut."
    return Diagnosis("onu_unreachable", text, 0.6, "Ask the subscriber to check power and fibre plug.")


def _onu(facts: Facts) -> Diagnosis | None:
    onu = facts.onu
    if onu is None or onu.is_ready:
        return None
    if "tech-profile" in onu.reason:
        text = f"ONU {onu.serial} could not load its technology profile ({onu.reason})."
        return Diagnosis(
            "technology_profile", text, 0.9, "Check that the profile of the service exists in VOLTHA's store."
        )
    if onu.oper == "RECONCILING_FAILED":
        text = f"ONU {onu.serial} was not taken over by its adapter after a restart ({onu.state})."
        return Diagnosis("onu_stuck", text, 0.9, "Delete the ONU, which is discovered again, or reboot its OLT.")
    text = f"ONU {onu.serial} does not become ready: it is {onu.state}."
    return Diagnosis("onu_not_ready", text, 0.8, "Wait a minute; then reboot the ONU, and look at the ONU adapter.")


def _lost(facts: Facts) -> Diagnosis | None:
    if facts.onu is None or not facts.onu.has_lost_flows:
        return None
    text = f"ONU {facts.onu_serial} came back from a power cycle or reboot without its flows, which VOLTHA does not replay."
    return Diagnosis("flows_lost", text, 0.95, _AGAIN)


_AGAIN: Final = (
    "reconcile_services installs the service again; where the setting reconcile is repair, the next look does."
)


def _profile(facts: Facts) -> Diagnosis | None:
    refused = [name for name in facts.recent if name.startswith(_CONFIG)]
    if facts.wrong_profiles:
        text = f"Flows of the service carry technology profile {', '.join(map(str, facts.wrong_profiles))} and not its own."
        return Diagnosis("technology_profile", text, 0.9, f"Find out who programs flows beside this plugin. {_AGAIN}")
    if refused and (facts.missing_on_devices or facts.missing_logical):
        text = f"ONU {facts.onu_serial} refused the service's technology profile ({', '.join(dict.fromkeys(refused))})."
        advice = "Take a profile that the ONU has the queues and GEM ports for, or mend it in VOLTHA's store."
        return Diagnosis("technology_profile", text, 0.85, advice)
    return None


def _flows(facts: Facts) -> Diagnosis | None:
    if facts.missing_meters:
        text = f"Meters {', '.join(map(str, facts.missing_meters))} of the service are gone, and its flows with them."
        return Diagnosis("meter_missing", text, 0.95, _AGAIN)
    if facts.missing_logical:
        text = f"{facts.missing_logical} of {facts.flows} flows of the service are not in VOLTHA's table any more."
        return Diagnosis("flows_missing", text, 0.95, _AGAIN)
    if facts.missing_on_devices:
        text = (
            f"VOLTHA lists the service, but {facts.missing_on_devices} of {facts.flows} flows are not on the devices."
        )
        return Diagnosis("flows_not_on_devices", text, 0.9, _AGAIN)
    return None


def _state(facts: Facts) -> Diagnosis | None:
    if "waiting_for_mac" in facts.services:
        text = "The service waits for a MAC address, without which its data flows cannot be made."
        return Diagnosis(
            "waiting_for_mac", text, 0.9, "Tell it with set_subscriber_mac, or let the device ask for its address."
        )
    unfinished = [state for state in facts.services if state not in ("active", "suspended")]
    if unfinished:
        text = f"The service was left half done ({', '.join(unfinished)})."
        return Diagnosis("unfinished", text, 0.8, "Add it again to complete it, or remove it.")
    if facts.wrong_meters:
        text = f"Meters {', '.join(map(str, facts.wrong_meters))} have other speeds than the service."
        return Diagnosis(
            "speed_mismatch", text, 0.9, "Remove the service and add it again; find out who changed the meter."
        )
    return None


def _line(facts: Facts) -> Diagnosis | None:
    weak = [value for value in (facts.onu_receive_dbm, facts.olt_receive_dbm) if value is not None and value < _WEAKEST]
    if weak:
        text = f"The light of ONU {facts.onu_serial} is too weak: {min(weak):.1f} dBm."
        return Diagnosis("weak_signal", text, 0.75, "Look for a bent fibre, dirty plug or bad splice.")
    if facts.uni_unlocked is False:
        text = f"The user port of ONU {facts.onu_serial} is locked."
        return Diagnosis("uni_locked", text, 0.8, "Disable and enable the ONU, which unlocks its ports.")
    if facts.uni_up is False:
        text = f"Nothing is connected to the user port of ONU {facts.onu_serial}, or it is switched off."
        return Diagnosis("uni_down", text, 0.75, "Ask the subscriber to check the router and the cable to the ONU.")
    return None


def _alarms(facts: Facts) -> Diagnosis | None:
    raised = facts.raised(facts.onu_serial)
    if not raised:
        return None
    text = f"ONU {facts.onu_serial} has alarms raised: {', '.join(raised)}."
    return Diagnosis("alarms", text, 0.6, "Follow the alarms; what VOLTHA has installed is complete.")


_RULES: Final[tuple[Callable[[Facts], Diagnosis | None], ...]] = (
    _voltha,
    _service,
    _suspended,
    _olt,
    _pon,
    _moved,
    _lock,
    _dark,
    _onu,
    _lost,
    _profile,
    _flows,
    _state,
    _line,
    _alarms,
)


def plain(facts: Facts, diagnosis: Diagnosis) -> dict[str, Any]:
    """The diagnosis as `diagnose` gives it, with what it rests on."""
    known = {
        name: value
        for name in (
            "services",
            "olt_serial",
            "onu_serial",
            "flows",
            "missing_logical",
            "missing_on_devices",
            "measured",
        )
        if (value := getattr(facts, name)) not in ("", ())
    }
    for name in ("onu_receive_dbm", "olt_receive_dbm", "uni_unlocked", "uni_up"):
        if getattr(facts, name) is not None:
            known[name] = getattr(facts, name)
    states = {name: device.state for name in ("olt", "onu") if (device := getattr(facts, name)) is not None}
    neighbours = {each.serial: each.status for each in facts.neighbours}
    raised = [*facts.pon_alarms, *facts.raised(facts.onu_serial)]
    return {
        "subscriber_id": facts.subscriber_id,
        **msgspec.to_builtins(diagnosis),
        "facts": {**msgspec.to_builtins(known), **states, "neighbours": neighbours, "alarms": raised},
    }
