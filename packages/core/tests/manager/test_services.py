"""Host services: started once per host, told about instances, watched, restarted, stopped."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from dotmac_isp.plugins.core import HealthReport, HealthStatus, PluginState
from dotmac_isp.plugins.core.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dotmac_isp.plugins.core import PluginManager

SERVICE = """
class Collector(HostService):
    name = "collector"

    def __init__(self, settings):
        self.settings = settings

    async def start(self):
        said.append("start")
        if "port taken" in open_doors:
            raise OSError("port 8123 is taken")
        async def works():
            await asyncio.sleep(3600)
        self.task = asyncio.create_task(works(), name="collector")
        open_doors["task"] = self.task

    async def stop(self):
        said.append("stop")
        if "stop hangs" in open_doors:
            await asyncio.sleep(3600)

    async def check(self):
        said.append("check")
        return open_doors.get("report", HealthReport(status=HealthStatus.HEALTHY, message="fine"))

    async def admit(self, tenant_id, settings, secrets):
        said.append(f"admit {tenant_id}")
        if "refuse" in open_doors:
            raise NotReady("not yet")

    async def dismiss(self, tenant_id):
        said.append(f"dismiss {tenant_id}")

@hookimpl
async def provide_host_services(settings):
    said.append((settings.plugin_id, settings.data_dir.is_dir()))
    return [Collector(settings)]
"""


def install(vendor: Any, module: str = SERVICE) -> None:
    vendor.install(
        "one",
        "async def activate(self):\n    said.append(f'activate {self.api.tenant_id}')",
        module=module,
        manifest='provides = "vendor_one"',
    )


async def test_a_service_starts_once_before_the_first_instance_and_stops_with_the_host(
    make_host: Any, vendor: Any
) -> None:
    install(vendor)
    async with make_host() as host:
        await host.load("one", tenant_id="a")
        assert vendor.said == []
        await asyncio.gather(*(host.start_plugin("one", tenant_id=tenant) for tenant in ("a", "b", None)))
        assert vendor.said[:2] == [("one", True), "start"]
        assert vendor.said.count("start") == 1
        assert set(vendor.said[2:]) == {
            f"{what} {tenant}" for what in ("admit", "activate") for tenant in ("a", "b", None)
        }
        (service,) = host.inventory().services
        assert (service["name"], service["plugin_id"], service["status"]) == ("collector", "one", "healthy")
        json.dumps(host.inventory().as_dict())
        vendor.said.clear()
        for tenant in ("a", None):
            await host.unload("one", tenant_id=tenant)
        assert vendor.said == ["dismiss a", "dismiss None"]
        assert not vendor.open_doors["task"].done(), "the service's tasks do not end with an instance"
    assert vendor.said == ["dismiss a", "dismiss None", "dismiss b", "stop"]
    assert vendor.open_doors["task"].done(), "they end with the host"


async def test_a_service_that_cannot_start_keeps_its_plugin_from_activating_until_it_can(
    host: PluginManager, vendor: Any
) -> None:
    install(vendor)
    vendor.open_doors["port taken"] = True
    with pytest.raises(OSError, match="port 8123 is taken"):
        await host.start_plugin("one", tenant_id="t")
    assert host.status("one", tenant_id="t").state is PluginState.FAILED
    assert "port 8123" in host.status("one", tenant_id="t").reason
    assert host.inventory().services == []
    del vendor.open_doors["port taken"]
    await host.start_plugin("one", tenant_id="t")
    assert host.status("one", tenant_id="t").state is PluginState.ACTIVE


async def test_a_service_that_refuses_a_tenant_is_told_when_the_instance_is_gone(
    host: PluginManager, vendor: Any
) -> None:
    install(vendor)
    vendor.open_doors["refuse"] = True
    with pytest.raises(PluginError, match="not yet"):
        await host.start_plugin("one", tenant_id="t")
    assert host.status("one", tenant_id="t").state is PluginState.RETRYING
    await host.unload("one", tenant_id="t")
    assert vendor.said[-1] == "dismiss t"


async def test_an_unhealthy_service_is_restarted(make_host: Any, vendor: Any, until: Callable[..., Any]) -> None:
    install(vendor)
    async with make_host(health_interval=0.02) as host:
        await host.start_plugin("one", tenant_id="t")
        vendor.open_doors["report"] = HealthReport(status=HealthStatus.UNHEALTHY, message="the disk is full")
        await until(lambda: vendor.said.count("start") == 2)
        await until(lambda: host.inventory().services[0]["restarts"] == 1)
        assert host.inventory().services[0]["message"] == "the disk is full"
        await asyncio.sleep(0.1)
        assert vendor.said.count("start") == 2, "not again at once"
        vendor.open_doors["report"] = "nonsense"
        await until(lambda: "check" in host.inventory().services[0]["message"])
        vendor.open_doors["report"] = HealthReport(status=HealthStatus.HEALTHY, message="fine")
        await until(lambda: host.inventory().services[0]["status"] == "healthy")
        assert host.inventory().services[0]["restarts"] == 0


async def test_a_service_that_hangs_at_its_end_does_not_hold_the_host(make_host: Any, vendor: Any) -> None:
    install(vendor)
    vendor.open_doors["stop hangs"] = True
    host = make_host()
    await host.start()
    await host.start_plugin("one", tenant_id="t")
    async with asyncio.timeout(5):
        await host.stop()
    assert vendor.open_doors["task"].done()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return [object()]", "gave object; it must give HostService objects"),
        ("return {'a': 1}", "must give list or tuple"),
        ("raise OSError('no home')", "no home"),
        ("sys.exit(4)", "4"),
        ("await asyncio.sleep(60)", "no result after"),
        ("return [Nameless()]", None),
        ("return None", None),
    ],
)
async def test_a_provider_that_fails_fails_its_plugin_alone(
    host: PluginManager, vendor: Any, body: str, said: str | None
) -> None:
    nameless = "class Nameless(HostService):\n    async def start(self): pass\n    async def stop(self): pass\n    async def check(self): return HealthReport(status=HealthStatus.HEALTHY)\n"
    install(vendor, f"{nameless}@hookimpl\nasync def provide_host_services(settings):\n    {body}")
    vendor.install("two", "async def discover_devices(self):\n    return [2]")
    await host.start_plugin("two", tenant_id="t")
    if said is None:
        await host.start_plugin("one", tenant_id="t")
    else:
        with pytest.raises(Exception, match=said):
            await host.start_plugin("one", tenant_id="t")
        assert host.status("one", tenant_id="t").state is PluginState.FAILED
    json.dumps(host.inventory().as_dict())
    assert list(await host.hooks("t").discover_devices()) == [[2]]
