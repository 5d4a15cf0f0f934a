"""What a hostile plugin tries. Each attack runs in a locked-down child and tells what came of it, as JSON."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import platform
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import seccompy

LIBC = ctypes.CDLL(None, use_errno=True)


def outcome(action, *arguments: Any) -> str:
    """The name of the error that an attempt ends with; "done" where it succeeds."""
    try:
        result = action(*arguments)
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    except MemoryError:
        return "MemoryError"
    return f"done: {result!r}"[:200]


def call(name: str, *arguments: Any) -> str:
    """Make a system call by its number, past whatever Python would do before."""
    values = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    ctypes.set_errno(0)
    result = LIBC.syscall(ctypes.c_long(seccompy.syscall_nr(name)), *values)
    return f"done: {result}" if result >= 0 else errno.errorcode[ctypes.get_errno()]


def nothing(plan) -> str:
    return "nothing"


def look_around(plan, *paths: str) -> dict[str, str]:
    def read(path: str) -> str:
        place = Path(path)
        return repr(sorted(place.iterdir()) if place.is_dir() else place.read_bytes()[:20])

    return {path: outcome(read, path) for path in paths}


def write_around(plan, *paths: str) -> dict[str, str]:
    return {path: outcome(Path(path).write_text, "was here") for path in paths}


def own_data(plan) -> str:
    place = Path(plan.data_dir, "kept")
    place.write_text("mine")
    return place.read_text()


def own_tmp(plan) -> str:
    import tempfile

    with tempfile.NamedTemporaryFile(mode="w+") as file:
        file.write("mine")
        file.flush()
        return Path(file.name).read_text()


def import_much(plan) -> list[str]:
    import decimal
    import json.tool
    import sqlite3
    import ssl
    import zoneinfo

    ssl.create_default_context()
    connection = sqlite3.connect(Path(plan.data_dir, "a.db"))
    connection.execute("create table t (x)")
    return [decimal.__name__, json.tool.__name__, sqlite3.__name__, str(zoneinfo.ZoneInfo("Europe/Berlin"))]


def threads_and_locks(plan) -> int:
    said: list[int] = []
    workers = [threading.Thread(target=said.append, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return len(said)


def memory_bomb(plan, size: int) -> str:
    hoard = []
    try:
        while True:
            hoard.append(bytearray(os.urandom(1)) * (1 << 20))
            if len(hoard) << 20 > size:
                return "got it all"
    except MemoryError:
        return "MemoryError"


def memory_bomb_shared(plan, size: int) -> str:
    """Memory that is shared is no data of a process; RLIMIT_DATA does not count it."""
    held = mmap.mmap(-1, size, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)
    for at in range(0, size, 4096):
        held[at] = 1
    time.sleep(5)
    return "got it all"


def memory_bomb_of_children(plan, size: int) -> str:
    """Each child stays within the limit; together they do not."""
    for _ in range(4):
        if os.fork() == 0:
            hoard = b"x" * size
            time.sleep(10)
            os._exit(len(hoard) % 2)
    time.sleep(5)
    return "got it all"


def memory_file(plan, size: int) -> str:
    """A file in memory belongs to no process's data either."""

    def fill() -> int:
        fd = os.memfd_create("x")
        return sum(os.write(fd, b"x" * (1 << 20)) for _ in range(size >> 20))

    return outcome(fill)


def fork_bomb(plan, most: int) -> dict[str, Any]:
    born = 0
    why = "all born"
    for _ in range(most):
        try:
            pid = os.fork()
        except OSError as error:
            why = errno.errorcode[error.errno]
            break
        if pid == 0:
            signal.pause()
        born += 1
    return {"born": born, "why": why}


def thread_bomb(plan, most: int) -> int:
    stop = threading.Event()
    born = 0
    with contextlib.suppress(RuntimeError):
        for _ in range(most):
            threading.Thread(target=stop.wait, daemon=True).start()
            born += 1
    return born


def busy(plan, seconds: float) -> dict[str, float]:
    began, used = time.monotonic(), time.process_time()
    while time.monotonic() - began < seconds:
        pass
    return {"cpu": time.process_time() - used, "wall": time.monotonic() - began}


def busy_together(plan, seconds: float, processes: int) -> float:
    """Processor time of several busy children, over the time that passed."""
    began = time.monotonic()
    for _ in range(processes):
        if os.fork() == 0:
            busy(plan, seconds)
            os._exit(0)
    for _ in range(processes):
        os.wait()
    used = os.times()
    return (used.children_user + used.children_system) / (time.monotonic() - began)


def fill_file(plan, size: int) -> dict[str, Any]:
    written = 0
    block = b"x" * (1 << 20)
    try:
        with Path(plan.data_dir, "large").open("wb", buffering=0) as file:
            while written < size:
                written += file.write(block)
    except OSError as error:
        return {"written": written, "why": errno.errorcode[error.errno]}
    return {"written": written, "why": "all"}


