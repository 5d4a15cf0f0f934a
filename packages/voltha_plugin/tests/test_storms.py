"""What goes wrong in the middle of a bulk: afterwards wish and VOLTHA agree, nothing is there twice, and the log says what happened."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import Counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest
from google.protobuf.empty_pb2 import Empty
from voltha_protos import common_pb2, voltha_pb2_grpc

from dotmac_isp.plugins.core.model import PluginContext
from dotmac_isp.plugins.network_automation.voltha_integration_plugin import VolthaIntegrationPlugin
from dotmac_voltha_simulator import Simulator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Storm = Callable[[Simulator, VolthaIntegrationPlugin], Awaitable[None]]

SPEED = {"bandwidth_down": 100000, "bandwidth_up": 50000}
pytestmark = pytest.mark.slow


class Field:
    """A simulator, a plugin that repairs, and VOLTHA as somebody else sees it."""

    def __init__(self, simulator: Simulator, plugin: VolthaIntegrationPlugin, stub: Any) -> None:
        self.simulator, self.plugin, self._stub = simulator, plugin, stub

    async def bring_up(self) -> None:
        await self.plugin.provision_olt(self.simulator.olt_addresses[0], context=PluginContext.within(120))
        await self.until(self._all_ready, 120)

    async def _all_ready(self) -> bool:
        devices = (await self._stub.ListDevices(Empty())).items
        ready = sum(device.reason == "initial-mib-downloaded" for device in devices)
        return bool(ready == len(self.simulator.serial_numbers))

    async def begin(self, services: int) -> dict[str, Any]:
        """A bulk, well under way."""
        items = [
            {"device_id": serial, "subscriber_id": f"sub-{number}", "service": {"s_tag": 100 + number, **SPEED}}
            for number, serial in enumerate(self.simulator.serial_numbers[:services])
        ]
        job = await self.plugin.start_bulk("add", items)

        async def under_way() -> bool:
            return bool((await self.plugin.bulk_status(job["job"]))["done"] >= services // 8)

        await self.until(under_way, 60)
        return job

    async def until(self, look: Callable[[], Awaitable[bool]], limit: float) -> None:
        end = time.monotonic() + limit
        while not await look():
            assert time.monotonic() < end, f"it was not so after {limit} s"
            await asyncio.sleep(0.1)

    async def agrees(self, job: dict[str, Any], services: int) -> None:
        """The bulk ends; what failed in the storm is asked for again; then all of it is there, once."""

        async def ended() -> bool:
            return bool((await self.plugin.bulk_status(job["job"]))["finished"])

        await self.until(ended, 240)
        missing = services - len(await self.plugin.list_subscribers())
        if missing:
            known = {each["subscriber_id"] for each in await self.plugin.list_subscribers()}
            items = [
                {"device_id": serial, "subscriber_id": f"sub-{number}", "service": {"s_tag": 100 + number, **SPEED}}
                for number, serial in enumerate(self.simulator.serial_numbers[:services])
                if f"sub-{number}" not in known
            ]
            job = await self.plugin.start_bulk("add", items)
            await self.until(ended, 240)

        async def in_order() -> bool:
            report = await self.plugin.reconcile_services(remove_orphans=True)
            return bool(report["in_order"] == services)

        await self.until(in_order, 240)
        assert (await self.plugin.plan_services())["steps"] == []
        await self.nothing_twice(services)

    async def nothing_twice(self, services: int) -> None:
        [logical] = (await self._stub.ListLogicalDevices(Empty())).items
        flows = (await self._stub.ListLogicalDeviceFlows(common_pb2.ID(id=logical.id))).items
        assert len(flows) == 4 * services
        assert len({flow.id for flow in flows}) == len(flows)
        cookies = Counter(flow.cookie for flow in flows)
        assert not [cookie for cookie, times in cookies.items() if times > 1]
        assert len((await self._stub.ListLogicalDeviceMeters(common_pb2.ID(id=logical.id))).items) == 2
        devices = (await self._stub.ListDevices(Empty())).items
        lists = [await self._stub.ListDeviceFlows(common_pb2.ID(id=device.id)) for device in devices]
        assert sum(len(each.items) for each in lists) == 4 * services
        assert self.simulator.refused_crashes == 0


@pytest.fixture
async def field(make_host: Callable[..., Any], request: pytest.FixtureRequest) -> AsyncIterator[Field]:
    onus = getattr(request, "param", 16)
    async with (
        Simulator(pons=4, onus=onus, time_factor=0.05) as simulator,
        grpc.aio.insecure_channel(simulator.target) as channel,
    ):
        where = SimpleNamespace(host="127.0.0.1", port=simulator.port)
        host = make_host(where, reconcile="repair", reconcile_interval=0.5, bulk_concurrency=8)
        plugin = VolthaIntegrationPlugin(host)
        await plugin.activate()
        try:
            yield Field(simulator, plugin, voltha_pb2_grpc.VolthaServiceStub(channel))
        finally:
            await plugin.deactivate()
            for task in host.tasks:
                task.cancel()


async def answers_are_lost(simulator: Simulator, _: VolthaIntegrationPlugin) -> None:
    for rpc in ("UpdateLogicalDeviceFlowTable", "UpdateLogicalDeviceMeterTable", "ListDeviceFlows"):
        simulator.faults.lose_answers(rpc, 12)


async def the_olt_adapter_restarts(simulator: Simulator, _: VolthaIntegrationPlugin) -> None:
    await _restart(simulator, "openolt")


async def the_onu_adapter_restarts(simulator: Simulator, _: VolthaIntegrationPlugin) -> None:
    await _restart(simulator, "brcm_openomci_onu")


async def _restart(simulator: Simulator, adapter: str) -> None:
    await simulator.stop_adapter(adapter)
    await asyncio.sleep(0.3)
    await simulator.start_adapter(adapter)


async def the_core_restarts(simulator: Simulator, _: VolthaIntegrationPlugin) -> None:
    await simulator.restart_core()


async def onus_flap(simulator: Simulator, _: VolthaIntegrationPlugin) -> None:
    await asyncio.gather(*(simulator.flap(serial, 2.0) for serial in simulator.serial_numbers[::4]))


async def the_olt_reboots(_: Simulator, plugin: VolthaIntegrationPlugin) -> None:
    await plugin.reboot_device("BBSIM_OLT_10", wait=False)


#: Each with what the log says of it.
STORMS = {
    answers_are_lost: "had no answer and is asked again",
    the_olt_adapter_restarts: "adapter-connection-down-for-",
    the_onu_adapter_restarts: "adapter-connection-down-for-",
    the_core_restarts: "is not as it should be: 4 of its 4 flows not in VOLTHA",
    onus_flap: "is not as it should be: its ONU came back without its flows",
    the_olt_reboots: "is as it should be again (reinstall)",
}


@pytest.mark.parametrize("storm", STORMS, ids=[each.__name__ for each in STORMS])
async def test_after_a_storm_wish_and_voltha_agree(
    field: Field, storm: Storm, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await field.bring_up()
    job = await field.begin(64)
    await storm(field.simulator, field.plugin)
    await field.agrees(job, 64)
    said = {record.getMessage() for record in caplog.records}
    assert any(STORMS[storm] in line for line in said), said
    assert any(line.startswith(f"bulk {job['job']}: 64 done") for line in said), said


@pytest.mark.parametrize("field", [250], indirect=True)
async def test_a_restart_of_voltha_in_the_middle_of_a_thousand_services_loses_none(
    field: Field, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await field.bring_up()
    job = await field.begin(1000)
    await field.simulator.restart_core()
    await field.agrees(job, 1000)
    assert re.search(
        r"is not as it should be: \d of its 4 flows not in VOLTHA|VOLTHA took back \d of its flows", caplog.text
    )
    assert f"bulk {job['job']}: 1000 done" in caplog.text
