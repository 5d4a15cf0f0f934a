"""The filter of system calls as a program: what it decides on each architecture, run by a small interpreter of the kernel's
filter language. That the kernel decides alike is what the attacks show, on the architecture of the machine."""

from __future__ import annotations

import errno
import struct

import pytest

from dotmac_isp.plugins.core.hosting.jail import _program, _seccomp

seccompy = pytest.importorskip("seccompy")

ALLOWED = "allowed"
KILLED = "killed"
NEW_USER, NEW_NET, THREAD, PARENT = 0x10000000, 0x40000000, 0x10000, 0x8000
HIGH = 1 << 32


def decide(program: bytes, arch: int, number: int, *arguments: int) -> str:
    """What a filter decides about one call."""
    data = struct.pack(
        "<iIQ6Q", number, arch, 0, *[value & (1 << 64) - 1 for value in (*arguments, 0, 0, 0, 0, 0, 0)[:6]]
    )
    steps = list(struct.iter_unpack("<HBBI", program))
    accumulator = at = 0
    while True:
        code, if_true, if_false, k = steps[at]
        at += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, k)
        elif code == 0x54:
            accumulator &= k
        elif code == 0x05:
            at += k
        elif code == 0x06:
            break
        else:
            holds = {
                0x15: accumulator == k,
                0x25: accumulator > k,
                0x35: accumulator >= k,
                0x45: bool(accumulator & k),
            }[code]
            at += if_true if holds else if_false
    if k >> 16 == 5:
        return errno.errorcode[k & 0xFFFF]
    return {0x7FFF0000: ALLOWED, 0x80000000: KILLED}[k]


class Filtered:
    """The filter of one architecture."""

    def __init__(self, machine: str, **wanted: object) -> None:
        self.arch = seccompy.audit_arch()
        self.program = _program.compiled(_seccomp.rules_for(**{"connect": True, **wanted}))

    def __call__(self, name: str, *arguments: int) -> str:
        return decide(self.program, self.arch, seccompy.syscall_nr(name), *arguments)


@pytest.fixture(params=["x86_64", "aarch64"])
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("platform.machine", lambda: request.param)
    return request.param


def test_it_fits_and_ends_calls_of_other_architectures(machine: str) -> None:
    filtered = Filtered(machine)
    assert len(filtered.program) // 8 < 1024
    other = seccompy.syscalls.AUDIT_ARCH_AARCH64 if machine == "x86_64" else seccompy.syscalls.AUDIT_ARCH_X86_64
    assert decide(filtered.program, other, 0) == KILLED
    assert decide(filtered.program, 0x40000003, 1) == KILLED  # 32-bit x86


def test_ordinary_calls_are_allowed(machine: str) -> None:
    filtered = Filtered(machine)
    for name in (
        "read",
        "write",
        "openat",
        "mmap",
        "futex",
        "epoll_pwait",
        "getrandom",
        "exit_group",
        "rt_sigreturn",
        "clock_gettime",
        "newfstatat",
        "rseq",
        "memfd_create",
    ):
        assert filtered(name) == ALLOWED, name


def test_every_allowed_or_refused_name_is_a_call_of_some_architecture() -> None:
    known = {*seccompy.syscalls.X86_64_SYSCALLS, *seccompy.syscalls.AARCH64_SYSCALLS}
    assert set(_seccomp.rules_for(connect=True)) - known == set()


def test_unknown_calls_fail_as_on_an_older_kernel(machine: str) -> None:
    filtered = Filtered(machine)
    for number in (600, 1023, 0x40000000, 0x40000027, 0x7FFFFFFF, -1):
        assert decide(filtered.program, filtered.arch, number) == "ENOSYS", number


def test_numbers_without_a_rule_fail(machine: str) -> None:
    """Each number is looked up by halves; none may fall to its neighbour's rule."""
    filtered = Filtered(machine)
    named = {}
    for name in _seccomp.rules_for(connect=True):
        try:
            named[seccompy.syscall_nr(name)] = name
        except ValueError:
            continue
    for number in range(max(named) + 50):
        assert (decide(filtered.program, filtered.arch, number) == "ENOSYS") == (
            number not in named or named[number] == "clone3"
        ), number


