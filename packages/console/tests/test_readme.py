"""The README's commands, options and methods are those that there are."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from dotmac_plugins_console._app import app
from dotmac_plugins_console._control import METHODS

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^dotmac-plugins (.+)$", README, flags=re.MULTILINE)


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_of_the_readme_parses(line: str) -> None:
    words = shlex.split(line)
    command: Any = get_command(app)
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    if command.name == "simulate":
        return  # its options are the simulator's
    # Only parsing: nothing runs.
    command.make_context(command.name, words)


def test_the_readme_names_every_command_and_method() -> None:
    command: Any = get_command(app)
    for name in command.commands:
        assert re.search(rf"`[^`\n]*\b{name}\b", README), name
    for name in METHODS:
        assert f"`{name}`" in README, name
    for option in ("--metrics", "--storage", "--safe-mode", "--require", "--for-now", "--unset"):
        assert option in README


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["show"], "PLUGIN"),
        (["lst"], "list"),
        (["configure", "greeter"], "key=value"),
        (["configure", "greeter", "greeting"], "no key=value"),
        (["serve", "--metrics", "9464"], "HOST:PORT"),
        (["serve", "--log-format", "xml"], "json"),
        (["tenants", "remove", "acme"], "--yes"),
    ],
)
def test_wrong_usage_is_exit_code_2(words: list[str], told: str) -> None:
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert told in done.output
