"""Many services at once: all of them, with progress, through a restart of VOLTHA and through `kill -9`."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from voltha_protos import common_pb2, voltha_pb2_grpc

from dotmac_isp.plugins.core.model import PluginContext
from dotmac_isp.plugins.network_automation.voltha_integration_plugin import (
    ServiceConfigError,
    VolthaError,
    VolthaIntegrationPlugin,
)
from dotmac_voltha_simulator import Simulator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SPEED = {"bandwidth_down": 100000, "bandwidth_up": 50000}
LOGIN = [("authorization", "Basic ZGV2X3VzZXI6ZGV2X3Bhc3M=")]


def items(serials: list[str], **more: Any) -> list[dict[str, Any]]:
    return [
        {"device_id": serial, "subscriber_id": f"sub-{number}", "service": {"s_tag": 100 + number, **SPEED, **more}}
        for number, serial in enumerate(serials)
    ]


def whom(serials: list[str]) -> list[dict[str, Any]]:
    return [{"device_id": serial, "subscriber_id": f"sub-{number}"} for number, serial in enumerate(serials)]


async def finished(plugin: Any, job: dict[str, Any]) -> dict[str, Any]:
    while not (status := await plugin.bulk_status(job["job"]))["finished"]:  # noqa: ASYNC110 - as a host would ask
        await asyncio.sleep(0.05)
    return dict(status)


async def counts(target: str, login: bool = True) -> tuple[int, int, int]:
    """Logical flows, meters, and flows on devices."""
    metadata = LOGIN if login else None
    async with grpc.aio.insecure_channel(target) as channel:
        stub = voltha_pb2_grpc.VolthaServiceStub(channel)
        [logical] = (await stub.ListLogicalDevices(Empty(), metadata=metadata)).items
        name = common_pb2.ID(id=logical.id)
        flows = (await stub.ListLogicalDeviceFlows(name, metadata=metadata)).items
        meters = (await stub.ListLogicalDeviceMeters(name, metadata=metadata)).items
        devices = (await stub.ListDevices(Empty(), metadata=metadata)).items
        lists = [await stub.ListDeviceFlows(common_pb2.ID(id=device.id), metadata=metadata) for device in devices]
    assert len({flow.id for flow in flows}) == len(flows)
    return len(flows), len(meters), sum(len(each.items) for each in lists)


async def test_a_bulk_does_all_and_tells_how_far_it_is(
    plugin: VolthaIntegrationPlugin, active_olt: Any, host: Any
) -> None:
    simulator, _ = active_olt
    serials = simulator.serial_numbers[:4]
    status = await finished(plugin, await plugin.start_bulk("add", items(serials)))
    assert (status["total"], status["succeeded"], status["failed"]) == (4, 4, 0)
    assert sorted(result["subscriber_id"] for result in status["results"]) == [f"sub-{n}" for n in range(4)]
    assert await counts(simulator.target) == (16, 2, 16)
    [event] = await host.hooks.wait_for("subscriber_bulk_finished")
    assert (event.attributes["done"], event.attributes["action"]) == (4, "add")
    assert [each["job"] for each in await plugin.list_bulks()] == [status["job"]]
    again = await finished(plugin, await plugin.start_bulk("add", items(serials)))
    assert [result["changed"] for result in again["results"]] == [False] * 4
    speeds = [{**each, "speeds": {"bandwidth_up": 7}} for each in whom(serials)]
    assert (await finished(plugin, await plugin.start_bulk("speed", speeds)))["succeeded"] == 4
    assert (await finished(plugin, await plugin.start_bulk("suspend", whom(serials))))["succeeded"] == 4
    assert await counts(simulator.target) == (0, 0, 0)
    assert (await finished(plugin, await plugin.start_bulk("restore", whom(serials))))["succeeded"] == 4
    assert await counts(simulator.target) == (16, 2, 16)
    assert (await finished(plugin, await plugin.start_bulk("remove", whom(serials))))["succeeded"] == 4
    assert await counts(simulator.target) == (0, 0, 0)


async def test_a_mistake_in_an_item_is_told_before_anything_begins(
    plugin: VolthaIntegrationPlugin, active_olt: Any
) -> None:
    simulator, _ = active_olt
    good = items(simulator.serial_numbers[:2])
    with pytest.raises(ServiceConfigError, match=r"1 of 3 items.*nothing was begun.*item 2.*s_tag"):
        await plugin.start_bulk("add", [*good, {**good[0], "service": {"s_tag": 9999, **SPEED}}])
    with pytest.raises(ServiceConfigError, match="no action 'ad'"):
        await plugin.start_bulk("ad", good)
    with pytest.raises(ServiceConfigError, match="not exactly"):
        await plugin.start_bulk("suspend", good)
    with pytest.raises(ServiceConfigError, match="no items"):
        await plugin.start_bulk("remove", [])
    with pytest.raises(VolthaError, match="list_bulks"):
        await plugin.bulk_status("nope")
    assert await counts(simulator.target) == (0, 0, 0)


async def test_one_that_cannot_be_fails_alone(plugin: VolthaIntegrationPlugin, active_olt: Any, host: Any) -> None:
    simulator, _ = active_olt
    wanted = [*items(simulator.serial_numbers[:2]), *items(["NOSUCHONU001"])]
    wanted[1]["service"] = wanted[0]["service"]
    host.change(bulk_concurrency=1)
    status = await finished(plugin, await plugin.start_bulk("add", wanted))
    errors = [result["error"] for result in status["results"] if not result["ok"]]
    assert (status["succeeded"], status["failed"]) == (1, 2)
    assert "sub-0" in errors[0]
    assert "NOSUCHONU001" in errors[1]


@pytest.mark.slow
async def test_a_restart_of_voltha_in_the_middle_of_a_bulk_loses_nothing(
    make_host: Callable[..., Any],
) -> None:
    async with Simulator(pons=4, onus=32, time_factor=0.05) as simulator:
        target = type("Where", (), {"host": "127.0.0.1", "port": simulator.port})
        host = make_host(target, reconcile="repair", reconcile_interval=0.5, bulk_concurrency=16)
        plugin = VolthaIntegrationPlugin(host)
        await plugin.activate()
        try:
            await plugin.provision_olt(simulator.olt_addresses[0])
            for serial in simulator.serial_numbers[-4:]:
                await plugin.provision_onu("BBSIM_OLT_10", None, None, serial, context=PluginContext.within(60))
            job = await plugin.start_bulk("add", items(simulator.serial_numbers))
            while (await plugin.bulk_status(job["job"]))["done"] < 20:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            await simulator.restart_core()
            status = await finished(plugin, job)
            assert (status["succeeded"], status["failed"]) == (128, 0)
            while (report := await plugin.reconcile_services())["in_order"] < 128:
                assert report["failed"] == []
            assert await counts(simulator.target, login=False) == (512, 2, 512)
            assert simulator.refused_crashes == 0
        finally:
            await plugin.deactivate()


HOST = """
    import asyncio, json, sys
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    import conftest
    from dotmac_isp.plugins.core.storage import open_storage
    from dotmac_isp.plugins.network_automation.voltha_integration_plugin import VolthaIntegrationPlugin, VolthaSettings

    async def main():
        home = Path({home!r})
        engine = await open_storage(None, home=home)
        settings = VolthaSettings(voltha_host="127.0.0.1", voltha_port={port}, reconcile_interval=0.5, bulk_concurrency=8)
        host = conftest.Host(settings, engine.scope("tenant_1", "voltha_integration"), home, "tenant_1")
        plugin = VolthaIntegrationPlugin(host)
        await plugin.activate()
        items = json.loads(Path({items!r}).read_text())
        if items:
            job = await plugin.start_bulk("add", items)
            while True:
                status = await plugin.bulk_status(job["job"])
                print(status["done"], flush=True)
                await asyncio.sleep(0.02)
        while True:
            print(json.dumps((await plugin.plan_services())["counts"]), flush=True)
            await asyncio.sleep(0.2)

    asyncio.run(main())
