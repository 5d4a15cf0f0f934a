"""What the tests share: a host small enough to see through, and real collectors in processes of their own."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import importlib.util
import itertools
import json
import logging
import os
import secrets
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import pytest
from aiohttp import web

from dotmac_isp.plugins.core.errors import SecretMissingError
from dotmac_isp.plugins.core.model import PluginInfo, Secret
from dotmac_isp.plugins.monitoring.analytics_events_plugin import AnalyticsEventsPlugin
from dotmac_isp.plugins.monitoring.analytics_events_plugin._wire import ADMIN_SOCKET, short_path, tenant_key
from dotmac_isp.plugins.monitoring.analytics_events_plugin.service import CollectorService
from dotmac_isp.plugins.monitoring.analytics_events_plugin.settings import AnalyticsSettings
from dotmac_isp.plugins.monitoring.analytics_events_plugin.store import EngineProcess, parse_connection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
    from pathlib import Path

_numbers = itertools.count()


class Secrets:
    """Secrets in a dictionary."""

    def __init__(self, values: dict[str, str]) -> None:
        self.values = values

    async def get(self, name: str) -> Secret | None:
        return Secret(name, self.values[name]) if name in self.values else None

    async def require(self, name: str) -> Secret:
        found = await self.get(name)
        if found is None:
            raise SecretMissingError(f"the secret {name!r} is missing", names=[name])
        return found


class SmallHost:
    """A `PluginAPI` for one instance."""

    def __init__(self, tenant_id: str | None, settings: Any, secrets: Secrets, data_dir: Path) -> None:
        self.plugin_id = "analytics_events"
        self.info = PluginInfo(id=self.plugin_id, name="Analytics Events", version="0.1.0")
        self.tenant_id = tenant_id
        self.settings = settings
        self.secrets = secrets
        self.data_dir = data_dir
        self.storage = self.metrics = self.hooks = None
        self.logger = logging.LoggerAdapter(logging.getLogger("analytics_events"), {})
        self.tasks: list[asyncio.Task[Any]] = []
        data_dir.mkdir(parents=True, exist_ok=True)

    def spawn(self, work: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
        task = asyncio.create_task(work, name=name)
        self.tasks.append(task)
        return task

    def on_cleanup(self, callback: Callable[[], Any]) -> None:
        raise AssertionError("not used")

    def grpc_target(self, host: str, port: int) -> tuple[str, list[tuple[str, Any]]]:
        return f"{host}:{port}", []


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def database() -> Iterator[str]:
    """With ANALYTICS_TEST_CLICKHOUSE (`clickhouse://user:password@host:8123`), a database of this run's own on that server; else empty.

    The collectors of `server` and `bench` then store there, so that the same tests run against a real ClickHouse.
    """
    url = os.environ.get("ANALYTICS_TEST_CLICKHOUSE", "")
    if not url:
        yield ""
        return
    import clickhouse_connect

    parts = urlsplit(url)
    options = {**parse_connection(url).options, "database": "default"}
    name = f"dotmac_test_{secrets.token_hex(6)}"
    client = clickhouse_connect.get_client(**options)
    cluster = parse_connection(url).layout.everywhere
    client.command(f"CREATE DATABASE {name}{cluster}")
    yield urlunsplit(parts._replace(path=f"/{name}"))
    client.command(f"DROP DATABASE {name}{cluster}")
    client.close()


class Bench:
    """A folder with one collector and as many plugin instances as a test wants."""

    def __init__(self, folder: Path, port: int, database: str = "") -> None:
        self.folder = folder
        self.port = port
        self.service = CollectorService(host="127.0.0.1", port=port, data_dir=folder, database=database)
        self.plugins: list[AnalyticsEventsPlugin] = []

    def instance(self, tenant: str | None = "tenant_a", key: str = "", **settings: Any) -> AnalyticsEventsPlugin:
        values = {"analytics_host": "127.0.0.1", "analytics_port": self.port, "flush_interval": 0.2, **settings}
        secrets = Secrets({"analytics-api-key": key or f"key-of-{tenant}"})
        api = SmallHost(tenant, AnalyticsSettings(**values), secrets, self.folder / f"instance-{tenant}")
        plugin = AnalyticsEventsPlugin(api)  # type: ignore[arg-type]
        self.plugins.append(plugin)
        return plugin

    async def started(self, tenant: str | None = "tenant_a", key: str = "", **settings: Any) -> AnalyticsEventsPlugin:
        plugin = self.instance(tenant, key, **settings)
        await self.service.admit(tenant, plugin.api.settings, plugin.api.secrets)
        await plugin.initialize()
        await plugin.activate()
        return plugin

    async def close(self) -> None:
        for plugin in self.plugins:
            await plugin.deactivate()
            await plugin.cleanup()
        await self.service.stop()


@pytest.fixture
def engine() -> None:
    """For tests that need the embedded engine."""
    for name in ("chdb", "clickhouse_connect"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed (extra 'embedded')")


@pytest.fixture
def charts() -> None:
    """For tests that draw charts."""
    if importlib.util.find_spec("vl_convert") is None:
        pytest.skip("vl-convert is not installed (extra 'reports')")


@pytest.fixture
def everything_in() -> Callable[[Path], bytes]:
    """What all files of a folder say, while an engine makes some of them and takes others away."""

    def read(folder: Path) -> bytes:
        # os.walk passes over folders that are gone.
        files = [folder.joinpath(place, name) for place, _, names in os.walk(folder) for name in names]
        found = []
        for path in files:
            with contextlib.suppress(FileNotFoundError):
                found.append(path.read_bytes() if path.is_file() else b"")
        return b"".join(found)

    return read


@pytest.fixture
def port() -> int:
    """A port that is free right now."""
    return free_port()


@pytest.fixture
async def bench(engine: None, tmp_path: Path, database: str) -> AsyncIterator[Bench]:
    made = Bench(tmp_path, free_port(), database)
    await made.service.start()
    yield made
    await made.close()


@pytest.fixture
async def server_engine(engine: None, tmp_path: Path) -> AsyncIterator[EngineProcess]:
    """An engine that none of the collectors has started."""
    process = EngineProcess(tmp_path / "server", tmp_path / "server.log")
    await process.start()
    yield process
    await process.stop()


@pytest.fixture
async def server_url(server_engine: EngineProcess) -> str:
    """Where a ClickHouse answers, as `ANALYTICS_DB_CONNECTION` says it."""
    options = await server_engine.options()
    return f"clickhouse://default:{options['password']}@127.0.0.1:{options['port']}/default"


@pytest.fixture
async def hook() -> AsyncIterator[tuple[str, asyncio.Queue[Any]]]:
    """A webhook: its address, and the parts of each message that it got."""
    got: asyncio.Queue[Any] = asyncio.Queue()

    async def handle(request: web.Request) -> web.Response:
        reader = await request.multipart()
        parts = {}
        async for part in reader:
            parts[part.name] = (part.filename, await part.read())
        got.put_nowait(parts)
        return web.Response()

    app = web.Application(client_max_size=2**25)
    app.router.add_post("/hook", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/hook", got
    await runner.cleanup()


class Owner:
    """Who has the collector's data folder: lets keys in as a host does, over the socket there."""

    def __init__(self, folder: Path) -> None:
        self._socket = folder / ADMIN_SOCKET

    def admit(self, tenant: str, key: str, owner: str) -> None:
        self._asked("POST", {"tenant": tenant, "key": key, "owner": owner})

    def dismiss(self, tenant: str, owner: str) -> None:
        self._asked("DELETE", {"tenant": tenant, "owner": owner})

    def _asked(self, method: str, wish: dict[str, str]) -> None:
        connection = http.client.HTTPConnection("collector")
        with socket.socket(socket.AF_UNIX) as connection.sock, short_path(self._socket) as address:
            connection.sock.connect(address)
            connection.request(method, "/admin/keys", json.dumps(wish))
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()


