"""What the facts are worth: for each guarantee whether it is enforced, how, and what is missing where it is not."""

from __future__ import annotations

import enum
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from ._landlock import HOLDS_TCP

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._plan import ChildReport, JailPlan

__all__ = ["GUARANTEES", "Guarantee", "IsolationReport", "Strength", "judge", "without_a_jail"]

GUARANTEES: Final = ("memory", "cpu", "processes", "files", "network", "syscalls")


class Strength(enum.Enum):
    """How well a guarantee holds."""

    #: The kernel holds it; nothing that the plugin does changes that.
    ENFORCED = "enforced"
    #: It is watched, or it holds in part: a hostile plugin gets past it, or past it for a moment.
    ADVISORY = "advisory"
    NONE = "none"


class Guarantee(msgspec.Struct, frozen=True, kw_only=True):
    """One guarantee of one instance. `missing` and `remedy` are empty where it is enforced."""

    strength: Strength
    how: str
    missing: str = ""
    #: How to get what is missing, here: in a container, as an ordinary user, on another system.
    remedy: str = ""


class IsolationReport(msgspec.Struct, frozen=True, kw_only=True):
    """What isolates an instance, by guarantee: memory, cpu, processes, files, network, syscalls."""

    guarantees: dict[str, Guarantee]
    #: What could not be done although it was tried, for whoever looks for the cause.
    problems: dict[str, str] = {}

    def below(self, wanted: Mapping[str, Strength]) -> dict[str, Guarantee]:
        """The guarantees that are weaker than *wanted*."""
        order = [Strength.NONE, Strength.ADVISORY, Strength.ENFORCED]
        return {
            name: self.guarantees[name]
            for name, least in wanted.items()
            if order.index(self.guarantees[name].strength) < order.index(least)
        }

    def __str__(self) -> str:
        return ", ".join(f"{name} {one.strength.value}" for name, one in self.guarantees.items())


def judge(plan: JailPlan, child: ChildReport, versions: Mapping[str, int]) -> IsolationReport:
    """Judge what holds for one instance. *versions*: controller → version of the control groups that limit it."""
    return IsolationReport(
        guarantees={
            "memory": _memory(plan, versions),
            "cpu": _cpu(plan, versions),
            "processes": _processes(plan, child, versions),
            "files": _files(child),
            "network": _network(child),
            "syscalls": _syscalls(child),
        },
        problems=dict(child.problems),
    )


def without_a_jail(how: str = "runs in the host's own process") -> IsolationReport:
    """The report of an instance that is not jailed."""
    none = Guarantee(
        strength=Strength.NONE, how=how, missing="a jail", remedy='[hosting] mode = "jailed" in its manifest'
    )
    return IsolationReport(guarantees=dict.fromkeys(GUARANTEES, none))


def _enforced(how: str) -> Guarantee:
    return Guarantee(strength=Strength.ENFORCED, how=how)


def _limited(name: str, versions: Mapping[str, int], what: str) -> Guarantee | None:
    if name in versions:
        return _enforced(f"control group (version {versions[name]}): {what}")
    return None


def _unlimited(name: str) -> Guarantee:
    return Guarantee(
        strength=Strength.NONE,
        how="no limit is set",
        missing="a limit",
        remedy=f"set `{name}` in the manifest's or the policy's limits",
    )


def _memory(plan: JailPlan, versions: Mapping[str, int]) -> Guarantee:
    if not plan.limits.memory:
        return _unlimited("memory")
    size = f"{plan.limits.memory >> 20} MiB"
    held = _limited("memory", versions if "memory" in plan.cgroup else {}, f"{size} for all its processes together")
    return held or Guarantee(
        strength=Strength.ADVISORY,
        how=f"each process holds at most {size} of data (RLIMIT_DATA); a watchdog ends the instance above {size}",
        missing="a memory control group",
        remedy=_control_group_remedy(),
    )


def _cpu(plan: JailPlan, versions: Mapping[str, int]) -> Guarantee:
    if not plan.limits.cpu:
        return _unlimited("cpu")
    share = f"{plan.limits.cpu:.0%} of a processor"
    held = _limited("cpu", versions if "cpu" in plan.cgroup else {}, share)
    return held or Guarantee(
        strength=Strength.ADVISORY,
        how=f"a watchdog stops and continues it, so that it gets {share}",
        missing="a cpu control group",
        remedy=_control_group_remedy(),
    )


