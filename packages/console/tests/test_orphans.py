"""A host that is killed leaves no process behind, and the next start cleans up the rest."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Home, Site

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="instances are jailed on Linux")]

CODE = """\
import subprocess
import sys
from dotmac_isp.plugins.core.base import BasePlugin


class Plugin(BasePlugin):
    async def ping(self):
        return "pong"
"""


def lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def left_in(home: Home) -> list[str]:
    return [str(path) for path in (home.folder / "run").rglob("*") if path.is_socket() or path.parent.name == "cells"]


def groups_of(cells: list[str]) -> list[str]:
    """Control groups that bear the random names of these cells."""
    names = {Path(one).name for one in cells}
    return [folder for folder, _, _ in os.walk("/sys/fs/cgroup") if Path(folder).name in names]


def test_no_process_outlives_a_host_that_is_killed_and_the_next_one_cleans_up(home: Home, site: Site) -> None:
    site.install("fibre", code=CODE, manifest='[fibre.hosting]\nmode = "jailed"\n')
    for tenant in ("acme", "beta"):
        home.tenant(tenant)
    with home.serve() as host:
        pids = [one["isolation"]["pid"] for one in home.ask("list")["instances"] if one["plugin_id"] == "fibre"]
        children = [int(pid) for pid in Path(f"/proc/{host.pid}/task/{host.pid}/children").read_text().split()]
        assert len(pids) == 2
        assert all(map(lives, pids))
        cells = left_in(home)
        assert cells
        host.kill()
        ends = time.monotonic() + 30
        while any(map(lives, (*pids, *children))):
            assert time.monotonic() < ends, "a process outlives its host"
            time.sleep(0.05)
    with home.serve() as host:
        assert "left behind by a host that was killed" in host.output
        there = left_in(home)
        assert not set(cells) & set(there), "what the killed host had is gone"
        assert groups_of(cells) == []
        with host.connect() as line:
            for tenant in ("acme", "beta"):
                assert line.ask("call", plugin_id="fibre", method="ping", tenant=tenant)["result"] == "pong"
