"""Clients of a really started simulator, and the replay of what a real VOLTHA answered (``data/README.md``)."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from google.protobuf import empty_pb2, json_format, message_factory
from voltha_protos import (
    common_pb2,
    device_pb2,
    extensions_pb2,
    extensions_pb2_grpc,
    voltha_pb2,
    voltha_pb2_grpc,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from dotmac_voltha_simulator import Simulator

DATA = Path(__file__).parent / "data"
EMPTY = empty_pb2.Empty()
ADMIN, OPER, CONNECT = common_pb2.AdminState, common_pb2.OperStatus, common_pb2.ConnectStatus


class Client:
    """The stubs of both services, with the steps that most tests begin with."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.voltha: Any = voltha_pb2_grpc.VolthaServiceStub(channel)
        self.extension: Any = extensions_pb2_grpc.ExtensionStub(channel)

    async def devices(self) -> list[Any]:
        return list((await self.voltha.ListDevices(EMPTY)).items)

    async def device(self, serial: str) -> Any:
        found = {device.serial_number: device for device in await self.devices()}
        return found[serial]

    async def state(self, serial: str) -> str:
        device = await self.device(serial)
        admin, oper = ADMIN.Types.Name(device.admin_state), OPER.Types.Name(device.oper_status)
        return f"{admin}/{oper}/{CONNECT.Types.Name(device.connect_status)} {device.reason}".strip()

    async def provision_olt(self, address: str) -> str:
        device = await self.voltha.CreateDevice(device_pb2.Device(type="openolt", host_and_port=address))
        await self.voltha.EnableDevice(common_pb2.ID(id=device.id))
        return str(device.id)

    async def until(self, reached: Callable[[list[Any]], bool], seconds: float = 10) -> list[Any]:
        """Wait until the list of devices looks as wanted; fails with the list when it does not."""
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            devices = await self.devices()
            if reached(devices):
                return devices
            if asyncio.get_running_loop().time() > deadline:
                shown = [(device.serial_number, device.oper_status, device.reason) for device in devices]
                pytest.fail(f"the devices did not come to what was waited for: {shown}")
            await asyncio.sleep(0.005)

    async def until_state(self, serial: str, state: str, seconds: float = 10) -> None:
        deadline = asyncio.get_running_loop().time() + seconds
        seen = ""
        while asyncio.get_running_loop().time() < deadline:
            try:
                seen = await self.state(serial)
            except KeyError:
                seen = "not there"
            if seen == state:
                return
            await asyncio.sleep(0.005)
        pytest.fail(f"{serial} is {seen!r}, not {state!r}")

    async def ready(self, simulator: Simulator, olt: int = 0) -> tuple[str, str]:
        """Bring an OLT and all its ONUs up; answers its device id and its logical device's."""
        address = simulator.olt_addresses[olt]
        olt_id = await self.provision_olt(address)
        wanted = len(simulator._stack.hardware[olt].all_onus())

        def up(devices: list[Any]) -> bool:
            mine = [device for device in devices if device.parent_id == olt_id]
            return len(mine) == wanted and all(device.reason == "initial-mib-downloaded" for device in mine)

        await self.until(up)
        await asyncio.sleep(0.03 * simulator._stack.timers.factor + 0.005)  # the UNIs become LIVE
        olt_device = await self.voltha.GetDevice(common_pb2.ID(id=olt_id))
        return olt_id, str(olt_device.parent_id)


@pytest.fixture
async def client(voltha_simulator: Simulator) -> AsyncIterator[Client]:
    """A client of ``voltha_simulator``."""
    async with grpc.aio.insecure_channel(voltha_simulator.target) as channel:
        yield Client(channel)


