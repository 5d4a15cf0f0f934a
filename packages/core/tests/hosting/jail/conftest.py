"""Hosts for attacks: one as root, one as an ordinary user. Module-wide, since a zygote takes a while to start."""

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
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import pytest

from dotmac_isp.plugins.core.hosting import jail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from host import PATIENCE, Host  # noqa: E402 - beside this file; tests are no package

ORDINARY = 54321

pytest.importorskip("landlockpy", reason="the extra jail is not installed")


class Attackable(Protocol):
    """A host that runs attacks; see `host.Host.attack`."""

    home: Path
    readiness: jail.Readiness

    def attack(self, attack: str, *arguments: Any, **plan: Any) -> dict[str, Any]: ...
    def attack_online(self, attack: str, *arguments: Any, **plan: Any) -> dict[str, Any]: ...


class OrdinaryHost:
    """A host that runs as an ordinary user, in a process of its own."""

    def __init__(self, home: Path, *without: str) -> None:
        self.home = home
        self._ours, theirs = socket.socketpair()
        self._ours.settimeout(PATIENCE)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, str(HERE / "host.py"), str(ORDINARY), str(home), str(theirs.fileno()), *without],
                pass_fds=[theirs.fileno()],
                env={"PATH": "/usr/bin:/bin", "PYTHONPATH": os.pathsep.join(sys.path)},
            )
        self.readiness = msgspec.json.decode(self._ours.recv(1 << 16), type=jail.Readiness)
        self._lines = self._ours.makefile("rb")

    def attack(self, attack: str, *arguments: Any, **plan: Any) -> dict[str, Any]:
        return self._ask("attack", attack, arguments, plan)

    def attack_online(self, attack: str, *arguments: Any, **plan: Any) -> dict[str, Any]:
        return self._ask("attack_online", attack, arguments, plan)

    def _ask(self, how: str, attack: str, arguments: Any, plan: dict[str, Any]) -> dict[str, Any]:
        request = {"how": how, "attack": attack, "arguments": arguments, **plan}
        self._ours.sendall(json.dumps(msgspec.to_builtins(request)).encode() + b"\n")
        answer: dict[str, Any] = json.loads(self._lines.readline())
        return answer

    def close(self) -> None:
        self._lines.close()
        self._ours.close()
        self._process.wait(PATIENCE)


@pytest.fixture
def short_home() -> Iterator[Path]:
    with _home() as home:
        yield home


@contextlib.contextmanager
def _home() -> Iterator[Path]:
    """A state folder that an ordinary user can reach, with a short name for sockets."""
    with tempfile.TemporaryDirectory(prefix="jail", ignore_cleanup_errors=True) as name:
        home = Path(name)
        home.chmod(0o755)
        for tenant in ("tenant_1", "tenant_2"):
            (home / "data" / tenant).mkdir(parents=True)
        (home / "data" / "tenant_2" / "secret").write_text("of tenant 2")
        yield home
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def root_host() -> Iterator[Host]:
    if os.geteuid():
        pytest.skip("needs root")
    with _home() as home, contextlib.closing(Host(home)) as made:
        yield made


@pytest.fixture(scope="module", params=["root", "ordinary"])
def host(request: pytest.FixtureRequest) -> Iterator[Attackable]:
    """A host as root, and one as an ordinary user."""
    if os.geteuid():
        pytest.skip("needs root, to become an ordinary user with a known number too")
    kind = Host if request.param == "root" else OrdinaryHost
    with _home() as home, contextlib.closing(kind(home)) as made:
        yield made


@pytest.fixture(params=["root", "ordinary"])
def lacking(request: pytest.FixtureRequest) -> Iterator[Callable[..., Attackable]]:
    """Makes hosts on machines that lack something."""
    if os.geteuid():
        pytest.skip("needs root, to become an ordinary user with a known number too")
    kind = Host if request.param == "root" else OrdinaryHost
    with contextlib.ExitStack() as stack:
        yield lambda *what: stack.enter_context(contextlib.closing(kind(stack.enter_context(_home()), *what)))
