"""The demonstrations run as a person runs them, in processes of their own, and their exit codes tell the truth."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS = """\
export VOLTHA_USERNAME="dev_user"
export VOLTHA_PASSWORD="dev_pass"
export ANALYTICS_API_KEY="dev_analytics_key"
python examples/vendor_plugin_demo.py
"""


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    """This process's environment without what would change a demonstration; `python` is the one that runs the tests."""
    shared = {
        one: value for one, value in os.environ.items() if not one.startswith(("VOLTHA_", "ANALYTICS_", "DOTMAC_"))
    }
    scripts = tmp_path / "bin"
    scripts.mkdir(exist_ok=True)
    python = scripts / "python"
    if not python.exists():
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        python.chmod(0o755)
    return {**shared, "PATH": f"{scripts}{os.pathsep}{shared.get('PATH', '')}", **more}


def run(command: list[str], checkout: Path, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=checkout, env=variables, capture_output=True, text=True, timeout=180, check=False
    )


@pytest.fixture
def complete() -> None:
    for module in ("dotmac_voltha_simulator", "voltha_protos", "chdb", "clickhouse_connect"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed here")


@pytest.fixture
def printed_commands(checkout: Path) -> str:
    """The development commands of the specification's "Deployment", or the same ones where the text is not at hand."""
    file = checkout.parent / "shared" / "spec" / "vendor_plugin_architecture.md"
    if not file.exists():
        return COMMANDS
    found = re.search(r"### Development Environment\n```bash\n(.*?)```", file.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found.group(1)


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not on this machine")
def test_the_development_commands_of_the_specification_run_as_printed(
    complete: None, checkout: Path, tmp_path: Path, printed_commands: str
) -> None:
    assert "python examples/vendor_plugin_demo.py" in printed_commands
    done = run(["bash", "-e", "-c", printed_commands], checkout, environment(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Everything worked." in done.stdout
    assert "subscriber-1 has 100/50 Mbit/s" in done.stdout
    assert "subscriber_service_added 1" in done.stdout
    for secret in ("dev_pass", "dev_analytics_key"):
        assert secret not in done.stdout + done.stderr


def test_a_missing_credential_is_named_before_anything_starts(complete: None, checkout: Path, tmp_path: Path) -> None:
    variables = environment(tmp_path, VOLTHA_USERNAME="dev_user", ANALYTICS_API_KEY="dev_analytics_key")
    done = run([sys.executable, "examples/vendor_plugin_demo.py"], checkout, variables)
    assert done.returncode == 2
    assert "Credentials are missing: VOLTHA_PASSWORD." in done.stderr
    assert 'export VOLTHA_PASSWORD="…"' in done.stderr
    assert done.stdout == ""


def test_a_voltha_that_is_not_there_ends_the_demo_with_what_to_check(
    complete: None, checkout: Path, tmp_path: Path
) -> None:
    variables = environment(
        tmp_path,
        VOLTHA_USERNAME="dev_user",
        VOLTHA_PASSWORD="dev_pass",
        ANALYTICS_API_KEY="dev_analytics_key",
        VOLTHA_HOST="127.0.0.1",
        VOLTHA_PORT="1",
    )
    done = run([sys.executable, "examples/vendor_plugin_demo.py"], checkout, variables)
    assert done.returncode == 1
    assert "started analytics_events" in done.stdout
    assert "Check voltha_host and voltha_port" in done.stdout