async def refused(call: Any) -> tuple[str, str]:
    """Status name and text of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code().name, caught.value.details() or ""


@pytest.fixture(name="refused")
def refused_fixture() -> Callable[[Any], Any]:
    """``refused(call)``: status name and text of a call that must fail."""
    return refused


class Replay:
    """Sends the requests of a recording and notes where the answers differ."""

    def __init__(self, simulator: Simulator, client: Client) -> None:
        self.simulator = simulator
        self.client = client
        self.ids: dict[str, str] = {}
        self.differences: list[str] = []
        self.failed: list[tuple[int, str]] = []
        self.history: dict[str, list[str]] = {}
        self._watch_reasons()

    def _watch_reasons(self) -> None:
        stack, history = self.simulator._stack, self.history
        original = stack.set_state

        def watched(record: Any, **states: Any) -> None:
            original(record, **states)
            reasons = history.setdefault(record.message.serial_number, [])
            if not reasons or reasons[-1] != record.message.reason:
                reasons.append(record.message.reason)

        stack.set_state = watched  # type: ignore[method-assign]

    async def start(self) -> None:
        """Bring up OLT and ONUs, and read the change events as a controller does."""
        olt, logical = await self.client.ready(self.simulator)
        self.ids = {"$OLT": olt, "$LD": logical}
        for device in await self.client.devices():
            self.ids["$" + device.serial_number] = device.id

    async def run(self, name: str) -> None:
        """All rows of ``data/<name>.jsonl``, at the time factor of the simulator."""
        rows = [json.loads(line) for line in (DATA / f"{name}.jsonl").read_text().splitlines()]
        reader = asyncio.create_task(self._read_change_events())
        await self.start()
        self.history.clear()
        subscription = self.simulator.subscribe()
        before = rows[0]["t"]
        for row in rows:
            await asyncio.sleep(max(0.0, row["t"] - before) * self.simulator._stack.timers.factor)
            before = row["t"]
            await self._row(row)
        await self._last_failures(rows)
        self._compare_failures(rows)
        self._compare_reasons(rows)
        subscription.close()
        reader.cancel()

    async def _last_failures(self, rows: list[dict[str, Any]]) -> None:
        """What was recorded last may still be on its way; more than was recorded must not come."""
        wanted = sum("flow_mod_failed" in row for row in rows)
        for _ in range(500):
            if len(self.failed) >= wanted:
                break
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.02)

    async def _read_change_events(self) -> None:
        async for event in self.client.voltha.ReceiveChangeEvents(EMPTY):
            if event.HasField("error"):
                self.failed.append((event.error.header.xid, base64.b64encode(event.error.data).decode()))

    async def _row(self, row: dict[str, Any]) -> None:
        if "call" in row:
            await self._call(row)
        elif "list" in row:
            await self._list(row)
        elif "note" in row:
            await self._deed(row["note"])

    async def _deed(self, note: str) -> None:
        """What was done to the hardware or the stack at this place."""
        last = note.rsplit(maxsplit=1)[-1]
        adapter = "openolt" if "openolt" in note else "brcm_openomci_onu"
        deeds: dict[str, Callable[[], Any]] = {
            "onu shutdown": lambda: self.simulator.power_off(last),
            "onu poweron": lambda: self.simulator.power_on(last),
            "olt stopServer": self.simulator.cut_olt_link,
            "olt startServer": self.simulator.restore_olt_link,
            "stop open": lambda: self.simulator.stop_adapter(adapter),
            "start open": lambda: self.simulator.start_adapter(adapter),
        }
        for words, deed in deeds.items():
            if words in note:
                await deed()

    def _own(self, value: Any) -> Any:
        text = json.dumps(value)
        for placeholder, own in self.ids.items():
            text = text.replace(placeholder, own)
        return json.loads(text)

    async def _call(self, row: dict[str, Any]) -> None:
        method = voltha_pb2.DESCRIPTOR.services_by_name["VolthaService"].methods_by_name[row["call"]]
        request = json_format.ParseDict(
            self._own(row["request"]), message_factory.GetMessageClass(method.input_type)(), ignore_unknown_fields=False
        )
        try:
            await getattr(self.client.voltha, row["call"])(request)
            found = ("OK", "")
        except grpc.aio.AioRpcError as error:
            found = (error.code().name, error.details() or "")
        expected = (row["status"], self._own(row.get("details", "")))
        if "ends_the_adapter" in row:
            if found[0] != "INVALID_ARGUMENT" or not found[1].startswith("the real VOLTHA would crash: "):
                self.differences.append(f"{row['tag']} was not refused: {found}")
        elif found != expected:
            self.differences.append(f"{row.get('tag', row['call'])}: {found[0]} {found[1]!r}, recorded {expected}")

    async def _list(self, row: dict[str, Any]) -> None:
        await asyncio.sleep(0.004)
        own = self._own(row["id"])
        answer = await getattr(self.client.voltha, row["list"])(common_pb2.ID(id=own))
        if row["list"].endswith("Meters"):
            found = {
                str(item.config.meter_id): [[band.rate, band.burst_size] for band in item.config.bands]
                for item in answer.items
            }
        else:
            found = {str(item.id): str(item.cookie) for item in answer.items}
        if found != row["items"]:
            self.differences.append(f"{row['t']} {row['list']} {row['id']}: {found}, recorded {row['items']}")
        if "reason" in row:
            device = await self.client.voltha.GetDevice(common_pb2.ID(id=own))
            if device.reason != row["reason"]:
                self.differences.append(f"{row['t']} reason of {row['id']}: {device.reason}, recorded {row['reason']}")

    def _compare_failures(self, rows: list[dict[str, Any]]) -> None:
        recorded = Counter((row["flow_mod_failed"], row["data"]) for row in rows if "flow_mod_failed" in row)
        if recorded != Counter(self.failed):
            self.differences.append(f"FLOW_MOD_FAILED: {sorted(self.failed)}, recorded {sorted(recorded)}")
        told = Counter(
            event.context["flow-id"] for event in self.simulator.events if event.name == "UpdateLogicalDeviceFlowTable"
        )
        expected = Counter(row["flow"] for row in rows if row.get("flow"))
        if told != expected:
            self.differences.append(f"RPC events: {dict(told)}, recorded {dict(expected)}")

    def _compare_reasons(self, rows: list[dict[str, Any]]) -> None:
        """Every recorded reason comes, in the recorded order; polling may have missed some between them."""
        for serial in {row["state"] for row in rows if "state" in row}:
            reasons = [row["is"][3] for row in rows if row.get("state") == serial and row["is"][3]]
            recorded = [reason for reason, _ in groupby(reasons)]
            ours = iter(self.history.get(serial, []))
            if not all(reason in ours for reason in recorded):
                self.differences.append(f"reasons of {serial}: {self.history.get(serial)}, recorded {recorded}")


@pytest.fixture
def replay(voltha_simulator: Simulator, client: Client) -> Replay:
    """A replay against ``voltha_simulator``."""
    return Replay(voltha_simulator, client)


@pytest.fixture
def extension_request() -> Callable[..., Any]:
    """``extension_request(target, kind={...})``: a request of the Extension service from plain values."""

    def make(target: str, **request: Any) -> Any:
        body = {"targetId": target, "request": request}
        return json_format.ParseDict(body, extensions_pb2.SingleGetValueRequest())

    return make
