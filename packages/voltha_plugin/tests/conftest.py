"""A small host for one plugin instance: real settings model, real SQLite storage, secrets in memory; and where VOLTHA is.

The target is the simulator, or the VOLTHA that `VOLTHA_TEST_TARGET=host:port` names, with its OLT at `VOLTHA_TEST_OLT=host:port`
(and `VOLTHA_TEST_USERNAME`, `VOLTHA_TEST_PASSWORD` where it wants them).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from dotmac_isp.plugins.core.errors import SecretMissingError
from dotmac_isp.plugins.core.model import DeviceEvent, HookResults, MetricSample, PluginInfo, Secret
from dotmac_isp.plugins.core.storage import open_storage
from dotmac_isp.plugins.network_automation.voltha_integration_plugin import VolthaIntegrationPlugin, VolthaSettings
from dotmac_voltha_simulator import Simulator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
    from pathlib import Path


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--live`: only the suite in `live/`, and only against the VOLTHA that the environment names."""
    words = "only the scenarios of live/, against VOLTHA_TEST_TARGET"
    with contextlib.suppress(ValueError):  # another package's tests run along, and have the same option
        parser.addoption("--live", action="store_true", help=words)


class Secrets:
    """Secrets as a provider would give them."""

    def __init__(self) -> None:
        self.values = {"voltha-username": "dev_user", "voltha-password": "dev_pass"}

    async def get(self, name: str) -> Secret | None:
        return Secret(name, self.values[name]) if name in self.values else None

    async def require(self, name: str) -> Secret:
        found = await self.get(name)
        if found is None:
            raise SecretMissingError(f"no provider has {name}", names=[name])
        return found


class Relay:
    """The tenant's other plugins: they keep what they are told."""

    def __init__(self) -> None:
        self.events: list[DeviceEvent] = []
        self.samples: list[MetricSample] = []

    async def on_metrics(self, *, samples: Sequence[MetricSample], context: Any = None) -> HookResults[None]:
        self.samples += samples
        return HookResults(())

    async def on_device_event(self, *, event: DeviceEvent, context: Any = None) -> HookResults[None]:
        self.events.append(event)
        return HookResults(())

    def kinds(self) -> list[str]:
        return [event.event_type for event in self.events]

    async def wait_for(self, kind: str, count: int = 1, *, limit: float = 10.0) -> list[DeviceEvent]:
        end = time.monotonic() + limit
        while True:
            found = [event for event in self.events if event.event_type == kind]
            if len(found) >= count:
                return found
            assert time.monotonic() < end, f"{len(found)} of {count} {kind} events; there were {self.kinds()}"
            await asyncio.sleep(0.02)


class Host:
    """What an instance gets from its host (`PluginAPI`)."""

    info = PluginInfo(id="voltha_integration", name="VOLTHA Integration", version="0.1.0")
    plugin_id = "voltha_integration"

    def __init__(self, settings: VolthaSettings, storage: Any, folder: Path, tenant_id: str | None) -> None:
        self.settings = settings
        self.storage = storage
        self.data_dir = folder
        self.tenant_id = tenant_id
        self.secrets = Secrets()
        self.hooks = Relay()
        self.logger = logging.LoggerAdapter(logging.getLogger("voltha-plugin-test"), {})
        self.tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def on_cleanup(self, callback: Callable[[], Awaitable[None] | None]) -> None:
        raise AssertionError("the plugin registers no cleanup")

    def grpc_target(self, host: str, port: int) -> tuple[str, list[tuple[str, Any]]]:
        return f"{host}:{port}", []

    def change(self, **values: Any) -> None:
        self.settings = VolthaSettings(**{**self.settings.model_dump(), **values})


class Target:
    """A VOLTHA to test against: where it is, and the OLTs that it can reach."""

    def __init__(self, address: str, olts: list[str], simulator: Simulator | None) -> None:
        self.host, _, port = address.rpartition(":")
        self.port = int(port)
        self.olts = olts
        self.simulator = simulator


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    """Two OLTs with 2 PONs of 2 ONUs, twenty times faster than real, with a login."""
    async with Simulator(olts=2, pons=2, onus=2, time_factor=0.05, username="dev_user", password="dev_pass") as running:
        yield running


@pytest.fixture
def target(request: pytest.FixtureRequest) -> Target:
    """The VOLTHA of this test run."""
    if address := os.environ.get("VOLTHA_TEST_TARGET"):
        return Target(address, [os.environ["VOLTHA_TEST_OLT"]], None)
    running = request.getfixturevalue("simulator")
    return Target(running.target, list(running.olt_addresses), running)


@pytest.fixture
async def make_host(tmp_path: Path) -> AsyncIterator[Callable[..., Host]]:
    """Makes hosts that share one store on disk, as restarts of the same one would."""
    engine = await open_storage(None, home=tmp_path)

    def make(target: Target, *, tenant: str | None = "tenant_1", **settings: Any) -> Host:
        values = {"voltha_host": target.host, "voltha_port": target.port, "reconcile": "off", **settings}
        host = Host(VolthaSettings(**values), engine.scope(tenant, "voltha_integration"), tmp_path, tenant)
        names = ("username", "password")
        given = {f"voltha-{name}": os.environ.get(f"VOLTHA_TEST_{name.upper()}") for name in names}
        host.secrets.values |= {name: value for name, value in given.items() if value is not None}
        return host

    yield make
    await engine.close()


@pytest.fixture
async def host(make_host: Callable[..., Host], target: Target) -> Host:
    """A host of tenant_1 that knows where VOLTHA is."""
    return make_host(target)


@pytest.fixture
async def plugin(host: Host) -> AsyncIterator[VolthaIntegrationPlugin]:
    """An active instance."""
    made = VolthaIntegrationPlugin(host)
    await made.initialize()
    await made.activate()
    yield made
    await made.deactivate()
    await made.cleanup()
    for task in host.tasks:
        task.cancel()


@pytest.fixture
async def active_olt(plugin: VolthaIntegrationPlugin, target: Target) -> tuple[Simulator, str]:
    """The simulator with its first OLT and all its ONUs up, and the id of the logical device."""
    if target.simulator is None:
        pytest.skip("needs the simulator: it sends flows that no real VOLTHA should get")
    olt = await plugin.provision_olt(target.olts[0])
    for serial in target.simulator.serial_numbers[:4]:
        await plugin.provision_onu(olt["serial_number"], None, None, serial)
    return target.simulator, olt["logical_device_id"]
