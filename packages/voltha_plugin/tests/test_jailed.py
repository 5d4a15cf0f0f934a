"""The plugin as it runs in production: in a process of its own, with gRPC through the relay and Kafka through the broker."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import TYPE_CHECKING

import pytest

from dotmac_isp.plugins.core.errors import CallError, PluginError
from dotmac_isp.plugins.core.hookspecs import hookimpl
from dotmac_isp.plugins.core.manager import PluginManager
from dotmac_isp.plugins.core.model import DeviceEvent, HealthStatus, PluginState
from dotmac_isp.plugins.network_automation.voltha_integration_plugin import WrongPlaceError
from dotmac_voltha_simulator import Simulator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from dotmac_isp.plugins.core.audit import AuditRecord

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the jail is made of what Linux has")
SERVICE = {"s_tag": 900, "bandwidth_down": 100000, "bandwidth_up": 50000}
TENANT = "tenant_123"
PATIENCE = 30.0


class Trail:
    """Hears what is audited."""

    def __init__(self) -> None:
        self.records: list[AuditRecord] = []

    def write(self, record: AuditRecord) -> None:
        self.records.append(record)


class Listener:
    """Another part of the host that hears what happens."""

    def __init__(self) -> None:
        self.events: list[DeviceEvent] = []

    @hookimpl
    async def on_device_event(self, event: DeviceEvent) -> None:
        self.events.append(event)

    async def wait_for(self, kind: str) -> DeviceEvent:
        end = time.monotonic() + PATIENCE
        while not (found := [event for event in self.events if event.event_type == kind]):
            assert time.monotonic() < end, f"no {kind}; there were {[event.event_type for event in self.events]}"
            await asyncio.sleep(0.02)
        return found[0]


@pytest.fixture
async def network() -> AsyncIterator[Simulator]:
    async with Simulator(
        olts=1, pons=1, onus=2, time_factor=0.05, username="dev_user", password="dev_pass", kafka=""
    ) as running:
        yield running


@pytest.fixture
async def plugins(network: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PluginManager]:
    monkeypatch.setenv("VOLTHA_HOST", "127.0.0.1")
    monkeypatch.setenv("VOLTHA_PORT", str(network.port))
    monkeypatch.setenv("VOLTHA_USERNAME", "dev_user")
    monkeypatch.setenv("VOLTHA_PASSWORD", "dev_pass")
    settings = {"kafka_bootstrap": network.kafka_bootstrap, "device_monitoring_interval": 0.2}
    own = {"vendor_integrations": {"voltha_integration": {"configuration": settings}}}
    (tmp_path / "vendor_integrations.json").write_text(json.dumps(own))
    async with PluginManager(home=tmp_path, environment="production") as manager:
        yield manager


async def reads_events(plugins: PluginManager) -> bool:
    health = await plugins.health_check("voltha_integration", tenant_id=TENANT)
    return bool(health.details["events"]["state"] == "connected")


async def test_commands_alarms_and_errors_go_the_same_way_as_inline(plugins: PluginManager, network: Simulator) -> None:
    pytest.importorskip("aiokafka")
    listener, heard = Listener(), Trail()
    plugins.audit.add_sink(heard)
    plugins.register(listener, name="listener", tenant_id=TENANT)
    status = await plugins.start_plugin("voltha_integration", tenant_id=TENANT)
    assert status.state is PluginState.ACTIVE
    assert status.isolation["mode"] == "jailed"
    assert status.isolation["pid"]
    voltha = plugins.get("voltha_integration", tenant_id=TENANT)
    stream = voltha.follow_events(["alarm_raised"])
    followed = asyncio.ensure_future(anext(stream))
    olt = await voltha.provision_olt(network.olt_addresses[0], "openolt")
    serial = network.serial_numbers[0]
    onu = await voltha.provision_onu(olt["device_id"], 0, None, serial)
    assert (await voltha.add_subscriber_flow(onu["device_id"], "sub-1", SERVICE))["created"]
    assert (await plugins.hooks(TENANT).get_device_status(device_id=serial))["subscribers"] == ["sub-1"]
    with pytest.raises(WrongPlaceError):
        await voltha.provision_onu(olt["device_id"], 7, None, serial)

    async with asyncio.timeout(PATIENCE):
        while not await reads_events(plugins):  # noqa: ASYNC110 - it is in another process
            await asyncio.sleep(0.05)
    await network.raise_alarm("ONU_LOSS_OF_FRAME", serial)
    event = await listener.wait_for("alarm_raised")
    assert event.serial_number == serial
    assert (await asyncio.wait_for(followed, PATIENCE)) == event
    assert [alarm["name"] for alarm in await voltha.active_alarms(serial)] == ["ONU_LOSS_OF_FRAME"]
    assert (await plugins.health_check("voltha_integration", tenant_id=TENANT)).status is HealthStatus.HEALTHY

    await plugins.audit.settled()
    told = [(one.action, one.outcome) for one in heard.records if one.tenant_id == TENANT]
    assert {("egress", "allowed"), ("isolation", "jailed")} <= set(told)
    text = plugins.telemetry.render().decode()
    assert 'dotmac_plugin_egress_total{outcome="allowed",plugin="voltha_integration",tenant="tenant_123"}' in text
    further = asyncio.ensure_future(anext(stream))
    await plugins.restart_plugin("voltha_integration", tenant_id=TENANT)
    with pytest.raises(CallError, match="ended"):
        await asyncio.wait_for(further, PATIENCE)
    assert [one["subscriber_id"] for one in await voltha.list_subscribers()] == ["sub-1"]


async def test_an_instance_that_was_stopped_finds_its_way_out_again(plugins: PluginManager, network: Simulator) -> None:
    await plugins.start_plugin("voltha_integration", tenant_id=TENANT)
    voltha = plugins.get("voltha_integration", tenant_id=TENANT)
    for _ in range(2):
        await plugins.stop_plugin("voltha_integration", tenant_id=TENANT)
        await plugins.start_plugin("voltha_integration", tenant_id=TENANT)
        assert await voltha.discover_devices() == []


async def test_another_address_in_the_settings_is_another_way_out(plugins: PluginManager, network: Simulator) -> None:
    await plugins.start_plugin("voltha_integration", tenant_id=TENANT)
    before = plugins.status("voltha_integration", tenant_id=TENANT).isolation["pid"]
    async with Simulator(olts=1, pons=1, onus=1, time_factor=0.05, username="dev_user", password="dev_pass") as other:
        await plugins.configure("voltha_integration", {"voltha_port": other.port}, tenant_id=TENANT)
        voltha = plugins.get("voltha_integration", tenant_id=TENANT)
        assert await voltha.provision_olt(other.olt_addresses[0], "openolt")
    after = plugins.status("voltha_integration", tenant_id=TENANT).isolation["pid"]
    assert after != before, "ways out are fixed before a process is let go, so another one took over"


async def test_a_policy_that_demands_what_is_not_there_refuses_the_start(
    plugins: PluginManager, tmp_path: Path
) -> None:
    (tmp_path / "policy.toml").write_text(
        '[permissions.plugins."*"]\nallow = ["*"]\n'
        '[isolation.plugins.voltha_integration]\nlimits = { memory = 0 }\nrequire = { memory = "enforced" }\n'
    )
    await plugins.stop()
    async with PluginManager(home=tmp_path, environment="production") as manager:
        with pytest.raises(PluginError, match=r"memory is none .*must be enforced: a limit is missing"):
            await manager.load("voltha_integration", tenant_id=TENANT)
        assert manager.status("voltha_integration", tenant_id=TENANT).state is PluginState.DISABLED


@pytest.mark.slow
@pytest.mark.parametrize(("pattern", "reached"), [("127.0.0.*", True), ("kafka-*.example", False)])
async def test_brokers_that_the_cluster_advertises_are_reached_where_the_policy_has_their_hosts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, reached: bool
) -> None:
    """Only the first broker is in the settings, under another name than the cluster advertises."""
    kafka = pytest.importorskip("confluent_kafka")
    pytest.importorskip("aiokafka")
    cluster = kafka.Producer({"test.mock.num.brokers": 3, "log_level": 0})
    brokers = [f"{one.host}:{one.port}" for one in cluster.list_topics(timeout=10).brokers.values()]
    assert all(one.startswith("127.0.0.1:") for one in brokers)
    async with Simulator(time_factor=0.05, kafka=",".join(brokers)) as voltha:
        monkeypatch.setenv("VOLTHA_HOST", "127.0.0.1")
        monkeypatch.setenv("VOLTHA_PORT", str(voltha.port))
        monkeypatch.setenv("VOLTHA_USERNAME", "any")
        monkeypatch.setenv("VOLTHA_PASSWORD", "any")
        first = brokers[0].replace("127.0.0.1", "localhost")
        own = {"vendor_integrations": {"voltha_integration": {"configuration": {"kafka_bootstrap": first}}}}
        (tmp_path / "vendor_integrations.json").write_text(json.dumps(own))
        (tmp_path / "policy.toml").write_text(
            f'[isolation]\nkafka_hosts = ["{pattern}"]\n[permissions]\nmax_security_level = "elevated"\n[permissions.plugins."*"]\nallow = ["*"]\n'
        )
        heard = Trail()
        async with PluginManager(home=tmp_path, environment="production") as plugins:
            plugins.audit.add_sink(heard)
            await plugins.start_plugin("voltha_integration", tenant_id=TENANT)

            async def decided() -> bool:
                await plugins.audit.settled()
                elsewhere = [one for one in heard.records if one.action == "egress" and "127.0.0.1:" in one.detail]
                others = [one for one in elsewhere if f":{voltha.port}" not in one.detail]
                return {one.outcome for one in others} == {"allowed" if reached else "refused"}

            async with asyncio.timeout(PATIENCE):
                while not await decided() or await reads_events(plugins) is not reached:  # noqa: ASYNC110 - it is in another process
                    await asyncio.sleep(0.1)
    del cluster
