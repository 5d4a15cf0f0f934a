"""What a service and a device configuration may say, and what a person is told who got it wrong."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dotmac_isp.plugins.network_automation.voltha_integration_plugin import (
    BandwidthProfile,
    DeviceView,
    ServiceConfig,
    ServiceConfigError,
)
from dotmac_isp.plugins.network_automation.voltha_integration_plugin._configure import DeviceConfig
from dotmac_isp.plugins.network_automation.voltha_integration_plugin._olt import check_address
from dotmac_isp.plugins.network_automation.voltha_integration_plugin._onu import pon_index
from dotmac_isp.plugins.network_automation.voltha_integration_plugin.services._meter import (
    METER_FIRST,
    METER_LAST,
    Band,
    choose_meter_id,
)

GOOD = {"s_tag": 900, "bandwidth_down": 100000, "bandwidth_up": 50000}


def test_a_plain_speed_is_a_best_effort_profile() -> None:
    made = ServiceConfig.parse(GOOD)
    assert (made.technology_profile, made.uni) == (64, 1)
    assert made.downstream.bands() == (Band(100000, 10000),)


def test_two_ways_to_say_the_same_service_are_equal() -> None:
    other = ServiceConfig.parse({"vlan_id": 900, "downstream": {"eir": 100000}, "upstream": {"eir": 50000}, "uni": 1})
    assert other.plain() == ServiceConfig.parse(GOOD).plain()
    assert ServiceConfig.parse(other.plain()) == other


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"s_tag": 4095}, ["s_tag", "4095", "4094"]),
        ({"s_tag": "nine"}, ["s_tag", "'nine'"]),
        ({"s_tag": None}, ["s_tag"]),
        ({"vlan_id": 5}, ["s_tag or vlan_id, not both"]),
        ({"bandwith_down": 1}, ["bandwith_down is unknown", "did you mean bandwidth_down"]),
        ({"downstream": {"eir": 1}}, ["bandwidth_down or downstream, not both"]),
        ({"technology_profile": 63}, ["technology_profile", "63", "64"]),
        ({"uni": 0}, ["uni", "0"]),
        ({"bandwidth_up": -1}, ["upstream.eir", "-1"]),
        ({"bandwidth_up": 0}, ["no rate is above 0"]),
        ({"c_tag": 5}, ["c_tag is 5", "tagging double"]),
    ],
)
def test_a_wrong_service_says_field_value_and_remedy(change: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ServiceConfigError) as caught:
        ServiceConfig.parse({**GOOD, **change})
    for word in [*words, "For example"]:
        assert word in str(caught.value)


def test_missing_values_are_named() -> None:
    with pytest.raises(ServiceConfigError, match="upstream is missing"):
        ServiceConfig.parse({"s_tag": 900, "bandwidth_down": 5})
    with pytest.raises(ServiceConfigError, match="s_tag is missing"):
        ServiceConfig.parse({"bandwidth_down": 5, "bandwidth_up": 5})
    with pytest.raises(ServiceConfigError):
        ServiceConfig.parse("900")


@pytest.mark.parametrize(
    ("profile", "bands"),
    [
        (
            {"cir": 600, "cbs": 30, "eir": 400, "ebs": 30, "air": 100000},
            [(600, 30), (101000, 60), (100000, 0)],
        ),
        ({"air": 200000}, [(200000, 0), (200000, 0)]),
        ({"cir": 500000, "cbs": 10000}, [(500000, 10000), (500000, 10000)]),
        ({"cir": 500000, "eir": 200000}, [(500000, 50000), (700000, 70000)]),
        ({"eir": 1000000}, [(1000000, 100000)]),
        ({"cir": 500000, "eir": 300000, "air": 200000}, [(500000, 50000), (1000000, 80000), (200000, 0)]),
        ({"pir": 7000, "pbs": 70, "cir": 100, "cbs": 9}, [(100, 9), (7000, 70)]),
        ({"gir": 100, "air": 900, "cir": 50, "eir": 50}, [(50, 5), (200, 10), (100, 0)]),
    ],
)
def test_bands_are_built_as_both_controllers_build_them(profile: dict[str, int], bands: list[tuple[int, int]]) -> None:
    assert [(band.rate, band.burst) for band in BandwidthProfile(**profile).bands()] == bands


@pytest.mark.parametrize("profile", [{"cir": 100, "cbs": 0, "eir": 50, "ebs": 5}, {"gir": 100, "eir": 50}])
def test_bands_that_no_adapter_can_read_are_refused(profile: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="fit no T-CONT type"):
        BandwidthProfile(**profile)


rates = st.integers(1, 10_000_000)


@given(rates, st.sets(st.integers(METER_FIRST, METER_LAST), max_size=5), st.sampled_from(["", "tenant_1"]))
def test_a_meter_id_is_ours_and_free_or_has_these_bands(rate: int, taken: set[int], owner: str) -> None:
    bands, other = (Band(rate, 1),), (Band(rate + 1, 1),)
    first = choose_meter_id(bands, {}, owner=owner)
    assert METER_FIRST <= first <= METER_LAST
    assert choose_meter_id(bands, {first: bands}, owner=owner) == first
    again = choose_meter_id(bands, {first: other, **dict.fromkeys(taken, other)}, owner=owner)
    assert again != first
    assert again not in taken


def test_tenants_do_not_share_meters() -> None:
    bands = (Band(1000, 100),)
    assert choose_meter_id(bands, {}, owner="a") != choose_meter_id(bands, {}, owner="b")


@pytest.mark.parametrize("text", ["10.0.0.5:9191", "olt-1.fiber.local:9191", "[2001:db8::1]:9191"])
def test_addresses_of_olts_are_taken(text: str) -> None:
    assert check_address(text) == text


@pytest.mark.parametrize("text", ["", "10.0.0.5", "10.0.0.5:", ":9191", "a b:1", "a:0", "a:70000", "a:1\n", None, 5])
def test_what_is_no_address_is_refused_before_voltha_dials_it_for_ever(text: object) -> None:
    with pytest.raises(ServiceConfigError, match="host:port"):
        check_address(text)


@pytest.mark.parametrize(
    ("value", "index"),
    [(0, 0), ("1", 1), (536870913, 1), ("pon-2", 2), ("pon-536870915", 3), (None, None)],
)
def test_pon_ports_are_named_in_every_usual_way(value: object, index: int | None) -> None:
    assert pon_index(value) == index


@pytest.mark.parametrize("value", [-1, 256, True, "uni-1", 16777216, 1.5])
def test_what_is_no_pon_port_is_refused(value: object) -> None:
    with pytest.raises(ServiceConfigError, match="pon_port"):
        pon_index(value)


ONU = DeviceView(id="1", is_olt=False, device_type="x", serial="BBSM000a0001")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, "nothing is asked for"),
        ({"enable": True}, "did you mean enabled"),
        ({"enabled": "perhaps"}, "enabled is 'perhaps'"),
        ({"host_and_port": "10.0.0.1:1"}, "for OLTs"),
        ({"pon_ports": {"x": True}}, "pon_port is 'x'"),
    ],
)
def test_a_wrong_device_configuration_says_what_would_be_right(config: dict[str, Any], words: str) -> None:
    with pytest.raises(ServiceConfigError, match=words):
        DeviceConfig.parse(config, ONU)
