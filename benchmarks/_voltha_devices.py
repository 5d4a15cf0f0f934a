"""The VOLTHA plugin's devices, events and diagnosis at size: 4,096 ONUs, and events by the ten thousand.

VOLTHA is a process of its own with answers that were made before (`_voltha_server`); Kafka is librdkafka's own broker.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import subprocess
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ._measure import Figure, Sides, median_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from dotmac_isp.plugins.network_automation.voltha_integration_plugin._work import Work

__all__ = ["figures"]

ROUNDS = 5
#: A list takes milliseconds, and a garbage collection now and then as long again.
LISTINGS = 25
EVENTS = 5_000
#: What comes in large batches is read in a moment, beside which starting a consumer would count.
IN_BATCHES = 50_000
LATENCIES = 200
DIAGNOSES = 15


def figures() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder, _server(Path(folder)) as port:
        listed = asyncio.run(_listing(port, Path(folder)))
        diagnosed = asyncio.run(_diagnosis(port, Path(folder)))
        events = asyncio.run(_events(port, Path(folder)))
    return [*listed, diagnosed, *events]


@contextlib.contextmanager
def _server(folder: Path) -> Iterator[int]:
    port_file = folder / "port"
    root = Path(__file__).resolve().parents[1]
    process = subprocess.Popen([sys.executable, "-m", "benchmarks._voltha_server", str(port_file)], cwd=root)
    try:
        end = time.monotonic() + 120
        while not (port_file.exists() and port_file.read_text()):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("the VOLTHA of the benchmark did not start")
            time.sleep(0.1)
        yield int(port_file.read_text())
    finally:
        process.terminate()
        process.wait()


class _Secrets:
    async def require(self, name: str) -> Any:
        from dotmac_isp.plugins.core.model import Secret

        return Secret(name, "x")

    get = require


class _Hooks:
    """The tenant's other plugins: they note when they are called."""

    def __init__(self) -> None:
        self.called: dict[str, float] = {}
        self.heard = asyncio.Event()

    async def on_device_event(self, *, event: Any, **_: Any) -> None:
        self.called[event.serial_number] = time.perf_counter()
        self.heard.set()

    async def on_metrics(self, **_: Any) -> None:
        return None


@contextlib.asynccontextmanager
async def _work(folder: Path, port: int, **settings: Any) -> AsyncIterator[Work]:
    """The plugin's inside, as it is while it is active."""
    from dotmac_isp.plugins.core.storage import open_storage
    from dotmac_isp.plugins.network_automation.voltha_integration_plugin import VolthaSettings
    from dotmac_isp.plugins.network_automation.voltha_integration_plugin._work import begin_work

    values = {"voltha_host": "127.0.0.1", "voltha_port": port, "reconcile": "off", "read_change_events": False}
    await asyncio.to_thread(folder.mkdir, exist_ok=True)
    engine = await open_storage(None, home=folder)
    tasks: set[asyncio.Task[Any]] = set()

    def spawn(coroutine: Any, *, name: str) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        tasks.add(task)
        return task

    api: Any = SimpleNamespace(
        settings=VolthaSettings(**{**values, "device_monitoring_interval": 3600, **settings}),
        storage=engine.scope("bench", "voltha_integration"),
        new_storage=lambda name: engine.scope(name, "voltha_integration"),
        secrets=_Secrets(),
        hooks=_Hooks(),
        logger=logging.LoggerAdapter(logging.getLogger("benchmark"), {}),
        tenant_id="bench",
        plugin_id="voltha_integration",
        data_dir=folder,
        spawn=spawn,
        grpc_target=lambda host, number: (f"{host}:{number}", []),
    )
    work = await begin_work(api)
    try:
        yield work
    finally:
        await work.stop(0)
        for task in tasks:
            task.cancel()
        await engine.close()


async def _listing(port: int, folder: Path) -> list[Figure]:
    import grpc
    from google.protobuf.empty_pb2 import Empty
    from voltha_protos import voltha_pb2_grpc

    from ._voltha_server import ONUS, devices

    async with (
        _work(folder, port) as work,
        grpc.aio.insecure_channel(
            f"127.0.0.1:{port}", options=[("grpc.max_receive_message_length", 32 << 20)]
        ) as channel,
    ):
        stub = voltha_pb2_grpc.VolthaServiceStub(channel)

        async def ours() -> float:
            started = time.perf_counter()
            found = await work.session.devices()
            assert len(found) == ONUS + 1
            return (time.perf_counter() - started) * 1e3

        async def theirs() -> float:
            started = time.perf_counter()
            found = await stub.ListDevices(Empty())
            assert len(found.items) == ONUS + 1
            return (time.perf_counter() - started) * 1e3

        sides = await _in_turn(ours, theirs, LISTINGS)
    size = _memory(devices())
    memory = Figure(
        name="memory",
        what="the plugin's model of 1,000 ONUs, with its indexes",
        against="10 MiB",
        unit="MiB",
        sides=Sides((size,) * 2, (10.0,) * 2),
        goal=1.0,
    )
    what = "ListDevices of 4,096 ONUs into the plugin's model"
    return [Figure("listing", what, "the bare stub call", "ms", sides, 1.5), memory]


