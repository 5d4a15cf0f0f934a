"""The specification's examples run as they are printed, and do what its comments promise."""

from __future__ import annotations

import json
import re
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dotmac_isp.plugins.config import PATH as PACKAGED
from dotmac_isp.plugins.core.manager import PluginManager

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PRINTED_OUTPUT = re.compile(r"^# Output: (.*)$", re.MULTILINE)
VENDORS = ("voltha_integration", "analytics_events")
ELLIPSIS = "{ ... }"


@pytest.fixture
def text(checkout: Path) -> str:
    """The specification. It lies beside the checkout, not in it."""
    file = checkout.parent / "shared" / "spec" / "vendor_plugin_architecture.md"
    if not file.exists():
        pytest.skip("the specification is not beside this checkout")
    return file.read_text(encoding="utf-8")


async def test_usage_examples_and_migration_guide_run_in_order_as_printed(
    text: str,
    network: Any,
    section: Callable[[str, str], str],
    blocks: Callable[[str, str], list[Any]],
    run: Callable[[Any, dict[str, Any]], Awaitable[str]],
) -> None:
    usage = blocks(section(text, "Usage Examples"), "Usage Examples")
    migration = blocks(section(text, "Migration Guide"), "Migration Guide")
    assert [len(usage), len(migration)] == [4, 2]
    namespace: dict[str, Any] = {"tenant_id": "tenant_123"}
    try:
        for block in (*usage, *migration):
            with warnings.catch_warnings():
                # The "Old Code" imports are the deprecated way; that they say so is tested below.
                warnings.simplefilter("ignore", DeprecationWarning)
                printed = await run(block, namespace)
            for promised in PRINTED_OUTPUT.findall(block.code):
                assert promised in printed
        assert namespace["results"]["failed_plugins"] == {}
        if sys.platform == "linux":
            inside = namespace["plugin_manager"].list(tenant_id="tenant_123")
            assert {one.plugin_id: one.isolation["mode"] for one in inside} == dict.fromkeys(VENDORS, "jailed")
        health = namespace["health_status"]
        assert (health["healthy_plugins"], health["total_plugins"]) == (2, 2)
        assert namespace["voltha_health"] == "healthy"
        assert namespace["VolthaSDK"].__module__.startswith("dotmac_isp.sdks.networking.voltha_integration")
        assert namespace["AnalyticsEventsSDK"].__module__.startswith("dotmac_isp.sdks.analytics.events")
        await check_promises_of_the_comments(namespace["plugin_manager"], network)
    finally:
        if "plugin_manager" in namespace:
            await namespace["plugin_manager"].stop()


async def check_promises_of_the_comments(plugin_manager: PluginManager, network: Any) -> None:
    """Each call that a comment of the examples names, with the arguments that it names."""
    voltha = plugin_manager.get("voltha_integration", tenant_id="tenant_123")
    olt = await voltha.provision_olt(host_and_port=network.olt_addresses[0], device_type="openolt")
    serial_number = network.serial_numbers[0]
    onu = await voltha.provision_onu(
        parent_device_id=olt["device_id"], pon_port=0, onu_id=1, serial_number=serial_number
    )
    assert onu["serial_number"] == serial_number
    status = await voltha.get_device_status(device_id=onu["device_id"])
    assert status["device_id"] == onu["device_id"]
    flow = await voltha.add_subscriber_flow(
        device_id=onu["device_id"],
        subscriber_id="subscriber-1",
        service_config={"s_tag": 900, "bandwidth_down": 100_000, "bandwidth_up": 50_000},
    )
    assert flow["created"]
    assert network.refused_crashes == 0

    analytics = plugin_manager.get("analytics_events", tenant_id="tenant_123")
    assert await analytics.track_event(event={"event_type": "page_view", "user_id": "u1"}, context=None)
    batch = await analytics.track_events_batch(
        events=[{"event_type": "conversion", "user_id": "u1"}, {"event_type": "page_view", "user_id": "u2"}],
        context=None,
    )
    assert batch["accepted"] == 2
    report = await analytics.generate_report(report_type="user_behavior", parameters={"since": "1h"})
    assert report["report_type"] in {"user_behavior", "user_behaviour"}
    answer = await analytics.query(
        {"metric": "count", "group_by": ["event_name"], "where": {"event_name": "page_view"}}
    )
    assert answer["rows"] == [{"event_name": "page_view", "value": 2}]
    pytest.importorskip("vl_convert", reason="charts need the extra 'reports' of dotmac-plugin-analytics")
    dashboard = await analytics.create_dashboard(
        dashboard_config={"title": "Visits", "panels": [{"title": "Views", "metric": "page_view", "chart": "line"}]}
    )
    page = Path(dashboard["path"])
    assert page.read_text(encoding="utf-8").startswith("<!")  # noqa: ASYNC240 - a test may wait for a file


