"""Through the real host: discovery, manifest, host service, gate."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import pytest

from dotmac_isp.plugins.core.manager import PluginManager
from dotmac_isp.plugins.core.model import DeviceEvent, HealthStatus, PluginContext, PluginState

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path


@pytest.fixture
def host(engine: None, tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> PluginManager:
    monkeypatch.setenv("ANALYTICS_PORT", str(port))
    monkeypatch.setenv("ANALYTICS_API_KEY", "one key for every tenant")
    monkeypatch.delenv("ANALYTICS_DB_CONNECTION", raising=False)
    return PluginManager(home=tmp_path)


async def started(plugins: PluginManager, tenant: str) -> Any:
    await plugins.load("analytics_events", tenant_id=tenant)
    status = await plugins.start_plugin("analytics_events", tenant_id=tenant)
    assert status.state is PluginState.ACTIVE, status
    return plugins.get("analytics_events", tenant_id=tenant)


async def test_the_host_starts_a_collector_shares_it_among_tenants_and_leaves_nothing_behind(
    host: PluginManager, port: int
) -> None:
    async with host as plugins:
        first, second = await started(plugins, "t1"), await started(plugins, "t2")
        await first.track_event({"event_type": "page_view"}, PluginContext(tenant_id="t1", user_id="u1"))
        event = DeviceEvent(event_type="onu_los", device_id="onu-1", source="voltha_integration", severity="critical")
        results = await plugins.hooks("t1").on_device_event(event=event)
        assert results.failures == ()
        report = await first.generate_report("summary")
        assert (report["totals"]["events"], report["totals"]["users"]) == (2, 1)
        assert (await second.generate_report("summary"))["totals"]["events"] == 0
        alert = await plugins.hooks("t1").create_alert(alert_data={"metric": "onu_los", "threshold": 0})
        status = await plugins.hooks("t1").get_alert_status(alert_id=alert)
        assert status["state"] == "firing"
        health = await plugins.health_check("analytics_events", tenant_id="t1")
        assert health.status is HealthStatus.HEALTHY
        await plugins.restart_plugin("analytics_events", tenant_id="t1")
        assert (await first.generate_report("summary"))["totals"]["events"] == 2
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", port))


@pytest.mark.slow
async def test_another_program_on_the_port_is_shown_as_a_wrong_setting(host: PluginManager, port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):
        async with host as plugins:
            await plugins.load("analytics_events", tenant_id="t1")
            with pytest.raises(Exception, match="something else than an analytics collector answers"):
                await plugins.start_plugin("analytics_events", tenant_id="t1")


@pytest.mark.slow
@pytest.mark.parametrize(("notify_hosts", "sent"), [(["127.0.0.1"], 1), ([], 0)], ids=["allowed", "not allowed"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_a_host_on_this_machine_gets_reports_only_where_the_operator_says_so(
    host: PluginManager, tmp_path: Path, hook: tuple[str, asyncio.Queue[Any]], notify_hosts: list[str], sent: int
) -> None:
    pytest.importorskip("croniter", reason="croniter is not installed (extra 'alerts')")
    own = {"vendor_integrations": {"analytics_events": {"configuration": {"notify_hosts": notify_hosts}}}}
    (tmp_path / "vendor_integrations.json").write_text(json.dumps(own))
    address, got = hook
    async with host as plugins:
        analytics = await started(plugins, "t1")
        wish = {"report_type": "summary", "schedule": "0 6 * * MON", "format": "csv", "notify": [address]}
        made = await analytics.schedule_report(wish)
        done = await analytics.run_scheduled_report(made["schedule_id"])
    assert (done["sent"], got.qsize()) == (sent, sent)
    refused = "the operator allows it with notify_hosts, or --notify-host 127.0.0.1" in done["error"]
    assert refused is (sent == 0)