async def _in_turn(ours: Any, theirs: Any, rounds: int = ROUNDS) -> Sides:
    await ours(), await theirs()
    taken: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        for side in (0, 1) if number % 2 else (1, 0):
            taken[side].append(await (ours, theirs)[side]())
    return Sides(tuple(taken[0]), tuple(taken[1]))


def _memory(listed: Any) -> float:
    from dotmac_isp.plugins.network_automation.voltha_integration_plugin._device import from_proto
    from dotmac_isp.plugins.network_automation.voltha_integration_plugin.devices import StuckWatch
    from dotmac_isp.plugins.network_automation.voltha_integration_plugin.events._network import Network

    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    views = [from_proto(item) for item in listed.items]
    watch = StuckWatch()
    watch.take(views, time.time(), patience=60)
    kept = [Network(views), {view.serial: view.id for view in views}, watch]
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert kept
    return used / len(views) * 1000 / 2**20


async def _diagnosis(port: int, folder: Path) -> Figure:
    from dotmac_isp.plugins.core.storage import open_storage
    from dotmac_isp.plugins.network_automation.voltha_integration_plugin.services._stored import ServiceStore

    from ._voltha_server import ONUS, service_of

    engine = await open_storage(None, home=folder)
    store = ServiceStore(engine.scope("bench", "voltha_integration"))
    for number in range(ONUS):
        await store.save(service_of(number))
    await engine.close()
    taken: list[float] = []
    calls = 0
    async with _work(folder, port) as work:
        await asyncio.sleep(1)
        for number in range(DIAGNOSES):
            before = work.session.client.calls.total()
            started = time.perf_counter()
            found = await work.diagnose(f"sub-{100 + number * 260}")
            taken.append((time.perf_counter() - started) * 1e3)
            assert found["finding"] == "nothing_found", found
            calls = max(calls, work.session.client.calls.total() - before)
    return Figure(
        name="diagnosis",
        what="diagnosis of one subscriber among 4,096",
        against="100 ms",
        unit="ms",
        sides=Sides(tuple(taken), (100.0,) * len(taken)),
        goal=1.0,
        notes={"calls to VOLTHA at most (goal 12)": calls},
    )


