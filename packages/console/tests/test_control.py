"""The control socket: what clients can ask, and that none of them can hurt the host."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from dotmac_plugins_console import HostError, connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Home, Host, Site

SLEEPER = """\
import asyncio
from dotmac_isp.plugins.core.base import BasePlugin


class Plugin(BasePlugin):
    async def nap(self, seconds):
        await asyncio.sleep(seconds)
        return "awake"
"""


@pytest.fixture
def host(home: Home, site: Site) -> Iterator[Host]:
    site.greeter()
    site.install("sleeper", code=SLEEPER)
    home.tenant("acme")
    with home.serve() as host:
        yield host


def test_garbage_long_lines_and_clients_that_go_away_hurt_nobody(host: Host) -> None:
    with host.connect() as line:
        line.send(b"no json at all\n")
        assert line.receive()["error"]["type"] == "BadRequest"
        line.send(b"\xff\xfe\x00\n")
        assert line.receive()["error"]["type"] == "BadRequest"
        line.send(b"[" * 100_000 + b"\n")
        assert line.receive()["error"]["type"] == "BadRequest"
        line.send(b'{"id": 1, "method": "list", "colour": "red"}\n')
        assert "colour" in line.receive()["error"]["message"]
        line.send(b"x" * 10_000_000 + b"\n")
        told = line.receive()
        assert told["id"] is None
        assert "1048576" in told["error"]["message"]
        assert line.ask("hello")["result"]["pid"] == host.pid
    for _ in range(20):
        gone = host.connect()
        gone.send(
            b'{"id": 1, "method": "call", "params": {"plugin_id": "sleeper", "method": "nap", "args": [0.2]}}\n{"i'
        )
        gone.close()
    with host.connect() as line:
        assert line.ask("hello")["result"]["phase"] == "running"
    assert host.process.poll() is None


def test_unknown_methods_and_wrong_parameters_are_told_with_what_there_is(host: Host) -> None:
    with host.connect() as line:
        error = line.ask("lisst")["error"]
        assert (error["type"], error["remedy"]) == ("BadRequest", "Did you mean 'list'?")
        error = line.ask("start", plugin_id=5)["error"]
        assert "plugin_id" in error["message"]
        error = line.ask("start", plugin="greeter")["error"]
        assert "plugin_id, tenant, environment" in error["remedy"]
        error = line.ask("start", plugin_id="greeter", tenant="../acme")["error"]
        assert error["type"] == "TenantIdError"


def test_a_client_that_waits_does_not_keep_another_waiting_nor_its_own_next_request(host: Host) -> None:
    with host.connect() as slow, host.connect() as quick:
        nap = {"plugin_id": "sleeper", "method": "nap", "tenant": "acme", "args": [1.5]}
        slow.send(json.dumps({"id": "nap", "method": "call", "params": nap}).encode() + b"\n")
        slow.send(b'{"id": "hello", "method": "hello"}\n')
        assert quick.ask("hello")["result"]["pid"] == host.pid
        assert slow.receive()["id"] == "hello"
        assert slow.receive() == {"id": "nap", "result": "awake"}


def test_a_call_goes_through_the_gate_as_the_user_of_the_socket(host: Host) -> None:
    with host.connect() as line:
        assert line.ask("call", plugin_id="greeter", method="greet", tenant="acme", args=["you"], kwargs={"times": 3})[
            "result"
        ] == {"text": "hello you", "times": 3}
        who = line.ask("call", plugin_id="greeter", method="whoami", tenant="acme")["result"]
        assert who == {"tenant": "acme", "user": f"uid:{os.geteuid()}"}
        refused = line.ask("call", plugin_id="greeter", method="refuse", tenant="acme")["error"]
        assert (refused["type"], refused["message"]) == ("ValueError", "not like this")
        strange = line.ask("call", plugin_id="greeter", method="strange", tenant="acme")["error"]
        assert "object cannot be sent as JSON" in strange["message"]
        unknown = line.ask("call", plugin_id="greeter", method="gret", tenant="acme")["error"]
        assert "greet" in unknown["message"]
        late = line.ask("call", plugin_id="sleeper", method="nap", tenant="acme", args=[60], deadline=0.2)["error"]
        assert late["type"] == "DeadlineError"
        nobody = line.ask("call", plugin_id="greeter", method="greet", tenant="nobody", args=["you"])["error"]
        assert nobody["remedy"] == "dotmac-plugins start greeter --tenant nobody"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user to try")
def test_another_user_cannot_ask_the_host(host: Host) -> None:
    program = (
        "import os, socket, sys\nos.setgid(65534); os.setuid(65534)\ns = socket.socket(socket.AF_UNIX)\n"
        "try:\n    s.connect(sys.argv[1])\nexcept PermissionError:\n    print('refused')\n"
    )
    command = [sys.executable, "-c", program, str(host.home.socket)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "refused\n"
    # Also where the modes would let it in, the kernel's word on who it is counts.
    for path in (*list(host.home.folder.parents)[:3], host.home.folder):
        path.chmod(0o755)
    host.home.socket.chmod(0o777)
    asking = program.replace("except", "    print(s.recv(4096).decode())\nexcept")
    told = json.loads(
        subprocess.run(
            ["/usr/bin/env", *command[:2], asking, command[3]], capture_output=True, text=True, check=True
        ).stdout
    )
    assert "belongs to user 0, and you are user 65534" in told["error"]["message"]


async def test_connect_reaches_the_running_host_and_says_so(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    async with connect("acme", home=host.home.folder) as connection:
        assert await connection.call("greeter", "greet", "you", times=2) == {"text": "hello you", "times": 2}
        with pytest.raises(HostError, match="not like this") as caught:
            await connection.call("greeter", "refuse")
        assert caught.value.type == "ValueError"
        with pytest.raises(HostError, match="1048576"):
            await connection.call("greeter", "greet", "x" * 2_000_000)
        both = await asyncio.gather(connection.call("sleeper", "nap", 0.1), connection.call("greeter", "greet", "me"))
        assert both[0] == "awake"
    assert capsys.readouterr().err == f"asked the running host (pid {host.pid})\n"


async def test_a_host_that_dies_while_it_is_asked_is_told_as_such(host: Host) -> None:
    async with connect("acme", home=host.home.folder, announce=False) as connection:
        threading.Timer(0.5, host.process.kill).start()
        with pytest.raises(HostError, match="went away before it answered"):
            await connection.call("sleeper", "nap", 20)


async def test_connect_starts_a_short_lived_host_where_none_runs(
    home: Home, site: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    site.greeter()
    monkeypatch.syspath_prepend(str(site.folder))
    try:
        async with connect("acme", home=home.folder) as connection:
            assert await connection.call("greeter", "greet", "you") == {"text": "hello you", "times": 1}
            with pytest.raises(HostError, match="not like this"):
                await connection.call("greeter", "refuse")
            with pytest.raises(HostError, match="cannot be sent as JSON"):
                await connection.call("greeter", "strange")
    finally:
        sys.modules.pop("vendor_greeter", None)
    told = capsys.readouterr()
    assert told.err.startswith("no host is running; asked a short-lived one\n")
    assert told.out == ""


def test_more_clients_than_it_serves_are_told_to_come_again(host: Host) -> None:
    lines = [host.connect() for _ in range(64)]
    try:
        for line in lines:
            line.ask("hello")
        with host.connect() as one_more:
            assert "64 clients" in one_more.receive()["error"]["message"]
    finally:
        for line in lines:
            line.close()
    answer: Any = {}
    ends = time.monotonic() + 30
    while "result" not in answer and time.monotonic() < ends:
        with host.connect() as line:
            answer = line.ask("hello")
    assert answer["result"]["pid"] == host.pid