class Server(NamedTuple):
    """A collector in a process of its own, and its owner."""

    port: int
    owner: Owner
    folder: Path


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, database: str) -> Iterator[Server]:
    """One collector for all tests that do it no harm; each brings tenants of its own."""
    for name in ("chdb", "clickhouse_connect"):
        pytest.importorskip(name, reason="the embedded engine is not installed (extra 'embedded')")
    folder = tmp_path_factory.mktemp("collector")
    module = "dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.main"
    command = [sys.executable, "-m", module, "serve", "--with-parent", "--port", "0", "--data", str(folder)]
    environment = {**os.environ, **({"ANALYTICS_DB_CONNECTION": database} if database else {})}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        yield Server(json.loads(process.stdout.readline())["port"], Owner(folder), folder)


class SharedBench(Bench):
    """Instances at the shared collector; `tenant_a` of a test is no other test's."""

    def __init__(self, folder: Path, server: Server, number: int) -> None:
        super().__init__(folder, server.port)
        self._server = server
        self._number = number

    async def started(self, tenant: str | None = "tenant_a", key: str = "", **settings: Any) -> AnalyticsEventsPlugin:
        name = None if tenant is None else f"{tenant}.{self._number}"
        plugin = self.instance(name, key, **settings)
        secret = await plugin.api.secrets.require("analytics-api-key")
        self._server.owner.admit(tenant_key(name), secret.reveal(), "host")
        await plugin.initialize()
        await plugin.activate()
        return plugin


@pytest.fixture
async def shared(server: Server, tmp_path: Path) -> AsyncIterator[SharedBench]:
    """A bench at the shared collector."""
    made = SharedBench(tmp_path, server, next(_numbers))
    yield made
    await made.close()
