"""From `track_event` to report, dashboard and alert, over real HTTP and with the real engine in its child process."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from dotmac_isp.plugins.core.errors import NotReady
from dotmac_isp.plugins.core.model import DeviceEvent, HealthStatus, PluginContext


def read(path: str) -> str:
    return Path(path).read_text()


async def test_what_was_acknowledged_is_in_the_next_report(shared: Any) -> None:
    plugin = await shared.started()
    await plugin.track_event({"event_type": "page_view", "properties": {"page": "/home"}, "user_id": "u1"})
    result = await plugin.track_events_batch(
        [
            {"event_name": "page_view", "user_id": "u2", "properties": {"page": "/home"}},
            {"event_name": "conversion", "user_id": "u2", "amount": "19.90", "currency": "eur"},
            {"event_name": "payment", "category": "nonsense"},
            {"event_name": "login_failed", "severity": "warn", "event_id": "e1"},
            {"event_name": "login_failed", "severity": "warn", "event_id": "e1"},
        ]
    )
    assert result["accepted"] == 3
    assert result["duplicates"] == ["e1"]
    assert [item["index"] for item in result["rejected"]] == [2]
    assert "category: 'nonsense' given, expected one of business" in result["rejected"][0]["reason"]

    summary = await plugin.generate_report("summary")
    assert summary["totals"]["events"] == 4
    assert summary["totals"]["users"] == 2
    business = await plugin.generate_report("business")
    assert business["totals"]["amounts"] == {"EUR": 19.9}
    conversion = await plugin.generate_report("conversion")
    assert conversion["totals"] == {"entered": 2, "converted": 1, "conversion_percent": 50.0}
    behaviour = await plugin.generate_report("user_behaviour", {"since": "1h"})
    pages = next(section for section in behaviour["sections"] if section["title"] == "Pages")
    assert pages["rows"] == [{"properties.page": "/home", "value": 2}]
    for name in ("performance", "security", "network"):
        assert (await plugin.generate_report(name))["report_type"] == name


async def test_device_events_make_the_network_report_and_the_metrics_of_a_device(shared: Any) -> None:
    plugin = await shared.started()
    for severity, name in (("critical", "onu_los"), ("info", "onu_up"), ("major", "onu_los")):
        event = DeviceEvent(
            event_type=name, device_id="onu-1", source="voltha_integration", severity=severity, attributes={"pon": 3}
        )
        await plugin.on_device_event(event=event, context=PluginContext(tenant_id="tenant_a", request_id="r1"))
    await plugin.on_device_event(
        event=DeviceEvent(
            event_type="odd", device_id="onu-2", source="s", attributes={"raw": b"\xff", "n": float("nan")}
        )
    )
    report = await plugin.generate_report("network")
    assert {name: report["totals"][name] for name in ("events", "alarms", "devices", "devices_with_alarms")} == {
        "events": 4,
        "alarms": 2,
        "devices": 2,
        "devices_with_alarms": 1,
    }
    metrics = await plugin.collect_metrics(["onu-1", "onu-9"])
    assert metrics["resources"]["onu-1"] == {"events_24h": 3, "by_event": {"onu_los": 2, "onu_up": 1}}
    assert metrics["resources"]["onu-9"]["events_24h"] == 0
    assert (await plugin.collect_metrics([]))["events_by_category_24h"] == {"technical": 4}


async def test_an_alert_fires_when_its_threshold_is_passed_and_is_known_to_its_tenant_only(shared: Any) -> None:
    plugin, other = await shared.started("tenant_a"), await shared.started("tenant_b")
    alert = await plugin.create_alert(
        {"name": "Break-in", "metric": "login_failed", "condition": ">", "threshold": 2, "window": "5m"}
    )
    status = await plugin.get_alert_status(alert)
    assert status is not None
    assert (status["state"], status["value"]) == ("ok", 0)
    await plugin.track_events_batch([{"event_name": "login_failed"} for _ in range(3)])
    status = await plugin.get_alert_status(alert)
    assert status is not None
    assert (status["state"], status["value"], status["name"]) == ("firing", 3, "Break-in")
    assert await other.get_alert_status(alert) is None
    assert await plugin.get_alert_status("not-an-id") is None


async def test_a_dashboard_is_one_page_that_needs_nothing_else(shared: Any, charts: None) -> None:
    plugin = await shared.started()
    await plugin.track_events_batch(
        [{"event_name": "page_view", "properties": {"page": f"/{i % 3}"}} for i in range(20)]
    )
    made = await plugin.create_dashboard(
        {
            "title": "Sales </script><script>alert(1)</script>",
            "panels": [
                {"title": "Views", "metric": "page_view", "chart": "line"},
                {"title": "Pages", "metric": "page_view", "group_by": ["page"], "chart": "bar"},
                {"title": "Nothing", "metric": "never", "chart": "bar"},
                {"title": "All", "chart": "number"},
            ],
        }
    )
    page = read(made["path"])
    assert "<script>alert(1)" not in page
    assert 'src="http' not in page
    assert 'href="http' not in page
    assert "Nothing was recorded in this time." in page
    assert "vegaEmbed" in page
    assert ">20<span>events" in page
    report = await plugin.generate_report("summary", {"format": "html"})
    assert read(report["path"]) == report["html"]
    assert "Most frequent events" in report["html"]


async def test_two_tenants_with_one_key_see_their_own_events(shared: Any) -> None:
    first, second = await shared.started("tenant_a", "shared"), await shared.started("tenant_b", "shared")
    await first.track_event({"event_type": "only_a", "event_id": "same"})
    await second.track_event({"event_type": "only_b", "event_id": "same"})
    for plugin, name in ((first, "only_a"), (second, "only_b")):
        rows = (await plugin.query({"group_by": ["event_name"]}))["rows"]
        assert rows == [{"event_name": name, "value": 1}]


async def test_the_system_tenant_is_a_tenant_of_its_own(shared: Any) -> None:
    system, tenant = await shared.started(None), await shared.started("tenant_a")
    await system.track_event({"event_type": "host_started"})
    assert (await system.generate_report("summary", {"period": "last_24_hours"}))["totals"]["events"] == 1
    assert (await tenant.generate_report("summary", {"period": "week"}))["totals"]["events"] == 0


async def test_when_the_disk_space_for_waiting_events_is_used_up_nothing_is_taken_by_halves(bench: Any) -> None:
    plugin = await bench.started(max_buffer_mb=1)
    await bench.service.stop()
    event = {"event_type": "x", "properties": {"text": "y" * 30_000}}
    taken = len([await plugin.track_event(event) for _ in range(30)])
    with pytest.raises(NotReady, match="is full"):
        await plugin.track_events_batch([event] * 10)
    await bench.service.start()
    report = None
    while report is None:
        with contextlib.suppress(NotReady):
            report = await plugin.generate_report("summary")
    assert report["totals"]["events"] == taken
    await plugin.track_event(event)


async def test_an_event_for_another_tenant_is_refused(shared: Any) -> None:
    plugin = await shared.started()
    with pytest.raises(
        ValueError, match=r"tenant_id: 'tenant_b' given, expected 'tenant_a\.\d+', the tenant of this instance"
    ):
        await plugin.track_event({"event_type": "x", "tenant_id": "tenant_b"})


async def test_health_is_good_when_events_flow(bench: Any) -> None:
    plugin = await bench.started()
    await plugin.track_event({"event_type": "x"})
    await plugin.flush()
    health = await plugin.health_check()
    assert health.status is HealthStatus.HEALTHY
    assert (await plugin.get_metrics())["analytics_events_delivered_total"] == 1
    assert (await bench.service.check()).status is HealthStatus.HEALTHY


async def test_an_unknown_report_names_the_known_ones(shared: Any) -> None:
    plugin = await shared.started()
    with pytest.raises(ValueError, match="report_type: 'sales' given, expected one of summary, business"):
        await plugin.generate_report("sales")