def _processes(plan: JailPlan, child: ChildReport, versions: Mapping[str, int]) -> Guarantee:
    most = plan.limits.processes
    if not most:
        return _unlimited("processes")
    if held := _limited("processes", versions if "processes" in plan.cgroup else {}, f"{most} processes and threads"):
        return held
    if "NPROC" in child.rlimits:
        return _enforced(
            f"RLIMIT_NPROC: {most} processes and threads of {'its own user' if child.own_uid else 'its own user namespace'}"
        )
    if child.threads_only:
        return Guarantee(
            strength=Strength.ADVISORY,
            how="it cannot start processes (system call filter); its threads are not counted",
            missing="a pids control group, or a user of its own",
            remedy=_control_group_remedy(),
        )
    return Guarantee(
        strength=Strength.NONE, how="not limited", missing="a pids control group", remedy=_control_group_remedy()
    )


def _files(child: ChildReport) -> Guarantee:
    layers = []
    if child.view:
        layers.append("a root of its own with nothing of others in it")
    if child.landlock:
        layers.append(f"Landlock (ABI {child.landlock})")
    if layers:
        return _enforced(" and ".join([*layers, *(["a user of its own"] if child.own_uid else [])]))
    if child.own_uid:
        return Guarantee(
            strength=Strength.ADVISORY,
            how="a user of its own: it reads what everybody may read",
            missing="a mount namespace or Landlock",
            remedy=_namespace_remedy(),
        )
    return Guarantee(
        strength=Strength.NONE,
        how="it reads and writes what the host may",
        missing="a mount namespace or Landlock",
        remedy=_namespace_remedy(),
    )


def _network(child: ChildReport) -> Guarantee:
    alone = "net" in child.namespaces
    if child.seccomp or alone:
        layers = ["no sockets but those from the broker (system call filter)"] if child.seccomp else []
        return _enforced(" and ".join([*layers, *(["an empty network namespace"] if alone else [])]))
    if child.landlock >= HOLDS_TCP:
        return Guarantee(
            strength=Strength.ADVISORY,
            how="Landlock refuses TCP, but not UDP or other protocols",
            missing="a network namespace or a system call filter",
            remedy=_namespace_remedy(),
        )
    return Guarantee(
        strength=Strength.NONE,
        how="it may connect to anywhere",
        missing="a network namespace or a system call filter",
        remedy=_namespace_remedy(),
    )


def _syscalls(child: ChildReport) -> Guarantee:
    if child.seccomp:
        return _enforced(f"system call filter for {child.seccomp}")
    return Guarantee(
        strength=Strength.NONE,
        how="any system call",
        missing="a system call filter",
        remedy=_filter_remedy(),
    )


def in_container() -> bool:
    """Whether this looks like the inside of a container."""
    if os.environ.get("container") or Path("/.dockerenv").exists() or Path("/run/.containerenv").exists():  # noqa: SIM112 - systemd's name
        return True
    try:
        return any(word in Path("/proc/1/cgroup").read_text() for word in ("docker", "kubepods", "lxc", "containerd"))
    except OSError:
        return False


def _elsewhere() -> str:
    return f"run the host on Linux: {sys.platform} has nothing of the kind" if sys.platform != "linux" else ""


def _control_group_remedy() -> str:
    if elsewhere := _elsewhere():
        return elsewhere
    if in_container():
        return "start the container with a writable control group tree of its own (docs/operators.md, 'Isolation: getting what is missing')"
    if os.geteuid():
        return "run the host as a systemd service, also of a user, with `Delegate=yes`"
    return "run the host as a systemd service with `Delegate=yes`, or mount the control groups"


def _namespace_remedy() -> str:
    if elsewhere := _elsewhere():
        return elsewhere
    if in_container():
        return "start the container with a seccomp profile that allows unshare and mount, or with a kernel that has Landlock (5.13 or newer)"
    if os.geteuid():
        return "allow user namespaces (sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns), or use a kernel with Landlock (5.13 or newer)"
    return "use a kernel with Landlock (5.13 or newer) and install the extra `jail`"


def _filter_remedy() -> str:
    return (
        _elsewhere()
        or f"install the extra `jail` (dotmac-plugins-core[jail]) on x86_64 or aarch64 (this is {os.uname().machine})"
    )
