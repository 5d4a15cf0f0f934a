"""What a hostile plugin tries inside its jail, on a host that is root and on one that is an ordinary user."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dotmac_isp.plugins.core.hosting import jail

if TYPE_CHECKING:
    from conftest import Attackable

MEBIBYTE = 1 << 20
REFUSED = {"EPERM", "EACCES", "ENOSYS", "ESRCH"}


def test_every_guarantee_is_reported_and_nothing_had_to_be_left_out(host: Attackable) -> None:
    told = host.attack("nothing")
    assert told["child"]["problems"] == {}
    strengths = {name: one["strength"] for name, one in told["report"]["guarantees"].items()}
    assert set(strengths) == set(jail.GUARANTEES)
    for name in ("processes", "files", "network", "syscalls"):
        assert strengths[name] == "enforced"
    for one in told["report"]["guarantees"].values():
        assert one["how"]
        assert one["strength"] == "enforced" or (one["missing"] and one["remedy"])


def test_what_a_plugin_needs_works(host: Attackable) -> None:
    assert host.attack("own_data")["result"] == "mine"
    assert host.attack("own_tmp")["result"] == "mine"
    assert host.attack("threads_and_locks")["result"] == 4
    assert host.attack("import_much")["result"] == ["decimal", "json.tool", "sqlite3", "Europe/Berlin"]


def test_files_of_others_are_not_there(host: Attackable) -> None:
    other = host.home / "data" / "tenant_2"
    paths = [
        str(other),
        str(other / "secret"),
        "/etc/shadow",
        "/etc/passwd",
        "/root/.profile",
        "/proc/1/environ",
        "/sys",
        "/home",
        "/var",
        str(host.home / "run"),
    ]
    told = host.attack("look_around", *paths)["result"]
    assert {path: said for path, said in told.items() if not said.startswith("E")} == {}


def test_nothing_outside_of_its_own_folder_can_be_written(host: Attackable) -> None:
    paths = [
        "/usr/x",
        "/etc/x",
        "/x",
        "/dev/x",
        "/proc/x",
        str(host.home / "x"),
        str(Path(os.__file__).parent / "x.py"),
    ]
    told = host.attack("write_around", *paths)["result"]
    assert {path: said for path, said in told.items() if not said.startswith("E")} == {}


def test_sockets_come_from_the_broker_only(host: Attackable) -> None:
    told = host.attack("sockets")["result"]
    assert told.pop("unix stream pair") == "done: 0"
    assert {name: said for name, said in told.items() if said not in REFUSED} == {}


def test_system_calls_that_a_plugin_has_no_business_with_are_refused(host: Attackable) -> None:
    told = host.attack("system_calls")["result"]
    assert {name: said for name, said in told.items() if said not in REFUSED} == {}


def test_other_processes_are_out_of_reach(host: Attackable) -> None:
    told = host.attack("signals", os.getpid(), 1 << 21)["result"]
    assert told.pop("parent") in {"EPERM", "ESRCH", "no parent to be seen"}
    assert set(told.values()) <= {"EPERM", "ESRCH"}
    seen = host.attack("processes", os.getpid())["result"]
    assert {path: said for path, said in seen.items() if not said.startswith("E")} == {}


def test_it_has_no_privileges_left(host: Attackable) -> None:
    told = host.attack("privileges")["result"]
    assert told["CapEff"] == told["CapPrm"] == "0" * 16
    assert told["NoNewPrivs"] == "1"
    assert told["Seccomp"] == "2"
    assert told["Groups"].strip() in {"", "65534"}
    assert "\t0" not in told["Uid"]


def test_a_fork_bomb_is_held(host: Attackable) -> None:
    # Where there are no control groups, an ordinary host counts the memory that they share once for each.
    told = host.attack("fork_bomb", 200, limits=jail.JailLimits(processes=20, memory=2048 * MEBIBYTE))
    assert told["result"]["why"] == "EAGAIN"
    assert told["result"]["born"] < 20


def test_threads_count_as_processes(host: Attackable) -> None:
    assert host.attack("thread_bomb", 200, limits=jail.JailLimits(processes=20))["result"] < 20


@pytest.mark.parametrize("bomb", ["memory_bomb", "memory_bomb_shared", "memory_bomb_of_children", "memory_file"])
def test_a_memory_bomb_is_held_and_named(host: Attackable, bomb: str) -> None:
    limit, size = 96 * MEBIBYTE, 60 * MEBIBYTE if bomb.endswith("children") else 400 * MEBIBYTE
    told = host.attack(bomb, size, limits=jail.JailLimits(memory=limit, file_size=0))
    if told["result"] is None:
        assert told["exit"]["kind"] == "out of memory"
        assert f"{limit // MEBIBYTE} MiB" in told["exit"]["text"]
    else:
        # Without a control group the process itself is told that there is no more.
        assert host.readiness.namespaces[0] == "user"
        assert told["result"] in {"MemoryError", "EPERM"}
    peak = told["usage"]["memory_peak"]
    assert peak is None or peak <= limit * 1.1


def test_a_full_disk_is_noticed_and_named(host: Attackable) -> None:
    told = host.attack("fill_disk", 1000, MEBIBYTE, limits=jail.JailLimits(disk=8 * MEBIBYTE))
    assert told["result"] is None
    assert told["exit"]["kind"] == "disk full"


@pytest.mark.parametrize("attack", [("fill_deeply", 1024), ("many_empty_files", 4096)])
def test_files_that_are_hard_to_count_count_as_too_much(root_host: Attackable, attack: tuple[Any, ...]) -> None:
    told = root_host.attack(
        *attack, data_dir=str(root_host.home / "data" / "hidden"), limits=jail.JailLimits(disk=8 * MEBIBYTE)
    )
    assert told["result"] is None
    assert told["exit"]["kind"] == "disk full"


@pytest.mark.slow
@pytest.mark.parametrize("attack", [("busy", 4.0), ("busy_together", 4.0, 3)])
def test_a_busy_loop_gets_its_share_of_a_processor(host: Attackable, attack: tuple[Any, ...]) -> None:
    told = host.attack(*attack, limits=jail.JailLimits(cpu=0.2))
    result = told["result"]
    share = result["cpu"] / result["wall"] if attack[0] == "busy" else result
    assert 0.18 <= share <= 0.22
    assert told["usage"]["throttled_seconds"] > 1


def test_a_large_file_is_refused(host: Attackable) -> None:
    told = host.attack("fill_file", 64 * MEBIBYTE, limits=jail.JailLimits(file_size=4 * MEBIBYTE))["result"]
    assert told == {"written": 4 * MEBIBYTE, "why": "EFBIG"}


def test_its_private_tmp_is_small(host: Attackable) -> None:
    assert host.attack("fill_tmp")["result"] == "ENOSPC"


def test_descriptors_run_out_for_it_alone(host: Attackable) -> None:
    told = host.attack("exhaust_descriptors", 1000, limits=jail.JailLimits(open_files=64))["result"]
    assert told["why"] == "EMFILE"
    assert told["held"] < 64


def test_native_code_of_its_own_cannot_be_loaded(host: Attackable) -> None:
    assert host.attack("run_native_code")["result"] == "EPERM"


@pytest.mark.parametrize(
    ("how", "kind", "signal"), [("exit", "exit", ""), ("segv", "signal", "SIGSEGV"), ("abort", "signal", "SIGABRT")]
)
def test_the_end_is_named(host: Attackable, how: str, kind: str, signal: str) -> None:
    told = host.attack("die", how)["exit"]
    assert told["kind"] == kind
    # The first process of a namespace ends an abort with a fault (x86_64) or a trap (aarch64).
    assert told["signal"] in {signal, "SIGSEGV", "SIGTRAP"}
    if how == "exit":
        assert told["code"] == 7