def test_the_packaged_configuration_has_exactly_the_keys_of_the_specification(
    text: str, section: Callable[[str, str], str], blocks: Callable[[str, str], list[Any]]
) -> None:
    (printed,) = [one for one in blocks(section(text, "Configuration Management"), "") if one.language == "json"]
    wanted = json.loads(printed.code.replace(ELLIPSIS, "{}"))
    packaged = json.loads(PACKAGED.read_text(encoding="utf-8"))
    assert packaged.keys() == wanted.keys()
    shape = wanted["vendor_integrations"]["voltha_integration"]
    for plugin_id, entry in packaged["vendor_integrations"].items():
        assert entry.keys() == shape.keys(), plugin_id
        assert entry["security"].keys() == shape["security"].keys(), plugin_id
    assert packaged["deployment_scenarios"].keys() == wanted["deployment_scenarios"].keys()
    voltha = packaged["vendor_integrations"]["voltha_integration"]
    assert {**voltha, "configuration": {}} == shape


def test_the_packaged_settings_are_those_of_the_configuration_blocks(
    text: str, section: Callable[[str, str], str], blocks: Callable[[str, str], list[Any]]
) -> None:
    printed = [
        json.loads(one.code) for one in blocks(section(text, "Architecture Components"), "") if one.language == "json"
    ]
    entries = json.loads(PACKAGED.read_text(encoding="utf-8"))["vendor_integrations"]
    assert [entries["voltha_integration"]["configuration"], entries["analytics_events"]["configuration"]] == printed


async def test_the_environment_variables_of_the_specification_reach_the_settings(
    text: str, network: Any, section: Callable[[str, str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = re.findall(r"^- `([A-Z_]+)`", section(text, "Configuration Management"), re.MULTILINE)
    assert len(names) == 8
    given = {
        "VOLTHA_HOST": "voltha.test",
        "VOLTHA_PORT": 1234,
        "ANALYTICS_HOST": "analytics.test",
        "ANALYTICS_PORT": 4321,
    }
    secrets = {"VOLTHA_USERNAME", "VOLTHA_PASSWORD", "ANALYTICS_API_KEY", "ANALYTICS_DB_CONNECTION"}
    assert {*given, *secrets} == set(names)
    for name, value in given.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("ANALYTICS_DB_CONNECTION", "clickhouse://somewhere")
    from dotmac_isp.plugins.utils import VendorPluginLoader

    async with PluginManager() as manager:
        loader = VendorPluginLoader(manager)
        await loader.load_vendor_integrations("production", tenant_id="tenant_123")
        for name, value in given.items():
            plugin_id = "voltha_integration" if name.startswith("VOLTHA") else "analytics_events"
            explained = {one.key: one for one in loader.explain(plugin_id)}[name.lower()]
            assert (explained.value, explained.layer) == (value, "environment")
            assert explained.source == f"environment variable {name}"
            assert explained.overrode
        report = await loader.validate_secrets()
        assert report["valid"]
        asked = {name for one in report["plugins"].values() for name in (*one["required"], *one["optional"])}
        assert secrets <= {name.upper().replace("-", "_") for name in asked}
        assert "dev_pass" not in json.dumps(report)


def test_the_old_imports_say_that_they_are_deprecated() -> None:
    from dotmac_isp.sdks.analytics.events import AnalyticsEventsSDK
    from dotmac_isp.sdks.networking.voltha_integration import VolthaSDK

    with pytest.warns(DeprecationWarning, match="load_voltha_integration"):
        VolthaSDK(tenant_id="tenant_123")
    with pytest.warns(DeprecationWarning, match="load_analytics_events"):
        AnalyticsEventsSDK(None, tenant_id="tenant_123")
