"""Which system calls a jailed process may make, with which arguments. A list of what is allowed; the rest fails.

How arguments are compared is part of the protection. The kernel looks at 32 bits of an `int` argument while the filter
sees 64: what is *allowed* for certain values compares all 64 bits, what is *refused* for certain values compares the low
32 only, and neither leaves a gap. Calls newer than the list fail with ENOSYS, so that the C library falls back to older
ones; the named ones in `REFUSED` with EPERM, so that whoever tries them is told so.
"""

from __future__ import annotations

import errno
import functools
from typing import Final

from . import _kernel
from ._program import ALLOW, LOW, Condition, Rules, compiled, refuse
from ._syscalls import PLAIN, REFUSED

__all__ = ["load", "program_for", "rules_for", "seccomp_arch"]

ALL: Final = 0xFFFFFFFFFFFFFFFF
#: Calls to other processes; the kernel refuses them across users and Landlock's scopes, or `only_pid` narrows them.
SIGNALS: Final = ("kill", "tkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal")
#: include/uapi/linux/sched.h: new namespaces of any kind, and CLONE_PARENT (a child that is not ours to end).
NEW_NAMESPACES: Final = 0x7E020000 | 0x8000
CLONE_THREAD: Final = 0x10000
#: Requests on file descriptors that libraries make: is it a terminal, how much is there to read, non-blocking, close-on-exec.
IOCTLS: Final = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
#: prctl(2): PDEATHSIG, DUMPABLE, CHILD_SUBREAPER stay as the jail set them.
PRCTLS_REFUSED: Final = (1, 4, 36)
AF_UNIX: Final = 1
SOCK_STREAM: Final = 1
SOCK_SEQPACKET: Final = 5
SOCK_FLAGS: Final = 0o2004000
MSG_FASTOPEN: Final = 0x20000000
IPPROTO_TCP: Final = 6
TCP_ULP: Final = 31
SOL_SOCKET: Final = 1
SO_LINGER: Final = 13


def seccomp_arch() -> str:
    """The architecture whose calls can be filtered here; empty where they cannot (or the library is not installed)."""
    try:
        import seccompy  # noqa: PLC0415 - optional, and only for jails
    except ImportError:
        return ""
    try:
        return seccompy.arch() if seccompy.supported() else ""
    except (OSError, seccompy.UnsupportedError):
        return ""


def load(*, connect: bool, memory_files: bool, threads_only: bool = False, only_pid: int = 0) -> None:
    """Hold this thread, and all that it starts, to the list; there is no way back."""
    program = program_for(connect=connect, memory_files=memory_files, threads_only=threads_only, only_pid=only_pid)
    _kernel.filter_system_calls(program)


@functools.lru_cache(maxsize=8)
def program_for(*, connect: bool, memory_files: bool, threads_only: bool = False, only_pid: int = 0) -> bytes:
    """The filter as the kernel takes it, for this machine. Compiled once in the zygote for its children."""
    return compiled(rules_for(connect=connect, memory_files=memory_files, threads_only=threads_only, only_pid=only_pid))


def rules_for(*, connect: bool, memory_files: bool = True, threads_only: bool = False, only_pid: int = 0) -> Rules:
    """What is allowed, by the name of the call.

    :param connect: allow `connect`: only where every Unix socket that the process can see is its own.
    :param memory_files: allow files in memory (memfd): only where a control group counts them, since nothing else does.
    :param threads_only: allow new threads, but no new processes.
    :param only_pid: signals only to this process (0: the kernel keeps others out of reach by other means).
    """
    rules: Rules = {name: [(ALLOW, ())] for name in (*PLAIN.split(), *SIGNALS)}
    rules |= {name: [(refuse(errno.EPERM), ())] for name in REFUSED.split()}
    rules |= _sockets()
    rules["connect"] = [(ALLOW if connect else refuse(errno.EACCES), ())]
    rules |= _processes(threads_only=threads_only)
    rules["ioctl"] = [*((ALLOW, (Condition(1, ALL, request),)) for request in IOCTLS), (refuse(errno.EPERM), ())]
    if not memory_files:
        rules["memfd_create"] = [(refuse(errno.EPERM), ())]
    if only_pid:
        rules |= {name: [(refuse(errno.EPERM), ())] for name in SIGNALS}
        rules["kill"] = [(ALLOW, (Condition(0, ALL, only_pid),)), (refuse(errno.EPERM), ())]
    return rules


def _sockets() -> Rules:
    """No socket but stream and seqpacket Unix sockets; connections to elsewhere come from the broker, already connected."""
    kinds = [
        (ALLOW, (Condition(0, ALL, AF_UNIX), Condition(1, ALL & ~SOCK_FLAGS, kind)))
        for kind in (SOCK_STREAM, SOCK_SEQPACKET)
    ]
    rules: Rules = {name: [*kinds, (refuse(errno.EACCES), ())] for name in ("socket", "socketpair")}
    # MSG_FASTOPEN connects without connect(2): a handed-over socket could be used for somewhere else.
    for name, flags in (("sendto", 3), ("sendmsg", 2), ("sendmmsg", 3)):
        rules[name] = [(refuse(errno.EPERM), (Condition(flags, MSG_FASTOPEN, MSG_FASTOPEN),)), (ALLOW, ())]
    # An upper layer protocol (TLS, SMC) on a TCP socket would lead past Landlock's checks of TCP.
    layer = (Condition(1, LOW, IPPROTO_TCP), Condition(2, LOW, TCP_ULP))
    # A socket with a lingering close blocks whoever closes it last: the host, if it is sent there on a Unix socket.
    linger = (Condition(1, LOW, SOL_SOCKET), Condition(2, LOW, SO_LINGER))
    rules["setsockopt"] = [(refuse(errno.EPERM), layer), (refuse(errno.EPERM), linger), (ALLOW, ())]
    return rules


def _processes(*, threads_only: bool) -> Rules:
    looked_at = NEW_NAMESPACES | (CLONE_THREAD if threads_only else 0)
    wanted = CLONE_THREAD if threads_only else 0
    forking = [(refuse(errno.EPERM) if threads_only else ALLOW, ())]
    return {
        "clone": [(ALLOW, (Condition(0, looked_at, wanted),)), (refuse(errno.EPERM), ())],
        # The flags of clone3 are behind a pointer; without it the C library uses clone.
        "clone3": [(refuse(errno.ENOSYS), ())],
        "fork": list(forking),
        "vfork": list(forking),
        # Its own limits only: a process number of another would change another's.
        "prlimit64": [(ALLOW, (Condition(0, ALL, 0),)), (refuse(errno.EPERM), ())],
        "prctl": [*((refuse(errno.EPERM), (Condition(0, LOW, option),)) for option in PRCTLS_REFUSED), (ALLOW, ())],
    }
