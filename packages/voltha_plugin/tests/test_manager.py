"""The plugin as a host runs it: found by its manifest, loaded for a tenant, called through hooks and handle, and by the old SDK."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from dotmac_isp.plugins.core.errors import LifecycleError, PluginError
from dotmac_isp.plugins.core.hookspecs import hookimpl
from dotmac_isp.plugins.core.manager import PluginManager
from dotmac_isp.plugins.core.model import DeviceEvent, HealthStatus, PluginState
from dotmac_isp.plugins.network_automation.voltha_integration_plugin import ServiceConfigError
from dotmac_isp.sdks.networking.voltha_integration import VolthaSDK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SERVICE = {"s_tag": 900, "bandwidth_down": 100000, "bandwidth_up": 50000}
TENANT = "tenant_123"


class Listener:
    """Another part of the host that hears what happens."""

    def __init__(self) -> None:
        self.events: list[DeviceEvent] = []

    @hookimpl
    async def on_device_event(self, event: DeviceEvent) -> None:
        self.events.append(event)


@pytest.fixture
def environment(target: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOTMAC_HOME", str(tmp_path))
    monkeypatch.setenv("VOLTHA_HOST", target.host)
    monkeypatch.setenv("VOLTHA_PORT", str(target.port))
    monkeypatch.setenv("VOLTHA_USERNAME", "dev_user")
    monkeypatch.setenv("VOLTHA_PASSWORD", "dev_pass")


@pytest.fixture
async def plugins(environment: None) -> AsyncIterator[PluginManager]:
    async with PluginManager() as manager:
        yield manager


async def test_a_host_provisions_a_subscriber_through_the_manager(plugins: PluginManager, target: Any) -> None:
    listener = Listener()
    plugins.register(listener, name="listener", tenant_id=TENANT)
    await plugins.load("voltha_integration", tenant_id=TENANT)
    await plugins.start_plugin("voltha_integration", tenant_id=TENANT)
    assert plugins.status("voltha_integration", tenant_id=TENANT).state is PluginState.ACTIVE
    handle = plugins.get("voltha_integration", tenant_id=TENANT)

    olt = await handle.provision_olt(target.olts[0], "openolt")
    found = (await plugins.hooks(TENANT).discover_devices()).by_plugin["voltha_integration"]
    assert olt["device_id"] in [device["device_id"] for device in found]
    serial = (target.simulator or pytest.skip("needs the simulator")).serial_numbers[0]
    onu = await handle.provision_onu(olt["device_id"], 0, 1, serial)
    await handle.add_subscriber_flow(onu["device_id"], "sub-1", SERVICE)
    status = await plugins.hooks(TENANT).get_device_status(device_id=serial)
    assert status["subscribers"] == ["sub-1"]
    assert await plugins.hooks(TENANT).configure_device(device_id=serial, config={"enabled": True}) is True
    with pytest.raises(ServiceConfigError, match="s_tag is missing"):
        await handle.add_subscriber_flow(serial, "sub-2", {"bandwidth_down": 1, "bandwidth_up": 1})
    assert (await plugins.health_check("voltha_integration", tenant_id=TENANT)).status is HealthStatus.HEALTHY

    for _ in range(200):
        if "subscriber_service_added" in [event.event_type for event in listener.events]:
            break
        await asyncio.sleep(0.02)
    kinds = [event.event_type for event in listener.events]
    assert "olt_active" in kinds
    assert "subscriber_service_added" in kinds

    await plugins.restart_plugin("voltha_integration", tenant_id=TENANT)
    assert [each["subscriber_id"] for each in await handle.list_subscribers()] == ["sub-1"]
    assert (await handle.remove_subscriber_flow(serial, "sub-1"))["flows"] == 4


async def test_the_manifest_is_found_without_a_problem(plugins: PluginManager) -> None:
    found = plugins.inventory()
    assert "voltha_integration" in str(found)
    explained = {each.key: each for each in plugins.explain("voltha_integration", tenant_id=TENANT)}
    assert explained["voltha_port"].value != 50057
    assert "environment" in str(explained["voltha_port"].layer).lower()


async def test_settings_change_in_a_running_instance(plugins: PluginManager) -> None:
    await plugins.start_plugin("voltha_integration", tenant_id=TENANT)
    changed = await plugins.configure("voltha_integration", {"device_monitoring_interval": 5}, tenant_id=TENANT)
    assert [change.key for change in changed] == ["device_monitoring_interval"]
    assert plugins.status("voltha_integration", tenant_id=TENANT).state is PluginState.ACTIVE


async def test_a_missing_secret_fails_the_load_by_name(environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VOLTHA_PASSWORD")
    async with PluginManager() as manager:
        with pytest.raises(PluginError, match="voltha-password"):
            await manager.load("voltha_integration", tenant_id=TENANT)


async def test_the_old_sdk_still_works_and_says_what_replaces_it(plugins: PluginManager, target: Any) -> None:
    with pytest.warns(DeprecationWarning, match="load_voltha_integration"):
        sdk = VolthaSDK(tenant_id=TENANT, manager=plugins)
    async with sdk as voltha:
        olt = await voltha.provision_olt(target.olts[0])
        assert [each["type"] for each in await voltha.discover_devices()].count("olt") == 1
        assert (await voltha.get_device_status(olt["serial_number"]) or {})["status"] == "active"
        assert (await voltha.health_check()).healthy
        if target.simulator is not None:
            serial = target.simulator.serial_numbers[0]
            await voltha.provision_onu(olt["device_id"], None, None, serial)
            await voltha.add_subscriber_flow(serial, "sub-1", SERVICE)
            assert len(await voltha.list_subscribers()) == 1
            assert (await voltha.diagnose("sub-1"))["finding"] == "nothing_found"
            assert (await voltha.collect_metrics([serial]))["resources"][serial]["up"] == 1
            assert [each["name"] for each in (await voltha.topology())["olts"]] == [olt["serial_number"]]
            assert await voltha.active_alarms() == await voltha.alarm_history() == []
            assert (await voltha.voltha_version())["version"]
            with pytest.raises(AttributeError, match="no_such_thing"):
                await voltha.no_such_thing()
            speeds = [{"device_id": serial, "subscriber_id": "sub-1", "speeds": {"bandwidth_up": 7000}}]
            *_, last = [status async for status in voltha.bulk("speed", speeds, every=0.05)]
            assert (last["succeeded"], last["finished"]) == (1, True)
            assert (await voltha.plan_services())["in_order"] == 1
            assert (await voltha.remove_subscriber_flow(serial, "sub-1"))["removed"]
            assert await voltha.configure_device(serial, {"enabled": True})
    assert plugins.status("voltha_integration", tenant_id=TENANT).state is PluginState.ACTIVE, "it is not the SDK's"


async def test_the_old_sdk_brings_a_manager_of_its_own(environment: None) -> None:
    with pytest.warns(DeprecationWarning, match="VolthaSDK"):
        sdk = VolthaSDK(tenant_id=TENANT, configuration={"device_monitoring_interval": 7}, deadline=10)
    with pytest.raises(LifecycleError, match="async with"):
        await sdk.discover_devices()
    async with sdk as voltha:
        assert await voltha.discover_devices() == []
    with pytest.raises(LifecycleError, match="async with"):
        await sdk.discover_devices()
