"""From VOLTHA's events to alarms: decoding, one name for each ONU, severities, raise and clear, flaps. Recorded events, no network."""

from __future__ import annotations

import asyncio
import importlib.util
import random
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from voltha_protos import events_pb2

from dotmac_isp.plugins.core.storage import open_storage
from dotmac_isp.plugins.network_automation.voltha_integration_plugin import DeviceView, VolthaSettings
from dotmac_isp.plugins.network_automation.voltha_integration_plugin.events._alarm_book import AlarmBook, Transition
from dotmac_isp.plugins.network_automation.voltha_integration_plugin.events._alarm_store import AlarmStore
from dotmac_isp.plugins.network_automation.voltha_integration_plugin.events._messages import (
    KpiSlice,
    MalformedEventError,
    VolthaEvent,
    decode,
)
from dotmac_isp.plugins.network_automation.voltha_integration_plugin.events._network import Network
from dotmac_isp.plugins.network_automation.voltha_integration_plugin.events._notice import (
    Notice,
    port_of,
    subject_of,
)
from dotmac_isp.plugins.network_automation.voltha_integration_plugin.events._severity import severity_of

_spec = importlib.util.spec_from_file_location("event_records", Path(__file__).with_name("event_records.py"))
assert _spec is not None
assert _spec.loader is not None
records = sys.modules.setdefault("event_records", importlib.util.module_from_spec(_spec))
_spec.loader.exec_module(records)

OLT = "8daaaaae-dba8-4764-beb2-d5357fd27702"
ONU_1 = "68131748-6105-4177-a20d-a9ff09cc2b71"
ONU_2 = "c85a34a9-ed6c-4698-9ae8-b84f2b05e807"


def view(device_id: str, serial: str, pon: int = -1, onu_id: int = -1) -> DeviceView:
    return DeviceView(
        id=device_id,
        is_olt=pon < 0,
        device_type="openolt",
        serial=serial,
        parent_id="logical-1" if pon < 0 else OLT,
        pon=pon,
        onu_id=onu_id,
    )


NETWORK = Network(
    [
        view(OLT, "BBSIM_OLT_10"),
        view(ONU_1, "BBSM000a0001", 0, 1),
        view(ONU_2, "BBSM000a0002", 0, 2),
        view("a3d0a728-ef87-4806-86a1-47739930bfc8", "BBSM000a0101", 1, 1),
        view("b864e3f9-43eb-4d14-8ae9-c0fef0ad11e2", "BBSM000a0102", 1, 2),
    ]
)


def notice(value: bytes, network: Network = NETWORK) -> Notice:
    event = decode(value)
    assert isinstance(event, VolthaEvent)
    return Notice(event, subject_of(event, network), severity_of(event.stem, {}))


class Log:
    """A book and what it told."""

    def __init__(self, *, flap_count: int = 4, flap_window: float = 60.0) -> None:
        self.book = AlarmBook()
        self.told: list[tuple[str, str, str]] = []
        self._count, self._window = flap_count, flap_window

    def take(self, value: bytes) -> list[Transition]:
        given = notice(value)
        return self.keep(self.book.take(given, given.event.at, flap_count=self._count, flap_window=self._window))

    def settle(self, now: float) -> list[Transition]:
        return self.keep(self.book.settle(now, self._window))

    def keep(self, changes: list[Transition]) -> list[Transition]:
        self.told += [
            (each.what, each.alarm.name, each.alarm.subject.serial or each.alarm.subject.port)
            for each in changes
            if each.told
        ]
        return changes

    @property
    def active(self) -> set[tuple[str, str]]:
        return {(each.name, each.subject.serial or each.subject.port) for each in self.book.active.values()}


def los(action: str, at: float, serial: str = "BBSM000a0001") -> bytes:
    context = {"serial-number": serial, "onu-device-id": ONU_1, "intf-id": "0", "onu-id": "1"}
    value: bytes = records.made(f"ONU_LOSS_OF_SIGNAL_{action}_EVENT", OLT, at, context)
    return value


