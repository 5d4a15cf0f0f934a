"""The limits that a process carries itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ._plan import JailPlan

__all__ = ["set_rlimits", "wanted", "warm_up"]

#: Bytes of locked memory: what TLS libraries lock for their keys.
LOCKED: Final = 1 << 16
#: Signals that may wait, timers included; the kernel counts them for a user, who may be the host's own.
SIGNALS: Final = 512


def warm_up() -> None:
    """Load what setting limits needs; in each child it would take a millisecond."""
    import resource  # noqa: F401, PLC0415 - Windows has none


def wanted(plan: JailPlan) -> dict[str, int]:
    """What the plan asks for, by the name of the limit.

    RLIMIT_AS is not among them: gRPC maps more than a gigabyte of address space that it never touches. RLIMIT_DATA
    counts private writable memory, so it holds a process without a memory control group.
    """
    limits = plan.limits
    found = {"CORE": 0, "MSGQUEUE": 0, "MEMLOCK": LOCKED, "NICE": 0, "RTPRIO": 0, "SIGPENDING": SIGNALS}
    if limits.open_files:
        found["NOFILE"] = limits.open_files
    if limits.file_size:
        found["FSIZE"] = limits.file_size
    if limits.memory and "memory" not in plan.cgroup:
        found["DATA"] = limits.memory
    return found


def set_rlimits(names: dict[str, int]) -> list[str]:
    """Set soft and hard limits; a hard limit is lowered, never raised. Returns the names that hold now."""
    import resource  # noqa: PLC0415 - Windows has none

    for name, value in names.items():
        which = getattr(resource, f"RLIMIT_{name}")
        _, hard = resource.getrlimit(which)
        lowered = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (lowered, lowered))
    return sorted(names)
