"""The edge to VOLTHA over real gRPC servers: size of messages, credentials, TLS, and what importing the package loads."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from voltha_protos import adapter_pb2, device_pb2, voltha_pb2, voltha_pb2_grpc

from dotmac_isp.plugins.network_automation.voltha_integration_plugin import (
    VolthaIntegrationPlugin,
    VolthaUnavailableError,
)
from dotmac_voltha_simulator import Simulator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class Large(voltha_pb2_grpc.VolthaServiceServicer):
    """A VOLTHA with as many ONUs as fit into about 12 MiB, which writes down who called."""

    def __init__(self) -> None:
        self.callers: list[str] = []

    def GetVoltha(self, request: Any, context: Any) -> Any:  # noqa: N802 - VOLTHA's name
        self.callers += [value for key, value in context.invocation_metadata() if key == "authorization"]
        return voltha_pb2.Voltha(version='{"version": "3.7.13"}')

    def ListAdapters(self, request: Any, context: Any) -> Any:  # noqa: N802
        return adapter_pb2.Adapters(items=[adapter_pb2.Adapter(id="openolt_1", type="openolt")])

    def ListDevices(self, request: Any, context: Any) -> Any:  # noqa: N802
        onus = (device_pb2.Device(id=f"onu-{n}", serial_number=f"BBSM{n:08x}", reason="x" * 3000) for n in range(4096))
        return device_pb2.Devices(items=onus)


@pytest.fixture
async def large() -> AsyncIterator[tuple[Large, grpc.aio.Server]]:
    servicer = Large()
    server = grpc.aio.server(options=[("grpc.max_send_message_length", 64 << 20)])
    voltha_pb2_grpc.add_VolthaServiceServicer_to_server(servicer, server)
    yield servicer, server
    await server.stop(None)


class Plain:
    """Where a server listens, as the hosts of these tests want it."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.host, self.port = host, port


async def test_a_list_of_4096_onus_arrives_and_every_call_carries_the_login(large: Any, make_host: Any) -> None:
    servicer, server = large
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    plugin = VolthaIntegrationPlugin(make_host(Plain(port)))
    await plugin.activate()
    assert len(await plugin.discover_devices()) == 4096
    report = await plugin.health_check()
    assert report.details["version"] == "3.7.13"
    assert report.details["missing_adapters"] == ["brcm_openomci_onu"]
    assert set(servicer.callers) == {"Basic ZGV2X3VzZXI6ZGV2X3Bhc3M="}
    await plugin.deactivate()


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A key and its certificate, which is its own authority."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not there to make a certificate")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout {key} -out {certificate}"
    arguments = [*command.split(), "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(arguments, check=True, capture_output=True)
    return key, certificate


async def test_tls_is_spoken_and_the_authority_is_checked(large: Any, make_host: Any, tmp_path: Path) -> None:
    key, certificate = await asyncio.to_thread(make_certificate, tmp_path)
    _, server = large
    pair = (key.read_bytes(), certificate.read_bytes())
    port = server.add_secure_port("localhost:0", grpc.ssl_server_credentials([pair]))
    await server.start()

    trusting = VolthaIntegrationPlugin(make_host(Plain(port, "localhost"), voltha_tls=True, voltha_tls_ca=certificate))
    await trusting.activate()
    assert (await trusting.health_check()).details["tls"] is True
    await trusting.deactivate()

    for settings in ({"voltha_tls": True}, {}):
        other = VolthaIntegrationPlugin(make_host(Plain(port, "localhost"), retry_time=0.2, **settings))
        with pytest.raises(VolthaUnavailableError):
            await other.activate()


async def test_a_voltha_that_asks_for_the_clients_certificate_gets_it(make_host: Any, tmp_path: Path) -> None:
    key, certificate = await asyncio.to_thread(make_certificate, tmp_path)
    files = {"tls_certificate": certificate, "tls_key": key, "tls_client_ca": certificate}
    async with Simulator(listen="localhost:0", time_factor=0.05, **files) as simulator:
        tls = {"voltha_tls": True, "voltha_tls_ca": certificate}
        own = {"voltha_tls_certificate": certificate, "voltha_tls_key": key}
        known = VolthaIntegrationPlugin(make_host(Plain(simulator.port, "localhost"), **tls, **own))
        await known.activate()
        assert (await known.health_check()).details["tls"] is True
        assert (await known.provision_olt(simulator.olt_addresses[0]))["status"] == "active"
        await known.deactivate()

        stranger = VolthaIntegrationPlugin(make_host(Plain(simulator.port, "localhost"), retry_time=0.2, **tls))
        with pytest.raises(VolthaUnavailableError):
            await stranger.activate()


@pytest.mark.parametrize(
    "module",
    [
        "dotmac_isp.plugins.network_automation.voltha_integration_plugin",
        "dotmac_isp.sdks.networking.voltha_integration",
    ],
)
def test_importing_loads_neither_grpc_nor_protobufs_and_says_nothing(module: str) -> None:
    code = f"import {module}, sys; print([name for name in ('grpc', 'google.protobuf', 'voltha_protos') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