def test_recorded_alarms_are_raised_and_cleared_in_pairs() -> None:
    log = Log(flap_count=100)
    for value in records.recorded(0, 55.5):
        log.take(value)
    raised = [each[1:] for each in log.told if each[0] == "raised"]
    cleared = [each[1:] for each in log.told if each[0] == "cleared"]
    assert sorted(raised) == sorted(cleared)
    assert {name for name, _ in raised} >= {"ONU_LOSS_OF_FRAME", "ONU_LOSS_OF_SIGNAL", "ONU_Ethernet_UNI"}
    assert {serial for _, serial in raised} == {"BBSM000a0001"}
    assert log.active == set()


def test_loss_of_a_pon_raises_each_onu_and_its_clear_only_the_port() -> None:
    log = Log()
    for value in records.recorded(56.0, 57.0):
        log.take(value)
    both = {("ONU_LOSS_OF_SIGNAL", "BBSM000a0001"), ("ONU_LOSS_OF_SIGNAL", "BBSM000a0002")}
    assert log.active == both | {("OLT_LOSS_OF_SIGNAL", "pon-0")}
    for value in records.recorded(57.1, 57.2):
        log.take(value)
    assert log.active == both


def test_loss_of_an_uplink_is_not_taken_for_a_pon() -> None:
    log = Log()
    for value in records.recorded(58.2, 58.3):
        log.take(value)
    assert log.active == {("OLT_LOSS_OF_SIGNAL", "nni-0")}


def test_a_power_cycle_leaves_no_alarm_behind() -> None:
    log = Log()
    for value in records.recorded(64.2, 64.3):
        log.take(value)
    assert {name for name, _ in log.active} == {"ONU_DYING_GASP", "ONU_Ethernet_UNI"}
    for value in records.recorded(68.3, 69.4):
        log.take(value)
    assert log.active == set()
    assert ("cleared", "ONU_DYING_GASP", "BBSM000a0002") in log.told


@pytest.mark.parametrize("seed", range(20))
def test_the_order_in_which_partitions_arrive_does_not_matter(seed: int) -> None:
    values = records.recorded(0, 24.0)
    random.Random(seed).shuffle(values)
    log = Log(flap_count=100)
    for value in values:
        log.take(value)
    assert log.active == {("ONU_LOSS_OF_SIGNAL", "BBSM000a0001"), ("ONU_Ethernet_UNI", "BBSM000a0001")}


def test_both_adapters_alarm_of_one_onu_is_one_alarm() -> None:
    log = Log()
    by_number = {"intf-id": "0", "onu-id": "1", "port-label": "pon-0"}
    by_id = {"onu-id": ONU_1, "onu-intf-id": "256", "onu-serial-number": "BBSM000a0001"}
    log.take(records.made("ONU_DYING_GASP_RAISE_EVENT", OLT, 100.2, by_number))
    log.take(records.made("ONU_DYING_GASP_RAISE_EVENT", ONU_1, 100.4, by_id))
    assert log.told == [("raised", "ONU_DYING_GASP", "BBSM000a0001")]
    (alarm,) = log.book.active.values()
    assert (alarm.reporters, alarm.occurrences) == (("olt", "onu"), 1)
    assert (alarm.subject.olt_serial, alarm.subject.port, alarm.subject.onu_id) == ("BBSIM_OLT_10", "pon-0", 1)


def test_a_clear_without_a_raise_is_no_news_and_its_late_raise_neither() -> None:
    log = Log()
    log.take(records.made("OLT_DOWN_INDICATION_CLEAR_EVENT", OLT, 10.0, {"oper-state": "up"}))
    assert log.take(los("CLEAR", 12.5)) == []
    assert log.take(los("RAISE", 11.5)) == []
    assert (log.active, log.told) == (set(), [])
    log.take(los("RAISE", 13.5))
    assert log.active == {("ONU_LOSS_OF_SIGNAL", "BBSM000a0001")}


