"""A host for each level and kind of user, with a hostile plugin that its vendor's package brought."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
CORE_TESTS = HERE.parents[1] / "packages" / "core" / "tests" / "hosting" / "jail"
ORDINARY = 54321

PLUGIN = """
import asyncio
import types

from dotmac_isp.plugins.core import BasePlugin

from . import attacks, clients


class Plugin(BasePlugin):
    async def attempt(self, what, *arguments):
        action = getattr(attacks, what, None) or getattr(clients, what)
        try:
            folder = str(self.api.data_dir)
        except OSError:
            folder = "/tmp"
        plan = types.SimpleNamespace(data_dir=folder)
        if action.__module__.endswith("clients"):
            return await asyncio.to_thread(action, plan, *arguments)  # some have event loops of their own
        return action(plan, *arguments)

    async def answer(self):
        return "here"
"""

MANIFEST = """
[hostile]
name = "Hostile"
security_level = "{level}"

[hostile.hosting]
mode = "jailed"

[[hostile.hosting.endpoints]]
address = "127.0.0.1:{port}"

[hostile.hosting.limits]
memory = "128 MiB"
cpu = 0.5
processes = 24
open_files = 128
file_size = "4 MiB"
disk = "16 MiB"
"""


class Arena:
    """A running host, and the victims around it."""

    def __init__(self, home: Path, level: str, uid: int) -> None:
        self.level, self.uid, self.home = level, uid, home
        self.listed = socket.create_server(("127.0.0.1", 0))
        self.victims = Victims(home)
        self._install(home / "site")
        (home / "state").mkdir()
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "arena.py"), str(home), str(uid), str(CORE_TESTS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        self.pid = self._hear()["pid"]

    def _install(self, site: Path) -> None:
        package, info = site / "vendor_hostile", site / "vendor_hostile-1.0.dist-info"
        package.mkdir(parents=True)
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vendor-hostile\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[dotmac_isp.plugins]\nhostile = vendor_hostile:Plugin\n")
        (package / "__init__.py").write_text(PLUGIN)
        manifest = MANIFEST.format(level=self.level, port=self.listed.getsockname()[1])
        (package / "dotmac-plugin.toml").write_text(manifest)
        for name in ("attacks.py", "clients.py"):
            shutil.copy(CORE_TESTS / name, package / name)

    def _hear(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def tell(self, what: str, *arguments: Any, tenant: str = "tenant_1", **more: Any) -> Any:
        order = {"tenant": tenant, "what": what, "arguments": arguments, **more}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._hear()

    def strengths(self) -> dict[str, str]:
        found = self.tell("status")["isolation"]["guarantees"]
        return {name: one["strength"] for name, one in found.items()}

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()
        self.listed.close()
        self.victims.close()


class Victims:
    """What must not be reached: listening sockets of every kind."""

    def __init__(self, home: Path) -> None:
        self._held = contextlib.ExitStack()
        self.tcp = self._held.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.udp = self._held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.udp.bind(("127.0.0.1", 0))
        self.path = str(home / "victim.sock")
        self.named = self._held.enter_context(socket.socket(socket.AF_UNIX))
        self.named.bind(self.path)
        Path(self.path).chmod(0o777)
        self.abstract = self._held.enter_context(socket.socket(socket.AF_UNIX))
        self.abstract_name = f"victim-{home.name}"
        self.abstract.bind("\0" + self.abstract_name)
        for listening in (self.named, self.abstract):
            listening.listen()
        for sock in (self.tcp, self.udp, self.named, self.abstract):
            sock.setblocking(False)

    def reached(self) -> list[str]:
        found = []
        for name, sock in (("tcp", self.tcp), ("path", self.named), ("abstract", self.abstract)):
            with contextlib.suppress(BlockingIOError):
                sock.accept()[0].close()
                found.append(name)
        with contextlib.suppress(BlockingIOError):
            self.udp.recv(1)
            found.append("udp")
        return found

    def close(self) -> None:
        self._held.close()


@pytest.fixture(
    scope="module",
    params=[(user, level) for user in ("root", "ordinary") for level in ("minimal", "standard", "elevated")],
    ids="-".join,
)
def arena(request: pytest.FixtureRequest) -> Iterator[Arena]:
    if sys.platform != "linux" or os.geteuid():
        pytest.skip("needs root on Linux, to become an ordinary user with a known number too")
    pytest.importorskip("landlockpy", reason="the extra jail is not installed")
    user, level = request.param
    with tempfile.TemporaryDirectory(prefix="arena", ignore_cleanup_errors=True) as name:
        home = Path(name)
        home.chmod(0o755)
        with contextlib.closing(Arena(home, level, 0 if user == "root" else ORDINARY)) as made:
            for tenant in ("tenant_1", "tenant_2"):
                assert made.tell("start", tenant=tenant) == "started"
            yield made