def _event(name: str, number: int, at: float) -> bytes:
    """A device event of one ONU, as the OLT adapter, the ONU adapter and the core write them."""
    from voltha_protos import events_pb2

    from ._voltha_server import PER_PON, onu_id, onu_serial

    event = events_pb2.Event()
    event.header.id = f"Voltha.openolt.{name}.{at:.9f}.{number}"
    event.header.type = 3
    event.header.raised_ts.seconds = int(at)
    event.header.reported_ts.FromNanoseconds(int(at * 1e9))
    body = event.device_event
    body.device_event_name = name
    if "Ethernet" in name:
        body.resource_id = onu_id(number)
        body.context.update({"onu-id": onu_id(number), "onu-serial-number": onu_serial(number)})
    elif name.startswith("DEVICE"):
        body.resource_id = onu_id(number)
        states = {"admin-state": "ENABLED", "oper-state": "ACTIVE", "connect-state": "REACHABLE", "is-root": "false"}
        body.context.update({"id": onu_id(number), "serial-number": onu_serial(number), "parent-id": "olt-1", **states})
    else:
        body.resource_id = "olt-1"
        place = {"intf-id": str(number // PER_PON), "onu-id": str(number % PER_PON)}
        body.context.update({**place, "serial-number": onu_serial(number), "port-label": f"pon-{number // PER_PON}"})
    return bytes(event.SerializeToString())


_NAMES = (
    "ONU_LOSS_OF_SIGNAL_RAISE_EVENT",
    "ONU_DYING_GASP_RAISE_EVENT",
    "ONU_Ethernet_UNI_RAISE_EVENT",
    "ONU_LOSS_OF_SIGNAL_CLEAR_EVENT",
    "DEVICE_STATE_CHANGE_RAISE_EVENT",
)


async def _events(port: int, folder: Path) -> list[Figure]:
    figures: list[Figure] = []
    async with _work(folder, port) as work:
        # As adapters send what happens one after the other, each record is a batch of its own; then as many as fit.
        for size, told in ((1, False), (1, True), (10_000, False)):
            count = EVENTS if size == 1 else IN_BATCHES
            broker, bootstrap = await _filled(size, count)
            figures.append(await _throughput(work, bootstrap, size, count, told=told))
            del broker
    broker, bootstrap = await _filled(1, 10)
    return [*figures, await _latency(broker, bootstrap, port, folder)]


async def _filled(batch: int, count: int) -> tuple[Any, str]:
    """A broker with events in batches of that size, and where it is. It lives as long as its producer."""
    from confluent_kafka import Producer

    from ._voltha_server import ONUS

    broker: Any = Producer({"test.mock.num.brokers": 1, "linger.ms": 0, "log_level": 3})
    bootstrap = ",".join(f"{each.host}:{each.port}" for each in broker.list_topics(timeout=10).brokers.values())
    filler: Any = Producer(
        {"bootstrap.servers": bootstrap, "batch.num.messages": batch, "linger.ms": 20, "log_level": 0}
    )
    now = time.time()
    for number in range(count):
        filler.produce("voltha.events", _event(_NAMES[number % 5], (number // 5 * 7) % ONUS, now + number / 1000))
    await asyncio.to_thread(filler.flush, 60)
    return broker, bootstrap


async def _throughput(work: Work, bootstrap: str, size: int, count: int, *, told: bool) -> Figure:
    rounds = itertools.count()
    sides = await _in_turn(
        lambda: _ours(work, bootstrap, f"ours-{size}-{told}-{next(rounds)}", count, told=told),
        lambda: _theirs(bootstrap, f"theirs-{next(rounds)}", count),
    )
    rate = count / median_of(sides.ours)
    return Figure(
        name=f"events, batches of {size}{', told and stored' if told else ''}",
        what=f"{count} events from Kafka, batches of {size}: decoded, normalised, correlated{', told, stored' if told else ''}",
        against="aiokafka and the protobuf parser",
        unit="s of a core",
        sides=sides,
        goal=None if told else 2.0,
        notes={"events a second": round(rate), "share of the bare rate (goal 0.5)": round(1 / sides.ratio, 2)},
    )


async def _nothing() -> None:
    return None


async def _ours(work: Work, bootstrap: str, group: str, count: int, *, told: bool) -> float:
    """All events through the plugin's reader to alarms; with `told` these are stored, other plugins hear of them, and devices are listed."""
    from dotmac_isp.plugins.network_automation.voltha_integration_plugin.events._kafka import EventReader

    work._api.storage = work._api.new_storage(group)  # type: ignore[attr-defined,misc]
    events = work._make_events()
    if not told:
        events._announce = events._announce_once = events._look_soon = lambda *_: None  # type: ignore[misc,assignment,method-assign]
    await events.start()
    done = asyncio.Event()

    async def take(values: Sequence[bytes | None]) -> None:
        await events.take(values)
        if events.received >= count:
            done.set()

    logger = logging.LoggerAdapter(logging.getLogger("benchmark"), {})
    reader = EventReader(
        bootstrap,
        group,
        take=take,
        checkpoint=events.checkpoint if told else _nothing,
        logger=logger,
        new_group_from="earliest",
    )
    began = time.thread_time()
    task = asyncio.ensure_future(reader.run())
    await done.wait()
    took = time.thread_time() - began
    task.cancel()
    await asyncio.wait([task])
    assert events.malformed == 0
    return took


async def _theirs(bootstrap: str, group: str, wanted: int) -> float:
    from aiokafka import AIOKafkaConsumer  # type: ignore[import-untyped]
    from voltha_protos import events_pb2

    consumer = AIOKafkaConsumer(
        "voltha.events",
        bootstrap_servers=bootstrap,
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    count, began = 0, time.thread_time()
    await consumer.start()
    while count < wanted:
        batch = await consumer.getmany(timeout_ms=500)
        for records in batch.values():
            for record in records:
                events_pb2.Event.FromString(record.value)
                count += 1
    took = time.thread_time() - began
    await consumer.stop()
    return took


async def _latency(producer: Any, bootstrap: str, port: int, folder: Path) -> Figure:
    from ._voltha_server import onu_serial

    taken: list[float] = []
    # librdkafka's broker answers a fetch that waits only when its time is over, also when events have come; a real one at once.
    settings = {"kafka_bootstrap": bootstrap, "kafka_fetch_wait": 0.005}
    async with _work(folder / "latency", port, **settings) as work:
        hooks: Any = work._api.hooks
        reader = work._events.reader
        assert reader is not None
        while reader.state != "connected":  # noqa: ASYNC110 - the reader has no event for it
            await asyncio.sleep(0.1)
        for number in range(LATENCIES):
            serial = onu_serial(number * 17)
            value = _event("ONU_SIGNALS_FAIL_RAISE_EVENT", number * 17, time.time())
            started = time.perf_counter()
            producer.produce("voltha.events", value)
            producer.poll(0)
            while serial not in hooks.called:
                hooks.heard.clear()
                await hooks.heard.wait()
            taken.append((hooks.called[serial] - started) * 1e3)
    taken.sort()
    p99 = taken[int(len(taken) * 0.99) - 1]
    return Figure(
        name="latency",
        what="a device event in Kafka to the call of the hook, p99",
        against="20 ms",
        unit="ms",
        sides=Sides((p99,) * 2, (20.0,) * 2),
        goal=1.0,
        notes={"p50, ms": round(taken[len(taken) // 2], 2), "longest, ms": round(taken[-1], 2)},
    )