def test_a_clear_that_names_no_port_ends_the_alarm_of_every_port() -> None:
    log = Log()
    for pon in ("0", "1"):
        log.take(records.made("OLT_PON_INTERFACE_DOWN_RAISE_EVENT", OLT, 10.0, {"intf-id": pon}))
    assert len(log.active) == 2
    log.take(records.made("OLT_PON_INTERFACE_DOWN_CLEAR_EVENT", OLT, 11.0, {"oper-state": "up"}))
    assert log.active == set()


def test_an_onu_that_is_deleted_keeps_no_alarm() -> None:
    log = Log()
    log.take(los("RAISE", 10.0))
    log.take(records.made("ONU_DELETED_RAISE_EVENT", ONU_1, 11.0, {"id": ONU_1, "serial-number": "BBSM000a0001"}))
    assert log.active == set()


def test_a_flapping_alarm_is_told_once_until_it_is_quiet() -> None:
    log = Log(flap_count=3, flap_window=60)
    for second in range(0, 40, 2):
        log.take(los("RAISE", 1000.0 + second))
        log.take(los("CLEAR", 1001.0 + second))
    what = [each[0] for each in log.told]
    assert what == ["raised", "cleared", "raised", "cleared", "flapping"]
    assert [alarm.flapping for alarm in log.book.active.values()] == [True]
    assert log.settle(1060.0) == []
    log.settle(1100.0)
    assert [each[0] for each in log.told][5:] == ["cleared"]
    assert log.active == set()
    log.take(los("RAISE", 1200.0))
    assert log.told[-1][0] == "raised"


def test_a_flapping_alarm_that_stays_raised_is_told_when_it_is_quiet() -> None:
    log = Log(flap_count=2, flap_window=60)
    for action, at in (("RAISE", 1.0), ("CLEAR", 2.0), ("RAISE", 3.0)):
        log.take(los(action, 1000 + at))
    log.settle(1064.0)
    assert [each[0] for each in log.told] == ["raised", "cleared", "flapping", "raised"]
    assert [alarm.flapping for alarm in log.book.active.values()] == [False]


def test_an_onu_that_is_not_listed_is_known_by_what_the_event_says() -> None:
    found = notice(los("RAISE", 1.0), Network()).subject
    assert (found.olt_id, found.device_id, found.serial, found.port, found.onu_id) == (
        OLT,
        ONU_1,
        "BBSM000a0001",
        "pon-0",
        1,
    )
    assert notice(los("RAISE", 1.0), Network()).key == notice(los("CLEAR", 2.0)).key


def test_a_failed_call_of_the_core_is_an_event_of_its_olt() -> None:
    event = events_pb2.Event()
    event.rpc_event.rpc = "UpdateLogicalDeviceFlowTable"
    event.rpc_event.resource_id = "logical-1"
    event.rpc_event.description = "failed-to-add-flow"
    event.rpc_event.context["flow-id"] = "7"
    found = notice(event.SerializeToString())
    assert (found.event.stem, found.event.action, found.severity) == ("RPC_ERROR", "once", "major")
    assert found.subject.olt_serial == "BBSIM_OLT_10"
    assert found.event.context == {"flow-id": "7", "rpc": "UpdateLogicalDeviceFlowTable"}


def test_kpi_slices_keep_device_time_and_values() -> None:
    event = events_pb2.Event()
    item = event.kpi_event2.slice_data.add()
    item.metadata.title = "PON_Optical"
    item.metadata.ts = 12.0
    item.metadata.logical_device_id = ONU_1
    item.metadata.serial_no = "BBSM000a0001"
    item.metrics["receive_power_dBm"] = -20.5
    found = decode(event.SerializeToString())
    assert found == [
        KpiSlice(
            title="PON_Optical",
            device_id=ONU_1,
            serial="BBSM000a0001",
            at=12.0,
            context={},
            metrics={"receive_power_dBm": -20.5},
        )
    ]


