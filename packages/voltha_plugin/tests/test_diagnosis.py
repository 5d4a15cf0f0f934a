"""`diagnose`: the rules as a table, and real faults on a running VOLTHA."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dotmac_isp.plugins.network_automation.voltha_integration_plugin import DeviceView, VolthaError
from dotmac_isp.plugins.network_automation.voltha_integration_plugin.diagnosis._rules import Facts, decide

if TYPE_CHECKING:
    from dotmac_isp.plugins.network_automation.voltha_integration_plugin import VolthaIntegrationPlugin

SERVICE = {"s_tag": 900, "bandwidth_down": 100000, "bandwidth_up": 50000}
GASP = ("ONU_DYING_GASP", "ONU_LOSS_OF_SIGNAL")
LOS = ("ONU_LOSS_OF_SIGNAL",)
PON_LOS = ("OLT_LOSS_OF_SIGNAL",)


def device(serial: str, *, olt: bool = False, **states: str) -> DeviceView:
    values = {"admin": "ENABLED", "oper": "ACTIVE", "connect": "REACHABLE", "reason": "omci-flows-pushed", **states}
    return DeviceView(
        id=f"id-{serial}",
        is_olt=olt,
        device_type="",
        serial=serial,
        parent_id="logical" if olt else "id-OLT",
        pon=-1 if olt else 0,
        **values,
    )


def dark(serial: str) -> DeviceView:
    return device(serial, oper="DISCOVERED", connect="UNREACHABLE", reason="stopping-openomci")


UP = device("ONU")
DARK = dark("ONU")
OTHERS_UP = (device("B"), device("C"), device("D"))
OTHERS_DARK = (dark("B"), dark("C"), dark("D"))


def facts(**changes: Any) -> Facts:
    values: dict[str, Any] = {
        "subscriber_id": "sub-1",
        "services": ("active",),
        "olt_serial": "OLT",
        "onu_serial": "ONU",
        "olt": device("OLT", olt=True, reason=""),
        "onu": UP,
        "neighbours": OTHERS_UP,
        "alarms_known": True,
        "flows": 4,
        **changes,
    }
    return Facts(**values)


def gasps(*serials: str) -> dict[str, tuple[str, ...]]:
    return dict.fromkeys(serials, GASP)


@pytest.mark.parametrize(
    ("finding", "given_", "least"),
    [
        ("never_installed", facts(services=(), olt=None, onu=None), 1.0),
        ("voltha_unreachable", facts(trouble="no route", olt=None, onu=None), 0.9),
        ("olt_missing", facts(olt=None, onu=None), 0.9),
        ("olt_disabled", facts(olt=device("OLT", olt=True, admin="DISABLED", oper="UNKNOWN")), 0.9),
        ("olt_unreachable", facts(olt=device("OLT", olt=True, connect="UNREACHABLE"), onu=DARK), 0.9),
        ("pon_disabled", facts(pon_enabled=False, onu=DARK, neighbours=OTHERS_DARK), 0.9),
        ("onu_disabled", facts(onu=device("ONU", admin="DISABLED", oper="UNKNOWN")), 0.9),
        ("onu_without_power", facts(onu=DARK, alarms=gasps("ONU")), 0.9),
        ("drop_fibre_cut", facts(onu=DARK, alarms={"ONU": LOS}), 0.8),
        ("onu_unreachable", facts(onu=DARK, alarms_known=False), 0.5),
        ("pon_fibre_cut", facts(onu=DARK, neighbours=OTHERS_DARK, pon_alarms=PON_LOS), 0.95),
        ("pon_fibre_cut", facts(onu=DARK, neighbours=OTHERS_DARK, alarms={"ONU": LOS, "B": LOS}), 0.85),
        ("pon_fibre_cut", facts(onu=DARK, neighbours=OTHERS_DARK, alarms_known=False), 0.7),
        ("power_cut", facts(onu=DARK, neighbours=OTHERS_DARK, alarms=gasps("ONU", "B", "C")), 0.8),
        ("branch_cut", facts(onu=DARK, neighbours=(*OTHERS_DARK[:2], OTHERS_UP[0])), 0.7),
        ("branch_cut", facts(onu=DARK, neighbours=(dark("B"), *OTHERS_UP[1:]), splitters={"SP": ("B",)}), 0.9),
        (
            "power_cut",
            facts(onu=DARK, neighbours=(dark("B"), *OTHERS_UP[1:]), splitters={"SP": ("B",)}, alarms=gasps("ONU", "B")),
            0.8,
        ),
        ("drop_fibre_cut", facts(onu=DARK, alarms={"ONU": LOS}, splitters={"SP": ("B", "C")}), 0.8),
        ("suspended", facts(services=("suspended", "suspended"), onu=DARK), 0.9),
        ("onu_moved", facts(onu=msgspec.structs.replace(UP, parent_id="id-OTHER")), 0.9),
        ("onu_deactivated", facts(onu=DARK, deactivated=True), 0.9),
        ("onu_not_admitted", facts(onu=device("ONU", admin="DISABLED", oper="UNKNOWN"), not_admitted=True), 0.9),
        ("onu_stuck", facts(onu=device("ONU", oper="RECONCILING_FAILED", reason="reconciling-canceled")), 0.9),
        ("technology_profile", facts(wrong_profiles=(65,)), 0.9),
        ("technology_profile", facts(missing_on_devices=2, recent=("ONU_CONFIG_FAILURE_MISSING_TCONT",)), 0.8),
        ("waiting_for_mac", facts(services=("waiting_for_mac",)), 0.9),
        ("onu_missing", facts(onu=None, neighbours=()), 0.8),
        ("technology_profile", facts(onu=device("ONU", reason="tech-profile-config-download-failed")), 0.9),
        ("onu_not_ready", facts(onu=device("ONU", oper="ACTIVATING", reason="starting-openomci")), 0.8),
        ("flows_lost", facts(onu=device("ONU", reason="initial-mib-downloaded")), 0.95),
        ("meter_missing", facts(missing_meters=(7,), missing_logical=2), 0.9),
        ("flows_missing", facts(missing_logical=4), 0.9),
        ("flows_not_on_devices", facts(missing_on_devices=1), 0.9),
        ("unfinished", facts(services=("adding",)), 0.8),
        ("speed_mismatch", facts(wrong_meters=(7,)), 0.9),
        ("weak_signal", facts(measured=True, onu_receive_dbm=-20.0, olt_receive_dbm=-29.5), 0.7),
        ("uni_locked", facts(measured=True, uni_unlocked=False, uni_up=False), 0.7),
        ("uni_down", facts(measured=True, uni_unlocked=True, uni_up=False), 0.7),
        ("alarms", facts(alarms={"ONU": ("ONU_SIGNAL_DEGRADE",)}), 0.6),
        ("nothing_found", facts(measured=True, onu_receive_dbm=-20.0, uni_unlocked=True, uni_up=True), 0.6),
    ],
)
def test_the_facts_decide(finding: str, given_: Facts, least: float) -> None:
    found = decide(given_)
    assert found.finding == finding
    assert least <= found.confidence <= 1
    assert found.sentence.endswith(".")
    assert found.advice


def test_a_neighbour_that_is_switched_off_proves_no_cut() -> None:
    off = device("B", admin="DISABLED", oper="UNKNOWN", connect="UNREACHABLE")
    assert decide(facts(onu=DARK, neighbours=(off, device("C")), alarms={"ONU": LOS})).finding == "drop_fibre_cut"


def test_an_onu_alone_on_its_pon_leaves_more_doubt() -> None:
    alone = decide(facts(onu=DARK, neighbours=(), alarms={"ONU": LOS}))
    assert alone.confidence < decide(facts(onu=DARK, alarms={"ONU": LOS})).confidence


@given(st.data())
def test_whatever_the_facts_there_is_a_finding(data: st.DataObject) -> None:
    devices = st.sampled_from([None, UP, DARK, device("ONU", admin="DISABLED"), device("ONU", reason="?")])
    given_ = facts(
        services=data.draw(st.sampled_from([(), ("active",), ("adding", "active")])),
        olt=data.draw(devices),
        onu=data.draw(devices),
        neighbours=tuple(data.draw(st.lists(st.sampled_from([*OTHERS_UP, *OTHERS_DARK]), max_size=4))),
        missing_logical=data.draw(st.integers(0, 4)),
    )
    assert 0 < decide(given_).confidence <= 1


@pytest.fixture
async def line(plugin: VolthaIntegrationPlugin, active_olt: Any) -> tuple[VolthaIntegrationPlugin, Any, str]:
    """A subscriber whose line works."""
    simulator, _ = active_olt
    serial = simulator.serial_numbers[0]
    await plugin.add_subscriber_flow(serial, "sub-1", SERVICE)
    return plugin, simulator, serial


async def test_a_line_that_works_has_no_finding_and_costs_few_calls(line: Any) -> None:
    plugin, simulator, _ = line
    before = (await plugin.get_metrics())["voltha_rpc_calls_total"]
    found = await plugin.diagnose("sub-1")
    calls = (await plugin.get_metrics())["voltha_rpc_calls_total"] - before
    assert found["finding"] == "nothing_found"
    assert found["facts"]["measured"]
    assert found["facts"]["onu_receive_dbm"] < -10
    assert calls <= 12
    assert simulator.refused_crashes == 0


async def test_faults_of_a_line_are_found_where_they_are(line: Any) -> None:
    plugin, simulator, serial = line

    async def finding() -> str:
        return str((await plugin.diagnose("sub-1"))["finding"])

    await plugin.configure_device(serial, {"enabled": False})
    assert await finding() == "onu_disabled"
    await plugin.configure_device(serial, {"enabled": True})
    assert await finding() == "nothing_found"
    await simulator.power_off(serial)
    assert await finding() == "onu_unreachable", "without Kafka nobody knows of a dying gasp"
    await simulator.power_on(serial)
    await plugin.provision_onu("BBSIM_OLT_10", None, None, serial)
    assert await finding() == "flows_lost"
    await plugin.add_subscriber_flow(serial, "sub-1", SERVICE)
    assert await finding() == "nothing_found"
    for each in simulator.serial_numbers[:2]:
        await simulator.power_off(each)
    assert await finding() == "pon_fibre_cut"
    await plugin.configure_device("BBSIM_OLT_10", {"pon_ports": {0: False}})
    assert await finding() == "pon_disabled"


async def test_flows_that_the_core_forgot_and_an_olt_that_is_away_are_named(line: Any) -> None:
    plugin, simulator, _ = line
    await simulator.restart_core()
    found = await plugin.diagnose("sub-1")
    assert found["finding"] in ("flows_missing", "flows_lost"), found
    await simulator.cut_olt_link(0)
    for _ in range(200):
        found = await plugin.diagnose("sub-1")
        if found["finding"] == "olt_unreachable":
            break
        await asyncio.sleep(0.05)
    assert found["finding"] == "olt_unreachable"
    assert "BBSIM_OLT_10" in found["sentence"]


async def test_a_subscriber_without_a_service_needs_no_call(plugin: VolthaIntegrationPlugin) -> None:
    found = await plugin.diagnose("nobody")
    assert (found["finding"], found["confidence"]) == ("never_installed", 1.0)
    with pytest.raises(VolthaError, match="no subscriber id"):
        await plugin.diagnose("")
