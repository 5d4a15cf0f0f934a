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
        one: value
        for one, value in os.environ.items()
        if not one.startswith(("VOLTHA_", "ANALYTICS_", "VAULT_", "DOTMAC_"))
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


@pytest.fixture
def charts(complete: None) -> None:
    for module in ("rich", "vl_convert"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed here")


def test_the_fibre_network_demo_counts_in_the_systems_what_it_did(charts: None, checkout: Path, tmp_path: Path) -> None:
    folder = tmp_path / "somewhere"
    folder.mkdir()
    # What a person has in the environment must not reach the demonstration.
    variables = environment(tmp_path, VOLTHA_HOST="voltha.invalid", DOTMAC_HOME=str(tmp_path / "not-used"))
    done = run([sys.executable, str(checkout / "examples" / "fibre_network_demo.py")], folder, variables)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Everything is as it must be." in done.stdout
    assert "✗" not in done.stdout
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["ONUs", "active", "VOLTHA,", "devices", "32", "32", "32", "✓"] in lines
    pages = sorted(path.relative_to(folder) for path in folder.rglob("*.html"))
    assert [str(page) for page in pages] == [
        f"demo-output/{tenant}/{name}.html"
        for tenant in ("harbour", "northlight")
        for name in ("dashboard", "network-report")
    ]
    for page in pages:
        text = (folder / page).read_text(encoding="utf-8")
        assert 'src="http' not in text
        assert 'href="http' not in text
    assert not (tmp_path / "not-used").exists()
    for secret in ("aurora-4711", "lighthouse-0815", "north-events-key", "harbour-events-key"):
        assert secret not in done.stdout + done.stderr


def test_a_count_that_is_not_what_it_must_be_fails_the_fibre_network_demo(
    charts: None, checkout: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.console import Console

    spec = importlib.util.spec_from_file_location("fibre_demo", checkout / "examples" / "fibre_network_demo.py")
    assert spec is not None
    assert spec.loader is not None
    demo = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "fibre_demo", demo)
    spec.loader.exec_module(demo)
    right = demo.Count("flows", "VOLTHA", (128, 80), (128, 80))
    wrong = demo.Count("flows", "VOLTHA", (128, 79), (128, 80))
    assert demo.show_table(Console(width=120), [right]) is True
    assert demo.show_table(Console(width=120), [right, wrong]) is False
    assert "✗" in capsys.readouterr().out
