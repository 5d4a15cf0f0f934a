from __future__ import annotations

import sys
import threading
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dotmac_isp.plugins.core.errors import ConfigurationError
from dotmac_isp.plugins.core.model import FailureKind, PluginState
from dotmac_isp.plugins.core.telemetry import BOUNDS, LABEL_SETS, CallStats, Telemetry


def samples(telemetry: Telemetry) -> dict[tuple[Any, ...], float]:
    """What Prometheus would read: (name, labels…) -> value."""
    page = telemetry.render().decode()
    found = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            key = (sample.name, *sorted(sample.labels.items()))
            assert key not in found, f"{key} is there twice"
            found[key] = sample.value
    return found


def own(telemetry: Telemetry) -> dict[tuple[Any, ...], float]:
    return {key: value for key, value in samples(telemetry).items() if not key[0].startswith("dotmac_plugin_")}


def test_a_call_is_counted_in_the_bucket_of_its_duration() -> None:
    stats = CallStats()
    for seconds in (0.0, BOUNDS[0], 0.003, 0.02, 61.0):
        stats.observe(seconds)
    assert stats.calls == 5
    assert stats.seconds == pytest.approx(61.0231)
    filled = {bound: count for bound, count in zip((*BOUNDS, "above"), stats.buckets, strict=True) if count}
    assert filled == {0.0001: 2, 0.005: 1, 0.025: 1, "above": 1}


def test_failures_are_counted_by_kind_and_cost_nothing_before_the_first() -> None:
    stats = CallStats()
    assert stats.failures is None
    assert stats.failed == 0
    for kind in (FailureKind.ERROR, FailureKind.DEADLINE, FailureKind.ERROR):
        stats.fail(kind)
    assert stats.failures == {FailureKind.ERROR: 2, FailureKind.DEADLINE: 1}
    assert stats.failed == 3


def test_calls_failures_and_durations_of_each_instance_are_on_the_page() -> None:
    telemetry = Telemetry()
    for tenant in (None, "a"):
        stats = telemetry.instance("voltha", tenant).operation("discover_devices")
        assert telemetry.instance("voltha", tenant).operation("discover_devices") is stats
        stats.observe(0.003)
        stats.observe(2.0)
    telemetry.instance("voltha", "a").operation("discover_devices").fail(FailureKind.CIRCUIT_OPEN)
    found = samples(telemetry)
    for tenant in ("-", "a"):
        labels = (("operation", "discover_devices"), ("plugin", "voltha"), ("tenant", tenant))
        assert found["dotmac_plugin_calls_total", *labels] == 2
        assert found["dotmac_plugin_call_seconds_sum", *labels] == 2.003
        assert found["dotmac_plugin_call_seconds_count", *labels] == 2
        for bound, count in (("0.001", 0), ("0.005", 1), ("1.0", 1), ("2.5", 2), ("+Inf", 2)):
            assert found["dotmac_plugin_call_seconds_bucket", ("le", bound), *labels] == count
    failures = {key: value for key, value in found.items() if key[0] == "dotmac_plugin_failures_total"}
    labels = (("kind", "circuit open"), ("operation", "discover_devices"), ("plugin", "voltha"), ("tenant", "a"))
    assert failures == {("dotmac_plugin_failures_total", *labels): 1}


def test_the_state_of_an_instance_is_one_and_all_others_zero() -> None:
    telemetry = Telemetry()
    telemetry.set_state("voltha", "a", PluginState.ACTIVATING)
    telemetry.set_state("voltha", "a", PluginState.ACTIVE)
    states = {
        dict(key[1:])["state"]: value for key, value in samples(telemetry).items() if key[0] == "dotmac_plugin_state"
    }
    assert states == {state.value: float(state is PluginState.ACTIVE) for state in PluginState}


def test_a_plugins_own_metrics_carry_plugin_and_tenant() -> None:
    telemetry = Telemetry()
    recorder = telemetry.instance("voltha", "a").recorder
    recorder.count("flows_added_total")
    recorder.count("flows_added", 2)
    recorder.count("flows_added", port='a"b\\c\nd', olt="1")
    recorder.count("flows_added", olt="1", port='a"b\\c\nd')
    recorder.set("onu_receive_power_dbm", -20.5, onu="BRCM1")
    recorder.set("onu_receive_power_dbm", -21.5, onu="BRCM1")
    recorder.observe("provision_seconds", 3)
    instance = (("plugin", "voltha"), ("tenant", "a"))
    found = own(telemetry)
    assert found["flows_added_total", *instance] == 3
    assert found["flows_added_total", ("olt", "1"), ("plugin", "voltha"), ("port", 'a"b\\c\nd'), ("tenant", "a")] == 2
    assert found["onu_receive_power_dbm", ("onu", "BRCM1"), *instance] == -21.5
    assert found["provision_seconds_count", *instance] == 1
    assert found["provision_seconds_sum", *instance] == 3


def test_one_metric_of_many_instances_is_one_family() -> None:
    telemetry = Telemetry()
    for tenant in ("a", "b"):
        telemetry.instance("voltha", tenant).recorder.set("devices", 3)
    assert telemetry.render().decode().count("# TYPE devices gauge") == 1
    assert len(own(telemetry)) == 2


