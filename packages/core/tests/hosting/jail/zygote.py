"""A small zygote for the tests: prepares, then forks a jailed child for each request and lets it try one attack.

Run as `python zygote.py FD HOME [LACKING...]`; LACKING of "preparation", "namespaces", "view", "landlock", "seccomp". FD is a Unix seqpacket socket; a request is a plan, the name of an attack in `attacks.py`
and its arguments, together with the child's end of a stream socket and, if the attack wants it, one for egress.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

import msgspec

sys.path.insert(0, str(Path(__file__).parent))
import attacks
import clients

from dotmac_isp.plugins.core.hosting import jail
from dotmac_isp.plugins.core.hosting.jail import _kernel, _landlock, _seccomp, _view

LARGEST = 1 << 16


def serve(control: socket.socket, home: str, *, prepares: bool) -> None:
    readiness = jail.prepare(home, [str(Path(__file__).parent)]) if prepares else jail.Readiness()
    control.sendall(msgspec.json.encode(readiness))
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    while True:
        data, fds, _, _ = socket.recv_fds(control, LARGEST, 2)
        if not data:
            return
        request = json.loads(data)
        if "reap" in request:
            control.sendall(json.dumps(os.waitpid(request["reap"], 0)[1]).encode())
            continue
        pid = jail.fork()
        if pid == 0:
            control.close()
            run(request, fds)
        for fd in fds:
            os.close(fd)
        control.sendall(json.dumps(pid).encode())


def run(request: dict, fds: list[int]) -> None:
    """The child: wait for the word, lock down, report, attack, tell. Never returns."""
    with socket.socket(fileno=fds[0]) as told:
        if told.recv(2) != b"go":
            os._exit(3)
        plan = msgspec.convert(request["plan"], jail.JailPlan)
        report = jail.lock_down(plan)
        told.sendall(msgspec.json.encode(report) + b"\n")
        try:
            attack = getattr(attacks, request["attack"], None) or getattr(clients, request["attack"])
            egress = socket.socket(fileno=fds[1]) if len(fds) > 1 else None
            if egress is not None:
                jail.install_egress(egress, plan, report)
            result = attack(plan, *request["arguments"])
        except BaseException:
            result = traceback.format_exc()
        told.sendall(json.dumps(result).encode() + b"\n")
    os._exit(0)


def lacking(what: list[str]) -> None:
    """Make this a machine that lacks some of what Linux has."""

    def refused(*_: Any) -> None:
        raise PermissionError(errno.EPERM, "not on this machine")

    if "namespaces" in what:
        _kernel.unshare = refused
    if "view" in what:
        _view.enter_view = refused
    if "landlock" in what:
        _landlock.landlock_abi = lambda: 0
    if "seccomp" in what:
        _seccomp.seccomp_arch = lambda: ""


if __name__ == "__main__":
    lacking(sys.argv[3:])
    serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2], prepares="preparation" not in sys.argv[3:])
