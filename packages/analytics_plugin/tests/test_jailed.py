"""The plugin as it runs in production: in a process of its own, with the collector over HTTP through the broker."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dotmac_isp.plugins.core.errors import NotReady
from dotmac_isp.plugins.core.manager import PluginManager
from dotmac_isp.plugins.core.model import HealthStatus, PluginContext, PluginState
from dotmac_isp.plugins.monitoring.analytics_events_plugin.events import EventError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the jail is made of what Linux has")


@pytest.fixture
async def plugins(
    engine: None, tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[PluginManager]:
    monkeypatch.setenv("ANALYTICS_PORT", str(port))
    monkeypatch.setenv("ANALYTICS_API_KEY", "one key for every tenant")
    monkeypatch.delenv("ANALYTICS_DB_CONNECTION", raising=False)
    async with PluginManager(home=tmp_path, environment="production") as manager:
        yield manager


async def test_events_reports_and_pages_work_in_the_jail_without_the_engine_in_it(
    plugins: PluginManager, tmp_path: Path
) -> None:
    status = await plugins.start_plugin("analytics_events", tenant_id="t1")
    assert (status.state, status.isolation["mode"]) == (PluginState.ACTIVE, "jailed")
    analytics = plugins.get("analytics_events", tenant_id="t1")
    context = PluginContext(tenant_id="t1", user_id="u1")
    assert await analytics.track_event({"event_type": "page_view"}, context)
    batch = await analytics.track_events_batch([{"event_type": "page_view", "user_id": "u2"}, {"odd": object.__name__}])
    assert (batch["accepted"], len(batch["rejected"])) == (1, 1)
    with pytest.raises(EventError) as refused:
        await analytics.track_event({"event_type": "page_view", "tenant_id": "t2"})
    assert (refused.value.field, isinstance(refused.value, ValueError)) == ("tenant_id", True)
    assert (await analytics.generate_report("summary"))["totals"]["events"] == 2
    assert (await plugins.health_check("analytics_events", tenant_id="t1")).status is HealthStatus.HEALTHY
    maps = Path(f"/proc/{status.isolation['pid']}/maps").read_text()  # noqa: ASYNC240 - a test may wait for a file
    assert "chdb" not in maps
    assert "dotmac_plugin_egress_total" in plugins.telemetry.render().decode()


async def test_what_was_acknowledged_waits_on_disk_and_the_next_process_delivers_it(
    plugins: PluginManager, tmp_path: Path, port: int
) -> None:
    await plugins.start_plugin("analytics_events", tenant_id="t1")
    analytics = plugins.get("analytics_events", tenant_id="t1")
    await plugins.configure("analytics_events", {"flush_interval": 3600}, tenant_id="t1")
    event_id = await analytics.track_event({"event_type": "kept"})
    assert list(tmp_path.glob("data/*/analytics_events/outbox-*/*"))  # noqa: ASYNC240 - a test may wait for a file
    first = plugins.status("analytics_events", tenant_id="t1").isolation["pid"]
    await plugins.restart_plugin("analytics_events", tenant_id="t1")
    assert plugins.status("analytics_events", tenant_id="t1").isolation["pid"] != first
    answer = await analytics.query({"kind": "timeline", "limit": 5})
    assert event_id in json.dumps(answer)


async def test_a_collector_that_is_not_among_the_endpoints_cannot_be_reached(
    plugins: PluginManager, tmp_path: Path
) -> None:
    denied = {"vendor_integrations": {"analytics_events": {"configuration": {"analytics_host": "metadata.invalid"}}}}
    (tmp_path / "vendor_integrations.json").write_text(json.dumps(denied))
    plugins.reread_configuration()
    with pytest.raises(NotReady, match=r"metadata\.invalid:\d+ does not answer"):
        await plugins.start_plugin("analytics_events", tenant_id="t9")
    assert plugins.status("analytics_events", tenant_id="t9").state is PluginState.RETRYING
