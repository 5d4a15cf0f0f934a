"""A hostile plugin in a real host, at every level, as root and as an ordinary user: each attempt is refused or contained, and
named, and the neighbour's instance goes on. What is refused system call by system call is tested in core."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Arena

MEBIBYTE = 1 << 20
REFUSED = {"EPERM", "EACCES", "ENOSYS", "ESRCH", "ENOENT", "EROFS", "ENOTDIR", "ECONNREFUSED"}


def survivors(told: dict[str, str]) -> dict[str, str]:
    """The attempts that were not refused."""
    return {what: said for what, said in told.items() if said.split(":")[0] not in REFUSED}


def neighbour_answers(arena: Arena) -> bool:
    return arena.tell("nothing", tenant="tenant_2") == "nothing"


def restarted(arena: Arena) -> None:
    """Its instance was ended, or is being ended; the operator starts it anew, should the host not have done so yet."""
    until = time.monotonic() + 30
    while arena.tell("nothing") != "nothing":
        assert time.monotonic() < until
        arena.tell("start")


def test_the_status_says_what_holds(arena: Arena) -> None:
    strengths = arena.strengths()
    for name in ("processes", "files", "network", "syscalls"):
        assert strengths[name] == "enforced"
    for name in ("memory", "cpu"):
        assert strengths[name] in {"enforced", "advisory"}


def test_secrets_of_the_host_are_not_there(arena: Arena) -> None:
    assert "hvs." not in str(arena.tell("environment"))
    paths = ["/etc/shadow", "/root/.vault-token", f"/proc/{arena.pid}/environ", "/proc/1/environ", "/proc/self/environ"]
    told = arena.tell("look_around", *paths)
    assert {path: said for path, said in told.items() if not said.startswith("E")} == {}


def test_files_of_the_host_and_of_other_tenants_are_not_there(arena: Arena) -> None:
    state = arena.home / "state"
    paths = [
        str(state / name) for name in ("storage.sqlite3", "audit.sqlite3", "run/cells", "control.sock", "policy.toml")
    ]
    data = [str(path) for path in (state / "data").glob("tenant_2*")]
    assert data or arena.level == "minimal"
    told = arena.tell("look_around", *paths, *data, str(arena.home / "victim.sock"))
    assert {path: said for path, said in told.items() if not said.startswith("E")} == {}
    told = arena.tell("write_around", *(f"{path}/x" for path in data), str(state / "x"), "/etc/x", "/usr/x", "/x")
    assert survivors(told) == {}


def test_a_level_that_may_not_write_has_no_folder(arena: Arena) -> None:
    told = arena.tell("own_data")
    if arena.level == "minimal":
        assert "error" not in told or "Error" in told["error"]
        assert not list((arena.home / "state" / "data").glob("*/hostile/kept"))
    else:
        assert told == "mine"


def test_nothing_that_is_not_listed_is_reached(arena: Arena) -> None:
    victims = arena.victims
    port = victims.tcp.getsockname()[1]
    assert survivors({name: said for name, said in arena.tell("sockets").items() if name != "unix stream pair"}) == {}
    assert (
        survivors(arena.tell("unix_sockets", victims.path, "@" + victims.abstract_name, "/run/dbus/system_bus_socket"))
        == {}
    )
    for where in (
        f"127.0.0.1:{port}",
        f"localhost:{port}",
        f"[::1]:{port}",
        f"[::ffff:127.0.0.1]:{port}",
        "169.254.169.254:80",
    ):
        for library in ("urllib", "streams"):
            assert "denied" in str(arena.tell("fetch", library, f"http://{where}/"))
    assert victims.reached() == []


def test_what_is_listed_is_reached_where_the_level_has_a_network_and_leads_nowhere_else(arena: Arena) -> None:
    arena.listed.setblocking(False)
    port, other = arena.listed.getsockname()[1], arena.victims.tcp.getsockname()[1]
    told = arena.tell("reconnect", "127.0.0.1", port, other)
    if arena.level == "minimal":
        assert "security level minimal has no network" in told["error"]
        with pytest.raises(BlockingIOError):
            arena.listed.accept()
        return
    assert survivors({name: said for name, said in told.items() if name != "disconnect"}) == {}
    arena.listed.accept()[0].close()
    assert arena.victims.reached() == []


def test_system_calls_are_refused(arena: Arena) -> None:
    assert survivors(arena.tell("system_calls")) == {}


def test_other_processes_are_out_of_reach(arena: Arena) -> None:
    assert survivors(arena.tell("signals", arena.pid, os.getpid()) | {"parent": "EPERM"}) == {}
    assert survivors(arena.tell("processes", arena.pid, os.getpid())) == {}


def test_descriptors_run_out_for_it_alone(arena: Arena) -> None:
    told = arena.tell("exhaust_descriptors", 1000)
    assert told["why"] == "EMFILE"
    assert neighbour_answers(arena)


def test_a_fork_bomb_is_contained(arena: Arena) -> None:
    told = arena.tell("fork_bomb", 100)
    if "error" in told:
        # Without a control group each process counts in full, also what it shares with its parent.
        assert "out of memory" in told["error"]
        assert arena.uid
    else:
        assert told["why"] == "EAGAIN"
        assert told["born"] < 24
    assert neighbour_answers(arena)
    assert "error" in arena.tell("die", "exit")  # with what the bomb left
    restarted(arena)


def test_a_busy_neighbour_is_not_noticed(arena: Arena) -> None:
    orders: list[dict[str, Any]] = [
        {"tenant": "tenant_1", "what": "busy", "arguments": [1.0]},
        *({"tenant": "tenant_2", "what": "nothing", "arguments": []} for _ in range(20)),
    ]
    busy, *others = arena.tell("together", orders=orders)
    assert others == ["nothing"] * 20
    assert busy["cpu"] <= 0.75 * busy["wall"]


@pytest.mark.parametrize("bomb", ["memory_bomb", "memory_bomb_shared"])
def test_memory_that_it_may_not_have_is_named(arena: Arena, bomb: str) -> None:
    told = arena.tell(bomb, 400 * MEBIBYTE)
    if told != "MemoryError":
        assert "out of memory" in told["error"]
        restarted(arena)
    assert neighbour_answers(arena)


def test_a_full_disk_is_named(arena: Arena) -> None:
    if arena.level == "minimal":
        pytest.skip("this level has no folder")
    assert arena.tell("fill_file", 64 * MEBIBYTE)["why"] == "EFBIG"
    told = arena.tell("fill_disk", 400, MEBIBYTE)
    assert "disk full" in told["error"]
    assert neighbour_answers(arena)


@pytest.mark.parametrize(("how", "reason"), [("exit", "exit code 7"), ("segv", "SIGSEGV")])
def test_its_death_is_named(arena: Arena, how: str, reason: str) -> None:
    arena.tell("start")
    assert reason in arena.tell("die", how)["error"]
    assert neighbour_answers(arena)
    restarted(arena)


def test_udp_reaches_nobody(arena: Arena) -> None:
    told = arena.tell("udp")
    assert told.startswith("EACCES")
    assert arena.victims.reached() == []
    assert isinstance(arena.victims.udp, socket.socket)
