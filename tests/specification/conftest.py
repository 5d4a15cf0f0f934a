"""Running the code of Markdown files as it is printed, and the servers that such code speaks to."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import inspect
import io
import os
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

USERNAME = "dev_user"
PASSWORD = "dev_pass"
_FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block of a Markdown file."""

    language: str
    code: str
    file: str
    #: The line of its first line of code.
    line: int
    #: The text between the block before (or the beginning) and this one: headings, comments.
    before: str


def blocks_of(text: str, file: str) -> list[Block]:
    """Every fenced block, in order."""
    found = []
    end = 0
    for match in _FENCE.finditer(text):
        indent = match.group(1)
        code = "".join(line.removeprefix(indent) for line in match.group(3).splitlines(keepends=True))
        line = text.count("\n", 0, match.start(3)) + 1
        found.append(Block(match.group(2), code, file, line, text[end : match.start()]))
        end = match.end()
    return found


def section_of(text: str, title: str) -> str:
    """A section of the second level, from its heading to the next one; the lines before it are kept empty."""
    match = re.search(rf"^## {re.escape(title)}$.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert match is not None, f"there is no section {title!r}"
    return "\n" * text.count("\n", 0, match.start()) + match.group(0)


async def run_block(block: Block, namespace: dict[str, Any]) -> str:
    """Run a block in the namespace, with top-level `await`; gives what it printed. Tracebacks name the file and its lines."""
    source = "\n" * (block.line - 1) + block.code
    code = compile(source, block.file, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        result = eval(code, namespace)
        if code.co_flags & inspect.CO_COROUTINE:
            await result
    return printed.getvalue()


Run = Callable[[Block, dict[str, Any]], Awaitable[str]]


@pytest.fixture
def run() -> Run:
    return run_block


@pytest.fixture
def section() -> Callable[[str, str], str]:
    return section_of


@pytest.fixture
def blocks() -> Callable[[str, str], list[Block]]:
    return blocks_of


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def need(*modules: str) -> None:
    for module in modules:
        try:
            there = importlib.util.find_spec(module) is not None
        except ModuleNotFoundError:
            there = False
        if not there:
            pytest.skip(f"{module} is not installed here")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home for the host, and no variables of this machine's own."""
    folder = tmp_path / "home"
    monkeypatch.setenv("DOTMAC_HOME", str(folder))
    for name in [one for one in os.environ if one.startswith(("VOLTHA_", "ANALYTICS_", "VAULT_", "DOTMAC_SAFE"))]:
        monkeypatch.delenv(name)
    return folder


@pytest.fixture
async def network(home: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """A VOLTHA with two OLTs of two PONs with two ONUs each, a port for the analytics engine, and variables that say where both are."""
    need("dotmac_voltha_simulator", "voltha_protos", "chdb", "clickhouse_connect")
    from dotmac_voltha_simulator import Simulator

    async with Simulator(olts=2, pons=2, onus=2, time_factor=0.02, username=USERNAME, password=PASSWORD) as simulator:
        monkeypatch.setenv("VOLTHA_HOST", "127.0.0.1")
        monkeypatch.setenv("VOLTHA_PORT", str(simulator.port))
        monkeypatch.setenv("VOLTHA_USERNAME", USERNAME)
        monkeypatch.setenv("VOLTHA_PASSWORD", PASSWORD)
        monkeypatch.setenv("ANALYTICS_HOST", "127.0.0.1")
        monkeypatch.setenv("ANALYTICS_PORT", str(free_port()))
        monkeypatch.setenv("ANALYTICS_API_KEY", "dev_analytics_key")
        yield simulator
