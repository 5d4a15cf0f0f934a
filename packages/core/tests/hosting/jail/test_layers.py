"""Machines that lack one of the layers: what still holds holds, and what does not is said."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from test_egress import listed, serving

from dotmac_isp.plugins.core.hosting import jail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Attackable


@pytest.fixture
def web() -> Iterator[int]:
    with serving() as port:
        yield port


def strengths(told: dict[str, Any]) -> dict[str, str]:
    return {name: one["strength"] for name, one in told["report"]["guarantees"].items()}


def refusals(told: dict[str, str]) -> set[str]:
    return {said.split(":")[0] for said in told.values()}


def test_without_namespaces_landlock_and_the_filter_hold(lacking: Callable[..., Attackable], web: int) -> None:
    """As in a container whose runtime forbids unshare."""
    host = lacking("namespaces")
    told = host.attack("nothing")
    assert not told["child"]["view"]
    assert told["child"]["problems"]
    found = strengths(told)
    assert found["files"] == found["network"] == found["syscalls"] == "enforced"
    assert host.attack("own_data")["result"] == "mine"
    assert host.attack("own_tmp")["result"] == "mine"
    secret = str(host.home / "data" / "tenant_2" / "secret")
    assert refusals(host.attack("look_around", secret, "/etc/shadow", "/etc/passwd", "/proc/1/environ")["result"]) == {
        "EACCES"
    }
    assert refusals(host.attack("unix_sockets", "/run/x", "@x")["result"]) == {"EACCES"}
    assert "EACCES" in refusals(host.attack("sockets")["result"])
    assert refusals(host.attack("signals", 1, threading.get_native_id())["result"]) <= {"EPERM", "ESRCH"}
    assert host.attack_online("fetch", "aiohttp", f"http://vendor.example:{web}/x", **listed(web))["result"] == "x"


def test_a_view_that_cannot_be_entered_leaves_landlock_and_the_filter(lacking: Callable[..., Attackable]) -> None:
    host = lacking("view")
    told = host.attack("nothing")
    assert not told["child"]["view"]
    assert "not on this machine" in told["child"]["problems"]["view"]
    assert strengths(told)["files"] == strengths(told)["network"] == strengths(told)["syscalls"] == "enforced"
    assert host.attack("own_data")["result"] == host.attack("own_tmp")["result"] == "mine"
    secret = str(host.home / "data" / "tenant_2" / "secret")
    assert refusals(host.attack("look_around", secret, "/etc/shadow", "/proc/1/environ")["result"]) == {"EACCES"}


def test_in_a_container_that_masks_proc_an_instance_has_a_root_of_its_own_without_proc(
    lacking: Callable[..., Attackable], web: int
) -> None:
    host = lacking("a whole proc")
    told = host.attack("nothing")
    assert told["child"]["view"]
    assert strengths(told)["files"] == "enforced"
    if host.readiness.namespaces[0] == "user":
        assert "own /proc" in told["child"]["problems"]
        assert refusals(host.attack("look_around", "/proc/1/environ", "/proc/self/environ")["result"]) == {"ENOENT"}
    assert host.attack("own_data")["result"] == host.attack("own_tmp")["result"] == "mine"
    assert host.attack_online("fetch", "aiohttp", f"http://vendor.example:{web}/x", **listed(web))["result"] == "x"


def test_without_landlock_connections_are_relayed_and_go_nowhere_else(
    lacking: Callable[..., Attackable], web: int
) -> None:
    host = lacking("landlock")
    told = host.attack_online("fetch", "aiohttp", f"http://vendor.example:{web}/x", **listed(web))
    assert told["result"] == "x"
    assert told["relayed"] > 0
    assert strengths(told)["files"] == strengths(told)["network"] == "enforced"
    plan = listed(web, "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as other:
        again = host.attack_online("reconnect", "127.0.0.1", web, other.getsockname()[1], **plan)["result"]
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.accept()
    assert again["connect"].startswith("E")
    secret = str(host.home / "data" / "tenant_2" / "secret")
    assert refusals(host.attack("look_around", secret, "/etc/shadow")["result"]) == {"ENOENT"}


def test_without_the_filter_the_network_is_empty_and_its_sockets_stay_where_they_are(
    lacking: Callable[..., Attackable], web: int
) -> None:
    host = lacking("seccomp")
    told = host.attack_online("fetch", "aiohttp", f"http://vendor.example:{web}/x", **listed(web))
    assert told["result"] == "x"
    assert told["relayed"] > 0  # Landlock alone does not keep a handed-over socket where it is (MSG_FASTOPEN)
    found = strengths(told)
    assert found["syscalls"] == "none"
    assert found["network"] == found["files"] == "enforced"
    assert "x86_64 or aarch64" in told["report"]["guarantees"]["syscalls"]["remedy"]
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        again = host.attack_online("reconnect", "127.0.0.1", web, port, **listed(web, "127.0.0.1"))["result"]
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.accept()
    assert again["connect"].startswith("E")


def test_without_anything_the_report_says_so(lacking: Callable[..., Attackable]) -> None:
    host = lacking("namespaces", "landlock", "seccomp")
    told = host.attack("nothing")
    found = strengths(told)
    assert found["syscalls"] == found["network"] == "none"
    assert found["files"] in {"none", "advisory"}
    for one in told["report"]["guarantees"].values():
        assert one["strength"] == "enforced" or (one["missing"] and one["remedy"])


def test_the_machine_tells_what_it_can_enforce_and_is_left_as_it_was(short_home: Path) -> None:
    report = jail.machine_report(short_home)
    assert report.child is not None
    assert report.child.problems == {}
    assert set(report.isolation.guarantees) == set(jail.GUARANTEES)
    assert report.isolation.guarantees["syscalls"].strength is jail.Strength.ENFORCED
    assert list((short_home / "run" / "cells").iterdir()) == []


def test_what_is_below_a_wanted_strength_is_listed() -> None:
    report = jail.without_a_jail()
    wanted = {"files": jail.Strength.ENFORCED, "cpu": jail.Strength.NONE}
    assert list(report.below(wanted)) == ["files"]
    assert "files none" in str(report)
