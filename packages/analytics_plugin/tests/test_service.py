"""The collector as the host's service: started, joined, refused, ended with the host."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from dotmac_isp.plugins.core.base import HostSettings
from dotmac_isp.plugins.core.errors import ConfigurationError, CredentialsRefused, NotReady
from dotmac_isp.plugins.core.model import HealthStatus, Secret
from dotmac_isp.plugins.monitoring.analytics_events_plugin.provider import provide_host_services
from dotmac_isp.plugins.monitoring.analytics_events_plugin.service import CollectorService
from dotmac_isp.plugins.monitoring.analytics_events_plugin.settings import AnalyticsSettings

if TYPE_CHECKING:
    from collections.abc import Callable

_HOST = """
import asyncio
from pathlib import Path
from dotmac_isp.plugins.monitoring.analytics_events_plugin.service import CollectorService

async def main():
    service = CollectorService(host="127.0.0.1", port={port}, data_dir=Path({folder!r}))
    await service.start()
    print(service.pid, flush=True)
    await asyncio.sleep(3600)

asyncio.run(main())
"""


class Secrets:
    def __init__(self, **values: str) -> None:
        self.values = {name.replace("_", "-"): value for name, value in values.items()}

    async def get(self, name: str) -> Secret | None:
        return Secret(name, self.values[name]) if name in self.values else None

    async def require(self, name: str) -> Secret:
        return Secret(name, self.values[name])


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def gone(pid: int) -> None:
    async with asyncio.timeout(20):
        while runs(pid):  # noqa: ASYNC110 - another process ends; nothing tells us
            await asyncio.sleep(0.05)


async def engine_pid(port: int) -> int:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/v1/health") as answer:
        return int((await answer.json())["pid"])


def host_settings(folder: Path, secrets: Any, **values: Any) -> HostSettings:
    model = AnalyticsSettings(**values)
    return HostSettings(plugin_id="analytics_events", values=model, home=folder, data_dir=folder, secrets=secrets)


async def test_stopping_the_service_leaves_no_process_and_no_socket(bench: Any) -> None:
    collector, engine = bench.service.pid, await engine_pid(bench.port)
    assert (bench.folder / "collector" / "admin.sock").stat().st_mode & 0o077 == 0
    await bench.service.stop()
    assert not runs(collector)
    assert not runs(engine)
    assert not (bench.folder / "collector" / "admin.sock").exists()
    assert (await bench.service.check()).status is HealthStatus.UNHEALTHY


async def test_a_killed_host_takes_collector_and_engine_along(engine: None, tmp_path: Path, port: int) -> None:
    program = _HOST.format(port=port, folder=str(tmp_path))
    host = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert host.stdout is not None
    collector = int(await host.stdout.readline())
    child = await engine_pid(port)
    host.kill()
    await host.wait()
    await gone(collector)
    await gone(child)


async def test_a_collector_of_ours_that_answers_is_used_and_left_running(bench: Any) -> None:
    second = CollectorService(host="127.0.0.1", port=bench.port, data_dir=bench.folder)
    await second.start()
    assert second.pid is None
    await second.stop()
    assert (await bench.service.check()).status is HealthStatus.HEALTHY


async def test_something_else_on_the_port_is_an_error_that_names_it(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        await writer.drain()
        writer.close()

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 smtp.example ESMTP\r\n")
        await writer.drain()
        writer.close()

    for behaviour in (answer, babble):
        server = await asyncio.start_server(behaviour, "127.0.0.1", 0)
        taken = server.sockets[0].getsockname()[1]
        service = CollectorService(host="127.0.0.1", port=taken, data_dir=tmp_path)
        with pytest.raises(ConfigurationError, match=f"something else .* answers on 127.0.0.1:{taken}") as caught:
            await service.start()
        assert caught.value.field == "analytics_port"
        server.close()
        await server.wait_closed()


async def test_two_collectors_never_share_a_folder(bench: Any, port: int) -> None:
    second = CollectorService(host="127.0.0.1", port=port, data_dir=bench.folder)
    with pytest.raises(NotReady, match=r"another collector \(process \d+\) uses"):
        await second.start()


async def test_a_service_is_given_only_for_a_loopback_host_without_a_database(tmp_path: Path) -> None:
    for host in ("localhost", "127.0.0.1", "127.8.8.8", "::1"):
        services = await provide_host_services(host_settings(tmp_path, Secrets(), analytics_host=host))
        assert [type(service) for service in services] == [CollectorService]
    assert await provide_host_services(host_settings(tmp_path, Secrets(), analytics_host="10.0.0.5")) == []
    database = Secrets(analytics_db_connection="clickhouse://db")
    assert await provide_host_services(host_settings(tmp_path, database)) == []


async def test_a_dismissed_tenants_key_opens_nothing_any_more(bench: Any) -> None:
    plugin = await bench.started()
    await bench.service.dismiss("tenant_a")
    with pytest.raises(CredentialsRefused, match="refused the secret 'analytics-api-key'"):
        await plugin.generate_report("summary")


async def test_a_rotated_key_replaces_the_old_one(bench: Any) -> None:
    plugin = await bench.started("tenant_a", "old")
    plugin.api.secrets.values["analytics-api-key"] = "new"
    await bench.service.admit("tenant_a", None, plugin.api.secrets)
    assert (await plugin.generate_report("summary"))["totals"]["events"] == 0
    stranger = bench.instance("tenant_a", "old")
    await stranger.initialize()
    with pytest.raises(CredentialsRefused):
        await stranger.activate()


async def test_keys_are_not_on_disk(bench: Any, everything_in: Callable[[Path], bytes]) -> None:
    await bench.started("tenant_a", "a-very-secret-key")
    folder = bench.folder / "collector"
    assert b"a-very-secret-key" not in everything_in(folder)
    assert (folder / "keys.secret").stat().st_mode & 0o077 == 0


async def test_a_folder_with_a_long_name_works(engine: None, tmp_path: Path, port: int) -> None:
    service = CollectorService(host="127.0.0.1", port=port, data_dir=tmp_path / ("long" * 30))
    await service.start()
    await service.admit("tenant_a", None, Secrets(analytics_api_key="k"))
    await service.stop()


async def test_nobody_there_is_not_ready_the_first_time(bench: Any, port: int) -> None:
    plugin = bench.instance(analytics_port=port)
    await plugin.initialize()
    with pytest.raises(NotReady, match=f"collector at 127.0.0.1:{port} does not answer"):
        await plugin.activate()
