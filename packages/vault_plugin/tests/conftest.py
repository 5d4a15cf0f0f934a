"""What the tests share: a Vault (one that the tests start, or with `--live` yours), hosts, and a vendor whose credentials rotate."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
import json
import os
import sys
import textwrap
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from dotmac_isp.plugins.core import Limits, PluginManager

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

_VARIABLES = [
    "VAULT_ADDR",
    "VAULT_TOKEN",
    "VAULT_NAMESPACE",
    "VAULT_CACERT",
    "VAULT_CLIENT_CERT",
    "VAULT_CLIENT_KEY",
    "VAULT_ROLE_ID",
    "VAULT_SECRET_ID",
    "VAULT_PASSWORD",
    "DOTMAC_HOME",
    "DOTMAC_SECRET_ORDER",
    "DOTMAC_SAFE_MODE",
    "CREDENTIALS_DIRECTORY",
]


def _module(name: str) -> Any:
    """A module beside this one; pytest's importlib mode has no place for those."""
    spec = importlib.util.spec_from_file_location(f"vault_tests_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


FakeVault = _module("fake_vault").FakeVault


def pytest_addoption(parser: pytest.Parser) -> None:
    words = "run against the Vault or OpenBao that VAULT_ADDR and VAULT_TOKEN (root) name"
    with contextlib.suppress(ValueError):  # another package's tests run along, and have the same option
        parser.addoption("--live", action="store_true", help=words)


@pytest.fixture(scope="session")
def live(request: pytest.FixtureRequest) -> tuple[str, str] | None:
    """Address and token of a real server, where one is to be used."""
    if not request.config.getoption("--live", default=False):
        return None
    address, token = os.environ.get("VAULT_ADDR"), os.environ.get("VAULT_TOKEN")
    if not address or not token:
        pytest.exit("--live needs VAULT_ADDR and VAULT_TOKEN", returncode=4)
    return address, token


@pytest.fixture(autouse=True)
def bare_environment(live: tuple[str, str] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the machine's own Vault; what a real server needs to be reached stays (VAULT_CACERT)."""
    for name in _VARIABLES:
        if not (live and name in {"VAULT_CACERT", "VAULT_CLIENT_CERT", "VAULT_CLIENT_KEY"}):
            monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def started(live: tuple[str, str] | None) -> AsyncIterator[Any]:
    """The server that the tests start; `None` where a real one stands in."""
    if live is not None:
        yield None
        return
    vault = FakeVault()
    await vault.start()
    yield vault
    await vault.stop()


@pytest.fixture
def server(started: Any) -> Any:
    """The server, under control. A test that asks for it cannot run against a real one."""
    if started is None:
        pytest.skip("needs control of the server (to seal or stop it, its clock, its database)")
    return started


class Space:
    """Mounts, logins and policies of one test on a server, made through Vault's API and removed afterwards."""

    def __init__(self, address: str, token: str) -> None:
        self.address = address
        self.root = token
        self.mount = f"dotmac-test-{uuid.uuid4().hex[:8]}"
        self._undo: list[str] = []
        self._http = aiohttp.ClientSession()

    async def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """One call as root. KV 2 answers 400 for a moment after it was mounted, while it upgrades itself."""
        for attempt in range(50):
            async with self._http.request(
                method, f"{self.address}/v1/{path}", json=body, headers={"X-Vault-Token": self.root}
            ) as answer:
                text = await answer.text()
                if answer.status == 400 and "upgrad" in text.lower() and attempt < 49:
                    await asyncio.sleep(0.1)
                    continue
                assert answer.ok, f"{method} {path}: {answer.status} {text}"
                return json.loads(text) if text else {}
        raise AssertionError("not reached")

    async def open(self) -> None:
        await self.enable("mounts", self.mount, {"type": "kv", "options": {"version": "2"}})

    async def enable(self, kind: str, name: str, body: dict[str, Any]) -> str:
        """Mount an engine (`mounts`) or a login (`auth`)."""
        await self.call("POST", f"sys/{kind}/{name}", body)
        self._undo.append(f"sys/{kind}/{name}")
        return name

    async def put(self, path: str, **fields: Any) -> None:
        await self.call("POST", f"{self.mount}/data/{path}", {"data": fields})

    async def delete(self, path: str) -> None:
        await self.call("DELETE", f"{self.mount}/data/{path}")

    async def policy(self, **paths: list[str]) -> str:
        """A policy for paths below the mount (written with `/`)."""
        name = f"{self.mount}-{len(self._undo)}"
        rules = {f"{self.mount}/{path}": {"capabilities": granted} for path, granted in paths.items()}
        await self.call("PUT", f"sys/policies/acl/{name}", {"policy": json.dumps({"path": rules})})
        self._undo.append(f"sys/policies/acl/{name}")
        return name

    async def reading(self) -> str:
        """The policy that README.md recommends."""
        return await self.policy(**{"data/*": ["read"], "metadata/*": ["read"]})

    async def token(self, *policies: str, ttl: str = "1h", **more: Any) -> str:
        answer = await self.call("POST", "auth/token/create", {"policies": list(policies), "ttl": ttl, **more})
        return str(answer["auth"]["client_token"])

    async def close(self) -> None:
        for path in reversed(self._undo):
            with contextlib.suppress(AssertionError, aiohttp.ClientError):
                await self.call("DELETE", path)
        await self._http.close()


@pytest.fixture
async def space(live: tuple[str, str] | None, started: Any) -> AsyncIterator[Space]:
    """A place on the server, whichever it is."""
    made = Space(*(live or (started.url, started.root)))
    await made.open()
    yield made
    await made.close()


DEVICE = """\
class Refused(Exception):
    pass

class Device:
    # What the vendor's equipment knows: passwords that are good, and the sessions that were opened with them.
    def __init__(self):
        self.good = set()
        self.logins = []
        self.calls = []

    def log_in(self, password):
        self.logins.append(password)
        if password not in self.good:
            raise Refused
        return password

    def work(self, session):
        if session not in self.good:
            raise Refused
        self.calls.append(session)
        return len(self.calls)

device = Device()
"""

PREAMBLE = """\
from dotmac_isp.plugins.core import BasePlugin, CredentialsRefused
from vendor_device import Refused, device
"""

ROTATING = """\
async def activate(self):
    self.session = await self.connect()

async def connect(self):
    password = await self.api.secrets.require("fibre-password")
    try:
        return device.log_in(password.reveal())
    except Refused:
        raise CredentialsRefused("the device refuses the password") from None

async def on_secret_rotated(self, name):
    self.session = await self.connect()

async def work(self):
    return device.work(self.session)
"""

RESTARTED = ROTATING.replace("on_secret_rotated", "not_told")


class Vendor:
    """Installs plugins as pip would leave them. `device` is what they talk to."""

    def __init__(self, site: Path) -> None:
        self.site = site
        (site / "vendor_device.py").write_text(DEVICE)
        importlib.invalidate_caches()
        self.device = importlib.import_module("vendor_device").device

    def install(
        self,
        plugin_id: str,
        body: str = ROTATING,
        *,
        required: tuple[str, ...] = ("fibre-password",),
        optional: tuple[str, ...] = (),
    ) -> None:
        package = f"vendor_{plugin_id}"
        info = self.site / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package.replace('_', '-')}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[dotmac_isp.plugins]\n{plugin_id} = {package}:Plugin\n")
        (self.site / package).mkdir()
        code = f"{PREAMBLE}\nclass Plugin(BasePlugin):\n{textwrap.indent(body, '    ')}\n"
        (self.site / package / "__init__.py").write_text(code)
        (self.site / package / "dotmac-plugin.toml").write_text(
            f'[{plugin_id}]\nname = "{plugin_id}"\n[{plugin_id}.secrets]\n'
            f"required = {json.dumps(required)}\noptional = {json.dumps(optional)}\n"
        )
        importlib.invalidate_caches()


@pytest.fixture
def vendor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Vendor]:
    """Where to install plugins. Their modules are forgotten afterwards."""
    site = tmp_path / "site"
    site.mkdir()
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(site))
    yield Vendor(site)
    for name in set(sys.modules) - before:
        if name.startswith("vendor_"):
            del sys.modules[name]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


