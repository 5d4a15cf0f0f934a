"""What the kernel enforces around one process: who it is, what it sees, what it may use, whom it may talk to.

It knows nothing of plugins, frames or calls. `prepare` and `fork` run in the zygote, `lock_down` and `install_egress` in
the jailed process, the rest in the supervisor. What a machine cannot enforce is reported, with the way to get it.
"""

from __future__ import annotations

from ._broker import Broker, Decision
from ._cell import Cell
from ._egress import grpc_target, install_egress
from ._ending import Ending, ExitReason
from ._judgement import GUARANTEES, Guarantee, IsolationReport, Strength, without_a_jail
from ._lockdown import lock_down
from ._machine import MachineReport, machine_report
from ._plan import ChildReport, Endpoint, JailLimits, JailPlan, Readiness, Usage
from ._prepare import fork, prepare
from ._sweep import leave, sweep
from ._wire import egress_pair

__all__ = [
    "GUARANTEES",
    "Broker",
    "Cell",
    "ChildReport",
    "Decision",
    "Ending",
    "Endpoint",
    "ExitReason",
    "Guarantee",
    "IsolationReport",
    "JailLimits",
    "JailPlan",
    "MachineReport",
    "Readiness",
    "Strength",
    "Usage",
    "egress_pair",
    "fork",
    "grpc_target",
    "install_egress",
    "leave",
    "lock_down",
    "machine_report",
    "prepare",
    "sweep",
    "without_a_jail",
]
