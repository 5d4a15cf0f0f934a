"""The few calls of the kernel that Python does not have (3.11), each raising `OSError` with what was tried."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any, Final

__all__ = [
    "MS_BIND",
    "MS_NODEV",
    "MS_NOEXEC",
    "MS_NOSUID",
    "MS_PRIVATE",
    "MS_REC",
    "MS_SLAVE",
    "NAMESPACES",
    "bind",
    "drop_capabilities",
    "filter_system_calls",
    "has_capability",
    "make_data_only",
    "make_read_only",
    "mount",
    "pivot_into",
    "prctl",
    "setns",
    "tmpfs",
    "unshare",
]

#: include/uapi/linux/sched.h
NAMESPACES: Final = {
    "mount": 0x00020000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "user": 0x10000000,
    "pid": 0x20000000,
    "net": 0x40000000,
}
#: include/uapi/linux/mount.h
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_BIND: Final = 4096
MS_REC: Final = 16384
MS_PRIVATE: Final = 1 << 18
MS_SLAVE: Final = 1 << 19
MNT_DETACH: Final = 2
MOUNT_ATTR_RDONLY: Final = 1
MOUNT_ATTR_NOSUID: Final = 2
MOUNT_ATTR_NODEV: Final = 4
MOUNT_ATTR_NOEXEC: Final = 8
AT_FDCWD: Final = -100
AT_RECURSIVE: Final = 0x8000
#: The same number on every architecture (system calls since 5.x share theirs).
SYS_MOUNT_SETATTR: Final = 442
#: include/uapi/linux/prctl.h
PR_CAP_AMBIENT: Final = 47
PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
PR_SET_SECCOMP: Final = 22
SECCOMP_MODE_FILTER: Final = 2
#: Bytes of one step of a filter (struct sock_filter).
BPF_STEP: Final = 8
#: include/uapi/linux/capability.h
CAPABILITY_VERSION: Final = 0x20080522
CAPABILITIES: Final = {"setgid": 6, "setuid": 7, "sys_admin": 21, "kill": 5, "chown": 0}


class _MountAttr(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd")]


class _CapHeader(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


_libc: Any = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def _call(what: str, result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def unshare(*names: str) -> None:
    """Leave the namespaces *names* (keys of `NAMESPACES`) for new ones."""
    flags = sum(NAMESPACES[name] for name in names)
    _call(f"unshare({', '.join(names)})", _libc.unshare(ctypes.c_int(flags)))


def setns(fd: int, name: str) -> None:
    """Enter the namespace that *fd* refers to; children are born there where it is a process namespace."""
    _call(f"setns({name})", _libc.setns(fd, ctypes.c_int(NAMESPACES[name])))


def mount(source: str, target: str, kind: str | None = None, flags: int = 0, data: str | None = None) -> None:
    _call(
        f"mount {kind or source} on {target}",
        _libc.mount(
            os.fsencode(source),
            os.fsencode(target),
            None if kind is None else kind.encode(),
            ctypes.c_ulong(flags),
            None if data is None else data.encode(),
        ),
    )


def bind(source: str, target: str) -> None:
    """Show *source* and what is mounted below it at *target* too."""
    mount(source, target, flags=MS_BIND | MS_REC)


def tmpfs(
    target: str, *, size: int, mode: str = "0755", files: int = 4096, owner: tuple[int, int] | None = None
) -> None:
    """Mount an empty file system of at most *size* bytes and *files* files."""
    who = "" if owner is None else f",uid={owner[0]},gid={owner[1]}"
    options = f"size={size},nr_inodes={files},mode={mode}{who}"
    mount("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options)


def _set_attributes(target: str, attributes: int, *, below: bool) -> None:
    attr = _MountAttr(attributes, 0, 0, 0)
    result = _libc.syscall(
        ctypes.c_long(SYS_MOUNT_SETATTR),
        ctypes.c_int(AT_FDCWD),
        os.fsencode(target),
        ctypes.c_uint(AT_RECURSIVE if below else 0),
        ctypes.byref(attr),
        ctypes.c_size_t(ctypes.sizeof(attr)),
    )
    _call(f"mount_setattr {target}", result)


def make_read_only(target: str, *, below: bool = True) -> None:
    """Make the mount at *target*, and with *below* those below it, read-only, without set-uid programs and devices."""
    _set_attributes(target, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, below=below)


def make_data_only(target: str) -> None:
    """No set-uid programs, devices or native code from the mount at *target*."""
    _set_attributes(target, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, below=False)


def pivot_into(root: str) -> None:
    """Make the mount at *root* the root of this process's mount namespace, and let go of everything else."""
    os.chdir(root)
    _call(f"pivot_root {root}", _libc.pivot_root(b".", b"."))
    # The old root lies over the new one now; detaching it lets the new one appear (pivot_root(2), NOTES).
    _call("umount the old root", _libc.umount2(b".", MNT_DETACH))
    os.chdir("/")


def prctl(option: int, *values: int) -> None:
    rest = [*values, 0, 0, 0, 0][:4]
    _call(f"prctl({option})", _libc.prctl(option, *(ctypes.c_ulong(value) for value in rest)))


def filter_system_calls(program: bytes) -> None:
    """Load a compiled filter for this thread and all that it starts. Needs no new privileges to be set before."""
    steps = ctypes.create_string_buffer(program, len(program))
    described = _Program(len(program) // BPF_STEP, ctypes.addressof(steps))
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(described))


def drop_capabilities() -> None:
    """Give up every capability of this thread, also those that a program it starts would inherit."""
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    header = _CapHeader(CAPABILITY_VERSION, 0)
    nothing = (ctypes.c_uint32 * 6)()
    _call("capset", _libc.capset(ctypes.byref(header), nothing))


def has_capability(name: str) -> bool:
    """Whether this thread may use the capability now, in its user namespace."""
    header = _CapHeader(CAPABILITY_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)()
    if _libc is None or _libc.capget(ctypes.byref(header), sets) < 0:
        return False
    return bool(sets[0] >> CAPABILITIES[name] & 1)
