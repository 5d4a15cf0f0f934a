"""VOLTHA behind a network that loses answers and an adapter that refuses flows: a proxy between plugin and simulator makes both."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from voltha_protos import openflow_13_pb2 as of

from dotmac_isp.plugins.network_automation.voltha_integration_plugin import (
    FlowRejectedError,
    VolthaError,
    VolthaIntegrationPlugin,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

SERVICE = {"s_tag": 900, "bandwidth_down": 100000, "bandwidth_up": 50000}

#: What becomes of a request: forwarded; carried out but the answer lost; said to be done but not; refused.
Verdict = str


class Proxy(grpc.GenericRpcHandler):
    """Hands bytes on, as `judge(rpc, request)` says."""

    def __init__(self, upstream: grpc.aio.Channel) -> None:
        self._upstream = upstream
        self.judge: Callable[[str, bytes], Verdict] = lambda rpc, request: "forward"
        self.seen: list[str] = []

    def service(self, details: Any) -> Any:
        async def handle(request: bytes, context: Any) -> bytes:
            rpc = details.method.rpartition("/")[2]
            self.seen.append(rpc)
            verdict = self.judge(rpc, request)
            if verdict == "refuse":
                await context.abort(grpc.StatusCode.UNKNOWN, "adapter says no")
            if verdict == "pretend":
                return b""
            metadata = [(key, value) for key, value in context.invocation_metadata() if key == "authorization"]
            try:
                answer: bytes = await self._upstream.unary_unary(details.method)(request, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                await context.abort(error.code(), error.details() or "")
            if verdict == "lose":
                await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
            return answer

        return grpc.unary_unary_rpc_method_handler(handle)


@pytest.fixture
async def proxy(simulator: Any, host: Any) -> AsyncIterator[Proxy]:
    async with grpc.aio.insecure_channel(simulator.target) as upstream:
        made = Proxy(upstream)
        server = grpc.aio.server(handlers=[made])
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        host.change(voltha_port=port, flow_timeout=3.0)
        yield made
        await server.stop(None)


def once(rpc: str, verdict: Verdict) -> Callable[[str, bytes], Verdict]:
    """The first request of this kind gets the verdict, the others pass."""
    left = [verdict]
    return lambda name, _: left.pop() if name == rpc and left else "forward"


def for_tag(tag: int, verdict: Verdict) -> Callable[[str, bytes], Verdict]:
    """Flows that are added to take this service tag off downstream get the verdict."""

    def judge(rpc: str, request: bytes) -> Verdict:
        if rpc != "UpdateLogicalDeviceFlowTable":
            return "forward"
        mod = of.FlowTableUpdate.FromString(request).flow_mod
        tags = [field.ofb_field.vlan_vid for field in mod.match.oxm_fields]
        return verdict if mod.command == of.OFPFC_ADD and (0x1000 | tag) in tags else "forward"

    return judge


@pytest.fixture
async def line(proxy: Proxy, plugin: VolthaIntegrationPlugin, active_olt: Any) -> tuple[VolthaIntegrationPlugin, str]:
    """The plugin behind the proxy, and an ONU that is ready."""
    return plugin, active_olt[0].serial_numbers[0]


@pytest.mark.parametrize("rpc", ["CreateDevice", "EnableDevice", "ListDevices"])
async def test_an_olt_comes_up_once_although_an_answer_is_lost(
    proxy: Proxy, plugin: VolthaIntegrationPlugin, simulator: Any, rpc: str
) -> None:
    proxy.judge = once(rpc, "lose")
    olt = await plugin.provision_olt(simulator.olt_addresses[0])
    assert olt["status"] == "active"
    assert [each["type"] for each in await plugin.discover_devices()].count("olt") == 1


@pytest.mark.parametrize("rpc", ["UpdateLogicalDeviceMeterTable", "UpdateLogicalDeviceFlowTable"])
async def test_a_service_is_installed_once_although_an_answer_is_lost(line: Any, proxy: Proxy, rpc: str) -> None:
    plugin, serial = line
    proxy.judge = once(rpc, "lose")
    assert (await plugin.add_subscriber_flow(serial, "sub-1", SERVICE))["created"]
    proxy.judge = once(rpc, "lose")
    assert (await plugin.remove_subscriber_flow(serial, "sub-1"))["meters"] >= 1
    assert await plugin.list_subscribers() == []


@pytest.mark.parametrize(("verdict", "error"), [("pretend", FlowRejectedError), ("refuse", VolthaError)])
async def test_a_flow_that_never_arrives_takes_the_whole_service_back(
    line: Any, proxy: Proxy, verdict: str, error: type[Exception]
) -> None:
    plugin, serial = line
    proxy.judge = for_tag(900, verdict)
    with pytest.raises(error):
        await plugin.add_subscriber_flow(serial, "sub-1", SERVICE)
    assert await plugin.list_subscribers() == []
    status = await plugin.get_device_status(serial)
    assert status is not None
    assert status["subscribers"] == []
    proxy.judge = lambda rpc, request: "forward"
    assert (await plugin.add_subscriber_flow(serial, "sub-1", SERVICE))["created"]


async def test_a_change_that_fails_brings_the_former_service_back(line: Any, proxy: Proxy) -> None:
    plugin, serial = line
    before = await plugin.add_subscriber_flow(serial, "sub-1", SERVICE)
    proxy.judge = for_tag(901, "pretend")
    with pytest.raises(FlowRejectedError):
        await plugin.add_subscriber_flow(serial, "sub-1", {**SERVICE, "s_tag": 901, "bandwidth_up": 7000})
    [after] = await plugin.list_subscribers()
    assert (after["status"], after["flows"], after["meters"]) == ("active", before["flows"], before["meters"])
    assert not (await plugin.add_subscriber_flow(serial, "sub-1", SERVICE))["created"], "it is there again"
    assert (await plugin.remove_subscriber_flow(serial, "sub-1"))["meters"] == 2


async def test_a_repair_that_fails_keeps_the_wish(line: Any, proxy: Proxy, simulator: Any) -> None:
    plugin, serial = line
    await plugin.add_subscriber_flow(serial, "sub-1", SERVICE)
    await simulator.flap(serial)
    await plugin.provision_onu("BBSIM_OLT_10", None, None, serial)
    proxy.judge = for_tag(900, "pretend")
    with pytest.raises(FlowRejectedError):
        await plugin.add_subscriber_flow(serial, "sub-1", SERVICE)
    assert [each["status"] for each in await plugin.list_subscribers()] == ["adding"]
    proxy.judge = lambda rpc, request: "forward"
    assert (await plugin.add_subscriber_flow(serial, "sub-1", SERVICE))["created"]
    assert [each["status"] for each in await plugin.list_subscribers()] == ["active"]


async def test_a_core_that_is_away_for_a_moment_in_the_middle_is_waited_for(
    line: Any, proxy: Proxy, simulator: Any
) -> None:
    plugin, serial = line
    call = asyncio.create_task(plugin.add_subscriber_flow(serial, "sub-1", SERVICE))
    while "UpdateLogicalDeviceMeterTable" not in proxy.seen:  # noqa: ASYNC110 - the other end is the real plugin
        await asyncio.sleep(0)
    simulator.faults.core_down = True
    await asyncio.sleep(0.3)
    simulator.faults.core_down = False
    assert (await call)["created"]


async def test_a_removal_that_does_not_get_through_can_be_asked_for_again(line: Any, proxy: Proxy) -> None:
    plugin, serial = line
    await plugin.add_subscriber_flow(serial, "sub-1", SERVICE)
    proxy.judge = lambda rpc, _: "refuse" if rpc == "UpdateLogicalDeviceFlowTable" else "forward"
    with pytest.raises(VolthaError):
        await plugin.remove_subscriber_flow(serial, "sub-1")
    assert [each["status"] for each in await plugin.list_subscribers()] == ["removing"]
    proxy.judge = lambda rpc, _: "forward"
    assert (await plugin.remove_subscriber_flow(serial, "sub-1"))["flows"] == 4
    assert await plugin.list_subscribers() == []