class _SlowStorage:
    """The real storage, whose writes are on disk a while before whoever asked for them hears of it."""

    def __init__(self, storage: Any) -> None:
        self._storage = storage
        self.written = asyncio.Event()
        self.heard = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    async def update(self, *arguments: Any) -> Any:
        return await self._later(self._storage.update(*arguments))

    async def put(self, *arguments: Any) -> Any:
        return await self._later(self._storage.put(*arguments))

    async def _later(self, work: Any) -> Any:
        done = await work
        self.written.set()
        await self.heard.wait()
        return done


async def test_what_is_noted_while_the_store_writes_is_written_too_and_nothing_twice(tmp_path: Path) -> None:
    engine = await open_storage(None, home=tmp_path)
    storage = engine.scope("t", "voltha_integration")
    slow: Any = _SlowStorage(storage)
    book, store = Log(), AlarmStore(slow)

    def raised(number: int) -> None:
        context = {"intf-id": "0", "onu-id": str(number)}
        (change,) = book.take(records.made("ONU_SIGNALS_FAIL_RAISE_EVENT", OLT, 10.0 + number, context))
        store.note(change)

    def once() -> None:
        store.note_once(next(iter(book.book.active.values())))

    raised(0)
    async with asyncio.timeout(30):
        flush = asyncio.create_task(store.flush(1000))
        await slow.written.wait()
        raised(1)
        slow.heard.set()
        await flush
        await store.flush(1000)
        slow.written.clear()
        slow.heard.clear()
        once()
        flushes = [asyncio.create_task(store.flush(1000)) for _ in range(2)]
        await slow.written.wait()
        await asyncio.sleep(0.05)  # the second one has come as far as it can
        slow.heard.set()
        await asyncio.gather(*flushes)
    kept = AlarmStore(storage)
    assert {alarm.key for alarm in await kept.load()} == set(book.book.active)
    assert len(await kept.history()) == 1
    await engine.close()


@given(st.binary(max_size=200))
def test_whatever_a_record_holds_it_is_an_event_or_refused(value: bytes) -> None:
    with suppress(MalformedEventError):
        assert isinstance(decode(value), VolthaEvent | list | None)


@pytest.mark.parametrize(
    ("context", "port"),
    [
        ({"intf-id": "3"}, "pon-3"),
        ({"intf-id": "0", "port-label": "pon-536870912"}, "pon-0"),
        ({"intf-id": "537919488", "port-label": "pon-1048576"}, "nni-0"),
        ({"port-label": "pon-1048577"}, "nni-1"),
        ({"pon-id": "2"}, "pon-2"),
        ({"oper-state": "up"}, ""),
        ({"intf-id": "-1"}, ""),
        ({"port-label": "pon-"}, ""),
    ],
)
def test_ports_have_one_name(context: dict[str, str], port: str) -> None:
    assert port_of(context) == port


def test_the_severity_comes_from_the_setting_then_the_table_then_its_default() -> None:
    assert severity_of("ONU_LOSS_OF_SIGNAL", {"ONU_LOSS_OF_SIGNAL": "critical"}) == "critical"
    assert severity_of("OLT_LOSS_OF_SIGNAL", {}) == "critical"
    assert severity_of("ONU_NEVER_HEARD_OF", {}) == "minor"
    with pytest.raises(ValidationError, match="alarm_severities"):
        VolthaSettings(alarm_severities={"ONU_LOSS_OF_SIGNAL": "dreadful"})


@pytest.mark.parametrize("value", ["kafka", "kafka:x", "a:1,", "a:1 b:2"])
def test_a_bootstrap_that_is_no_address_is_refused(value: str) -> None:
    settings: dict[str, Any] = {"kafka_bootstrap": value}
    with pytest.raises(ValidationError, match="kafka_bootstrap"):
        VolthaSettings(**settings)
