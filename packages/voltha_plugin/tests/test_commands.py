"""`dotmac-plugins voltha …` as an operator types it, with a short-lived host, against a running VOLTHA."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytest.importorskip("dotmac_plugins_console", reason="the console package is not installed")


@pytest.fixture
def voltha(target: Any, tmp_path: Path) -> Callable[..., Any]:
    environment = {
        **os.environ,
        "DOTMAC_HOME": str(tmp_path),
        "VOLTHA_HOST": target.host,
        "VOLTHA_PORT": str(target.port),
        "VOLTHA_USERNAME": "dev_user",
        "VOLTHA_PASSWORD": "dev_pass",
    }

    async def run(*arguments: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "dotmac_plugins_console", "voltha", *arguments),
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    return run


@pytest.mark.slow
async def test_an_operator_brings_a_subscriber_up_and_down(voltha: Any, target: Any) -> None:
    if target.simulator is None:
        pytest.skip("needs the simulator")
    serial = target.simulator.serial_numbers[0]
    code, out, err = await voltha("olt", "add", target.olts[0], "--json")
    assert (code, json.loads(out)["status"]) == (0, "active"), err
    code, out, err = await voltha("onu", "add", "BBSIM_OLT_10", serial, "--pon", "0", "--json")
    assert (code, json.loads(out)["onu_id"]) == (0, 1), err
    service = ("--s-tag", "900", "--down", "100000", "--up", "50000")
    code, out, err = await voltha("subscriber", "add", serial, "sub-1", *service, "--deadline", "20", "--json")
    assert (code, json.loads(out)["created"]) == (0, True), err
    code, out, err = await voltha("subscriber", "list")
    assert code == 0, err
    assert "sub-1" in out
    assert "s_tag=900" in out
    code, out, err = await voltha("subscriber", "remove", serial, "sub-1", "--json")
    assert (code, json.loads(out)["flows"]) == (0, 4), err
    code, out, err = await voltha("devices")
    assert (code, out.count("BBSM000a")) == (0, 4), err


@pytest.mark.slow  # where the console is installed
async def test_a_mistake_is_told_with_its_remedy(voltha: Any) -> None:
    code, _, err = await voltha("status", "NOSUCH")
    assert (code, "NOSUCH" in err, "Traceback" in err) == (1, True, False)
    code, out, _ = await voltha("olt", "add", "somewhere", "--json")
    assert code == 1
    assert "host:port" in json.loads(out)["error"]["remedy"]


@pytest.mark.slow
async def test_an_operator_looks_at_the_network(voltha: Any, target: Any) -> None:
    await voltha("olt", "add", target.olts[0], "--json")
    code, out, err = await voltha("topology")
    assert (code, "OLT BBSIM_OLT_10 active" in out, "PON pon-1" in out) == (0, True, True), err
    code, out, err = await voltha("topology", "--format", "dot")
    assert (code, out.startswith("digraph")) == (0, True), err
    code, _, err = await voltha("topology", "--format", "png")
    assert (code, "graphml" in err) == (1, True)
    code, out, err = await voltha("alarms", "--json")
    assert (code, json.loads(out)) == (0, []), err
    code, out, err = await voltha("diagnose", "sub-9")
    assert (code, out.splitlines()[0]) == (0, "No service was installed for subscriber 'sub-9'. (100% sure)"), err


@pytest.mark.slow
async def test_an_operator_changes_suspends_restores_and_compares_services(
    voltha: Any, target: Any, tmp_path: Path
) -> None:
    if target.simulator is None:
        pytest.skip("needs the simulator")
    first, second = target.simulator.serial_numbers[:2]
    await voltha("olt", "add", target.olts[0], "--json")
    for serial in (first, second):
        await voltha("onu", "add", "BBSIM_OLT_10", serial, "--json")
    speeds = ("--down", "100000", "--up", "50000")
    tags = ("--workflow", "att", "--s-tag", "900", "--c-tag", "901")
    code, out, err = await voltha("service", "add", first, "sub-1", *tags, *speeds, "--set", "igmp=true", "--json")
    assert (code, len(json.loads(out)["flows"])) == (0, 7), err
    code, out, err = await voltha("service", "speed", first, "sub-1", "--down", "7000", "--json")
    assert (code, json.loads(out)["service"]["downstream"]) == (0, {"eir": 7000}), err
    code, out, err = await voltha("service", "suspend", first, "sub-1", "--json")
    assert (code, json.loads(out)["services"][0]["status"]) == (0, "suspended"), err
    code, out, err = await voltha("service", "restore", first, "sub-1", "--json")
    assert (code, json.loads(out)["changed"]) == (0, True), err
    file = tmp_path / "many.csv"
    file.write_text(
        "device_id,subscriber_id,s_tag,bandwidth_down,bandwidth_up\n"
        f"{second},sub-2,902,1000,1000\n{second},sub-3,903,1000,1000\n"
    )
    code, out, err = await voltha("service", "bulk", "add", str(file), "--json")
    found = json.loads(out)
    assert (code, found["succeeded"], found["failed"]) == (1, 1, 1), err
    code, out, err = await voltha("service", "bulk", "add", str(file))
    assert (code, "1 of 2 services done, 1 failed" in out) == (1, True), err
    code, out, err = await voltha("plan")
    assert (code, out.startswith("2 of 2 services are in order")) == (0, True), err
    for _ in range(60):
        code, out, err = await voltha("reconcile", "--json")
        if code == 0:
            break
        assert "right now" in out + err  # the reconciler's own round is under way
        await asyncio.sleep(0.5)
    assert (code, json.loads(out)["repaired"]) == (0, []), err
    code, out, err = await voltha("service", "list")
    assert (code, "internet" in out, "sub-1" in out) == (0, True, True), err
    code, out, err = await voltha("service", "remove", first, "sub-1", "--json")
    assert (code, json.loads(out)["flows"]) == (0, 7), err