def test_sockets(machine: str) -> None:
    filtered = Filtered(machine)
    cloexec_nonblock = 0o2004000
    assert filtered("socket", 1, 1) == filtered("socket", 1, 5 | cloexec_nonblock) == ALLOWED
    for arguments in (
        (2, 1),
        (10, 1),
        (1, 2),
        (1, 3),
        (16, 3),
        (17, 3),
        (2 + HIGH, 1),
        (1 + HIGH, 1),
        (1, 1 + HIGH),
        (1, 1 | 0x10),
    ):
        assert filtered("socket", *arguments) == filtered("socketpair", *arguments) == "EACCES", arguments


def test_sending_does_not_connect(machine: str) -> None:
    filtered = Filtered(machine)
    for name, position in (("sendto", 3), ("sendmsg", 2), ("sendmmsg", 3)):
        arguments = [0] * 6
        for flags, expected in ((0x4040, ALLOWED), (0x20000000, "EPERM"), (0x20004000 + HIGH, "EPERM")):
            arguments[position] = flags
            assert filtered(name, *arguments) == expected


def test_socket_options_that_lead_elsewhere_are_refused(machine: str) -> None:
    filtered = Filtered(machine)
    assert filtered("setsockopt", 3, 6, 1) == filtered("setsockopt", 3, 1, 9) == ALLOWED
    for level, option in ((6, 31), (1, 13), (6 + HIGH, 31), (1, 13 + HIGH)):
        assert filtered("setsockopt", 3, level, option) == "EPERM"


def test_new_processes_but_no_new_namespaces(machine: str) -> None:
    filtered = Filtered(machine)
    assert filtered("clone", 17) == filtered("clone", 0x3D0F00) == ALLOWED
    for flags in (NEW_USER, NEW_NET, NEW_USER | THREAD, PARENT | 17, 0x20000, 0x02000000):
        assert filtered("clone", flags) == "EPERM", hex(flags)
    assert filtered("clone3") == "ENOSYS"
    threads = Filtered(machine, threads_only=True)
    assert threads("clone", 0x3D0F00) == ALLOWED
    assert threads("clone", 17) == threads("clone", 0x4111) == "EPERM"
    if machine == "x86_64":
        assert filtered("fork") == ALLOWED
        assert threads("fork") == threads("vfork") == "EPERM"


def test_only_its_own_limits_and_switches(machine: str) -> None:
    filtered = Filtered(machine)
    assert filtered("prlimit64", 0, 7) == ALLOWED
    assert filtered("prlimit64", 1, 7) == filtered("prlimit64", HIGH, 7) == "EPERM"
    assert filtered("prctl", 15) == ALLOWED
    for option in (1, 4, 36, 4 + HIGH):
        assert filtered("prctl", option) == "EPERM"
    assert filtered("ioctl", 0, 0x5401) == ALLOWED
    assert (
        filtered("ioctl", 0, 0x5412) == filtered("ioctl", 0, 0x5401 + HIGH) == filtered("ioctl", 0, 0x8912) == "EPERM"
    )


def test_signals_only_to_itself_where_nothing_else_keeps_others_out_of_reach(machine: str) -> None:
    free, bound = Filtered(machine), Filtered(machine, only_pid=4711)
    assert free("kill", 1) == bound("kill", 4711) == bound("tgkill", 4711, 4712) == ALLOWED
    for arguments in ((1,), (0,), (-1,), (4711 + HIGH,)):
        assert bound("kill", *arguments) == "EPERM"
    assert bound("tkill", 4711) == bound("pidfd_send_signal") == "EPERM"


def test_connect_and_files_in_memory_only_where_they_are_harmless(machine: str) -> None:
    filtered = Filtered(machine, connect=False, memory_files=False)
    assert filtered("connect") == "EACCES"
    assert filtered("memfd_create") == "EPERM"


def test_another_architecture_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert _seccomp.seccomp_arch() == ""
    with pytest.raises(seccompy.UnsupportedError):
        _program.compiled(_seccomp.rules_for(connect=True))
