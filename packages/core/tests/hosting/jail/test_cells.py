"""Cells from the supervisor's side: adoption, reasons, freezing, and what is left when a host is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dotmac_isp.plugins.core.hosting import jail
from dotmac_isp.plugins.core.hosting.jail import _cell, _cgroups, _identity, _sweep

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Host

HERE = Path(__file__).parent
MEBIBYTE = 1 << 20


def a_cell(host: Host, **plan: Any) -> jail.Cell:
    return jail.Cell(
        jail.JailPlan(label="hostile@tenant_1", data_dir=str(host.home / "data" / "tenant_1"), **plan), host.home
    )


def eventually(what: Callable[[], bool], patience: float = 20.0) -> bool:
    """Wait for another process; there is no event to await."""
    until = time.monotonic() + patience
    while not what() and time.monotonic() < until:
        time.sleep(0.01)
    return what()


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_stopped_instance_is_told_to_be_stopped_by_the_host(root_host: Host) -> None:
    cell = a_cell(root_host)
    going = root_host.start(cell, "stay")
    cell.kill("stopped for the reload")
    told = going.told()
    assert told["exit"] == {
        "kind": "stopped by the host",
        "text": "stopped for the reload",
        "code": None,
        "signal": "SIGKILL",
    }
    cell.close()


def test_a_signal_from_elsewhere_is_told_as_such(root_host: Host) -> None:
    cell = a_cell(root_host)
    going = root_host.start(cell, "stay")
    os.kill(going.pid, signal.SIGKILL)
    assert going.told()["exit"]["text"] == "killed by SIGKILL from outside of the host"
    cell.close()


def test_a_frozen_instance_can_be_thawed_and_killed(root_host: Host) -> None:
    cell = a_cell(root_host)
    going = root_host.start(cell, "busy", 0.2)
    cell.freeze()
    used = cell.usage().cpu_seconds
    time.sleep(0.1)
    assert cell.usage().cpu_seconds == pytest.approx(used, abs=0.02)
    cell.thaw()
    assert going.told()["result"]["wall"] >= 0.2
    cell.close()
    cell = a_cell(root_host)
    going = root_host.start(cell, "stay")
    cell.freeze()
    cell.kill()
    assert going.told()["exit"]["kind"] == "stopped by the host"
    cell.close()


def test_children_end_with_their_instance(root_host: Host) -> None:
    cell = a_cell(root_host)
    before = set(cell._group.processes())
    told = root_host.start(cell, "leave_children").told()
    assert told["exit"]["kind"] == "exit"
    assert set(cell._group.processes()) == before == set()
    cell.close()


def test_a_process_enters_its_control_groups_itself_and_one_that_does_not_is_put_there(root_host: Host) -> None:
    cell = a_cell(root_host)
    if not cell.plan.joins:
        pytest.skip("no control groups of version 1 can be written here")

    def inside(pid: int) -> list[bool]:
        return [str(pid) in Path(place, "cgroup.procs").read_text().split() for place in cell.plan.joins]

    going = root_host.start(cell, "stay")
    assert eventually(lambda: all(inside(going.pid)))
    cell.kill()
    going.told()
    with subprocess.Popen(["sleep", "60"]) as stubborn:
        cell.adopt(stubborn.pid)
        assert not any(inside(stubborn.pid))
        cell.hold()
        assert all(inside(stubborn.pid))
        cell.close()
    assert stubborn.returncode == -signal.SIGKILL


def test_nothing_is_left_of_a_closed_cell_but_its_data(root_host: Host) -> None:
    cell = a_cell(root_host)
    paths = [cell.dir, *cell._group.paths]
    assert all(path.exists() for path in paths)
    root_host.start(cell, "own_data").told()
    cell.close()
    cell.close()
    assert not any(path.exists() for path in paths)
    assert (root_host.home / "data" / "tenant_1" / "kept").read_text() == "mine"


def test_an_instance_keeps_its_user_and_others_get_another(root_host: Host) -> None:
    first = a_cell(root_host)
    beside = a_cell(root_host)
    other = jail.Cell(
        jail.JailPlan(label="other@tenant_2", data_dir=str(root_host.home / "data" / "tenant_2")), root_host.home
    )
    assert first.plan.uid == beside.plan.uid != other.plan.uid
    for cell in (first, beside, other):
        cell.close()
    again = a_cell(root_host)
    assert again.plan.uid == first.plan.uid
    assert (root_host.home / "data" / "tenant_1").stat().st_uid == first.plan.uid
    again.close()


def test_without_preparation_a_child_does_it_all_itself(short_home: Path) -> None:
    from host import Host

    host = Host(short_home, "preparation")
    told = host.attack("own_data")
    assert told["result"] == "mine"
    assert told["child"]["view"]
    assert "pid" not in told["child"]["namespaces"]
    seen = host.attack("processes", os.getpid())["result"]
    assert all(said.startswith("E") for said in seen.values())
    signalled = host.attack("signals", os.getpid())["result"]
    assert set(signalled.values()) <= {"EPERM", "ESRCH"}
    host.close()


KILLED_HOST = """
import os, sys
sys.path[:0] = [{here!r}]
from host import Host
from pathlib import Path
from dotmac_isp.plugins.core.hosting import jail
home = Path({home!r})
host = Host(home)
cell = jail.Cell(jail.JailPlan(label="hostile@tenant_1", data_dir=str(home / "data" / "tenant_1")), home)
going = host.start(cell, "stay")
print(going.pid, host.zygote.pid, flush=True)
import signal; signal.pause()
"""


def test_nothing_is_left_when_the_host_is_killed_and_the_next_one_sweeps(short_home: Path) -> None:
    killed = subprocess.Popen(
        [sys.executable, "-c", KILLED_HOST.format(here=str(HERE), home=str(short_home))],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert killed.stdout is not None
    child, zygote = (int(word) for word in killed.stdout.readline().split())
    (folder,) = _cell.cells_dir(short_home).iterdir()
    record = _identity.read_record(folder)
    assert record is not None
    assert record.groups
    assert jail.sweep(short_home) == []  # its host lives
    killed.kill()
    killed.wait()
    killed.stdout.close()
    assert eventually(lambda: not lives(child) and not lives(zygote))
    assert jail.sweep(short_home) == [f"cleaned up after the jail {folder.name} of hostile@tenant_1"]
    assert not folder.exists()
    assert not any(Path(group).exists() for group in record.groups)
    assert jail.sweep(short_home) == []


def test_a_process_that_only_has_the_number_of_a_recorded_one_is_left_alone(short_home: Path) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    folder = _cell.cells_dir(short_home) / "0badc0de"
    folder.mkdir(parents=True)
    mine = _identity.ProcessIdentity.of(os.getpid())
    gone = _identity.ProcessIdentity(mine.pid, mine.started + 1, mine.boot)
    lookalike = _identity.ProcessIdentity(stranger.pid, 1, mine.boot)
    record = _identity.CellRecord(label="x@y", supervisor=gone, child=lookalike, groups=("/sys/fs/cgroup",), uid=None)
    _identity.write_record(folder, record)
    assert jail.sweep(short_home) == ["cleaned up after the jail 0badc0de of x@y"]
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_an_orphan_that_is_the_recorded_process_is_ended(short_home: Path) -> None:
    orphan = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    folder = _cell.cells_dir(short_home) / "0badc0de"
    folder.mkdir(parents=True)
    mine = _identity.ProcessIdentity.of(os.getpid())
    gone = _identity.ProcessIdentity(mine.pid, mine.started + 1, mine.boot)
    record = _identity.CellRecord(
        label="x@y", supervisor=gone, child=_identity.ProcessIdentity.of(orphan.pid), groups=(), uid=None
    )
    _identity.write_record(folder, record)
    jail.sweep(short_home)
    assert orphan.wait(10) == -signal.SIGKILL


def test_an_empty_group_of_a_host_that_never_came_back_is_swept_and_one_in_use_is_not(
    short_home: Path, root_host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees = [one.base for one in _cgroups.find_hierarchies()]
    if not trees:
        pytest.skip("no control groups can be written here")
    cell = a_cell(root_host)
    forgotten = trees[0] / "dotmac-0badc0de"
    forgotten.mkdir()
    jail.sweep(short_home)
    assert forgotten.exists(), "its host may have been started a moment ago"
    monkeypatch.setattr(_sweep, "_FORSAKEN", -1.0)
    jail.sweep(short_home)
    assert not forgotten.exists()
    assert all(path.exists() for path in cell._group.paths)
    cell.close()


def test_a_damaged_record_does_not_stop_the_sweep(short_home: Path) -> None:
    folder = _cell.cells_dir(short_home) / "0badc0de"
    folder.mkdir(parents=True)
    (folder / "cell.json").write_text("{")
    assert jail.sweep(short_home) == ["cleaned up after the jail 0badc0de"]
    assert not folder.exists()


MOUNTED = """\
34 25 0:29 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
35 25 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
36 25 0:31 /docker/abc /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
37 25 0:32 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
38 25 0:33 / /proc rw,relatime - proc proc rw
39 25 0:32 /../.. /host/cgroup rw,relatime - cgroup2 cgroup2 rw,nsdelegate
"""
OWN = "9:memory:/system.slice/x\n8:cpu,cpuacct:/\n7:pids:/docker/abc/inner\n0::/user.slice\n"


def test_the_own_place_in_each_tree_is_found_in_containers_too() -> None:
    found = {str(one.base): (one.version, set(one.controllers)) for one in _cgroups.hierarchies_from(MOUNTED, OWN)}
    assert found == {
        "/sys/fs/cgroup/memory/system.slice/x": (1, {"memory"}),
        "/sys/fs/cgroup/cpu,cpuacct": (1, {"cpu", "cpuacct"}),
        "/sys/fs/cgroup/pids/inner": (1, {"processes"}),
        "/sys/fs/cgroup/unified/user.slice": (2, set()),
    }


class Tree:
    """A tree of control groups of version 2, as files: what the kernel would do is done by the test."""

    def __init__(self, at: Path, controllers: str = "cpu memory pids io") -> None:
        self.own = at / "unit.service"
        self.own.mkdir(parents=True)
        for name, text in (
            ("controllers", controllers),
            ("subtree_control", ""),
            ("procs", f"{os.getpid()}\n1\n"),
            ("type", "domain"),
        ):
            (self.own / f"cgroup.{name}").write_text(text)


def test_version_2_gets_a_leaf_for_the_host_and_controllers_for_its_children(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    found = _cgroups.unified(tree.own)
    assert found is not None
    assert found.base == tree.own
    # The last of the writes is what a file keeps; the kernel keeps them all.
    assert (tree.own / "cgroup.subtree_control").read_text() == "+pids"
    assert (tree.own / _cgroups.HOST_LEAF / "cgroup.procs").read_text() == str(os.getpid())


def test_in_a_group_that_systemd_gave_away_whoever_started_the_host_moves_too(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    try:
        os.setxattr(tree.own, "user.delegate", b"1")
    except OSError as error:
        pytest.skip(f"no extended attributes here: {error}")
    assert _cgroups.unified(tree.own) is not None
    assert (tree.own / _cgroups.HOST_LEAF / "cgroup.procs").read_text() == "1"


def test_the_first_process_of_a_container_moves_into_the_leaf_as_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = Tree(tmp_path)
    monkeypatch.setattr(os, "getpid", lambda: 1)
    (tree.own / "cgroup.procs").write_text("0\n1\n")
    assert _cgroups.unified(tree.own) is not None
    assert (tree.own / _cgroups.HOST_LEAF / "cgroup.procs").read_text() == "1"


def test_version_2_limits_a_cell(tmp_path: Path) -> None:
    from dotmac_isp.plugins.core.hosting.jail._group import CellGroup

    base = tmp_path / "unit.service"
    base.mkdir()
    (base / "dotmac-1").mkdir()
    group = CellGroup([_cgroups.Hierarchy(2, frozenset({"memory", "cpu", "processes"}), base)], "dotmac-1", "abcd")
    place = base / "dotmac-1" / "abcd"
    for name in ("memory.swap.max", "memory.oom.group"):
        (place / name).touch()
    held = group.limit(jail.JailLimits(memory=64 * MEBIBYTE, cpu=0.2, processes=16))
    assert held == ("memory", "cpu", "processes")
    assert (place / "memory.max").read_text() == str(64 * MEBIBYTE)
    assert (place / "memory.swap.max").read_text() == "0"
    assert (place / "memory.oom.group").read_text() == "1"
    assert (place / "cpu.max").read_text() == "10000 50000"
    assert (place / "pids.max").read_text() == "16"
    group.adopt(os.getpid())
    assert (place / "cgroup.procs").read_text() == str(os.getpid())
    (place / "memory.events").write_text("low 0\noom 1\noom_kill 1\n")
    (place / "memory.current").write_text("4096")
    (place / "cpu.stat").write_text("usage_usec 1500000\nnr_throttled 3\nthrottled_usec 250000\n")
    assert group.memory_kills() == 1
    usage = group.usage()
    assert (usage.memory, usage.cpu_seconds, usage.throttled_seconds) == (4096, 1.5, 0.25)


#: Starts three processes below itself, tells so, and waits until it is ended.
FAMILY = """
import os, time
for _ in range(3):
    if os.fork() == 0:
        time.sleep(600)
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture
def real_tree() -> Path:
    """This machine's own tree of version 2. Where version 1 has the controllers, it still can freeze, kill and count."""
    found = [one.base for one in _cgroups.find_hierarchies() if one.version == 2]
    if not found:
        pytest.skip("no control groups of version 2 that may be written here")
    return found[0]


