"""A network to test against: the simulator, or the VOLTHA that the environment names; and all that a scenario needs of it.

`VOLTHA_TEST_TARGET=host:port` is VOLTHA, `VOLTHA_TEST_OLT=host:port` the OLT that it shall reach, `VOLTHA_TEST_KAFKA=host:port`
its events; `VOLTHA_TEST_USERNAME` and `VOLTHA_TEST_PASSWORD` where it wants them. `VOLTHA_TEST_ONUS` says how many ONUs the OLT has
(1 when it is not said), `VOLTHA_TEST_IMAGE` the URL of a software image whose file name begins with its version.

What is made is taken away again. An OLT that is there before the suite begins is left alone: the suite stops.
"""

from __future__ import annotations

import asyncio
import base64
import os
import time
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import grpc.aio
import pytest
from google.protobuf.empty_pb2 import Empty
from voltha_protos import common_pb2, voltha_pb2_grpc

from dotmac_isp.plugins.core.model import PluginContext
from dotmac_isp.plugins.network_automation.voltha_integration_plugin import VolthaError, VolthaIntegrationPlugin
from dotmac_voltha_simulator import Simulator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

READY = ("initial-mib-downloaded", "omci-flows-pushed", "onu-reenabled", "tech-profile-config-download-success")
_LOGIN = {"username": "dev_user", "password": "dev_pass"}


class Place:
    """Where VOLTHA is. `simulator` is None when it is a real one."""

    def __init__(self, address: str, olt: str, kafka: str, simulator: Simulator | None, onus: int) -> None:
        self.host, _, port = address.rpartition(":")
        self.port = int(port)
        self.olt, self.kafka, self.simulator, self.onus = olt, kafka, simulator, onus

    def within(self, seconds: float) -> PluginContext:
        """A limit in seconds of the real system; the simulator is twenty times faster, but this machine may be busy."""
        return PluginContext.within(seconds if self.simulator is None else max(20.0, seconds / 4))

    def simulated(self, what: str) -> Simulator:
        """The simulator, for what nobody can do to a real VOLTHA over its interfaces; the scenario is skipped there."""
        if self.simulator is None:
            pytest.skip(f"the target lacks a way to {what}")
        return self.simulator


class Network:
    """The plugin, its OLT and the ONUs: what a scenario works on."""

    def __init__(self, plugin: VolthaIntegrationPlugin, place: Place, host: Any, stub: Any) -> None:
        self.plugin, self.place, self.host, self._stub = plugin, place, host, stub
        self.olt = self.logical = ""
        self.onus: list[str] = []

    def lacks(self, what: str) -> NoReturn:
        """Skip the scenario, with the name of what is not there."""
        pytest.skip(f"the target lacks {what}")

    async def bring_up(self) -> None:
        """Create and enable the OLT, and wait for its ONUs."""
        found = await self.plugin.provision_olt(self.place.olt, context=self.place.within(120))
        self.olt, self.logical = found["serial_number"], found["logical_device_id"]
        await self.until(self._onus_are_ready, 180)
        self.onus = sorted(each["serial_number"] for each in await self.listed("onu"))

    async def _onus_are_ready(self) -> bool:
        states = [(await self.state(each["serial_number"]))[1] for each in await self.listed("onu")]
        return len(states) >= self.place.onus and all(state in READY for state in states)

    async def listed(self, kind: str) -> list[dict[str, Any]]:
        return [each for each in await self.plugin.discover_devices() if each["type"] == kind]

    async def state(self, serial: str) -> tuple[str, str]:
        """ADMIN/OPER/CONNECT and the reason of a device, as VOLTHA itself says it."""
        for device in (await self.call("ListDevices", Empty())).items:
            if device.serial_number == serial:
                names = (
                    common_pb2.AdminState.Types.Name(device.admin_state),
                    common_pb2.OperStatus.Types.Name(device.oper_status),
                    common_pb2.ConnectStatus.Types.Name(device.connect_status),
                )
                return "/".join(names), device.reason
        return "", ""

    async def call(self, rpc: str, request: Any) -> Any:
        """A reading call past the plugin, so that it is not believed on its word; not ready is waited for."""
        end = time.monotonic() + 30
        while True:
            try:
                return await getattr(self._stub, rpc)(request, timeout=10)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() > end:
                    raise
            await asyncio.sleep(0.2)

    async def logical_flows(self) -> list[Any]:
        logical = next(iter((await self.call("ListLogicalDevices", Empty())).items), None)
        if logical is None:
            return []
        return list((await self.call("ListLogicalDeviceFlows", common_pb2.ID(id=logical.id))).items)

    async def meters(self) -> list[Any]:
        [logical] = (await self.call("ListLogicalDevices", Empty())).items
        return list((await self.call("ListLogicalDeviceMeters", common_pb2.ID(id=logical.id))).items)

    async def device_flows(self, serial: str) -> int:
        return len(await self.plugin.list_device_flows(serial))

    async def until(self, look: Callable[[], Awaitable[bool]], seconds: float) -> None:
        """Until something is so, in seconds of the real system."""
        limit = seconds if self.place.simulator is None else max(20.0, seconds / 4)
        end = time.monotonic() + limit
        while not await look():
            assert time.monotonic() < end, f"it was not so after {limit} s"
            await asyncio.sleep(0.5 if self.place.simulator is None else 0.02)

    async def until_state(self, serial: str, state: str, *reasons: str, seconds: float = 60) -> None:
        async def so() -> bool:
            found, reason = await self.state(serial)
            return found == state and (not reasons or reason in reasons)

        await self.until(so, seconds)

    async def serve(self, serial: str, subscriber: str, s_tag: int, **more: Any) -> dict[str, Any]:
        """A DT service on an ONU."""
        config = {"workflow": "dt", "s_tag": s_tag, "bandwidth_down": 100_000, "bandwidth_up": 50_000, **more}
        return await self.plugin.add_subscriber_flow(serial, subscriber, config, context=self.place.within(60))

    async def hears_events(self) -> bool:
        """Whether the plugin is connected with Kafka: what was said before it is, it does not hear."""
        details = (await self.plugin.health_check()).details
        return bool(details["events"]["state"] == "connected")

    async def clean_up(self) -> None:
        """Take services and OLT away, by force where it must be."""
        for each in await self.plugin.list_subscribers():
            try:
                await self.plugin.remove_subscriber_flow(each["device_id"], each["subscriber_id"])
            except VolthaError:
                continue  # the OLT that goes next takes its flows along
        for each in await self.listed("olt"):
            try:
                await self.plugin.delete_device(each["device_id"], context=self.place.within(60))
            except VolthaError:
                await self.plugin.delete_device(each["device_id"], force=True, context=self.place.within(60))


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    """The VOLTHA of this run."""
    if address := os.environ.get("VOLTHA_TEST_TARGET"):
        kafka, onus = os.environ.get("VOLTHA_TEST_KAFKA", ""), int(os.environ.get("VOLTHA_TEST_ONUS", "1"))
        yield Place(address, os.environ["VOLTHA_TEST_OLT"], kafka, None, onus)
        return
    async with Simulator(pons=2, onus=2, time_factor=0.05, kafka="", **_LOGIN) as running:
        yield Place(running.target, running.olt_addresses[0], running.kafka_bootstrap, running, 4)
        assert running.refused_crashes == 0, "something of section 12.4 was sent"