def fill_disk(plan, files: int, size: int) -> str:
    for number in range(files):
        Path(plan.data_dir, f"part{number}").write_bytes(b"x" * size)
        time.sleep(0.01)
    return "filled"


def fill_deeply(plan, size: int) -> str:
    """A file below folders whose path is longer than the kernel takes at once."""
    os.chdir(plan.data_dir)
    for _ in range(30):
        Path("d" * 250).mkdir()
        os.chdir("d" * 250)
    Path("large").write_bytes(b"x" * size)
    time.sleep(20)
    return "filled"


def many_empty_files(plan, most: int) -> str:
    for number in range(most):
        Path(plan.data_dir, f"e{number}").touch()
    time.sleep(20)
    return "filled"


def fill_tmp(plan) -> str:
    return outcome(lambda: [Path("/tmp", f"f{number}").write_bytes(b"x" * (1 << 20)) for number in range(200)])


def exhaust_descriptors(plan, most: int) -> dict[str, Any]:
    held: list[int] = []
    try:
        held.extend(os.open("/dev/null", os.O_RDONLY) for _ in range(most))
    except OSError as error:
        return {"held": len(held), "why": errno.errorcode[error.errno]}
    return {"held": len(held), "why": "all"}


def sockets(plan) -> dict[str, str]:
    """Every kind of socket that does not come from the broker, made by the system call itself."""
    inet, inet6, unix, netlink, packet, vsock, alg = 2, 10, 1, 16, 17, 40, 38
    stream, datagram, raw, seqpacket = 1, 2, 3, 5
    tried = {
        "tcp": (inet, stream, 0),
        "tcp6": (inet6, stream, 0),
        "udp": (inet, datagram, 0),
        "udp6": (inet6, datagram, 0),
        "raw": (inet, raw, 1),
        "mptcp": (inet, stream, 262),
        "sctp": (inet, seqpacket, 132),
        "netlink": (netlink, raw, 0),
        "packet": (packet, raw, 0),
        "vsock": (vsock, stream, 0),
        "alg": (alg, seqpacket, 0),
        "unix datagram": (unix, datagram, 0),
        # The kernel takes the low half of the number only.
        "tcp in disguise": (inet + (1 << 32), stream, 0),
    }
    found = {name: call("socket", *arguments) for name, arguments in tried.items()}
    pair = (ctypes.c_int * 2)()
    found["unix datagram pair"] = call("socketpair", unix, datagram, 0, pair)
    found["unix stream pair"] = call("socketpair", unix, stream, 0, pair)
    return found


def reconnect(plan, host: str, port: int, other: int) -> dict[str, str]:
    """Take a socket that the broker connected and try to send it elsewhere."""
    unspecified = bytes(16)
    address = (2).to_bytes(2, "little") + other.to_bytes(2, "big") + socket.inet_aton(host) + bytes(8)
    with socket.create_connection((host, port), timeout=5) as given:
        fd = given.fileno()
        # Straight to the kernel: where connections are relayed, the socket's own method passes over options of TCP.
        found = {"tcp ulp": call("setsockopt", fd, socket.IPPROTO_TCP, 31, b"tls", 3)}
        found["linger"] = call("setsockopt", fd, 1, 13, (1).to_bytes(4, "little") + (60).to_bytes(4, "little"), 8)
        found["linger in disguise"] = call("setsockopt", fd, 1 + (1 << 32), 13, bytes(8), 8)
        found["disconnect"] = call("connect", fd, unspecified, 16)
        found["connect"] = call("connect", fd, address, 16)
        found["fastopen"] = call("sendto", fd, b"hello", 5, 0x20000000, address, 16)
        found["fastopen in disguise"] = call("sendto", fd, b"hello", 5, 0x120000000, address, 16)
        vector = ctypes.create_string_buffer(b"hello")
        iov = (ctypes.c_void_p * 2)(ctypes.addressof(vector), 5)
        target = ctypes.create_string_buffer(address)
        header = (ctypes.c_void_p * 7)(ctypes.addressof(target), 16, ctypes.addressof(iov), 1, 0, 0, 0)
        found["fastopen message"] = call("sendmsg", fd, header, 0x20000000)
        found["bind"] = call("bind", fd, (2).to_bytes(2, "little") + bytes(14), 16)
        found["listen"] = call("listen", fd, 1)
        found["interfaces"] = call("ioctl", fd, 0x8912, bytes(16))
        return found


def unix_sockets(plan, *addresses: str) -> dict[str, str]:
    def connect(address: str) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trying:
            trying.connect(address.replace("@", "\0"))

    return {address: outcome(connect, address) for address in addresses}


