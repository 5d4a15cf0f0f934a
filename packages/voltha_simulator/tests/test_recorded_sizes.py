"""64 and 256 ONUs as measured on a real VOLTHA: what is there after many services at once, which events come, how an OLT goes.

The numbers are the `check`, `events` and `during DeleteDevice` of the recordings `timing_64` and `timing_256`: the same services put
in and taken out with 1, 16 and 64 calls at once. Seconds are not compared.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import empty_pb2, json_format
from voltha_protos import common_pb2
from voltha_protos import openflow_13_pb2 as of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from dotmac_voltha_simulator import Simulator

EMPTY = empty_pb2.Empty()
ROWS = [json.loads(line) for line in (Path(__file__).parent / "data" / "flow_replace.jsonl").read_text().splitlines()]
SERVICE = [
    row["request"] for row in ROWS if (row.get("tag"), row.get("call")) == ("good", "UpdateLogicalDeviceFlowTable")
]
METERS = [row["request"] for row in ROWS if row.get("call") == "UpdateLogicalDeviceMeterTable"][:2]
PONS = 4
#: What the recorded service of port 256 with tag 900 has in its flows.
UNI, TAGGED, DOWNSTREAM = 256, 4096 | 900, 0x1000004000000100
#: For each ONU, when the work is done.
ADDED = {"logical": 4, "olt": 2, "onu": 2, "reason": "omci-flows-pushed"}
REMOVED = {"logical": 0, "olt": 0, "onu": 0, "reason": "omci-flows-deleted"}


def identity(value: str) -> Any:
    return common_pb2.ID(id=value)


def service(logical: str, port: int, number: int, command: str) -> list[Any]:
    """The recorded service's four flows, for another port and tag."""
    text = json.dumps(SERVICE)
    for old, new in (
        (f'"port": {UNI}', f'"port": {port}'),
        (f'"table_metadata": "{UNI}"', f'"table_metadata": "{port}"'),
        (f'"metadata": "{DOWNSTREAM}"', f'"metadata": "{DOWNSTREAM - UNI + port}"'),
        (f'"vlan_vid": {TAGGED}', f'"vlan_vid": {4096 + number}'),
    ):
        assert old in text
        text = text.replace(old, new)
    made = [json_format.ParseDict({**request, "id": logical}, of.FlowTableUpdate()) for request in json.loads(text)]
    for update in made:
        update.flow_mod.cookie += number << 32
        update.flow_mod.command = of.ofp_flow_mod_command.Value(command)
    # Taken out in the opposite order, as in the recordings of single services.
    return made if command == "OFPFC_ADD" else made[::-1]


class Network:
    """A stack with so many ONUs, and what is counted on it."""

    def __init__(self, client: Any, onus: int, olt: str, logical: str) -> None:
        self._voltha, self._client, self._onus, self.olt, self.logical = client.voltha, client, onus, olt, logical
        self._ports: list[int] = []

    async def begin(self) -> None:
        for meter in METERS:
            update = json_format.ParseDict({**meter, "id": self.logical}, of.MeterModUpdate())
            await self._voltha.UpdateLogicalDeviceMeterTable(update)
        listed = (await self._voltha.ListLogicalDevicePorts(identity(self.logical))).items
        self._ports = sorted(port.ofp_port.port_no for port in listed if not port.root_port)

    async def all_at_once(self, at_once: int, command: str) -> None:
        left = iter(enumerate(self._ports, start=1))

        async def worker() -> None:
            for number, port in left:
                for update in service(self.logical, port, number, command):
                    await self._voltha.UpdateLogicalDeviceFlowTable(update)

        await asyncio.gather(*(worker() for _ in range(at_once)))

    async def becomes(self, each: dict[str, Any]) -> None:
        wanted = {
            "logical": each["logical"] * self._onus,
            "olt": each["olt"] * self._onus,
            "onus": {each["onu"]: self._onus},
            "reasons": {each["reason"]: self._onus},
        }
        found: dict[str, Any] = {}
        for _ in range(200):
            if (found := await self._counted()) == wanted:
                return
            await asyncio.sleep(0.05)
        assert found == wanted

    async def _counted(self) -> dict[str, Any]:
        onus = [device for device in await self._client.devices() if device.id != self.olt]
        lists = [await self._voltha.ListDeviceFlows(identity(device.id)) for device in onus]
        return {
            "logical": len((await self._voltha.ListLogicalDeviceFlows(identity(self.logical))).items),
            "olt": len((await self._voltha.ListDeviceFlows(identity(self.olt))).items),
            "onus": dict(Counter(len(one.items) for one in lists)),
            "reasons": dict(Counter(device.reason for device in onus)),
        }


@contextlib.asynccontextmanager
async def read_change_events(client: Any) -> AsyncIterator[None]:
    async def read() -> None:
        async for _ in client.voltha.ReceiveChangeEvents(EMPTY):
            pass

    reading = asyncio.create_task(read())
    try:
        yield
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


@pytest.mark.voltha_simulator(olts=1, pons=PONS, onus=16, time_factor=0.02)
async def test_sixty_four_onus_go_through_the_measured_counts(voltha_simulator: Simulator, client: Any) -> None:
    await _measured_life(voltha_simulator, client, 64, at_once=(1, 16, 64))


@pytest.mark.slow
@pytest.mark.voltha_simulator(olts=1, pons=PONS, onus=64, time_factor=0.02)
async def test_two_hundred_fifty_six_onus_go_through_the_measured_counts(
    voltha_simulator: Simulator, client: Any
) -> None:
    await _measured_life(voltha_simulator, client, 256, at_once=(16, 64))


async def _measured_life(simulator: Simulator, client: Any, onus: int, *, at_once: tuple[int, ...]) -> None:
    network = Network(client, onus, *await client.ready(simulator))
    await network.begin()
    for number in at_once:
        await network.all_at_once(number, "OFPFC_ADD")
        await network.becomes(ADDED)
        await network.all_at_once(number, "OFPFC_DELETE_STRICT")
        await network.becomes(REMOVED)
    await network.all_at_once(64, "OFPFC_ADD")
    await network.becomes(ADDED)
    names = Counter(event.name for event in simulator.events)
    assert names["ONU_DISCOVERY_RAISE_EVENT"] == names["ONU_ACTIVATED_RAISE_EVENT"] == onus
    assert names["OLT_PON_INTERFACE_DOWN_CLEAR_EVENT"] == PONS
    assert names["OLT_DOWN_INDICATION_CLEAR_EVENT"] == names["OLT_COMMUNICATION_FAILURE_CLEAR_EVENT"] == 1

    deletion = asyncio.ensure_future(client.voltha.DeleteDevice(identity(network.olt)))
    await client.until(lambda devices: len(devices) == 1)
    for _ in range(200):
        if not (await client.voltha.ListLogicalDevices(EMPTY)).items:
            break
        await asyncio.sleep(0.01)
    assert (await client.voltha.ListLogicalDevices(EMPTY)).items == []
    done, _ = await asyncio.wait([deletion], timeout=0.3)
    assert not done, "nobody reads the change events"
    async with read_change_events(client):
        await asyncio.wait_for(deletion, 5)
    assert await client.devices() == []