@pytest.mark.parametrize(
    ("method", "arguments", "labels", "told"),
    [
        ("count", ("9lives",), {}, "'9lives' is no metric name"),
        ("set", ("power-dbm", 1), {}, "letters, digits, '_' and ':'"),
        ("count", ("",), {}, "is no metric name"),
        ("count", ("dotmac_plugin_calls",), {}, "the host's own"),
        ("set", ("flows_total", 1), {}, "only counters end in '_total'"),
        ("observe", ("flows_total", 1), {}, "only counters end in '_total'"),
        ("count", ("flows", -1), {}, "a counter only grows"),
        ("count", ("flows", float("nan")), {}, "a counter only grows"),
        ("observe", ("seconds", float("nan")), {}, "NaN"),
        ("count", ("flows",), {"tenant": "other"}, "'tenant' of 'flows' is set by the host"),
        ("count", ("flows",), {"plugin": "other"}, "set by the host"),
        ("set", ("flows", 1), {"le": "1"}, "set by the host"),
        ("set", ("flows", 1), {"__name__": "x"}, "no label name"),
        ("set", ("flows", 1), {"a-b": "x"}, "no label name"),
    ],
)
def test_what_prometheus_would_refuse_is_refused_at_once(
    method: str, arguments: tuple[Any, ...], labels: dict[str, str], told: str
) -> None:
    telemetry = Telemetry()
    with pytest.raises(ValueError, match=told):
        getattr(telemetry.instance("voltha", "a").recorder, method)(*arguments, **labels)
    assert own(telemetry) == {}


def test_a_name_means_one_thing_within_a_plugin() -> None:
    recorder = Telemetry().instance("voltha", "a").recorder
    recorder.count("flows")
    for wrong in (recorder.set, recorder.observe):
        with pytest.raises(ValueError, match="'flows' is a counter already"):
            wrong("flows", 1)


def test_what_a_plugin_counted_itself_is_a_counter_by_its_name() -> None:
    telemetry = Telemetry()
    recorder = telemetry.instance("voltha", "a").recorder
    for value in (3, 7, 2):  # the last one after the plugin began anew
        recorder.keep("calls_total", value)
        recorder.keep("calls_open", value)
    found = samples(telemetry)
    assert found["calls_total", ("plugin", "voltha"), ("tenant", "a")] == 2
    assert found["calls_open", ("plugin", "voltha"), ("tenant", "a")] == 2
    with pytest.raises(ValueError, match="'calls' is a counter already"):
        recorder.set("calls", 1)
    with pytest.raises(ValueError, match="a counter only grows"):
        recorder.keep("calls_total", -1)


def test_of_two_plugins_that_mean_different_things_by_a_name_the_first_one_has_it() -> None:
    telemetry = Telemetry()
    telemetry.instance("one", None).recorder.observe("work", 1)
    telemetry.instance("two", None).recorder.set("work", 1)
    telemetry.instance("two", None).recorder.set("work_count", 1)
    found = samples(telemetry)
    assert {dict(key[1:])["plugin"] for key in found if key[0].startswith("work")} == {"one"}
    assert found["dotmac_plugin_metrics_dropped_total", ("plugin", "two"), ("tenant", "-")] == 2


def test_an_instance_has_a_bounded_number_of_label_sets() -> None:
    telemetry = Telemetry()
    recorder = telemetry.instance("voltha", "a").recorder
    for number in range(LABEL_SETS + 7):
        recorder.count("flows", onu=str(number))
    recorder.count("flows", onu="3")
    recorder.set("another", 1)
    telemetry.instance("voltha", "b").recorder.count("flows")
    found = samples(telemetry)
    assert len([key for key in found if key[0] == "flows_total"]) == LABEL_SETS + 1
    assert found["flows_total", ("onu", "3"), ("plugin", "voltha"), ("tenant", "a")] == 2
    assert found["dotmac_plugin_metrics_dropped_total", ("plugin", "voltha"), ("tenant", "a")] == 8


def test_threads_of_a_plugin_lose_no_count() -> None:
    telemetry = Telemetry()
    recorder = telemetry.instance("voltha", "a").recorder
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=lambda: [recorder.count("flows") for _ in range(2000)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert list(own(telemetry).values()) == [8000]


def test_a_dropped_instance_is_gone_and_begins_anew() -> None:
    telemetry = Telemetry()
    telemetry.instance("voltha", "a").operation("x").observe(1)
    telemetry.instance("voltha", "a").recorder.count("flows")
    telemetry.drop("voltha", "a")
    telemetry.drop("voltha", "a")
    assert samples(telemetry) == {}
    assert telemetry.instance("voltha", "a").operation("x").calls == 0


def test_totals_add_up_over_instances() -> None:
    telemetry = Telemetry()
    for tenant in ("a", "b"):
        for operation in ("x", "y"):
            stats = telemetry.instance("voltha", tenant).operation(operation)
            stats.observe(1)
            stats.fail(FailureKind.ERROR)
    telemetry.instance("analytics", "a").operation("x").observe(0.5)
    totals = telemetry.totals()
    assert (totals.instances, totals.calls, totals.failures, totals.seconds) == (3, 5, 4, 4.5)
    voltha = totals.plugins["voltha"]
    assert (voltha.instances, voltha.calls, voltha.failures_by_kind) == (2, 4, {"error": 4})
    assert totals.plugins["analytics"].failures == 0


def test_two_managers_in_one_process_count_apart() -> None:
    one, two = Telemetry(), Telemetry()
    one.instance("voltha", "a").operation("x").observe(1)
    assert samples(two) == {}


def test_without_prometheus_client_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "dotmac_isp.plugins.core.telemetry._exposition", raising=False)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'dotmac-plugins-core\[metrics\]'"):
        Telemetry().render()