"""


async def host_process(tmp_path: Path, port: int, wanted: list[dict[str, Any]]) -> asyncio.subprocess.Process:
    tests = os.path.dirname(__file__)  # noqa: PTH120 - goes into a program's text
    file = tmp_path / "items.json"
    file.write_text(json.dumps(wanted))
    code = HOST.format(tests=tests, home=str(tmp_path), port=port, items=str(file))
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", textwrap.dedent(code)), stdout=asyncio.subprocess.PIPE
    )


@pytest.mark.slow
@pytest.mark.parametrize(("pons", "services"), [(2, 64), (4, 1000)], ids=["64 services", "1,000 services"])
async def test_a_host_killed_in_the_middle_leaves_nothing_twice_and_its_successor_ends_the_work(
    tmp_path: Path, pons: int, services: int
) -> None:
    async with Simulator(pons=pons, onus=services // pons, time_factor=0.05) as simulator:
        async with grpc.aio.insecure_channel(simulator.target):
            first = await host_process(tmp_path, simulator.port, [])
            assert first.stdout is not None
            await asyncio.wait_for(first.stdout.readline(), 60)
            first.kill()
            await first.wait()
        await _bring_up(simulator, services)
        wanted = items(simulator.serial_numbers)
        killed = await host_process(tmp_path, simulator.port, wanted)
        assert killed.stdout is not None
        while int(await asyncio.wait_for(killed.stdout.readline(), 60)) < services // 6:
            pass
        killed.send_signal(signal.SIGKILL)
        await killed.wait()
        flows, _, _ = await counts(simulator.target, login=False)
        assert flows < 4 * services, "it was killed in the middle"
        successor = await host_process(tmp_path, simulator.port, [])
        assert successor.stdout is not None
        try:
            while json.loads(await asyncio.wait_for(successor.stdout.readline(), 120)) != {"none": services}:
                pass
        finally:
            successor.kill()
            await successor.wait()
        assert await counts(simulator.target, login=False) == (4 * services, 2, 4 * services)
        assert simulator.refused_crashes == 0


async def _bring_up(simulator: Simulator, onus: int) -> None:
    async with grpc.aio.insecure_channel(simulator.target) as channel:
        stub = voltha_pb2_grpc.VolthaServiceStub(channel)
        from voltha_protos import device_pb2

        made = await stub.CreateDevice(device_pb2.Device(type="openolt", host_and_port=simulator.olt_addresses[0]))
        await stub.EnableDevice(common_pb2.ID(id=made.id))
        while True:
            devices = (await stub.ListDevices(Empty())).items
            if sum(device.reason == "initial-mib-downloaded" for device in devices) == onus:
                return
            await asyncio.sleep(0.05)
