"""What the commands share: asking the plugin, and showing what came."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer

from dotmac_isp.plugins.core.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["PLUGIN", "AsJson", "Since", "Tenant", "Where", "ask", "fail", "json_file", "pairs", "show", "write"]

PLUGIN: Final = "analytics_events"
_CELL: Final = 100

Tenant = Annotated[
    str | None, typer.Option("--tenant", "-t", metavar="ID", help="The tenant; the system tenant when left out.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON to stdout.")]
Since = Annotated[str, typer.Option("--since", help="A moment, or how long ago: 24h, 7d, 2026-11-01.")]
Where = Annotated[
    list[str] | None,
    typer.Option("--where", metavar="NAME=VALUE", help="Only these; a column or a property. Repeatable."),
]


def ask(tenant: str | None, as_json: bool, method: str, *args: Any, **kwargs: Any) -> Any:
    """Call the plugin in the running host, else in a short-lived one; ends the command with a sentence when that fails."""
    from dotmac_plugins_console import connect  # noqa: PLC0415 - loads the runtime

    async def call() -> Any:
        async with connect(tenant) as host:
            return await host.call(PLUGIN, method, *args, **kwargs)

    try:
        return asyncio.run(call())
    except PluginError as error:
        fail(as_json, error.message, error.remedy)


def fail(as_json: bool, message: str, remedy: str | None = None) -> NoReturn:
    if as_json:
        sys.stdout.write(json.dumps({"error": {"message": message, "remedy": remedy}}, indent=2) + "\n")
    sys.stderr.write(f"error: {message}\n" + (f"  fix: {remedy}\n" if remedy else ""))
    raise typer.Exit(1)


def pairs(given: Iterable[str] | None, option: str) -> dict[str, str]:
    """`NAME=VALUE` texts as a mapping."""
    found: dict[str, str] = {}
    for text in given or ():
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise typer.BadParameter(f"{text!r}: expected NAME=VALUE", param_hint=option)
        found[name] = value
    return found


def json_file(path: Path) -> Any:
    """What a JSON file holds; `-` is standard input."""
    try:
        return json.loads(sys.stdin.read() if str(path) == "-" else path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{path} cannot be read as JSON: {error}") from None


def write(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def show(rows: Iterable[Mapping[str, Any]], as_json: bool, columns: Iterable[str] = (), *, cut: bool = False) -> None:
    """A table for people, JSON for programs; `cut` ends the cells of the table where they would fill the screen."""
    listed = list(rows)
    if as_json:
        write(listed)
        return
    from rich.console import Console  # noqa: PLC0415 - only for people
    from rich.table import Table  # noqa: PLC0415

    names = list(columns) or list(dict.fromkeys(name for row in listed for name in row))
    table = Table(box=None, header_style="bold")
    for name in names:
        table.add_column(name, overflow="fold")
    for row in listed:
        table.add_row(*(_cell(row.get(name), _CELL if cut else None) for name in names))
    Console(width=None if sys.stdout.isatty() else 250, markup=False, highlight=False).print(table)


def _cell(value: Any, longest: int | None) -> str:
    """Control characters of strangers' events must not reach the terminal."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    if longest is not None and len(text) > longest:
        text = f"{text[:longest]}…"
    return "".join(character if character.isprintable() else "�" for character in text)
