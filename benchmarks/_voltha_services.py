"""What seeing costs: services brought up with verification against a bare loop, and many at once against one after another.

A simulated VOLTHA with the real system's times runs in a process of its own; a host with the VOLTHA plugin and its storage on disk,
inline, in this one. The bare loop sends the same meters and flows, each call awaited, and looks at nothing afterwards. Everything is removed
again between the rounds, which is not measured.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

from ._measure import Figure, Sides, median_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["figures"]

PONS, ONUS = 16, 64
ROUNDS = 5
ALL = PONS * ONUS
IN_TURN = 48
_SPEED = {"bandwidth_down": 100_000, "bandwidth_up": 50_000}
_TENANT = "bench"


def figures() -> list[Figure]:
    taken = asyncio.run(_measured())
    verified, in_bulk = taken["verified"], taken["bulk"]
    return [
        Figure(
            name="voltha_services",
            what=f"{ALL} subscribers provisioned and verified, {taken['at_once']} at once",
            against="a bare loop that sends the same messages",
            unit="ms/subscriber",
            sides=verified,
            goal=1 / 0.7,
            notes={
                "subscribers/s with verification": round(1000 / median_of(verified.ours)),
                "subscribers/s, bare loop": round(1000 / median_of(verified.theirs)),
                "subscribers/s, bare, 64 at once": round(1000 / median_of(taken["bare_at_once"])),
                "failures": taken["failures"],
            },
        ),
        Figure(
            name="voltha_services",
            what=f"{ALL} services in bulk",
            against=f"one after another ({IN_TURN} of them, until the ONU says pushed)",
            unit="ms/subscriber",
            sides=in_bulk,
            goal=1 / 3.5,
            notes={
                "times faster": round(median_of(in_bulk.theirs) / median_of(in_bulk.ours), 1),
                "subscribers/s in bulk": round(1000 / median_of(in_bulk.ours)),
                "subscribers/s one after another": round(1000 / median_of(in_bulk.theirs)),
                "failures": taken["failures"],
            },
        ),
    ]


async def _measured() -> dict[str, Any]:
    from dotmac_isp.plugins.core.manager import PluginManager

    process, where = await _simulator()
    try:
        with tempfile.TemporaryDirectory() as home:
            os.environ |= {"DOTMAC_HOME": home, "VOLTHA_USERNAME": "user", "VOLTHA_PASSWORD": "password"}
            async with PluginManager(environment="development") as plugins:
                port = int(where["grpc"].rpartition(":")[2])
                settings = {"voltha_host": "127.0.0.1", "voltha_port": port, "reconcile": "off", "flow_timeout": 25}
                await plugins.load("voltha_integration", tenant_id=_TENANT, configuration=settings)
                await plugins.start_plugin("voltha_integration", tenant_id=_TENANT)
                handle = plugins.get("voltha_integration", tenant_id=_TENANT)
                await handle.provision_olt(where["olts"][0])
                bench = _Bench(plugins, handle, where)
                await bench.await_onus()
                return await bench.run()
    finally:
        process.terminate()
        await process.wait()


async def _simulator() -> tuple[asyncio.subprocess.Process, dict[str, Any]]:
    arguments = ("--listen", "127.0.0.1:0", "--pons", str(PONS), "--onus", str(ONUS), "--json")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from dotmac_voltha_simulator._cli import main; main()", *arguments),
        stdout=asyncio.subprocess.PIPE,
    )
    if process.stdout is None:
        raise RuntimeError("the simulator has no output")
    return process, json.loads(await process.stdout.readline())


class _Bench:
    """Both sides, on one VOLTHA."""

    def __init__(self, plugins: Any, handle: Any, where: dict[str, Any]) -> None:
        self._plugins = plugins
        self._handle = handle
        self._where = where
        self._serials: list[str] = []
        self._failures = 0

    async def await_onus(self) -> None:
        while True:
            devices = await self._handle.discover_devices()
            ready = [each["serial_number"] for each in devices if each["type"] == "onu" and each["status"] == "active"]
            if len(ready) == ALL:
                self._serials = sorted(ready)
                await asyncio.sleep(1)
                return
            await asyncio.sleep(0.5)

    async def run(self) -> dict[str, Any]:
        await self._bulk("add", 64), await self._bulk("remove", 64)  # warm
        verified = await _in_turn(self._verified, self._bare, ALL)
        at_once = [await self._bare(ALL, at_once=64) for _ in range(ROUNDS)]
        bulk = await _in_turn(self._verified, self._one_by_one, ALL)
        return {
            "verified": verified,
            "bulk": bulk,
            "bare_at_once": at_once,
            "failures": self._failures,
            "at_once": 64,
        }

    def _items(self, count: int) -> list[dict[str, Any]]:
        return [
            {"device_id": serial, "subscriber_id": f"sub-{number}", "service": {"s_tag": 1 + number, **_SPEED}}
            for number, serial in enumerate(self._serials[:count])
        ]

    async def _bulk(self, action: str, count: int) -> float:
        """Milliseconds for each subscriber."""
        items = self._items(count)
        if action != "add":
            items = [{key: item[key] for key in ("device_id", "subscriber_id")} for item in items]
        started = time.perf_counter()
        job = await self._handle.start_bulk(action, items)
        while not (status := await self._handle.bulk_status(job["job"], count))["finished"]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        taken = (time.perf_counter() - started) * 1000 / count
        self._failures += status["failed"]
        return taken

    async def _verified(self, count: int) -> float:
        taken = await self._bulk("add", count)
        await self._bulk("remove", count)
        return taken

    async def _one_by_one(self, count: int) -> float:
        """Send one subscriber's flows, wait until its ONU says that they were pushed, then the next, as the recordings did."""
        import grpc
        from voltha_protos import common_pb2, voltha_pb2_grpc

        del count
        devices = {each["serial_number"]: each["device_id"] for each in await self._handle.discover_devices()}
        async with grpc.aio.insecure_channel(self._where["grpc"]) as channel:
            stub = voltha_pb2_grpc.VolthaServiceStub(channel)
            logical, ports = await _ports(stub)
            await _send_meters(stub, logical)
            wanted = [(devices[serial], ports[f"{serial}-1"]) for serial in self._serials[-IN_TURN:]]
            started = time.perf_counter()
            for number, (device, port) in enumerate(wanted):
                for update in _updates(logical, port, 1 + number):
                    await stub.UpdateLogicalDeviceFlowTable(update)
                while (await stub.GetDevice(common_pb2.ID(id=device))).reason != "omci-flows-pushed":  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
            taken = (time.perf_counter() - started) * 1000 / IN_TURN
            await self._take_out(stub, logical, [port for _, port in wanted])
        return taken

    async def _take_out(self, stub: Any, logical: str, ports: list[int]) -> None:
        await asyncio.sleep(1)  # what was set off comes to its end
        for number, port in enumerate(ports):
            for update in reversed(_updates(logical, port, 1 + number)):
                update.flow_mod.command = 4
                await stub.UpdateLogicalDeviceFlowTable(update)
        await _send_meters(stub, logical, delete=True)

    async def _bare(self, count: int, at_once: int = 1) -> float:
        """Send what the plugin would send, and look at nothing."""
        import grpc
        from voltha_protos import voltha_pb2_grpc

        async with grpc.aio.insecure_channel(self._where["grpc"]) as channel:
            stub = voltha_pb2_grpc.VolthaServiceStub(channel)
            logical, ports = await _ports(stub)
            wanted = [ports[f"{serial}-1"] for serial in self._serials[:count]]
            started = time.perf_counter()
            left = iter(enumerate(wanted))
            await _send_meters(stub, logical)

            async def worker() -> None:
                for number, port in left:
                    for update in _updates(logical, port, 1 + number):
                        await stub.UpdateLogicalDeviceFlowTable(update)

            await asyncio.gather(*(worker() for _ in range(at_once)))
            taken = (time.perf_counter() - started) * 1000 / count
            await self._take_out(stub, logical, wanted)
        return taken


