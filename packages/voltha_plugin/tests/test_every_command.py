"""Every `dotmac-plugins voltha …` command, one after another, as an operator who brings a network up, changes it and takes it down."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.importorskip("dotmac_plugins_console", reason="the console package is not installed")
from typer.main import get_command
from typer.testing import CliRunner

OLT, FIRST, SECOND, THIRD = "BBSIM_OLT_10", "BBSM000a0001", "BBSM000a0002", "BBSM000a0101"
IMAGE = "BBSM_IMG_00002"
#: What is typed. `{address}` and such are filled in.
STEPS = """
version
adapters
types
stacks
olt create {address}
olt add {address} --deadline 20
olt address {olt} {address} --deadline 5
devices
status {olt}
stuck
logical list
logical ports {olt}
onu allow {third} --note spare
onu allowed
onu waiting
onu forbid {third}
onu add {olt} {first} --deadline 20
onu add {olt} {second} --deadline 20
onu add {olt} {third} --deadline 20
port list {olt}
port disable {olt} 1
port enable {olt} 1
subscriber add {first} sub-1 --s-tag 900 --down 100000 --up 50000 --deadline 20
subscriber list
flows {olt}
groups {olt}
logical flows {olt}
logical groups {olt}
logical meters {olt}
diagnose sub-1
service add {second} sub-2 --workflow dt --s-tag 901 --down 7000 --up 7000 --deadline 20
service speed {second} sub-2 --down 9000 --deadline 20
service suspend {second} sub-2 --deadline 20
service restore {second} sub-2 --deadline 20
service mac {second} sub-2 00:11:22:33:44:55 --deadline 20
service list
service uplink {olt} lldp
plan
reconcile
service bulk add {file}
topology
alarms
alarms --history
events --count 1 --wait 0.2
value {first} onu_distance
offload {olt} --dhcpv4
onu-offload {first} --circuit-id north-1/1 --remote-id sub-1
metrics {first}
history {first} voltha_onu_received_optical_power_dbm
plant splitter S1 {olt} 0 --ports 8 --location Main
plant list
plant remove-splitter S1
plant place {first} --cable C-7
pm get {first}
pm frequency {first} 60
pm maxskew {first} 5
pm group list {first}
pm group enable {first} PON_Optical
pm group frequency {first} PON_Optical 60
pm group disable {first} PON_Optical
pm metric list {olt}
pm metric disable {olt} rx_bytes
pm metric enable {olt} rx_bytes
image list {third}
image download {third} {image} {images}/{image}.img --deadline 20
image status {third} {image}
image activate {third} {image} --deadline 20
image commit {third} {image} --deadline 20
image abort {third} NOSUCH
image rollout start {image} {images}/{image}.img {first} --canary 1 --soak 0
image rollout list
image rollout status {rollout}
image rollout stop {rollout}
image rollout resume {rollout}
onu serial-off {olt} 0 {first}
onu serial-on {olt} 0 {first}
onu off {second} --deadline 20
onu on {second} --deadline 20
disable {third} --deadline 20
enable {third} --deadline 20
reboot {third} --deadline 20
subscriber remove {first} sub-1 --deadline 20
service remove {second} sub-2 --deadline 20
delete {olt} --force --deadline 20
""".strip().splitlines()


@pytest.fixture
def simulated() -> Iterator[dict[str, Any]]:
    """Where a simulator of its own process listens."""
    words = ("--listen", "127.0.0.1:0", "--pons", "2", "--onus", "2", "--time-factor", "0.02", "--json")
    program = "from dotmac_voltha_simulator._cli import main; main()"
    with subprocess.Popen([sys.executable, "-c", program, *words], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
        process.terminate()


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The commands that do something."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path
        return
    for name, one in inner.items():
        yield from leaves(one, (*path, name))


@pytest.mark.slow  # where the console is installed
def test_no_command_is_left_out() -> None:
    from dotmac_isp.plugins.network_automation.voltha_integration_plugin._commands import app

    there = set(leaves(get_command(app)))
    typed = {next(path for n in (3, 2, 1) if (path := tuple(line.split()[:n])) in there) for line in STEPS}
    assert typed == there


#: What only shows something is shown to a person as well.
SHOWN = frozenset(
    (
        *(
            "adapters",
            "alarms",
            "allowed",
            "devices",
            "flows",
            "get",
            "groups",
            "list",
            "logical",
            "meters",
            "plan",
            "ports",
        ),
        *("stacks", "status", "stuck", "topology", "version"),
    )
)


@pytest.mark.slow
def test_every_command_does_what_it_says(
    simulated: dict[str, Any], onu_images: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dotmac_plugins_console._app import app

    for name, value in {
        "DOTMAC_HOME": str(tmp_path / "home"),
        "VOLTHA_HOST": "127.0.0.1",
        "VOLTHA_PORT": simulated["grpc"].rpartition(":")[2],
        "VOLTHA_USERNAME": "user",
        "VOLTHA_PASSWORD": "password",
    }.items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "many.csv"
    file.write_text(f"device_id,subscriber_id,s_tag,bandwidth_down,bandwidth_up\n{THIRD},sub-3,903,1000,1000\n")
    known = {"olt": OLT, "first": FIRST, "second": SECOND, "third": THIRD, "image": IMAGE, "images": onu_images}
    known |= {"address": simulated["olts"][0], "file": str(file)}
    wrong: list[str] = []

    def typed(*words: str) -> str:
        done = CliRunner().invoke(app, ["voltha", *words])
        if done.exit_code:
            told = f"{done.output[-600:]}{done.stderr[-600:]}{done.exception}"
            wrong.append(f"{' '.join(words)}: {done.exit_code}\n{told}")
        return "" if done.exit_code else done.stdout

    for line in STEPS:
        words = line.format(**known).split()
        told = typed(*words, "--json")
        found = [json.loads(each) for each in told.splitlines()] if words[0] == "events" else json.loads(told or "{}")
        if line.startswith("image rollout start"):
            known["rollout"] = found["id"]
        if SHOWN & set(words[:3]):
            assert typed(*words).strip() or not found
    assert wrong == [], "\n".join(wrong)
