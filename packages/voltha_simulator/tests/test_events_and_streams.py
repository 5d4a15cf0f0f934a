"""Events in this process and on a real Kafka protocol broker; the two streams with one reader."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from google.protobuf import empty_pb2
from voltha_protos import common_pb2, events_pb2

from dotmac_voltha_simulator import Simulator

if TYPE_CHECKING:
    from dotmac_voltha_simulator import PublishedEvent

EMPTY = empty_pb2.Empty()
ONU = "BBSM000a0001"


def names(simulator: Simulator, since: int = 0) -> list[str]:
    return [event.name for event in simulator.events[since:]]


async def test_discovery_and_activation_are_told_with_the_recorded_context(
    voltha_simulator: Simulator, client: Any
) -> None:
    olt_id, _ = await client.ready(voltha_simulator)
    onu = await client.device(ONU)
    found = {event.name: event for event in voltha_simulator.events if event.context.get("serial-number") == ONU}
    discovery = found["ONU_DISCOVERY_RAISE_EVENT"]
    assert discovery.message.device_event.resource_id == olt_id
    assert discovery.key == onu.id
    assert discovery.context == {
        "intf-id": "0",
        "onu-id": "1",
        "onu-device-id": onu.id,
        "serial-number": ONU,
        "pon-technology": "XGS-PON",
        "port-label": "pon-0",
    }
    activated = found["ONU_ACTIVATED_RAISE_EVENT"]
    assert activated.context["olt-serial-number"] == "BBSIM_OLT_10"
    assert activated.context["num-of-unis"] == "1"
    header = discovery.message.header
    assert header.id.startswith("Voltha.openolt.ONU_DISCOVERY.")
    assert (header.type, header.type_version) == (events_pb2.EventType.DEVICE_EVENT, "0.1")
    assert header.raised_ts.nanos == 0
    assert header.reported_ts.seconds >= header.raised_ts.seconds > 1_700_000_000


async def test_an_alarm_is_raised_once_and_cleared_once(voltha_simulator: Simulator, client: Any) -> None:
    await client.ready(voltha_simulator)
    start = len(voltha_simulator.events)
    for _ in range(2):
        await voltha_simulator.raise_alarm("ONU_LOSS_OF_SIGNAL", ONU)
    for _ in range(2):
        await voltha_simulator.clear_alarm("ONU_ALARM_LOS", ONU)
    assert names(voltha_simulator, start) == [
        "ONU_LOSS_OF_SIGNAL_RAISE_EVENT",
        "ONU_Ethernet_UNI_RAISE_EVENT",
        "ONU_LOSS_OF_SIGNAL_CLEAR_EVENT",
        "ONU_Ethernet_UNI_CLEAR_EVENT",
    ]
    onu = await client.device(ONU)
    assert voltha_simulator.events[start + 1].context == {
        "onu-id": onu.id,
        "onu-serial-number": ONU,
        "onu-intf-id": "256",
    }


async def test_loss_of_signal_on_a_pon_is_raised_for_its_onus_and_cleared_only_for_the_olt(
    voltha_simulator: Simulator, client: Any
) -> None:
    await client.ready(voltha_simulator)
    start = len(voltha_simulator.events)
    await voltha_simulator.raise_alarm("OLT_LOSS_OF_SIGNAL", "BBSIM_OLT_10/pon-1")
    await voltha_simulator.clear_alarm("OLT_LOSS_OF_SIGNAL", "BBSIM_OLT_10/pon-1")
    found = names(voltha_simulator, start)
    assert found.count("ONU_LOSS_OF_SIGNAL_RAISE_EVENT") == 2
    assert "ONU_LOSS_OF_SIGNAL_CLEAR_EVENT" not in found
    assert voltha_simulator.events[start].context == {"intf-id": "1", "port-label": "pon-536870913"}
    assert found[-1] == "OLT_LOSS_OF_SIGNAL_CLEAR_EVENT"


async def test_an_unknown_alarm_or_onu_is_named_with_what_there_is(voltha_simulator: Simulator, client: Any) -> None:
    with pytest.raises(ValueError, match=r"no alarm 'NONSENSE'; there are: .*ONU_DYING_GASP"):
        await voltha_simulator.raise_alarm("NONSENSE", ONU)
    with pytest.raises(LookupError, match="no ONU 'BBSM000a0001' is discovered"):
        await voltha_simulator.raise_alarm("ONU_DYING_GASP", ONU)


async def test_a_subscriber_waits_for_an_event_by_name_and_context(voltha_simulator: Simulator, client: Any) -> None:
    subscription = voltha_simulator.subscribe()
    await client.provision_olt(voltha_simulator.olt_addresses[0])
    found = await subscription.wait_for("ONU_ACTIVATED_RAISE_EVENT", serial_number="BBSM000a0102")
    assert found.context["pon-id"] == "1"
    subscription.close()


async def test_a_second_reader_of_the_change_events_ends_the_first_ones_stream(
    voltha_simulator: Simulator, client: Any
) -> None:
    first = client.voltha.ReceiveChangeEvents(EMPTY)
    reading = asyncio.ensure_future(_all(first))
    await client.ready(voltha_simulator)
    second = client.voltha.ReceiveChangeEvents(EMPTY)
    received = await asyncio.wait_for(reading, 5)
    assert {event.port_status.desc.name for event in received} >= {"nni-16777216", "BBSM000a0001-1"}
    onu = await client.device(ONU)
    await client.voltha.DisableDevice(common_pb2.ID(id=onu.id))
    event = await asyncio.wait_for(second.read(), 5)
    assert event.port_status.desc.name == "BBSM000a0001-1"
    second.cancel()


async def _all(stream: Any) -> list[Any]:
    return [message async for message in stream]


@pytest.mark.voltha_simulator(olts=1, pons=4, onus=16, time_factor=0.02)
async def test_deleting_an_olt_hangs_until_somebody_reads_the_change_events(
    voltha_simulator: Simulator, client: Any
) -> None:
    olt_id, _ = await client.ready(voltha_simulator)
    assert voltha_simulator.unread_change_events > 100
    deletion = asyncio.ensure_future(client.voltha.DeleteDevice(common_pb2.ID(id=olt_id)))
    done, _ = await asyncio.wait([deletion], timeout=0.4)
    assert not done
    (olt,) = await client.devices()
    assert (olt.admin_state, olt.oper_status) == (2, 4)
    stream = client.voltha.ReceiveChangeEvents(EMPTY)
    reading = asyncio.ensure_future(_all(stream))
    await asyncio.wait_for(deletion, 5)
    assert await client.devices() == []
    stream.cancel()
    await asyncio.gather(reading, return_exceptions=True)


async def test_events_arrive_on_a_kafka_broker_that_runs_in_the_process() -> None:
    kafka = pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")
    async with Simulator(olts=1, pons=1, onus=2, time_factor=0.05, kafka="") as simulator:
        consumer = kafka.Consumer(
            {
                "bootstrap.servers": simulator.kafka_bootstrap,
                "group.id": "test",
                "auto.offset.reset": "earliest",
                "allow.auto.create.topics": True,
            }
        )
        consumer.subscribe(["voltha.events"])
        async with grpc.aio.insecure_channel(simulator.target) as channel:
            await _enable(channel, simulator)
            found = await asyncio.to_thread(_consume, consumer, 2)
        consumer.close()
        sent = {event.message.header.id: event for event in simulator.events}
        assert found
        for key, value in found:
            event = events_pb2.Event.FromString(value)
            assert sent[event.header.id].message == event
            assert sent[event.header.id].key == key


async def _enable(channel: grpc.aio.Channel, simulator: Simulator) -> None:
    from voltha_protos import device_pb2, voltha_pb2_grpc

    stub: Any = voltha_pb2_grpc.VolthaServiceStub(channel)
    wanted = device_pb2.Device(type="openolt", host_and_port=simulator.olt_addresses[0])
    made = await stub.CreateDevice(wanted)
    subscription = simulator.subscribe()
    await stub.EnableDevice(common_pb2.ID(id=made.id))
    for _ in range(2):
        await subscription.wait_for("ONU_ACTIVATED_RAISE_EVENT")


def _consume(consumer: Any, activated: int) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for _ in range(200):
        message = consumer.poll(0.1)
        if message is not None and message.error() is None:
            found.append(((message.key() or b"").decode(), message.value()))
        if sum(b"ONU_ACTIVATED_RAISE_EVENT" in value for _, value in found) >= activated:
            break
    return found


async def test_a_sink_of_ones_own_gets_every_event() -> None:
    class Counting:
        def __init__(self) -> None:
            self.seen: list[PublishedEvent] = []
            self.closed = False

        def publish(self, event: PublishedEvent) -> None:
            self.seen.append(event)

        async def close(self) -> None:
            self.closed = True

    sink = Counting()
    async with Simulator(time_factor=0.05, sinks=[sink]) as simulator:
        async with grpc.aio.insecure_channel(simulator.target) as channel:
            from voltha_protos import device_pb2, voltha_pb2_grpc

            stub: Any = voltha_pb2_grpc.VolthaServiceStub(channel)
            await stub.CreateDevice(device_pb2.Device(type="openolt", host_and_port="127.0.0.1:9191"))
        assert [event.name for event in sink.seen] == ["DEVICE_STATE_CHANGE_RAISE_EVENT"]
    assert sink.closed