async def _in_turn(
    ours: Callable[[int], Awaitable[float]], theirs: Callable[[int], Awaitable[float]], count: int
) -> Sides:
    """Both sides in turn, each round beginning with the other one than the last."""
    taken: tuple[list[float], list[float]] = ([], [])
    for number in range(ROUNDS):
        for side in (0, 1) if number % 2 else (1, 0):
            taken[side].append(await (ours, theirs)[side](count))
    return Sides(tuple(taken[0]), tuple(taken[1]))


async def _ports(stub: Any) -> tuple[str, dict[str, int]]:
    from google.protobuf.empty_pb2 import Empty
    from voltha_protos import common_pb2

    logical = (await stub.ListLogicalDevices(Empty())).items[0].id
    listed = (await stub.ListLogicalDevicePorts(common_pb2.ID(id=logical))).items
    return logical, {port.ofp_port.name: port.ofp_port.port_no for port in listed}


_UP, _DOWN = 1, 2


async def _send_meters(stub: Any, logical: str, *, delete: bool = False) -> None:
    from voltha_protos import openflow_13_pb2 as of

    for number, rate in ((_UP, 50_000), (_DOWN, 100_000)):
        band = of.ofp_meter_band_header(type=of.OFPMBT_DROP, rate=rate, burst_size=rate // 10)
        command = of.OFPMC_DELETE if delete else of.OFPMC_ADD
        meter = of.ofp_meter_mod(command=command, flags=5, meter_id=number, bands=[band])
        await stub.UpdateLogicalDeviceMeterTable(of.MeterModUpdate(id=logical, meter_mod=meter))


def _updates(logical: str, uni: int, tag: int) -> list[Any]:
    """The four flows of section 12.1, made without the plugin."""
    from voltha_protos import openflow_13_pb2 as of

    nni, any_vlan, profile = 16777216, 4096, 64 << 32
    down = (any_vlan << 48) + profile + uni

    def field(**values: Any) -> Any:
        return of.ofp_oxm_field(oxm_class=of.OFPXMC_OPENFLOW_BASIC, ofb_field=of.ofp_oxm_ofb_field(**values))

    def vlan(value: int, mask: int | None = None) -> Any:
        more = {} if mask is None else {"has_mask": True, "vlan_vid_mask": mask}
        return field(type=of.OFPXMT_OFB_VLAN_VID, vlan_vid=value, **more)

    def flow(table: int, port: int, match: list[Any], meter: int, write: int, actions: list[Any], *, goto: bool) -> Any:
        steps = [of.ofp_instruction(type=1, goto_table=of.ofp_instruction_goto_table(table_id=1))] if goto else []
        steps += [
            of.ofp_instruction(type=6, meter=of.ofp_instruction_meter(meter_id=meter)),
            of.ofp_instruction(type=2, write_metadata=of.ofp_instruction_write_metadata(metadata=write)),
        ]
        if actions:
            steps.append(of.ofp_instruction(type=4, actions=of.ofp_instruction_actions(actions=actions)))
        fields = [field(type=of.OFPXMT_OFB_IN_PORT, port=port), *match]
        mod = of.ofp_flow_mod(
            cookie=(uni << 8) | (table << 1) | (port == nni) | 1 << 40,
            table_id=table,
            priority=1000,
            match=of.ofp_match(type=of.OFPMT_OXM, oxm_fields=fields),
            instructions=steps,
        )
        return of.FlowTableUpdate(id=logical, flow_mod=mod)

    output = [of.ofp_action(type=0, output=of.ofp_action_output(port=port, max_len=65535)) for port in (nni, uni)]
    push = of.ofp_action(type=17, push=of.ofp_action_push(ethertype=0x8100))
    set_tag = of.ofp_action(type=25, set_field=of.ofp_action_set_field(field=vlan(4096 | tag)))
    everything = vlan(any_vlan, any_vlan)
    own = field(type=of.OFPXMT_OFB_METADATA, table_metadata=uni)
    return [
        flow(0, uni, [everything], _UP, profile, [], goto=True),
        flow(1, uni, [everything], _UP, profile, [push, set_tag, output[0]], goto=False),
        flow(0, nni, [vlan(4096 | tag)], _DOWN, down, [of.ofp_action(type=18)], goto=True),
        flow(1, nni, [own, everything], _DOWN, down, [output[1]], goto=False),
    ]
