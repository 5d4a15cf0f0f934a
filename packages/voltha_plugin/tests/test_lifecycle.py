"""The instance's life: activation and what stands in its way, health, new credentials, new settings, events, the end."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import pytest

from dotmac_isp.plugins.core.errors import CredentialsRefused, LifecycleError, NotReady
from dotmac_isp.plugins.core.model import HealthStatus, SettingChange
from dotmac_isp.plugins.network_automation.voltha_integration_plugin import (
    VolthaConfigurationError,
    VolthaCredentialsError,
    VolthaIntegrationPlugin,
    VolthaUnavailableError,
)
from dotmac_voltha_simulator import Simulator

if TYPE_CHECKING:
    from collections.abc import Callable

SERVICE = {"s_tag": 900, "bandwidth_down": 100000, "bandwidth_up": 50000}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def change(key: str) -> list[SettingChange]:
    return [SettingChange(key=key, before=None, after=None, layer="override")]


async def test_calls_before_activation_say_so(host: Any) -> None:
    plugin = VolthaIntegrationPlugin(host)
    await plugin.initialize()
    with pytest.raises(LifecycleError, match="not active"):
        await plugin.discover_devices()
    assert (await plugin.health_check()).status is HealthStatus.UNKNOWN
    assert await plugin.get_metrics() == {}
    await plugin.cleanup()


async def test_an_unreachable_voltha_is_not_ready(host: Any) -> None:
    host.change(voltha_port=free_port(), retry_time=0.3)
    plugin = VolthaIntegrationPlugin(host)
    with pytest.raises(NotReady, match="cannot be reached") as caught:
        await plugin.activate()
    assert isinstance(caught.value, VolthaUnavailableError)
    assert "voltha_host" in str(caught.value)
    assert not host.tasks


async def test_a_voltha_that_starts_is_waited_for(host: Any, simulator: Simulator) -> None:
    simulator.faults.core_down = True
    host.change(retry_time=0.3)
    plugin = VolthaIntegrationPlugin(host)
    with pytest.raises(NotReady, match="system is not ready"):
        await plugin.activate()
    host.change(retry_time=5)
    asyncio.get_running_loop().call_later(0.3, setattr, simulator.faults, "core_down", False)
    await plugin.activate()
    await plugin.deactivate()


async def test_refused_credentials_are_told_apart(host: Any, simulator: Simulator) -> None:
    host.secrets.values["voltha-password"] = "wrong-password"
    plugin = VolthaIntegrationPlugin(host)
    with pytest.raises(CredentialsRefused, match="refused user and password") as caught:
        await plugin.activate()
    assert isinstance(caught.value, VolthaCredentialsError)
    assert "wrong-password" not in str(caught.value)


async def test_an_authority_file_that_is_not_there_is_a_configuration_error(host: Any, tmp_path: Any) -> None:
    host.change(voltha_tls=True, voltha_tls_ca=tmp_path / "nowhere.pem")
    with pytest.raises(VolthaConfigurationError, match=r"voltha_tls_ca.*nowhere\.pem") as caught:
        await VolthaIntegrationPlugin(host).activate()
    assert caught.value.field == "voltha_tls_ca"


async def test_health_tells_ready_missing_not_ready_and_unreachable_apart(
    host: Any, plugin: VolthaIntegrationPlugin, simulator: Simulator
) -> None:
    ready = await plugin.health_check()
    assert (ready.status, ready.details["state"]) == (HealthStatus.HEALTHY, "ready")
    assert ready.details["adapters"] == ["brcm_openomci_onu", "openolt"]

    host.change(required_adapters=("openolt", "adtran_onu"))
    missing = await plugin.health_check()
    assert (missing.status, missing.details["state"]) == (HealthStatus.DEGRADED, "adapter missing")
    assert missing.details["missing_adapters"] == ["adtran_onu"]

    simulator.faults.core_down = True
    starting = await plugin.health_check()
    assert (starting.status, starting.details["state"]) == (HealthStatus.UNHEALTHY, "not ready")
    simulator.faults.core_down = False

    host.secrets.values["voltha-password"] = "other"
    await plugin.on_secret_rotated("voltha-password")
    assert (await plugin.health_check()).details["state"] == "credentials refused"
    host.secrets.values["voltha-password"] = "dev_pass"

    await simulator.stop()
    away = await plugin.health_check()
    assert (away.status, away.details["state"]) == (HealthStatus.UNHEALTHY, "unreachable")


async def test_a_missing_adapter_degrades_and_does_not_stop_activation(
    host: Any, simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    host.change(required_adapters=("no_such_adapter",))
    plugin = VolthaIntegrationPlugin(host)
    await plugin.activate()
    assert "no_such_adapter" in caplog.text
    assert (await plugin.health_check()).status is HealthStatus.DEGRADED
    await plugin.deactivate()


async def test_rotated_credentials_are_used_without_a_lost_call(host: Any) -> None:
    async with Simulator(username="dev_user", password="old") as first:
        host.change(voltha_port=first.port)
        host.secrets.values["voltha-password"] = "old"
        plugin = VolthaIntegrationPlugin(host)
        await plugin.activate()
        await first.stop()
        async with Simulator(listen=f"127.0.0.1:{first.port}", username="dev_user", password="new"):
            host.secrets.values["voltha-password"] = "new"
            assert await plugin.discover_devices() == [], "the refused call is made again with the new password"
            host.secrets.values["voltha-password"] = "bad"
            await plugin.on_secret_rotated("voltha-password")
            with pytest.raises(CredentialsRefused):
                await plugin.discover_devices()
            host.secrets.values["voltha-password"] = "new"
            assert await plugin.discover_devices() == []
            await plugin.deactivate()


async def test_a_changed_address_is_used_at_once(host: Any, plugin: VolthaIntegrationPlugin, target: Any) -> None:
    await plugin.provision_olt(target.olts[0])
    async with Simulator(username="dev_user", password="dev_pass") as other:
        before = (await plugin.get_metrics())["voltha_rpc_calls_total"]
        host.change(voltha_port=other.port)
        await plugin.on_settings_changed(change("voltha_port"))
        assert await plugin.discover_devices() == []
        assert (await plugin.get_metrics())["voltha_rpc_calls_total"] > before
        host.change(voltha_port=target.port)
        await plugin.on_settings_changed(change("voltha_port"))
        assert await plugin.discover_devices() != []


async def test_a_voltha_that_comes_back_is_used_again(
    host: Any, plugin: VolthaIntegrationPlugin, simulator: Simulator
) -> None:
    host.change(device_monitoring_interval=0.05, retry_time=0.1)
    await plugin.on_settings_changed(change("retry_time"))
    port = simulator.port
    await simulator.stop()
    await host.hooks.wait_for("voltha_unreachable")
    async with Simulator(listen=f"127.0.0.1:{port}", username="dev_user", password="dev_pass"):
        await host.hooks.wait_for("voltha_reachable")
        assert await plugin.discover_devices() == []


async def test_events_come_promptly_and_in_order(
    host: Any, plugin: VolthaIntegrationPlugin, simulator: Simulator
) -> None:
    assert host.settings.device_monitoring_interval == 30
    await plugin.provision_olt(simulator.olt_addresses[0])
    await host.hooks.wait_for("olt_active")
    active = await host.hooks.wait_for("onu_active", 4)
    assert {event.serial_number for event in active} == set(simulator.serial_numbers[:4])
    assert {event.tenant_id for event in active} == {"tenant_1"}
    serial = simulator.serial_numbers[0]
    await plugin.add_subscriber_flow(serial, "sub-1", SERVICE)
    await plugin.add_subscriber_flow(serial, "sub-1", SERVICE)
    await plugin.remove_subscriber_flow(serial, "sub-1")
    await host.hooks.wait_for("subscriber_service_removed")
    kinds = host.hooks.kinds()
    assert kinds.count("subscriber_service_added") == 1
    assert kinds.index("olt_active") < kinds.index("onu_active") < kinds.index("subscriber_service_added")
    added = next(event for event in host.hooks.events if event.event_type == "subscriber_service_added")
    assert (added.serial_number, added.attributes["service"]["s_tag"]) == (serial, 900)
    assert len({(event.event_type, event.device_id) for event in active}) == 4


async def test_what_happens_by_itself_is_found_by_the_monitor(
    host: Any, plugin: VolthaIntegrationPlugin, simulator: Simulator, active_olt: Any
) -> None:
    host.change(device_monitoring_interval=0.05)
    await plugin.on_settings_changed(change("device_monitoring_interval"))
    await host.hooks.wait_for("onu_active", 4)
    serial = simulator.serial_numbers[2]
    await simulator.power_off(serial)
    [event] = await host.hooks.wait_for("onu_unreachable")
    assert (event.serial_number, event.severity) == (serial, "major")
    assert "ENABLED/ACTIVE/REACHABLE" in event.attributes["previous_state"]
    await simulator.power_on(serial)
    await host.hooks.wait_for("onu_active", 5)


async def test_metrics_count_devices_services_and_calls(
    host: Any, plugin: VolthaIntegrationPlugin, active_olt: Any
) -> None:
    await host.hooks.wait_for("onu_active", 4)
    await plugin.add_subscriber_flow("BBSM000a0001", "sub-1", SERVICE)
    metrics = await plugin.get_metrics()
    assert (metrics["voltha_olts_active"], metrics["voltha_onus_active"]) == (1, 4)
    assert metrics["voltha_subscriber_services"] == 1
    assert metrics["voltha_rpc_calls_total"] > 10
    assert metrics["voltha_rpc_failures_total"] == 0


async def test_an_instance_that_stops_leaves_no_task(host: Any, make_host: Callable[..., Any], target: Any) -> None:
    plugin = VolthaIntegrationPlugin(host)
    for _ in range(2):
        await plugin.activate()
        await plugin.deactivate()
    await plugin.cleanup()
    await asyncio.sleep(0)
    assert not host.tasks
