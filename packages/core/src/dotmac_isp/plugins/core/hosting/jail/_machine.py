"""What this machine can enforce, found out by trying: a process of this interpreter is locked down and tells."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import msgspec

from ._cell import Cell
from ._judgement import IsolationReport, in_container, without_a_jail
from ._lockdown import lock_down
from ._plan import ChildReport, JailPlan

__all__ = ["MachineReport", "machine_report"]

#: Seconds for one process to start, lock itself down and tell.
PATIENCE: Final = 30.0
PROBE: Final = "from dotmac_isp.plugins.core.hosting.jail import _machine; _machine.probe()"


class MachineReport(msgspec.Struct, frozen=True, kw_only=True):
    """What instances on this machine, started by this user, can be given."""

    system: str
    architecture: str
    container: bool
    root: bool
    isolation: IsolationReport
    #: What the process that tried it achieved; `None` where there was none.
    child: ChildReport | None = None


def machine_report(home: str | Path | None = None) -> MachineReport:
    """Try what can be enforced here. Takes about a quarter of a second and blocks; call it in a thread.

    *home* is the host's state folder; without it a temporary one is used, and left empty.
    """
    if sys.platform != "linux":
        return _report(without_a_jail(f"{platform.system()} has nothing of the kind"), None)
    with tempfile.TemporaryDirectory(prefix="jail") as folder:
        where = Path(folder if home is None else home)
        try:
            return _try(where)
        except (OSError, subprocess.SubprocessError, msgspec.MsgspecError) as error:
            return _report(without_a_jail(f"no process could be locked down: {error}"), None)


def _try(home: Path) -> MachineReport:
    cell = Cell(JailPlan(label="probe@-", data_dir=None), home)
    try:
        with subprocess.Popen(  # noqa: S603 - this interpreter, and a text of this module
            [sys.executable, "-c", PROBE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        ) as process:
            cell.adopt(process.pid)
            said, _ = process.communicate(msgspec.json.encode(cell.plan), PATIENCE)
        child = msgspec.json.decode(said, type=ChildReport)
        return _report(cell.report(child), child)
    finally:
        cell.close()


def _report(isolation: IsolationReport, child: ChildReport | None) -> MachineReport:
    return MachineReport(
        system=f"{platform.system()} {platform.release()}",
        architecture=platform.machine(),
        container=in_container(),
        root=hasattr(os, "geteuid") and os.geteuid() == 0,
        isolation=isolation,
        child=child,
    )


def probe() -> None:
    """The process that tries it: reads a plan, locks itself down, tells, ends."""
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=JailPlan)
    report = lock_down(plan)
    os.write(1, msgspec.json.encode(report))
    os._exit(0)
