"""What the package promises by being imported, and the front for older code."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.resources import files
from typing import Any

import pytest


def test_importing_the_plugin_loads_nothing_heavy() -> None:
    program = (
        "import sys; from dotmac_isp.plugins.monitoring.analytics_events_plugin import AnalyticsEventsPlugin; "
        "import dotmac_isp.plugins.monitoring.analytics_events_plugin.provider; "
        "heavy = {'aiohttp', 'chdb', 'clickhouse_connect', 'pandas', 'numpy', 'vl_convert', 'tenacity', 'sqlite3', 'pydantic'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_manifest_names_what_is_there() -> None:
    package = "dotmac_isp.plugins.monitoring.analytics_events_plugin"
    manifest = tomllib.loads(files(package).joinpath("dotmac-plugin.toml").read_text())["analytics_events"]
    from dotmac_isp.plugins.monitoring.analytics_events_plugin import AnalyticsEventsPlugin
    from dotmac_isp.plugins.monitoring.analytics_events_plugin.settings import AnalyticsSettings

    assert manifest["settings"] == f"{AnalyticsSettings.__module__}:AnalyticsSettings"
    for variable in manifest["environment"]:
        assert variable.lower() in AnalyticsSettings.model_fields
    for feature in manifest["features"].values():
        assert feature["permission"] in manifest["permissions"]
        for method in feature["methods"]:
            assert callable(getattr(AnalyticsEventsPlugin, method))


async def test_the_old_sdk_warns_and_goes_through_the_plugins_handle(shared: Any) -> None:
    from dotmac_isp.sdks.analytics.events import AnalyticsEventsSDK

    plugin = await shared.started()

    class Manager:
        def get(self, plugin_id: str, *, tenant_id: str | None) -> Any:
            assert (plugin_id, tenant_id) == ("analytics_events", "tenant_a")
            return plugin

    with pytest.warns(DeprecationWarning, match="load_analytics_events"):
        sdk = AnalyticsEventsSDK(Manager(), "tenant_a")
    await sdk.track_event({"event_type": "page_view"})
    assert (await sdk.track_events_batch([{"event_type": "page_view"}]))["accepted"] == 1
    assert (await sdk.generate_report("summary"))["totals"]["events"] == 2
    alert = await sdk.create_alert({"metric": "page_view", "threshold": 1})
    status = await sdk.get_alert_status(alert)
    assert status is not None
    assert status["state"] == "firing"
    assert (await sdk.collect_metrics())["events_24h"] == 2
    assert (await sdk.query({"group_by": ["event_type"]}))["rows"] == [{"event_type": "page_view", "value": 2}]
    package = "dotmac_isp.plugins.monitoring.analytics_events_plugin"
    manifest = tomllib.loads(files(package).joinpath("dotmac-plugin.toml").read_text())["analytics_events"]
    for feature in manifest["features"].values():
        assert all(callable(getattr(sdk, method)) for method in feature["methods"])
    with pytest.raises(AttributeError):
        _ = sdk.nothing_like_this
