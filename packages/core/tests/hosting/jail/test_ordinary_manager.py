"""A whole host without root: `PluginManager` as an ordinary user, with jailed plugins in user namespaces."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ORDINARY = 54321


def test_a_host_as_an_ordinary_user_starts_calls_loses_and_restarts_a_jailed_plugin(short_home: Path) -> None:
    if os.geteuid():
        pytest.skip("needs root, to become an ordinary user with a known number too")
    done = subprocess.run(
        [sys.executable, str(HERE / "ordinary_manager.py"), str(ORDINARY), str(short_home)],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["uid"] == ORDINARY
    assert told["first"]["sees"] == told["again"]["sees"] == []
    assert told["another"], "another process took over"
    assert told["left"] == []
    assert told["isolation"]["mode"] == "jailed"
    held = {name: one["strength"] for name, one in told["isolation"]["guarantees"].items()}
    assert {name for name, strength in held.items() if strength == "enforced"} >= {"files", "network", "syscalls"}
    # What an ordinary user is not lent is said, with how to get it.
    for name in {"memory", "cpu", "processes"} & {name for name, strength in held.items() if strength != "enforced"}:
        assert told["isolation"]["guarantees"][name]["remedy"]
