"""Values on demand by voltctl's names, PM configurations, values over time, and the text for Prometheus."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from voltha_protos import device_pb2, extensions_pb2

from dotmac_isp.plugins.network_automation.voltha_integration_plugin import (
    DeviceView,
    ForbiddenRequestError,
    ServiceConfigError,
    UnsupportedByVolthaError,
    VolthaIntegrationPlugin,
    render_prometheus,
)
from dotmac_isp.plugins.network_automation.voltha_integration_plugin._guard import admit
from dotmac_isp.plugins.network_automation.voltha_integration_plugin.metrics import Sample
from dotmac_isp.plugins.network_automation.voltha_integration_plugin.metrics._history import MetricHistory
from dotmac_isp.plugins.network_automation.voltha_integration_plugin.metrics._pm import PmChange, changed, pm_plain
from dotmac_isp.plugins.network_automation.voltha_integration_plugin.metrics._values import (
    VALUES,
    samples_from,
    value_plain,
)

if TYPE_CHECKING:
    from pathlib import Path

OLT = DeviceView(id="olt-1", is_olt=True, device_type="openolt", serial="OLT")
ONU = DeviceView(
    id="onu-1", is_olt=False, device_type="brcm_openomci_onu", serial="BBSM000a0001", parent_id="olt-1", pon=3, onu_id=7
)


@pytest.mark.parametrize("name", sorted(VALUES))
def test_every_value_is_asked_of_the_right_device_in_a_way_that_ends_no_adapter(name: str) -> None:
    kind = VALUES[name]
    device = OLT if kind.device == "olt" else ONU
    ports = {"nni_statistics": "nni-16777216"}
    options = {"port": ports.get(name, "pon-0")} if "port" in kind.options else {}
    request = kind.request(device, options)
    admit("Extension/GetExtValue", request)
    assert request.targetId == ("olt-1" if kind.target == "olt" else "onu-1")
    assert request.request.WhichOneof("request") == kind.field
    assert kind.answer in extensions_pb2.GetValueResponse.DESCRIPTOR.fields_by_name


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("itu_pon_stats", {}, "Give the port's label"),
        ("itu_pon_stats", {"port": "0"}, "port is '0'"),
        ("nni_statistics", {"port": "pon-0"}, "nni-16777216"),
        ("pon_rx_power", {"port": ""}, "pon-0"),
        ("unistatus", {"uni": 0}, "1 to 16"),
        ("onu_distance", {"port": "pon-0"}, "takes no port"),
        ("offload_app_stats", {"app": "smtp"}, "pppoe, dhcpv4, dhcpv6"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_they_are_sent(
    name: str, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ServiceConfigError, match=said):
        VALUES[name].request(OLT if VALUES[name].device == "olt" else ONU, options)


def test_counters_of_an_answer_become_samples_with_units_and_directions() -> None:
    frames = extensions_pb2.GetOmciEthernetFrameExtendedPmResponse()
    frames.upstream.octets, frames.downstream.octets = 2**63, 5
    kind = VALUES["ethernet_frame_extended_pm"]
    plain = value_plain(kind, extensions_pb2.GetValueResponse(onuCounters=frames))
    assert plain["upstream"]["octets"] == 2**63
    found = {(s.name, s.labels["direction"]): s.value for s in samples_from(kind, plain, {"uni": "1"})}
    assert found["voltha_ethernet_frame_extended_pm_octets_total", "downstream"] == 5
    assert found["voltha_ethernet_frame_extended_pm_octets_total", "upstream"] == 2.0**63
    counters = extensions_pb2.GetOnuCountersResponse(intf_id=3, onu_id=7, bip_errors=4)
    kind = VALUES["onu_stats"]
    names = [
        s.name
        for s in samples_from(kind, value_plain(kind, extensions_pb2.GetValueResponse(onuPonCounters=counters)), {})
    ]
    assert "voltha_onu_stats_bip_errors_total" in names
    assert not [name for name in names if name.endswith(("onu_id_total", "intf_id_total"))]


async def test_an_operator_asks_for_a_value_and_what_is_not_supported_says_so(
    plugin: VolthaIntegrationPlugin, active_olt: Any
) -> None:
    simulator, _ = active_olt
    serial = simulator.serial_numbers[0]
    optical = await plugin.get_value(serial, "onu_pon_optical_info")
    assert -30 < optical["content"]["receivedOpticalPower"] < 0
    assert (await plugin.get_value(serial, "unistatus", {"uni": 1}))["content"]["admState"] == "UNLOCKED"
    assert (await plugin.get_value(serial, "onu_distance"))["content"]["distance"] > 0
    powers = await plugin.get_value("BBSIM_OLT_10", "pon_rx_power", {"port": "pon-0"})
    assert {each["onu_sn"] for each in powers["content"]["rx_power"]} == set(simulator.serial_numbers[:2])
    with pytest.raises(UnsupportedByVolthaError, match="not supported"):
        await plugin.get_value("BBSIM_OLT_10", "itu_pon_stats", {"port": "pon-0"})
    with pytest.raises(ServiceConfigError, match="is a value of OLTs"):
        await plugin.get_value(serial, "portstats", {"port": "pon-0"})
    with pytest.raises(ServiceConfigError, match="onu_distance"):
        await plugin.get_value(serial, "weather")
    assert simulator.refused_crashes == 0


async def test_what_was_measured_is_there_later_also_after_a_restart(
    make_host: Any, target: Any, active_olt: Any
) -> None:
    simulator, _ = active_olt
    serial = simulator.serial_numbers[0]
    plugin = VolthaIntegrationPlugin(make_host(target))
    await plugin.activate()
    await plugin.collect_metrics([serial])
    (series,) = await plugin.metric_history(serial, "voltha_onu_receive_power_dbm")
    ((at, value),) = series["points"]
    assert time.time() - at < 60
    await plugin.deactivate()
    again = VolthaIntegrationPlugin(make_host(target))
    await again.activate()
    assert (await again.metric_history(serial, "voltha_onu_receive_power_dbm"))[0]["points"] == [[at, value]]
    assert await again.metric_history(serial, since=at + 1) != await again.metric_history(serial)
    await again.deactivate()


async def test_history_is_bounded_by_age_and_by_what_waits(tmp_path: Path) -> None:
    history = MetricHistory(tmp_path / "h.sqlite", days=1)
    now = time.time()

    def sample(at: float, value: float) -> Sample:
        return Sample(name="x", value=value, labels={"port": "pon-0"}, at=at)

    history.note("S", [sample(now - 200_000, 1), sample(now - 10, 2), sample(now - 5, 3), sample(now - 5, 4)])
    (series,) = await history.read("S", name="", since=0, until=now, limit=10)
    assert [point[1] for point in series["points"]] == [2, 4]
    assert series["labels"] == {"port": "pon-0"}
    (series,) = await history.read("S", name="x", since=0, until=now, limit=1)
    assert [point[1] for point in series["points"]] == [4]
    assert await history.read("OTHER", name="", since=0, until=now, limit=1) == []
    off = MetricHistory(tmp_path / "off.sqlite", days=0)
    off.note("S", [sample(now, 1)])
    assert await off.read("S", name="", since=0, until=now, limit=1) == []


async def test_a_pm_configuration_is_changed_as_a_whole_and_read_again(
    plugin: VolthaIntegrationPlugin, active_olt: Any
) -> None:
    simulator, _ = active_olt
    serial = simulator.serial_numbers[0]
    before = await plugin.get_pm_config(serial)
    change = {"default_freq": 60, "groups": {"PON_Optical": {"enabled": True, "freq": 30}, "FEC_History": True}}
    after = await plugin.set_pm_config(serial, change)
    assert (after["changed"], after["default_freq"]) == (True, 60)
    assert (after["groups"]["PON_Optical"]["enabled"], after["groups"]["PON_Optical"]["freq"]) == (True, 30)
    assert after["groups"].keys() == before["groups"].keys()
    assert (await plugin.set_pm_config(serial, change))["changed"] is False
    olt = await plugin.set_pm_config("BBSIM_OLT_10", {"metrics": {"rx_bytes": False}})
    assert (olt["metrics"]["rx_bytes"], len(olt["metrics"])) == (False, 15)
    for device, wrong, said in (
        ("BBSIM_OLT_10", {"metrics": {"rx_byte": True}}, "did you mean rx_bytes"),
        (serial, {"groups": {"Optical": True}}, "no group 'Optical'"),
        (serial, {"groups": {"FEC_History": {"freq": 60}}}, "cannot be changed"),
        (serial, {"default_freq": 7}, "multiple of 5"),
        (serial, {"default_freq": 0}, "default_freq"),
        (serial, {"frequency": 60}, "default_freq"),
        (serial, {}, "nothing is to be changed"),
    ):
        with pytest.raises(ServiceConfigError, match=said):
            await plugin.set_pm_config(device, wrong)
    assert simulator.refused_crashes == 0


@given(
    freq=st.none() | st.integers(-10, 1000),
    metrics=st.dictionaries(st.sampled_from(["rx_bytes", "tx_bytes", "nonsense"]), st.booleans()),
)
def test_no_change_ever_sends_a_metric_that_the_olt_does_not_know(freq: int | None, metrics: dict[str, bool]) -> None:
    listed = device_pb2.PmConfigs(id="olt-1", default_freq=150)
    for name in ("rx_bytes", "tx_bytes"):
        listed.metrics.add(name=name, enabled=True)
    try:
        made = changed(listed, PmChange.parse({"default_freq": freq, "metrics": metrics}))
    except ServiceConfigError:
        return
    assert {metric.name for metric in made.metrics} == {"rx_bytes", "tx_bytes"}
    admit("UpdateDevicePmConfigs", made)
    assert pm_plain(listed)["metrics"] == {"rx_bytes": True, "tx_bytes": True}


@pytest.mark.parametrize(
    "configs",
    [
        device_pb2.PmConfigs(id="x", default_freq=150),
        device_pb2.PmConfigs(default_freq=150, metrics=[device_pb2.PmConfig(name="rx_bytes")]),
        device_pb2.PmConfigs(id="x", default_freq=7, metrics=[device_pb2.PmConfig(name="rx_bytes")]),
    ],
)
def test_half_a_pm_configuration_is_never_sent(configs: Any) -> None:
    with pytest.raises(ForbiddenRequestError):
        admit("UpdateDevicePmConfigs", configs)


def test_the_text_for_prometheus_quotes_labels_and_names_counters() -> None:
    sample = Sample(name="voltha_pon_rx_bytes_total", value=5, labels={"port": 'pon "0"\n'}, at=1.0)
    entry = {"serial_number": "S", "type": "olt", "up": 1, "samples": [sample.plain()], "errors": {}}
    text = render_prometheus({"voltha_olts": 1, "resources": {"S": entry}})
    assert "# TYPE voltha_pon_rx_bytes_total counter\n" in text
    assert 'voltha_pon_rx_bytes_total{serial_number="S",type="olt",port="pon \\"0\\"\\n"} 5\n' in text
    assert 'voltha_device_up{serial_number="S",type="olt"} 1\n' in text
