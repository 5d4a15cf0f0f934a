"""The code in README files and in docs/ runs as it is printed, and every hook is documented with its exact arguments.

In a document an HTML comment before a block says what the test does with it:

`<!-- with: network -->`   once, at the top: the fixture that the document's code needs (`network`: VOLTHA and engine; default: none)
`<!-- file: tenants/a.json -->`   the block is the content of this file, in the host's home (or in the project that the document makes)
`<!-- not run: why -->`   the block is only compiled

Every other `python` block runs, in order, in one namespace for each document, with top-level `await`. What a comment behind a `print`
says must be printed.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import inspect
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from dotmac_isp.plugins.core.hookspecs import HOOKS, DeviceHooks, LifecycleHooks, MetricsHooks, ProviderHooks
from dotmac_isp.plugins.core.manager import PluginManager

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "README.md", ROOT / "packages/core/README.md", *sorted((ROOT / "docs").glob("*.md")))
]
AUTHORS = "docs/plugin_authors.md"
MARK = re.compile(r"<!-- (with|file|not run): (.*?) -->")
HOOK_HEADING = re.compile(r"^### `(\w+)\((.*?)\)`$", re.MULTILINE)
PROMISE = re.compile(r"^ *print\(.*\)  # (.+)$", re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(#[^)\s]*)?\)")

Run = Callable[[Any, dict[str, Any]], Awaitable[str]]
Blocks = Callable[[str, str], list[Any]]


def marks(block: Any) -> dict[str, str]:
    """The marks that belong to a block: those after the last line of text before it."""
    near = [line for line in block.before.splitlines() if line.strip()]
    found: dict[str, str] = {}
    for line in reversed(near):
        mark = MARK.fullmatch(line.strip())
        if mark is None:
            break
        found[mark.group(1)] = mark.group(2)
    return found


def write_files(found: list[Any], folder: Path) -> list[Path]:
    written = []
    for block in found:
        if "file" in marks(block):
            path = folder / marks(block)["file"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.code, encoding="utf-8")
            written.append(path)
    return written


async def run_document(document: str, folder: Path, tools: tuple[Blocks, Run], namespace: dict[str, Any]) -> None:
    """Write the document's files to the folder, then run its blocks."""
    blocks, run = tools
    found = blocks((ROOT / document).read_text(encoding="utf-8"), document)
    write_files(found, folder)
    try:
        for block in found:
            if block.language == "python" and "file" not in marks(block):
                if "not run" in marks(block):
                    compile(block.code, document, "exec")
                else:
                    check_promised_output(block, await run(block, namespace))
    finally:
        for host in [one for one in namespace.values() if isinstance(one, PluginManager)]:
            await host.stop()


def check_promised_output(block: Any, printed: str) -> None:
    """`print(…)  # text` promises that text; `…` in it stands for anything."""
    for promised in PROMISE.findall(block.code):
        pattern = ".*".join(re.escape(part) for part in promised.split("…"))
        assert re.search(pattern, printed, re.DOTALL), (
            f"{block.file}, line {block.line}: {promised!r} is not in {printed!r}"
        )


def needs_network(document: str) -> bool:
    return "<!-- with: network -->" in (ROOT / document).read_text(encoding="utf-8")


@pytest.mark.parametrize("document", [one for one in DOCUMENTS if needs_network(one)])
async def test_the_code_of_a_document_runs_as_printed(
    document: str, home: Path, network: Any, blocks: Blocks, run: Run
) -> None:
    await run_document(document, home, (blocks, run), {"__name__": "document", "network": network})


@pytest.mark.parametrize("document", [one for one in DOCUMENTS if not needs_network(one) and one != AUTHORS])
async def test_the_code_of_a_document_without_vendors_runs_as_printed(
    document: str, home: Path, blocks: Blocks, run: Run
) -> None:
    await run_document(document, home, (blocks, run), {"__name__": "document"})


async def test_the_plugin_that_the_authors_document_makes_is_built_tested_and_run(
    home: Path, blocks: Blocks, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = blocks((ROOT / AUTHORS).read_text(encoding="utf-8"), AUTHORS)
    installed = await asyncio.to_thread(build_the_example, found, tmp_path)
    monkeypatch.syspath_prepend(str(installed))
    await run_document(AUTHORS, tmp_path / "project", (blocks, run), {"__name__": "document"})


def build_the_example(found: list[Any], tmp_path: Path) -> Path:
    """Build the wheel of the plugin that the document makes, install it into a folder, and run the tests that it has."""
    uv = os.environ.get("UV") or shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is None:
        pytest.skip("uv, which builds the example's wheel, is not on this machine")
    project, target = tmp_path / "project", tmp_path / "installed"
    write_files(found, project)
    command(uv, "build", "--wheel", "--out-dir", str(tmp_path / "dist"), str(project))
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    command(uv, "pip", "install", "--python", sys.executable, "--target", str(target), "--no-deps", str(wheel))
    variables = {**os.environ, "PYTHONPATH": str(target)}
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(project / "tests")],
        cwd=project,
        env=variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert re.search(r"\b[1-9]\d* passed", tested.stdout)
    return target


def command(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_links_of_a_document_lead_to_files_that_are_there(document: str) -> None:
    file = ROOT / document
    for target, _ in LINK.findall(file.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (file.parent / target).exists(), f"{document} links to {target}"


def test_every_hook_is_documented_with_its_exact_arguments_and_an_example(blocks: Blocks) -> None:
    text = (ROOT / "docs" / "hooks.md").read_text(encoding="utf-8")
    documented = {name: re.findall(r"\w+", given) for name, given in HOOK_HEADING.findall(text)}
    assert documented.keys() == HOOKS.keys()
    for family in (LifecycleHooks, DeviceHooks, MetricsHooks, ProviderHooks):
        for name, function in vars(family).items():
            if name in HOOKS:
                assert documented[name] == list(inspect.signature(function).parameters)[1:], name
    for part in re.split(r"^### ", text, flags=re.MULTILINE)[1:]:
        name = part[1 : part.index("(")]
        for said in ("**When**", "**Answer**"):
            assert said in part, f"{name} lacks {said}"
        examples = [one.code for one in blocks(part, name) if one.language == "python"]
        assert any(name in code for code in examples), f"{name} has no example"


def test_every_state_is_told_to_operators() -> None:
    from dotmac_isp.plugins.core.model import PluginState

    text = (ROOT / "docs" / "operators.md").read_text(encoding="utf-8")
    assert [state.value for state in PluginState if f"| `{state.value}` |" not in text] == []


def test_the_readme_begins_with_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^python -m pip install .*$", text, re.MULTILINE)
    assert commands[:2] == [
        'python -m pip install "nox[uv]" && nox -s demo',
        'python -m pip install "nox[uv]" && nox',
    ]
    assert text.index(commands[1]) < text.index("## ")


def test_the_readme_names_every_package_of_the_checkout(package_folders: list[Path]) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert importlib.metadata.version("dotmac-plugins-core")
    assert [folder.name for folder in package_folders if f"packages/{folder.name}" not in text] == []