@pytest.fixture
async def bare(make_host: Callable[..., Any], place: Place) -> AsyncIterator[Network]:
    """A connected plugin and a VOLTHA without devices."""
    host = make_host(place, kafka_bootstrap=place.kafka, device_monitoring_interval=0.5)
    plugin = VolthaIntegrationPlugin(host)
    await plugin.activate()
    async with grpc.aio.insecure_channel(f"{place.host}:{place.port}", interceptors=_login(host)) as channel:
        network = Network(plugin, place, host, voltha_pb2_grpc.VolthaServiceStub(channel))
        there = await plugin.discover_devices()
        if there:
            await plugin.deactivate()
            pytest.exit(f"VOLTHA has {len(there)} devices already; this suite works on an empty one only", 3)
        if place.kafka:
            await network.until(network.hears_events, 60)
        yield network
        await network.clean_up()
    await plugin.deactivate()
    for task in host.tasks:
        task.cancel()


@pytest.fixture
async def network(bare: Network) -> Network:
    """The OLT is active and its ONUs are ready for flows."""
    await bare.bring_up()
    return bare


@pytest.fixture
def image(place: Place, request: pytest.FixtureRequest) -> str:
    """The URL of a software image for the ONUs; empty when the target has none."""
    if place.simulator is None:
        return os.environ.get("VOLTHA_TEST_IMAGE", "")
    return f"{request.getfixturevalue('onu_images')}/BBSM_IMG_00002.img"


class _Login(grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[misc]
    """User and password as VOLTHA's ingress wants them."""

    def __init__(self, value: str) -> None:
        self._value = value

    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        metadata = [*(details.metadata or ()), ("authorization", self._value)]
        return await continuation(details._replace(metadata=metadata), request)


def _login(host: Any) -> list[_Login]:
    values = host.secrets.values
    name, password = values.get("voltha-username", ""), values.get("voltha-password", "")
    return [_Login("Basic " + base64.b64encode(f"{name}:{password}".encode()).decode())] if name else []


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With `--live` only these, and only against a VOLTHA that is named; else once, in the session slow, but for the first."""
    if config.getoption("--live", default=False):
        if missing := [name for name in ("VOLTHA_TEST_TARGET", "VOLTHA_TEST_OLT") if not os.environ.get(name)]:
            raise pytest.UsageError(f"--live needs {' and '.join(missing)} (host:port)")
        items[:] = [item for item in items if item.path.parent.name == "live"]
        return
    for item in items:
        if item.path.parent.name == "live" and not item.name.startswith("test_01_"):
            item.add_marker(pytest.mark.slow)
