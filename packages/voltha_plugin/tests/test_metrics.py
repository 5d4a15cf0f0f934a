"""`collect_metrics`: values on demand from a running VOLTHA, KPI events, and what happens to a resource that gives none."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from voltha_protos import extensions_pb2

from dotmac_isp.plugins.network_automation.voltha_integration_plugin import ForbiddenRequestError
from dotmac_isp.plugins.network_automation.voltha_integration_plugin._guard import admit
from dotmac_isp.plugins.network_automation.voltha_integration_plugin.events._messages import KpiSlice, decode
from dotmac_isp.plugins.network_automation.voltha_integration_plugin.metrics._kpi import LatestValues, samples_of

if TYPE_CHECKING:
    from dotmac_isp.plugins.network_automation.voltha_integration_plugin import VolthaIntegrationPlugin

KPIS = Path(__file__).parent / "data" / "kpis.jsonl"
ONU_KPIS = "2ed0833a-7078-4428-adb7-c0a5dedb921d"


def recorded() -> list[KpiSlice]:
    found: list[KpiSlice] = []
    for line in KPIS.read_text().splitlines():
        slices = decode(base64.b64decode(json.loads(line)["value_b64"]))
        assert isinstance(slices, list)
        found += slices
    return found


def values(entry: Any) -> dict[str, float]:
    return {sample["name"]: sample["value"] for sample in entry["samples"]}


async def test_an_onu_gives_its_levels_and_user_ports(plugin: VolthaIntegrationPlugin, active_olt: Any) -> None:
    simulator, _ = active_olt
    serial, other = simulator.serial_numbers[0], simulator.serial_numbers[1]
    onu = await plugin.get_device_status(other)
    assert onu is not None
    found = await plugin.collect_metrics([serial, onu["device_id"], serial])
    assert (found["voltha_olts_active"], found["voltha_onus"], found["voltha_onus_active"]) == (1, 4, 4)
    assert list(found["resources"]) == [serial, onu["device_id"]]
    for entry in found["resources"].values():
        assert entry["errors"] == {}
        measured = values(entry)
        assert -30 < measured["voltha_onu_receive_power_dbm"] < -10
        assert -30 < measured["voltha_olt_receive_power_dbm"] < -10
        assert 0.005 < measured["voltha_onu_laser_bias_current_amperes"] < 0.02, "mA became A"
        assert 0 < measured["voltha_onu_distance_meters"] < 20_000
        assert (measured["voltha_uni_up"], measured["voltha_uni_unlocked"]) == (1, 1)
    uni = [each for each in found["resources"][serial]["samples"] if each["name"] == "voltha_uni_up"]
    assert [each["labels"] for each in uni] == [{"uni": "1"}]
    assert simulator.refused_crashes == 0


async def test_a_resource_that_cannot_be_measured_does_not_fail_the_others(
    plugin: VolthaIntegrationPlugin, active_olt: Any
) -> None:
    simulator, _ = active_olt
    dark, fine, disabled = simulator.serial_numbers[:3]
    await simulator.power_off(dark)
    await plugin.configure_device(disabled, {"enabled": False})
    found = (await plugin.collect_metrics(["nobody", dark, fine, disabled]))["resources"]
    assert "no device 'nobody'" in found["nobody"]["errors"]["device"]
    assert "not asked" in found[dark]["errors"]["onu"]
    assert "disabled" in found[disabled]["errors"]["onu"]
    assert found[fine]["errors"] == {}
    assert found[fine]["up"] == 1


async def test_an_olt_gives_its_ports_and_onus(plugin: VolthaIntegrationPlugin, active_olt: Any) -> None:
    simulator, _ = active_olt
    await plugin.configure_device("BBSIM_OLT_10", {"pon_ports": {1: False}})
    entry = (await plugin.collect_metrics(["BBSIM_OLT_10"]))["resources"]["BBSIM_OLT_10"]
    assert values(entry)["voltha_olt_onus"] == 4
    ports = {each["labels"]["type"]: each["value"] for each in entry["samples"] if each["name"] == "voltha_olt_ports"}
    assert ports == {"nni": 1, "pon": 2}
    up = [each["value"] for each in entry["samples"] if each["name"] == "voltha_olt_port_up"]
    assert sorted(up) == [0, 1, 1]
    assert simulator.refused_crashes == 0


async def test_an_empty_list_is_every_device_and_asks_none(plugin: VolthaIntegrationPlugin, active_olt: Any) -> None:
    assert active_olt
    before = await plugin.get_metrics()
    found = await plugin.collect_metrics([])
    after = await plugin.get_metrics()
    assert len(found["resources"]) == 5
    assert after["voltha_rpc_calls_total"] - before["voltha_rpc_calls_total"] <= 2, "one list, and maybe the monitor's"


def test_recorded_kpis_become_latest_values_with_units() -> None:
    latest = LatestValues()
    latest.take(recorded())
    optical = {each.name: each for each in latest.of(ONU_KPIS) if "power" in each.name}
    assert set(optical) == {"voltha_onu_transmit_power_dbm", "voltha_onu_receive_power_dbm"}
    assert optical["voltha_onu_receive_power_dbm"].labels == {"ani_g_instance_id": "32769"}
    unis = [each for each in latest.of(ONU_KPIS) if each.name == "voltha_uni_oper_status"]
    assert [each.labels["me_class_id"] for each in unis] == ["11"], "one of the two slices has it"
    assert latest.count == len(latest.of(ONU_KPIS))
    latest.keep_only(set())
    assert (latest.count, latest.of(ONU_KPIS)) == (0, [])


def test_an_older_value_that_comes_late_does_not_replace_a_newer_one() -> None:
    latest = LatestValues()
    for at, value in ((20.0, -21.0), (10.0, -25.0)):
        latest.take(
            [
                KpiSlice(
                    title="PON_Optical",
                    device_id="o",
                    serial="",
                    at=at,
                    context={},
                    metrics={"receive_power_dBm": value},
                )
            ]
        )
    assert [each.value for each in latest.of("o")] == [-21.0]


@pytest.mark.parametrize(
    ("title", "metric", "name", "value"),
    [
        ("PON_Optical", "laser_bias_current_mA", "voltha_onu_laser_bias_current_amperes", 0.002),
        ("PON_Optical", "temperature_Celsius", "voltha_onu_temperature_celsius", 2.0),
        ("PONStats", "RxBytes", "voltha_pon_rx_bytes_total", 2.0),
        ("NNIStats", "TxDroppedTotal", "voltha_nni_tx_dropped_total", 2.0),
        ("FEC_History", "corrected_bytes", "voltha_fec_history_corrected_bytes", 2.0),
    ],
)
def test_kpis_have_prometheus_names(title: str, metric: str, name: str, value: float) -> None:
    item = KpiSlice(title=title, device_id="d", serial="", at=1.0, context={"portlabel": "pon-0"}, metrics={metric: 2})
    (sample,) = samples_of(item)
    assert (sample.name, sample.value, sample.labels) == (name, pytest.approx(value), {"port": "pon-0"})


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"oltRxPower": {}},
        {"oltPonStats": {"portId": 0}},
        {"oltPonStats": {"portLabel": ""}},
        {"oltNniStats": {"portId": 0}},
        {"oltNniStats": {}},
        {"ethBridgePort": {}},
        {"subAppsStats": {}},
    ],
)
def test_values_that_end_an_adapter_or_hang_are_never_asked_for(request_: dict[str, Any]) -> None:
    request = extensions_pb2.SingleGetValueRequest(targetId="olt", request=extensions_pb2.GetValueRequest(**request_))
    with pytest.raises(ForbiddenRequestError, match="not sent"):
        admit("Extension/GetExtValue", request)
