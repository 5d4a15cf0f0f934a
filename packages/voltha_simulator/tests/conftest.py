"""Clients of a really started simulator."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from google.protobuf import empty_pb2, json_format
from voltha_protos import (
    common_pb2,
    device_pb2,
    extensions_pb2,
    extensions_pb2_grpc,
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


@pytest.fixture
def reasons(voltha_simulator: Simulator) -> dict[str, list[str]]:
    """The reasons that each device goes through from now on, by serial number."""
    stack, history = voltha_simulator._stack, defaultdict[str, list[str]](list)
    original = stack.set_state

    def watched(record: Any, **states: Any) -> None:
        original(record, **states)
        found = history[record.message.serial_number]
        if found[-1:] != [record.message.reason]:
            found.append(record.message.reason)

    stack.set_state = watched  # type: ignore[method-assign]
    return history


@pytest.fixture
def extension_request() -> Callable[..., Any]:
    """``extension_request(target, kind={...})``: a request of the Extension service from plain values."""

    def make(target: str, **request: Any) -> Any:
        body = {"targetId": target, "request": request}
        return json_format.ParseDict(body, extensions_pb2.SingleGetValueRequest())

    return make
