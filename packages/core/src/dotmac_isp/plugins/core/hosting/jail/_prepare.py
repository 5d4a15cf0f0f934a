"""What the zygote does once for all its children, and how it forks them."""

from __future__ import annotations

import contextlib
import os
from functools import partial
from typing import TYPE_CHECKING, Final

from . import _kernel, _landlock, _rlimits, _seccomp, _view
from ._plan import Readiness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["attempt", "fork", "own_user_namespace", "prepare", "prepared"]

#: include/uapi/linux/prctl.h
PR_SET_CHILD_SUBREAPER: Final = 36
#: Bytes of a process number in the pipe between a helper and the zygote.
NUMBER: Final = 8


class _Prepared:
    """What `prepare` did in this process or in the zygote that it was forked from."""

    readiness = Readiness()
    done = False
    #: The process namespace of the zygote itself, to come back to after a fork into a new one.
    own_pid_namespace = -1
    #: This process is the first of a process namespace of its own.
    first_process = False


prepared: Final = _Prepared()


def attempt(problems: dict[str, str], name: str, step: Callable[[], object]) -> bool:
    """Do a step; what stops it is written down under *name*."""
    try:
        step()
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        problems[name] = str(error)
        return False
    return True


def prepare(home: str, readable: Iterable[str] = ()) -> Readiness:
    """Do in the zygote what all its children need: leave the network, make the view of the files, compile the filters.

    To be called once, while it has a single thread and before it forks. *readable* is what plugins need besides the
    interpreter, the system's libraries and `sys.path`; a plan may name more. The zygote itself loses its network, but
    keeps its files and its user. Without this call `lock_down` does the same in each child, for more time.
    """
    problems: dict[str, str] = {}
    _warm_up()
    namespaces = _leave(problems)
    view = "mount" in namespaces and attempt(problems, "view", partial(_make_view, home, readable))
    pid = "mount" in namespaces and attempt(problems, "pid namespace", _ready_for_pid_namespaces)
    prepared.readiness = Readiness(namespaces=namespaces, view=view, pid_namespace=pid, problems=problems)
    prepared.done = True
    return prepared.readiness


def _warm_up() -> None:
    """Load what Landlock and the filters need: it is not to be found any more once the files are gone."""
    if _landlock.landlock_abi():
        _landlock.restrict(read=["/"], write=["/tmp"], devices=_view.DEVICES, rehearsal=True)  # noqa: S108 - nobody's
    _rlimits.warm_up()
    if _seccomp.seccomp_arch():
        for memory_files in (True, False):
            _seccomp.program_for(connect=True, memory_files=memory_files, threads_only=False, only_pid=0)


def _leave(problems: dict[str, str]) -> tuple[str, ...]:
    """Enter new, empty namespaces; as an ordinary user below a new user namespace. Returns those that are new now."""
    names = ("mount", "net", "ipc", "uts")
    privileged = _kernel.has_capability("sys_admin")
    if not privileged and not attempt(problems, "user namespace", own_user_namespace):
        return ()
    found = tuple(name for name in names if attempt(problems, f"{name} namespace", partial(_kernel.unshare, name)))
    if "mount" in found:
        _kernel.mount("none", "/", flags=_kernel.MS_REC | _kernel.MS_PRIVATE)
    return found if privileged else ("user", *found)


def own_user_namespace(proc: int | None = None) -> None:
    """Enter a new user namespace in which this process's user and group are what they are outside."""
    uid, gid = os.geteuid(), os.getegid()
    _kernel.unshare("user")
    where = os.open("/proc/self", os.O_PATH | os.O_DIRECTORY) if proc is None else proc
    try:
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            fd = os.open(name, os.O_WRONLY, dir_fd=where)
            try:
                os.write(fd, text.encode())
            finally:
                os.close(fd)
    finally:
        if proc is None:
            os.close(where)


def _make_view(home: str, readable: Iterable[str]) -> None:
    at = _view.view_dir(home)
    os.makedirs(at, mode=0o700, exist_ok=True)  # noqa: PTH103 - a string everywhere here
    _view.build_view(at, _view.readable_paths(readable))


def _ready_for_pid_namespaces() -> None:
    """See whether children can be born into process namespaces of their own, and back."""
    prepared.own_pid_namespace = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    # A helper that forks into the new namespace and ends hands its child to the zygote.
    _kernel.prctl(PR_SET_CHILD_SUBREAPER, 1)


def fork() -> int:
    """Fork like `os.fork`, into a process namespace of its own where `prepare` found that possible.

    The child is the first process there: what it leaves behind ends with it, and it sees no other process.
    """
    if not prepared.readiness.pid_namespace:
        return os.fork()
    with contextlib.suppress(OSError):
        return _fork_straight() if "user" not in prepared.readiness.namespaces else _fork_with_helper()
    return os.fork()


def _fork_straight() -> int:
    _kernel.unshare("pid")
    pid = -1
    try:
        pid = os.fork()
    finally:
        if pid:  # here, also where there was no fork: the next child is not to be born into this namespace
            _kernel.setns(prepared.own_pid_namespace, "pid")
    if pid == 0:
        _born()
    return pid


def _born() -> None:
    """The child of a fork into a process namespace of its own."""
    os.close(prepared.own_pid_namespace)
    prepared.own_pid_namespace = -1
    prepared.first_process = True


def _fork_with_helper() -> int:
    """As an ordinary user there is no way back from `unshare(pid)`: a helper does it, and ends."""
    told, tell = os.pipe()
    held, hold = os.pipe()
    helper = os.fork()
    if helper == 0:
        os.close(told)
        os.close(hold)
        return _in_helper(tell, held)
    os.close(tell)
    os.close(held)
    said = b""
    while len(said) < NUMBER and (more := os.read(told, NUMBER)):
        said += more
    os.close(told)
    os.waitpid(helper, 0)
    os.close(hold)
    if len(said) < NUMBER:
        raise OSError("the helper could not fork into a new process namespace")
    return int.from_bytes(said, "little")


def _in_helper(tell: int, held: int) -> int:
    """Returns in the child only, and there only when the helper is gone: the death of its first parent would be the
    child's own as soon as it asks to die with its parent."""
    try:
        _kernel.unshare("pid")
        pid = os.fork()
    except OSError:
        os._exit(1)
    if pid:
        os.write(tell, pid.to_bytes(NUMBER, "little"))
        os._exit(0)
    os.close(tell)
    os.read(held, 1)
    os.close(held)
    _born()
    return 0