def test_version_2_of_this_kernel_adopts_freezes_and_kills_a_whole_family(real_tree: Path) -> None:
    from dotmac_isp.plugins.core.hosting.jail._group import CellGroup

    host = f"dotmac-test-{os.getpid()}"
    group = CellGroup([_cgroups.Hierarchy(2, frozenset(), real_tree)], host, "abcd")
    place = real_tree / host / "abcd"
    gate, opened = os.pipe()
    try:
        with subprocess.Popen(
            [sys.executable, "-c", f"import os; os.read({gate}, 1)\n{FAMILY}"], stdout=subprocess.PIPE, pass_fds=[gate]
        ) as family:
            try:
                group.adopt(family.pid)
                assert group.processes() == [family.pid]
                os.write(opened, b"x")
                assert family.stdout is not None
                assert family.stdout.readline() == b"ready\n"
                members = group.processes()
                assert len(members) == 4, "children are born into the group of their parent"
                assert group.freeze(True)
                assert eventually(lambda: "frozen 1" in (place / "cgroup.events").read_text())
                group.kill()  # without thawing it: the kernel ends frozen ones as well
                assert family.wait(20) == -signal.SIGKILL
                assert eventually(lambda: "populated 0" in (place / "cgroup.events").read_text())
            finally:
                family.kill()
        assert eventually(group.close)
        assert not place.exists()
    finally:
        os.close(gate)
        os.close(opened)
        group.kill()
        group.close()
        (real_tree / host).rmdir()


def test_the_numbers_for_users_are_those_that_exist_here() -> None:
    from dotmac_isp.plugins.core.hosting.jail._users import DYNAMIC, uid_block

    everything = "         0          0 4294967295"
    one, other = uid_block("/srv/a", everything), uid_block("/srv/b", everything)
    assert one is not None
    assert other is not None
    assert len(one) == 65536
    assert not set(one[::1000]) & set(other[::1000])
    assert uid_block("/srv/a", "0 100000 65536") == DYNAMIC
    assert uid_block("/srv/a", "0 1000 1") is None
