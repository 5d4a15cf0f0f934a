"""The watchdog alone, before families of processes as an instance may have them where there are no control groups."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from dotmac_isp.plugins.core.hosting import jail
from dotmac_isp.plugins.core.hosting.jail._watchdog import Watchdog, proportional, resident

MEBIBYTE = 1 << 20
#: A parent with 60 MiB and four children, each of which writes to so many MiB of them.
FAMILY = """
import os, sys, time
hoard = bytearray(60 << 20)
for at in range(0, len(hoard), 4096):
    hoard[at] = 1
for _ in range(4):
    if os.fork() == 0:
        for at in range(0, int(sys.argv[1]) << 20, 4096):
            hoard[at] = 2
        time.sleep(60)
        os._exit(0)
print("ready", flush=True)
time.sleep(60)
"""


class Family:
    """A family that is watched for its memory."""

    limits = jail.JailLimits(memory=150 * MEBIBYTE)
    kinds = frozenset({"memory"})
    data_dir = None

    def __init__(self, pid: int) -> None:
        self.pid: int | None = pid
        self.ended = threading.Event()
        self.why = ""

    def memory_kills(self) -> int:
        return 0

    def kill(self, why: str, kind: jail.Ending) -> None:
        assert kind is jail.Ending.MEMORY
        self.why = why
        self.ended.set()


@pytest.mark.parametrize(("own", "ends"), [(0, False), (40, True)])
def test_memory_that_a_family_shares_is_counted_once(own: int, ends: bool) -> None:
    watchdog = Watchdog()
    with subprocess.Popen([sys.executable, "-c", FAMILY, str(own)], stdout=subprocess.PIPE, process_group=0) as parent:
        try:
            assert parent.stdout is not None
            assert parent.stdout.readline() == b"ready\n"
            family = Family(parent.pid)
            watchdog.add(family)
            assert family.ended.wait(20 if ends else 1) == ends
            assert family.why.startswith("out of memory: used ") == ends
            watchdog.remove(family)
        finally:
            os.killpg(parent.pid, signal.SIGKILL)


def test_a_process_that_shares_nothing_has_all_that_it_has_in_use() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "x = b'x' * (30 << 20); print('ready', flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as one:
        assert one.stdout is not None
        assert one.stdout.readline() == b"ready\n"
        assert 30 * MEBIBYTE < proportional(one.pid) <= resident(one.pid)
        one.kill()
    with pytest.raises(OSError, match=str(one.pid)):
        proportional(one.pid)
