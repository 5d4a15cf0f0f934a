"""VOLTHA's events from a Kafka broker to the other plugins' hooks, to `active_alarms` and `alarm_history`."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dotmac_isp.plugins.core.model import DeviceEvent, HealthStatus, SettingChange
from dotmac_isp.plugins.network_automation.voltha_integration_plugin import (
    VolthaConfigurationError,
    VolthaIntegrationPlugin,
    event_stream,
)
from dotmac_isp.plugins.network_automation.voltha_integration_plugin.events._log import EventLog
from dotmac_voltha_simulator import Simulator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

kafka = pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")
pytest.importorskip("aiokafka", reason="aiokafka is not installed")
pytestmark = pytest.mark.skipif(
    bool(os.environ.get("VOLTHA_TEST_TARGET")), reason="raises alarms, which only the simulator can"
)

_spec = importlib.util.spec_from_file_location("event_records", Path(__file__).with_name("event_records.py"))
assert _spec is not None
assert _spec.loader is not None
records = sys.modules.setdefault("event_records", importlib.util.module_from_spec(_spec))
_spec.loader.exec_module(records)

TOPIC = "voltha.events"


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    """As the one of the other tests, with its events on Kafka."""
    login = {"username": "dev_user", "password": "dev_pass"}
    async with Simulator(olts=2, pons=2, onus=2, time_factor=0.05, kafka="", **login) as running:
        yield running


@pytest.fixture
async def run(make_host: Callable[..., Any], target: Any) -> AsyncIterator[Callable[..., Any]]:
    """Activates instances, and ends those that still run."""
    running: list[tuple[VolthaIntegrationPlugin, Any]] = []

    async def start(**settings: Any) -> tuple[VolthaIntegrationPlugin, Any]:
        host = make_host(target, **settings)
        made = VolthaIntegrationPlugin(host)
        await made.activate()
        running.append((made, host))
        return made, host

    yield start
    for made, host in running:
        await made.cleanup()
        for task in host.tasks:
            task.cancel()


async def until(what: Callable[[], Any], *, limit: float = 20.0) -> Any:
    """Wait for an awaitable truth."""
    end = time.monotonic() + limit
    while not (found := await what()):
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.05)
    return found


async def connected(plugin: VolthaIntegrationPlugin) -> None:
    async def is_connected() -> bool:
        return (await plugin.health_check()).details["events"]["state"] == "connected"

    await until(is_connected)


def produce(bootstrap: str, *values: bytes) -> None:
    producer = kafka.Producer({"bootstrap.servers": bootstrap, "log_level": 3})
    for value in values:
        producer.produce(TOPIC, value=value)
    producer.flush(10)


async def test_an_alarm_reaches_the_hooks_the_list_and_the_history(run: Any, simulator: Simulator) -> None:
    plugin, host = await run(kafka_bootstrap=simulator.kafka_bootstrap, alarm_severities={"ONU_DYING_GASP": "warning"})
    await connected(plugin)
    olt = await plugin.provision_olt(simulator.olt_addresses[0])
    serial, other = simulator.serial_numbers[:2]
    onu = await plugin.provision_onu(olt["device_id"], None, None, serial)
    await plugin.provision_onu(olt["device_id"], None, None, other)
    await host.hooks.wait_for("onu_activated", 2)

    await asyncio.to_thread(produce, simulator.kafka_bootstrap, b"\xff\xff no event", b"", b"\x0a\x02hi")
    await simulator.raise_alarm("ONU_LOSS_OF_SIGNAL", serial)
    await simulator.raise_alarm("ONU_DYING_GASP", serial)
    raised = {event.attributes["name"]: event for event in await host.hooks.wait_for("alarm_raised", 3)}
    assert set(raised) == {"ONU_LOSS_OF_SIGNAL", "ONU_Ethernet_UNI", "ONU_DYING_GASP"}
    assert {event.serial_number for event in raised.values()} == {serial}
    assert {event.device_id for event in raised.values()} == {onu["device_id"]}
    assert raised["ONU_LOSS_OF_SIGNAL"].severity == "major"
    assert raised["ONU_DYING_GASP"].severity == "warning", "the setting says so"
    assert raised["ONU_Ethernet_UNI"].attributes["olt_serial_number"] == olt["serial_number"]

    for name in (None, serial, onu["device_id"], olt["serial_number"], olt["device_id"]):
        assert {each["name"] for each in await plugin.active_alarms(name)} == set(raised), name
    assert await plugin.active_alarms(other) == []
    details = (await plugin.health_check()).details["events"]
    assert details["malformed"] == 3
    assert (await plugin.get_metrics())["voltha_alarms_active"] == 3

    await simulator.clear_alarm("ONU_LOSS_OF_SIGNAL", serial)
    cleared = {event.attributes["name"]: event for event in await host.hooks.wait_for("alarm_cleared", 3)}
    assert cleared["ONU_DYING_GASP"].attributes["cleared_by"] == "ONU_LOSS_OF_SIGNAL", "nothing else ever clears it"
    assert await plugin.active_alarms() == []
    history = await plugin.alarm_history(serial)
    assert {each["name"] for each in history} == set(raised)
    assert all(each["cleared_at"] >= each["raised_at"] for each in history)
    assert len(await plugin.alarm_history(limit=2)) == 2
    assert await plugin.alarm_history(since=time.time() + 60) == []


async def test_with_alarms_lost_power_is_told_from_a_cut_fibre(run: Any, simulator: Simulator) -> None:
    plugin, host = await run(kafka_bootstrap=simulator.kafka_bootstrap)
    await connected(plugin)
    olt = await plugin.provision_olt(simulator.olt_addresses[0])
    serial = simulator.serial_numbers[0]
    for each in simulator.serial_numbers[:4]:
        await plugin.provision_onu(olt["device_id"], None, None, each)
    service = {"s_tag": 900, "bandwidth_down": 100_000, "bandwidth_up": 50_000}
    await plugin.add_subscriber_flow(serial, "sub-1", service)
    await simulator.power_off(serial)
    await host.hooks.wait_for("alarm_raised")

    async def is_known() -> bool:
        return "ONU_DYING_GASP" in [each["name"] for each in await plugin.active_alarms(serial)]

    await until(is_known)
    found = await plugin.diagnose("sub-1")
    assert (found["finding"], found["confidence"]) == ("onu_without_power", 0.95)
    tree = await plugin.topology()
    (onu,) = [each for pon in tree["olts"][0]["pons"] for each in pon["onus"] if each["name"] == serial]
    assert onu["alarms"] >= 1


@pytest.mark.slow
async def test_alarms_of_the_time_between_two_runs_are_not_lost(run: Any, simulator: Simulator) -> None:
    bootstrap = simulator.kafka_bootstrap
    plugin, host = await run(kafka_bootstrap=bootstrap, alarm_history_limit=1)
    await connected(plugin)
    olt = await plugin.provision_olt(simulator.olt_addresses[0])
    first, second = simulator.serial_numbers[:2]
    for serial in (first, second):
        await plugin.provision_onu(olt["device_id"], None, None, serial)
    await simulator.raise_alarm("ONU_LOSS_OF_FRAME", first)
    await host.hooks.wait_for("alarm_raised")
    await asyncio.sleep(1.2)  # what was read is made sure of every half second
    await plugin.deactivate()

    await simulator.clear_alarm("ONU_LOSS_OF_FRAME", first)
    await simulator.raise_alarm("ONU_LOSS_OF_BURST", second)
    plugin, host = await run(kafka_bootstrap=bootstrap, alarm_history_limit=1)
    assert [each["name"] for each in await plugin.active_alarms(first)] == ["ONU_LOSS_OF_FRAME"], "it is remembered"
    await host.hooks.wait_for("alarm_raised")
    await host.hooks.wait_for("alarm_cleared")
    assert [each["serial_number"] for each in await plugin.active_alarms()] == [second]
    assert len(await plugin.alarm_history()) == 1
    await simulator.clear_alarm("ONU_LOSS_OF_BURST", second)
    await host.hooks.wait_for("alarm_cleared", 2)
    assert [each["name"] for each in await plugin.alarm_history()] == ["ONU_LOSS_OF_BURST"], "one is kept, the last"


BROKER = """
import sys, time
from confluent_kafka import Producer
cluster = Producer({"test.mock.num.brokers": 1, "log_level": 0})
(broker,) = cluster.list_topics(timeout=10).brokers.values()
print(f"{broker.host}:{broker.port}", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def broker() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A broker of its own process, and where it is."""
    words = [sys.executable, "-c", BROKER]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
        process.send_signal(signal.SIGCONT)
        process.kill()


@pytest.mark.slow
async def test_a_minute_without_kafka_loses_and_doubles_nothing(
    run: Any, simulator: Simulator, broker: tuple[subprocess.Popen[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    process, bootstrap = broker
    plugin, host = await run(kafka_bootstrap=bootstrap, device_monitoring_interval=0.5)
    await connected(plugin)
    olt = await plugin.provision_olt(simulator.olt_addresses[0])
    first, second = simulator.serial_numbers[:2]
    for serial in (first, second):
        await plugin.provision_onu(olt["device_id"], None, None, serial)

    def lost(serial: str, action: str = "RAISE") -> bytes:
        context = {"serial-number": serial, "intf-id": "0", "port-label": "pon-0"}
        return bytes(records.made(f"ONU_LOSS_OF_FRAME_{action}_EVENT", olt["device_id"], time.time(), context))

    async def is_away() -> bool:
        return (await plugin.health_check()).status is HealthStatus.DEGRADED

    adapters = kafka.Producer({"bootstrap.servers": bootstrap, "log_level": 0})
    adapters.produce(TOPIC, value=lost(first))
    await asyncio.to_thread(adapters.flush, 10)
    await host.hooks.wait_for("alarm_raised")
    process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    adapters.produce(TOPIC, value=lost(second))  # as VOLTHA's adapters keep what they cannot send
    await simulator.power_off(second)
    await host.hooks.wait_for("onu_unreachable")  # polling sees it without Kafka
    await until(is_away, limit=50)
    await asyncio.sleep(max(0.0, 60 - (time.monotonic() - began)))
    process.send_signal(signal.SIGCONT)

    await asyncio.to_thread(adapters.flush, 60)
    await host.hooks.wait_for("alarm_raised", 2, limit=90)
    await connected(plugin)
    adapters.produce(TOPIC, value=lost(first, "CLEAR"))
    await asyncio.to_thread(adapters.flush, 10)
    await host.hooks.wait_for("alarm_cleared")
    raised = [event.serial_number for event in host.hooks.events if event.event_type == "alarm_raised"]
    assert sorted(raised) == [first, second]
    assert [each["serial_number"] for each in await plugin.active_alarms()] == [second]
    said = [record.getMessage() for record in caplog.records if bootstrap in record.getMessage()]
    assert any(line.startswith("no events from Kafka at") for line in said), said


@pytest.mark.slow
async def test_kafka_that_is_away_degrades_health_and_polling_goes_on(run: Any, simulator: Simulator) -> None:
    cluster = kafka.Producer({"test.mock.num.brokers": 1, "log_level": 0})
    (broker,) = cluster.list_topics(timeout=10).brokers.values()
    plugin, host = await run(kafka_bootstrap="127.0.0.1:1", device_monitoring_interval=0.2)

    async def degraded() -> Any:
        report = await plugin.health_check()
        return report if report.status is HealthStatus.DEGRADED else None

    report = await until(degraded)
    assert "127.0.0.1:1" in report.message
    assert report.details["state"] == "ready", "VOLTHA itself is"
    await plugin.provision_olt(simulator.olt_addresses[0])
    await host.hooks.wait_for("olt_active")

    bootstrap = f"{broker.host}:{broker.port}"
    host.change(kafka_bootstrap=bootstrap)
    change = SettingChange(key="kafka_bootstrap", before="127.0.0.1:1", after=bootstrap, layer="test")
    await plugin.on_settings_changed([change])
    await connected(plugin)
    assert (await plugin.health_check()).status is HealthStatus.HEALTHY
    context = {"intf-id": "0", "port-label": "pon-536870912"}
    value = records.made("OLT_LOSS_OF_SIGNAL_RAISE_EVENT", "olt-of-somebody", time.time(), context)
    await asyncio.to_thread(produce, bootstrap, value)
    (event,) = await host.hooks.wait_for("alarm_raised")
    assert (event.device_id, event.severity, event.attributes["port"]) == ("olt-of-somebody", "critical", "pon-0")

    del cluster
    await until(degraded)
    await plugin.discover_devices()


async def test_without_kafka_alarms_are_what_polling_shows(run: Any, simulator: Simulator) -> None:
    plugin, host = await run(device_monitoring_interval=0.1)
    olt = await plugin.provision_olt(simulator.olt_addresses[0])
    serial = simulator.serial_numbers[0]
    await plugin.provision_onu(olt["device_id"], None, None, serial)
    await simulator.power_off(serial)
    (told,) = await host.hooks.wait_for("alarm_raised")
    assert (told.serial_number, told.severity) == (serial, "major")
    (alarm,) = await plugin.active_alarms("BBSIM_OLT_10")
    assert (alarm["name"], alarm["reporters"], alarm["port"]) == ("ONU_UNREACHABLE", ["poll"], "pon-0")
    await simulator.power_on(serial)
    await host.hooks.wait_for("alarm_cleared")
    assert await plugin.active_alarms() == []
    (over,) = await plugin.alarm_history(serial)
    assert over["cleared_at"] >= over["raised_at"]


async def test_events_are_followed_as_a_stream_and_none_is_missed(run: Any, simulator: Simulator) -> None:
    plugin, _ = await run(device_monitoring_interval=0.1)
    seen: list[str] = []

    async def follow() -> None:
        async for event in event_stream(plugin, kinds=["onu_active"], wait=1):
            seen.append(event.serial_number)
            if len(seen) == 4:
                return

    following = asyncio.create_task(follow())
    await asyncio.sleep(0)
    await plugin.provision_olt(simulator.olt_addresses[0])
    await asyncio.wait_for(following, 20)
    assert sorted(seen) == sorted(simulator.serial_numbers[:4])


async def test_the_stream_of_a_method_gives_each_event_and_ends_when_it_is_left(run: Any, simulator: Simulator) -> None:
    plugin, _ = await run(device_monitoring_interval=0.1)
    stream = plugin.follow_events(["olt_active"])
    first = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    await plugin.provision_olt(simulator.olt_addresses[0])
    assert (await asyncio.wait_for(first, 20)).serial_number == "BBSIM_OLT_10"
    await stream.aclose()


def made(number: int, kind: str = "x") -> DeviceEvent:
    return DeviceEvent(event_type=kind, device_id=str(number), source="test")


async def test_a_reader_that_is_too_slow_is_told_how_many_events_it_missed() -> None:
    log = EventLog()
    first = await log.after(None, wait=0, limit=10, kinds=(), device="")
    assert (first["events"], first["missed"]) == ([], 0)
    for number in range(10_003):
        log.put(made(number))
    answer = await log.after(first["cursor"], wait=0, limit=2, kinds=(), device="")
    assert ([event["device_id"] for event in answer["events"]], answer["missed"]) == (["3", "4"], 3)
    answer = await log.after(answer["cursor"], wait=0, limit=10, kinds=("y",), device="")
    assert (answer["events"], answer["missed"]) == ([], 0)
    log.put(made(1, "y"))
    answer = await log.after(answer["cursor"], wait=0, limit=10, kinds=("y",), device="1")
    assert len(answer["events"]) == 1
    other = await EventLog().after(answer["cursor"], wait=0, limit=10, kinds=(), device="")
    assert other["missed"] == -1


async def test_kafka_without_its_library_is_a_mistake_in_the_settings(run: Any, monkeypatch: Any) -> None:
    module = "dotmac_isp.plugins.network_automation.voltha_integration_plugin.events._kafka"
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "aiokafka", None)
    with pytest.raises(VolthaConfigurationError, match="aiokafka") as caught:
        await run(kafka_bootstrap="127.0.0.1:1")
    assert "dotmac-plugin-voltha[kafka]" in str(caught.value.remedy)