class MakeHost:
    """Makes hosts (not started yet) that look often; they are stopped after the test."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = home
        self.environment = monkeypatch
        self.made: list[PluginManager] = []

    def __call__(self, address: str | None, *, token: str | None = None, **settings: Any) -> PluginManager:
        if address is not None:
            self.environment.setenv("VAULT_ADDR", address)
        if token is not None:
            self.environment.setenv("VAULT_TOKEN", token)
        quick = {"poll_interval": 0.1, "cache_ttl": 0.05, "timeout": 2, "patience": 0.5}
        values = {"configuration": {**quick, **settings}}
        (self.home / "vendor_integrations.json").write_text(
            json.dumps({"vendor_integrations": {"vault_secrets": values}})
        )
        made = PluginManager(home=self.home, limits=Limits(cancellation=1.0), health_interval=0, metrics_interval=0)
        self.made.append(made)
        return made


@pytest.fixture
async def make_host(home: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MakeHost]:
    tasks = asyncio.all_tasks()
    maker = MakeHost(home, monkeypatch)
    yield maker
    for manager in maker.made:
        await manager.stop()
    await asyncio.sleep(0)
    left = {task for task in asyncio.all_tasks() - tasks if task is not asyncio.current_task() and not task.done()}
    assert not {task for task in left if "dotmac" in task.get_name() or "vault" in task.get_name()}


async def wait_until(condition: Callable[[], Any], *, seconds: float = 10.0) -> None:
    """Wait until something is so; fails the test when it never is."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not condition():
        assert loop.time() < end, "it did not come about"
        await asyncio.sleep(0.01)


@pytest.fixture
def until() -> Callable[..., Any]:
    """`await until(lambda: …)`."""
    return wait_until
