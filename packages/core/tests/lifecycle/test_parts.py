"""Health of process, plugin and vendor are kept apart: each has another remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dotmac_isp.plugins.core import HealthStatus, PluginState

if TYPE_CHECKING:
    from dotmac_isp.plugins.core import PluginManager

BODY = """
async def health_check(self):
    return open_doors.get("report") or HealthReport(status=HealthStatus.HEALTHY, vendor=HealthStatus.HEALTHY)

async def fail(self):
    raise OSError("no light")
"""


def parts(host: PluginManager) -> dict[str, str]:
    found = host.status("one", tenant_id="t").as_dict()["parts"]
    return {name: part["status"] for name, part in found.items()}


async def test_a_vendor_that_is_away_is_not_the_plugins_fault(host: PluginManager, vendor: Any) -> None:
    from dotmac_isp.plugins.core import HealthReport

    vendor.install("one", BODY)
    await host.start_plugin("one", tenant_id="t")
    await host.health_check("one", tenant_id="t")
    assert parts(host) == {"process": "healthy", "plugin": "healthy", "vendor": "healthy"}
    vendor.open_doors["report"] = HealthReport(
        status=HealthStatus.UNHEALTHY, message="olt-1 is away", vendor=HealthStatus.UNHEALTHY
    )
    assert (await host.health_check("one", tenant_id="t")).status is HealthStatus.UNHEALTHY
    assert parts(host) == {"process": "healthy", "plugin": "healthy", "vendor": "unhealthy"}
    assert host.status("one", tenant_id="t").parts.vendor.message == "olt-1 is away"
    vendor.open_doors["report"] = HealthReport(status=HealthStatus.UNHEALTHY, message="its queue is full")
    await host.health_check("one", tenant_id="t")
    assert parts(host) == {"process": "healthy", "plugin": "unhealthy", "vendor": "unknown"}


async def test_a_plugin_whose_calls_fail_is_told_from_a_vendor_that_is_there(host: PluginManager, vendor: Any) -> None:
    vendor.install("one", BODY)
    await host.start_plugin("one", tenant_id="t")
    await host.health_check("one", tenant_id="t")
    for _ in range(5):
        with pytest.raises(OSError, match="no light"):
            await host.get("one", tenant_id="t").fail()
    assert parts(host) == {"process": "healthy", "plugin": "unhealthy", "vendor": "healthy"}
    assert "breaker" in host.status("one", tenant_id="t").parts.plugin.message


async def test_what_does_not_run_has_no_process_and_says_nothing_of_its_vendor(
    host: PluginManager, vendor: Any
) -> None:
    vendor.install("one", "async def activate(self):\n    raise OSError('no light')")
    with pytest.raises(Exception, match="no light"):
        await host.start_plugin("one", tenant_id="t")
    assert host.status("one", tenant_id="t").state is PluginState.FAILED
    assert parts(host) == {"process": "unknown", "plugin": "unhealthy", "vendor": "unknown"}
