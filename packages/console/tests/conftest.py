"""A real host in a process of its own, real commands, and tiny plugins on disk as pip would leave them."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import signal

PLAIN = "from dotmac_isp.plugins.core.base import BasePlugin\n\n\nclass Plugin(BasePlugin):\n    pass\n"
GREETER = """\
from dotmac_isp.plugins.core.base import BasePlugin
from dotmac_isp.plugins.core.settings import PluginSettings


class Settings(PluginSettings):
    greeting: str = "hello"
    count: int = 1
    api_token: str = "quite-secret"


class Plugin(BasePlugin):
    async def initialize(self):
        print("a plugin that prints")

    async def greet(self, name, *, times=None):
        return {"text": f"{self.api.settings.greeting} {name}", "times": times or self.api.settings.count}

    async def whoami(self, context):
        return {"tenant": context.tenant_id, "user": context.user_id}

    async def refuse(self):
        raise ValueError("not like this")

    async def strange(self):
        return object()
"""
GREETER_MANIFEST = """\
settings = "vendor_greeter:Settings"
[greeter.secrets]
optional = ["greeter-voice"]
[greeter.features.talking]
permission = "greeter.talk"
methods = ["greet"]
[greeter.features.singing]
permission = "greeter.sing"
methods = ["whoami"]
secrets = ["greeter-voice"]
"""
BROKEN = PLAIN.replace("    pass", '    async def initialize(self):\n        raise RuntimeError("no luck today")')
#: Installed in some environments beside us; off, so that only the tests' plugins run.
OTHERS = {name: {"enabled": False} for name in ("voltha_integration", "analytics_events", "vault_secrets")}

Install = Callable[..., Path]
Run = Callable[..., subprocess.CompletedProcess[str]]


class Site:
    """A folder that stands for site-packages."""

    PLAIN = PLAIN
    BROKEN = BROKEN
    GREETER = GREETER
    GREETER_MANIFEST = GREETER_MANIFEST

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(
        self, plugin_id: str, *, manifest: str = "", code: str = PLAIN, version: str = "1.2", entry_points: str = ""
    ) -> Path:
        """Put a plugin there, or another version of it."""
        module = f"vendor_{plugin_id}"
        for old in self.folder.glob(f"dist_{plugin_id}-*.dist-info"):
            for file in old.iterdir():
                file.unlink()
            old.rmdir()
        info = self.folder / f"dist_{plugin_id}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: dist-{plugin_id}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[dotmac_isp.plugins]\n{plugin_id} = {module}:Plugin\n{entry_points}")
        (info / "RECORD").write_text(f"{module}/__init__.py,,\n{module}/helper.py,,\n")
        place = self.folder / module
        place.mkdir(exist_ok=True)
        (place / "__init__.py").write_text(code)
        (place / "dotmac-plugin.toml").write_text(f'[{plugin_id}]\nname = "Plugin {plugin_id}"\n{manifest}')
        return place

    def uninstall(self, plugin_id: str) -> None:
        """Take its entry points away, as `pip uninstall` does."""
        for info in self.folder.glob(f"dist_{plugin_id}-*.dist-info"):
            (info / "entry_points.txt").unlink()

    def greeter(self, **more: Any) -> Path:
        return self.install("greeter", manifest=GREETER_MANIFEST, code=GREETER, **more)


class Home:
    """A host's folder, and commands that are run for it."""

    def __init__(self, folder: Path, site: Path) -> None:
        self.folder = folder
        self.site = site
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("DOTMAC_", "GREETER_"))},
            "PYTHONPATH": os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH", "")))),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self.configure({})

    def configure(self, integrations: dict[str, Any]) -> None:
        """Write the operator's configuration file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        data = {"vendor_integrations": {**OTHERS, **integrations}}
        (self.folder / "vendor_integrations.json").write_text(json.dumps(data))

    def tenant(self, tenant_id: str, **content: Any) -> Path:
        """Write a tenant's file."""
        (self.folder / "tenants").mkdir(exist_ok=True, mode=0o700)
        path = self.folder / "tenants" / f"{tenant_id}.json"
        path.write_text(json.dumps(content))
        return path

    def other(self, name: str) -> Home:
        """Another home, for the same plugins."""
        return Home(self.folder.parent / name, self.site)

    @property
    def socket(self) -> Path:
        return self.folder / "control.sock"

    def arguments(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "dotmac_plugins_console", "--home", str(self.folder), *words]

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            self.arguments(*words),
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def json(self, *words: str) -> Any:
        """Run a command with `--json`, which must succeed, and give what it says."""
        done = self.run(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def ask(self, method: str, **params: Any) -> Any:
        """The running host's answer, without the cost of a command."""
        with Line(self.socket) as line:
            answer = line.ask(method, **params)
        assert "result" in answer, answer
        return answer["result"]

    @contextlib.contextmanager
    def serve(self, *words: str, **environment: str) -> Iterator[Host]:
        """A host in a process of its own, up and running."""
        host = Host(self, words, environment)
        try:
            host.wait_for("ready:")
            yield host
        finally:
            host.kill()


class Host:
    """A `dotmac-plugins serve` process."""

    def __init__(self, home: Home, words: tuple[str, ...], environment: dict[str, str]) -> None:
        self.home = home
        self._out = home.folder.parent / f"host-{time.monotonic_ns()}.out"
        with self._out.open("w") as out:
            self.process = subprocess.Popen(
                home.arguments("serve", *words),
                env={**home.environment, **environment},
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        return self._out.read_text()

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_for(self, text: str, *, times: int = 1) -> None:
        """Wait until the host has said it."""
        ends = time.monotonic() + 60
        while self.output.count(text) < times:
            assert self.process.poll() is None, f"the host ended: {self.output}"
            assert time.monotonic() < ends, f"the host does not say {text!r}: {self.output}"
            time.sleep(0.05)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        return self.process.wait(timeout=60)

    def kill(self) -> None:
        """As `kill -9` does."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def connect(self) -> Line:
        return Line(self.home.socket)


class Line:
    """A client that speaks the control interface by hand."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(str(path))
        self._file = self.socket.makefile("rb")

    def send(self, line: bytes) -> None:
        self.socket.sendall(line)

    def receive(self) -> Any:
        line = self._file.readline()
        assert line, "the host hung up"
        return json.loads(line)

    def ask(self, request: str, /, **params: Any) -> Any:
        self.send(json.dumps({"id": 7, "method": request, "params": params}).encode() + b"\n")
        while "progress" in (answer := self.receive()):
            pass
        return answer

    def close(self) -> None:
        self._file.close()
        self.socket.close()

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@pytest.fixture
def site_folder(tmp_path: Path) -> Path:
    """Where the host's packages are."""
    folder = tmp_path / "site"
    folder.mkdir()
    return folder


@pytest.fixture
def site(site_folder: Path) -> Site:
    return Site(site_folder)


@pytest.fixture
def home(tmp_path: Path, site: Site) -> Home:
    return Home(tmp_path / "home", site.folder)
