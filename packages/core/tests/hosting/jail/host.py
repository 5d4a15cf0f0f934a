"""A small host for the tests: makes a cell, has the zygote fork, and tells how an attack ended.

As a script it is such a host as an ordinary user: `python host.py UID HOME FD`, started as root, becomes that user with the
interpreter readable, and answers requests on FD.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from dotmac_isp.plugins.core.hosting import jail

HERE = Path(__file__).parent
PATIENCE = 60.0


class Host:
    """One host with its zygote. Blocking, one attack at a time, so that tests read from top to bottom."""

    def __init__(self, home: Path, *without: str) -> None:
        self.home = home
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, str(HERE / "zygote.py"), str(theirs.fileno()), str(home)]
            self.zygote = subprocess.Popen(
                [*command, *without],
                pass_fds=[theirs.fileno()],
                env={"PATH": "/usr/bin:/bin", "PYTHONPATH": os.pathsep.join(sys.path)},
            )
        self.control = ours
        self.control.settimeout(PATIENCE)
        self.readiness = msgspec.json.decode(self.control.recv(1 << 16), type=jail.Readiness)

    def close(self) -> None:
        self.control.close()
        self.zygote.wait(PATIENCE)

    def start(self, cell: jail.Cell, attack: str, *arguments: Any, egress: socket.socket | None = None) -> Attack:
        ours, theirs = socket.socketpair()
        ours.settimeout(PATIENCE)
        request = {"plan": msgspec.to_builtins(cell.plan), "attack": attack, "arguments": arguments}
        with theirs:
            fds = [theirs.fileno(), *([egress.fileno()] if egress is not None else [])]
            socket.send_fds(self.control, [json.dumps(request).encode()], fds)
        pid = json.loads(self.control.recv(1 << 16))
        cell.adopt(pid)
        ours.sendall(b"go")
        return Attack(self, cell, ours, pid)

    def reap(self, pid: int) -> int:
        self.control.sendall(json.dumps({"reap": pid}).encode())
        return json.loads(self.control.recv(1 << 16))

    def attack(self, attack: str, *arguments: Any, **plan: Any) -> dict[str, Any]:
        """Run one attack to its end: report, result, reason of the end, usage; as plain data."""
        plan.setdefault("data_dir", str(self.home / "data" / "tenant_1"))
        cell = jail.Cell(jail.JailPlan(label="hostile@tenant_1", **plan), self.home)
        try:
            return self.start(cell, attack, *arguments).told()
        finally:
            cell.close()

    def attack_online(
        self,
        attack: str,
        *arguments: Any,
        names: dict[str, list[list[str]]] | None = None,
        advertised: list[str] | None = None,
        **plan: Any,
    ) -> dict[str, Any]:
        """The same with a broker. *names*: name → its answers, the last one for good; others are not known."""
        plan.setdefault("data_dir", str(self.home / "data" / "tenant_1"))
        return asyncio.run(self._online(attack, arguments, names or {}, advertised or [], plan))

    async def _online(
        self,
        attack: str,
        arguments: Any,
        names: dict[str, list[list[str]]],
        advertised: list[str],
        plan: dict[str, Any],
    ) -> dict[str, Any]:
        async def resolve(host: str, port: int) -> list[str]:
            if host not in names:
                raise socket.gaierror(socket.EAI_NONAME, f"{host} is not known")
            return names[host].pop(0) if len(names[host]) > 1 else names[host][0]

        decisions: list[jail.Decision] = []
        cell = jail.Cell(jail.JailPlan(label="hostile@tenant_1", **plan), self.home)
        ours, theirs = jail.egress_pair()
        broker = jail.Broker(cell.plan, ours, decided=decisions.append, resolve=resolve)
        if advertised:
            broker.allow_advertised(*advertised)
        try:
            with theirs:
                going = await asyncio.to_thread(self.start, cell, attack, *arguments, egress=theirs)
            await broker.start(going.child)
            told = await asyncio.to_thread(going.told)
            return {**told, "decisions": msgspec.to_builtins(decisions), "relayed": broker.relayed_bytes}
        finally:
            await broker.close()
            cell.close()


class Attack:
    """An attack that goes on."""

    def __init__(self, host: Host, cell: jail.Cell, told: socket.socket, pid: int) -> None:
        self.host, self.cell, self.pid = host, cell, pid
        self.lines = told.makefile("rb")
        told.close()
        line = self.lines.readline()
        self.child = msgspec.json.decode(line, type=jail.ChildReport) if line else jail.ChildReport()

    def told(self) -> dict[str, Any]:
        line = self.lines.readline()
        self.lines.close()
        status = self.host.reap(self.pid)
        return {
            "child": msgspec.to_builtins(self.child),
            "report": msgspec.to_builtins(self.cell.report(self.child)),
            "result": json.loads(line) if line else None,
            "exit": msgspec.to_builtins(self.cell.exit_reason(status)),
            "usage": msgspec.to_builtins(self.cell.usage()),
        }


def mask_proc() -> None:
    """Cover a file of /proc as containers do: the kernel then refuses an ordinary user a /proc of its own."""
    from dotmac_isp.plugins.core.hosting.jail import _kernel

    _kernel.bind("/dev/null", "/proc/timer_list")


def become_ordinary(uid: int, home: str, *without: str) -> None:
    """Lay a readable copy of the way to the interpreter over folders that only root may enter, then change the user."""
    from dotmac_isp.plugins.core.hosting.jail import _kernel

    _kernel.unshare("mount")
    _kernel.mount("none", "/", flags=_kernel.MS_REC | _kernel.MS_PRIVATE)
    if "a whole proc" in without:
        mask_proc()
    for folder in [path for path, _, _ in os.walk(home)]:
        os.chown(folder, uid, uid)
    stash = Path(home, "stash")
    stash.mkdir()
    for path in sorted({sys.prefix, sys.base_prefix, *(path for path in sys.path if path)}, key=len):
        closed = next((p for p in reversed(Path(path).parents) if not p.stat().st_mode & 0o001), None)
        if closed is None:
            continue
        _kernel.bind(path, str(stash))
        _kernel.tmpfs(str(closed), size=1 << 20)
        Path(path).mkdir(parents=True)
        _kernel.bind(str(stash), path)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def main() -> None:
    uid, home, fd = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    if os.getuid() != uid:
        become_ordinary(uid, home, *sys.argv[4:])
        # A process that changed its user may not look at itself; a new program may.
        os.set_inheritable(fd, True)
        os.execv(sys.executable, [sys.executable, *sys.argv])
    requests = socket.socket(fileno=fd)
    host = Host(Path(home), *sys.argv[4:])
    requests.sendall(msgspec.json.encode(host.readiness))
    with requests.makefile("rb") as lines:
        for line in lines:
            request = json.loads(line)
            for name, kind in (("limits", jail.JailLimits), ("endpoints", tuple[jail.Endpoint, ...])):
                if name in request:
                    request[name] = msgspec.convert(request[name], kind)
            attack = getattr(host, request.pop("how"))
            told = attack(request.pop("attack"), *request.pop("arguments"), **request)
            requests.sendall(json.dumps(told).encode() + b"\n")
    host.close()


if __name__ == "__main__":
    main()
