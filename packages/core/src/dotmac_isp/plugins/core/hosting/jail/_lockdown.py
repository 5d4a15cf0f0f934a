"""What a forked child does to itself before any plugin code runs.

Order matters: control groups → limits → namespaces → files → user → no new privileges → Landlock → system calls. Each step tells what it
achieved or why it could not; what a machine cannot do is left out here and judged by the supervisor.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from . import _kernel, _landlock, _rlimits, _seccomp, _view
from ._plan import ChildReport
from ._prepare import attempt, own_user_namespace, prepare, prepared

if TYPE_CHECKING:
    from ._plan import JailPlan

__all__ = ["lock_down"]

#: include/uapi/linux/prctl.h
PR_SET_PDEATHSIG: Final = 1
PR_SET_DUMPABLE: Final = 4
PR_SET_NO_NEW_PRIVS: Final = 38
STEPS: Final = ("groups", "rlimits", "namespaces", "files", "user", "privileges", "landlock", "seccomp")


def lock_down(plan: JailPlan) -> ChildReport:
    """Give up everything that the plan does not leave, for good.

    To be called in a forked child with one thread, before any plugin code runs.
    Never raises for what the machine cannot do: the report says what holds.
    """
    down = _Descent(plan)
    for name in STEPS:
        began = time.perf_counter_ns()
        attempt(down.problems, name, getattr(down, name))
        down.took[name] = (time.perf_counter_ns() - began) // 1000
    return ChildReport(problems=down.problems, took=down.took, **down.facts)


class _Descent:
    """The steps of one `lock_down`; each may look at what the earlier ones achieved."""

    def __init__(self, plan: JailPlan) -> None:
        self.plan = plan
        self.problems: dict[str, str] = {}
        self.took: dict[str, int] = {}
        self.facts: dict[str, Any] = {"pid": os.getpid(), "uid": os.geteuid()}
        # The old /proc is gone once the view is entered, but a new user namespace is described through it.
        self.proc = os.open("/proc/self", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def has(self, name: str) -> bool:
        return name in self.facts.get("namespaces", ())

    def groups(self) -> None:
        for place in self.plan.joins:
            # "0" is this thread, the only one.
            with open(f"{place}/tasks", "w", encoding="ascii") as tasks:  # noqa: PTH123 - less memory than a Path
                tasks.write("0")

    def rlimits(self) -> None:
        self.facts["rlimits"] = tuple(_rlimits.set_rlimits(_rlimits.wanted(self.plan)))

    def namespaces(self) -> None:
        """Leave the zygote's mounts. The zygote left the host's network for all: in an empty one that nobody can listen in
        there is nothing to share, but where no filter forbids that, each instance gets one of its own."""
        ready_before = prepared.done
        readiness = prepared.readiness if ready_before else prepare(self.plan.home, self.plan.readable)
        self.problems.update(readiness.problems)
        self.facts["namespaces"] = (*readiness.namespaces, *(("pid",) if prepared.first_process else ()))
        if ready_before and "mount" in readiness.namespaces:
            _kernel.unshare("mount")
            if not _seccomp.seccomp_arch():
                attempt(self.problems, "own network namespace", lambda: _kernel.unshare("net", "ipc"))

    def files(self) -> None:
        view = prepared.readiness.view and attempt(self.problems, "view", self._enter_view)
        self.facts["view"] = view
        self.facts["tmp_dir"] = "/tmp" if view else str(Path(self.plan.cell_dir, "tmp"))  # noqa: S108 - the private one
        self.facts["relay_dir"] = _view.RELAY_DIR if view else ""
        os.environ["TMPDIR"] = self.facts["tmp_dir"]
        tempfile.tempdir = None

    def _enter_view(self) -> None:
        at = _view.view_dir(self.plan.home)
        if prepared.first_process:
            attempt(self.problems, "own /proc", lambda: _view.show_own_processes(at))
        _view.enter_view(self.plan, at)

    def user(self) -> None:
        """Become a user of its own: one that nobody else is, or one counted on its own in a user namespace."""
        counted = False
        if self.plan.uid is not None:
            counted = self._become(self.plan.uid, self.plan.uid if self.plan.gid is None else self.plan.gid)
        elif self.has("user"):
            counted = attempt(self.problems, "own user namespace", lambda: own_user_namespace(self.proc))
        os.close(self.proc)
        if counted and self.plan.limits.processes:
            also = _rlimits.set_rlimits({"NPROC": self.plan.limits.processes})
            self.facts["rlimits"] = (*self.facts.get("rlimits", ()), *also)
        _kernel.drop_capabilities()
        self.facts["no_capabilities"] = True

    def _become(self, uid: int, gid: int) -> bool:
        if not self.facts.get("view") and (closed := self._closed_to(uid)):
            raise PermissionError(f"the user {uid} cannot read {closed}; it stays the host's own user")
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        self.facts.update(uid=uid, own_uid=True)
        return True

    def _closed_to(self, uid: int) -> str:
        """What that user could not read of what the plugin is made of, where it sees the machine's own files."""
        needed = [os.path.dirname(os.__file__), *([self.plan.data_dir] if self.plan.data_dir else [])]  # noqa: PTH120
        os.seteuid(uid)
        try:
            return next((path for path in needed if not os.access(path, os.R_OK | os.X_OK, effective_ids=True)), "")
        finally:
            os.seteuid(self.facts["uid"])

    def privileges(self) -> None:
        # After the change of user, which makes a process forget PDEATHSIG.
        _kernel.prctl(PR_SET_NO_NEW_PRIVS, 1)
        self.facts["no_new_privileges"] = True
        _kernel.prctl(PR_SET_DUMPABLE, 0)
        self.facts["not_dumpable"] = True
        _kernel.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        self.facts["dies_with_parent"] = True

    def landlock(self) -> None:
        if not _landlock.landlock_abi():
            return
        write = [self.facts["tmp_dir"], *([self.plan.data_dir] if self.plan.data_dir else [])]
        if self.facts.get("view"):
            write.append("/run")
        # In the view there is nothing that it may not read.
        read = ["/"] if self.facts.get("view") else _view.readable_paths(self.plan.readable)
        abi = _landlock.restrict(read=read, write=write, devices=_view.DEVICES)
        self.facts["landlock"] = abi

    def seccomp(self) -> None:
        arch = _seccomp.seccomp_arch()
        abi = self.facts.get("landlock", 0)
        # Without a view and a network namespace of its own it would see Unix sockets of others.
        connect = bool(self.facts.get("view")) and (self.has("net") or abi >= _landlock.HOLDS_SIGNALS)
        if not arch:
            self.facts["connect"] = True
            return
        counted = "processes" in self.plan.cgroup or "NPROC" in self.facts.get("rlimits", ())
        out_of_reach = prepared.first_process or self.facts.get("own_uid") or abi >= _landlock.HOLDS_SIGNALS
        threads_only = bool(self.plan.limits.processes) and not counted
        _seccomp.load(
            connect=connect,
            memory_files="memory" in self.plan.cgroup or not self.plan.limits.memory,
            threads_only=threads_only,
            only_pid=0 if out_of_reach else os.getpid(),
        )
        # It takes both: Landlock refuses connect(2) and bind(2), the filter MSG_FASTOPEN, which Landlock lets through
        # (its issue 41). A socket of the host's network could otherwise be disconnected and sent elsewhere.
        pinned = abi >= _landlock.HOLDS_TCP
        self.facts.update(seccomp=arch, connect=connect, threads_only=threads_only, sockets_pinned=pinned)
