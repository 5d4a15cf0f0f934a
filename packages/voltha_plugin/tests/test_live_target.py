"""The suite in `live/` against a VOLTHA that somebody else started, as it is run against a real one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
#: A few of all scenarios: what changes, what is told by Kafka, and what only a simulator of the suite's own can do.
SOME = "test_12_ or test_33_ or test_20_"


@pytest.mark.slow
def test_scenarios_run_unchanged_against_a_voltha_that_is_named_and_skip_what_it_lacks() -> None:
    pytest.importorskip("aiokafka")
    pytest.importorskip("confluent_kafka")
    where = ["--listen", "127.0.0.1:0", "--onus", "2", "--time-factor", "0.05", "--kafka", "--json"]
    command = [sys.executable, "-c", "from dotmac_voltha_simulator._cli import main; main()", *where]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as voltha:
        try:
            assert voltha.stdout is not None
            told = json.loads(voltha.stdout.readline())
            named = {
                "VOLTHA_TEST_TARGET": told["grpc"],
                "VOLTHA_TEST_OLT": told["olts"][0],
                "VOLTHA_TEST_KAFKA": told["kafka"],
                "VOLTHA_TEST_ONUS": "2",
            }
            done = subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "pytest",
                    "--live",
                    "-q",
                    "-rs",
                    "-p",
                    "no:cacheprovider",
                    "-k",
                    SOME,
                    str(HERE / "live"),
                ],
                env={**os.environ, **named},
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
        finally:
            voltha.terminate()
    assert done.returncode == 0, done.stdout
    assert "2 passed, 1 skipped" in done.stdout, done.stdout
    assert "the target lacks a way to restart rw_core" in done.stdout