def system_calls(plan) -> dict[str, str]:
    """Calls that a plugin has no business with."""
    buffer = ctypes.create_string_buffer(4096)
    path = b"/tmp"
    found = {
        "ptrace": call("ptrace", 16, 1, 0, 0),
        "process_vm_readv": call("process_vm_readv", 1, buffer, 1, buffer, 1, 0),
        "execve": call("execve", b"/bin/true", None, None),
        "execveat": call("execveat", -100, b"/bin/true", None, None, 0),
        "unshare": call("unshare", 0x10000000),
        "setns": call("setns", 0, 0),
        "mount": call("mount", b"none", path, b"tmpfs", 0, None),
        "umount2": call("umount2", path, 2),
        "pivot_root": call("pivot_root", path, path),
        "chroot": call("chroot", path),
        "fsopen": call("fsopen", b"tmpfs", 0),
        "open_tree": call("open_tree", -100, path, 1),
        "mount_setattr": call("mount_setattr", -100, path, 0, buffer, 32),
        "keyctl": call("keyctl", 0, -3, 1),
        "add_key": call("add_key", b"user", b"x", b"y", 1, -3),
        "request_key": call("request_key", b"user", b"x", None, 0),
        "bpf": call("bpf", 0, buffer, 64),
        "perf_event_open": call("perf_event_open", buffer, 0, -1, -1, 0),
        "io_uring_setup": call("io_uring_setup", 8, buffer),
        "userfaultfd": call("userfaultfd", 0),
        "open_by_handle_at": call("open_by_handle_at", -100, buffer, 0),
        "name_to_handle_at": call("name_to_handle_at", -100, path, buffer, buffer, 0),
        "kexec_load": call("kexec_load", 0, 0, None, 0),
        "init_module": call("init_module", buffer, 1, b""),
        "personality": call("personality", 0x0040000),
        "clone3": call("clone3", buffer, 64),
        "clone(newuser)": call("clone", 0x10000000 | 17, 0, 0, 0, 0),
        "clone(newnet)": call("clone", 0x40000000 | 17, 0, 0, 0, 0),
        "clone(parent)": call("clone", 0x8000 | 17, 0, 0, 0, 0),
        "setuid": call("setuid", 0),
        "setresuid": call("setresuid", 0, 0, 0),
        "shmget": call("shmget", 1, 4096, 0o1600),
        "mq_open": call("mq_open", b"x", 0o102, 0o600, None),
        "syslog": call("syslog", 3, buffer, 10),
        "kcmp": call("kcmp", 1, 1, 0, 0, 0),
        "pidfd_getfd": call("pidfd_getfd", 0, 0, 0),
        "sync": call("sync"),
        "seccomp": call("seccomp", 1, 0, None),
        "prctl(dumpable)": call("prctl", 4, 1, 0, 0, 0),
        "prctl(pdeathsig)": call("prctl", 1, 0, 0, 0, 0),
        "prctl(pdeathsig in disguise)": call("prctl", (1 << 32) + 1, 0, 0, 0, 0),
        "prlimit of another": call("prlimit64", 1 if os.getpid() != 1 else 2, 7, None, buffer),
        "inotify_init1": call("inotify_init1", 0),
        "ioctl(tiocsti)": call("ioctl", 0, 0x5412, b"x"),
    }
    if platform.machine() == "x86_64":
        found["iopl"] = call("iopl", 3)
        found["x32 getpid"] = errno.errorcode[abs(_raw(0x40000000 + 39))]
    return found


def _raw(number: int) -> int:
    ctypes.set_errno(0)
    LIBC.syscall(ctypes.c_long(number))
    return ctypes.get_errno()


def signals(plan, *pids: int) -> dict[str, str]:
    found = {str(pid): outcome(os.kill, pid, signal.SIGTERM) for pid in pids}
    found["parent"] = outcome(os.kill, os.getppid(), signal.SIGTERM) if os.getppid() else "no parent to be seen"
    return found


def processes(plan, *pids: int) -> dict[str, str]:
    found = {}
    for pid in pids:
        for name in ("environ", "maps", "cmdline", "root"):
            path = f"/proc/{pid}/{name}"
            found[path] = outcome(os.readlink if name == "root" else lambda path=path: Path(path).read_bytes(), path)
    return found


def environment(plan) -> dict[str, str]:
    return dict(os.environ)


def privileges(plan) -> dict[str, Any]:
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    return {name: status[name] for name in ("Uid", "Gid", "Groups", "CapEff", "CapPrm", "NoNewPrivs", "Seccomp")}


def run_native_code(plan) -> str:
    """Write a library into the data folder and load it."""
    place = Path(plan.data_dir, "own.so")
    place.write_bytes(Path(ctypes.util.find_library("z") or "/dev/null").read_bytes() if False else b"\x7fELF")
    fd = os.open(place, os.O_RDONLY)
    return outcome(lambda: mmap.mmap(fd, 4, prot=mmap.PROT_READ | mmap.PROT_EXEC))


def die(plan, how: str) -> None:
    if how == "exit":
        os._exit(7)
    if how == "segv":
        ctypes.string_at(0)
    if how == "abort":
        os.abort()
    if how == "foreign":
        os.kill(os.getpid(), signal.SIGSYS)
    signal.pause()


def leave_children(plan) -> int:
    """Children that outlive it if they can."""
    for _ in range(3):
        if os.fork() == 0:
            os.setsid()
            signal.pause()
    return os.getpid()


def stay(plan) -> None:
    signal.pause()
