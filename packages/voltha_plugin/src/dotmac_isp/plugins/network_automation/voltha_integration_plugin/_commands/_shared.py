"""What all commands of `dotmac-plugins voltha` have in common: options, asking the host, and showing what it says."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer

from dotmac_isp.plugins.core.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "PLUGIN",
    "Deadline",
    "Device",
    "Devices",
    "Json",
    "Olt",
    "Pon",
    "Stack",
    "Subscriber",
    "Tenant",
    "ask",
    "ask_each",
    "console",
    "fail",
    "local_time",
    "show",
]

PLUGIN: Final = "voltha_integration"

Tenant = Annotated[
    str | None, typer.Option("--tenant", "-t", metavar="ID", help="The tenant; the system tenant when left out.")
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON to stdout.")]
Deadline = Annotated[
    float | None, typer.Option("--deadline", metavar="SECONDS", help="How long it may take; default: the settings.")
]
Stack = Annotated[
    str | None, typer.Option("--stack", metavar="NAME", help="The VOLTHA stack; the tenant's first when left out.")
]
Device = Annotated[str, typer.Argument(metavar="DEVICE", help="Serial number, or VOLTHA's id.")]
Devices = Annotated[list[str], typer.Argument(metavar="DEVICE…", help="Serial numbers, or VOLTHA's ids.")]
Olt = Annotated[str, typer.Argument(metavar="OLT", help="The OLT's serial number or id.")]
Pon = Annotated[str, typer.Argument(metavar="PON", help="The PON: its index from 0, its number, or its label.")]
Subscriber = Annotated[str, typer.Argument(metavar="SUBSCRIBER", help="The subscriber's id.")]


def ask(tenant: str | None, deadline: float | None, as_json: bool, method: str, *args: Any, **kwargs: Any) -> Any:
    """Call a method of the plugin on the running host; a failure is said and ends the command with 1."""

    async def call() -> Any:
        from dotmac_plugins_console import connect  # noqa: PLC0415 - loads the runtime

        async with connect(tenant, deadline=deadline) as host:
            return await host.call(PLUGIN, method, *args, **kwargs)

    try:
        return asyncio.run(call())
    except PluginError as error:
        fail(as_json, error.message, error.remedy)


def ask_each(
    tenant: str | None, deadline: float | None, as_json: bool, method: str, names: Sequence[str], **kwargs: Any
) -> None:
    """Call a method for each device, one after the other, and show what became of each; 1 when one failed."""

    async def call() -> list[dict[str, Any]]:
        from dotmac_plugins_console import connect  # noqa: PLC0415

        done: list[dict[str, Any]] = []
        async with connect(tenant, deadline=deadline) as host:
            for name in names:
                try:
                    answer = await host.call(PLUGIN, method, name, **kwargs)
                    done.append({"device": name, "done": True, **answer})
                except PluginError as error:
                    done.append({"device": name, "done": False, "error": error.message, "remedy": error.remedy})
        return done

    try:
        done = asyncio.run(call())
    except PluginError as error:
        fail(as_json, error.message, error.remedy)
    if len(done) == 1 and not done[0]["done"]:
        fail(as_json, done[0]["error"], done[0]["remedy"])
    if len(done) == 1:
        show(done[0], as_json)
        return
    show(done, as_json, ("device", "done", "status", "reason", "error"))
    if not all(each["done"] for each in done):
        raise typer.Exit(1)


def fail(as_json: bool, message: str, remedy: str | None) -> NoReturn:
    """Say what is wrong and what helps, and end with 1."""
    if as_json:
        sys.stdout.write(json.dumps({"error": {"message": message, "remedy": remedy}}, indent=2) + "\n")
    sys.stderr.write(f"error: {message}\n" + (f"  fix: {remedy}\n" if remedy else ""))
    raise typer.Exit(1)


def show(value: Any, as_json: bool, columns: tuple[str, ...] = ()) -> None:
    """JSON, or a table: of rows with these columns, else of the value's own entries."""
    if as_json:
        sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")
        return
    from rich.table import Table  # noqa: PLC0415 - only for people

    table = Table(box=None, header_style="bold")
    for name in columns or ("", " "):
        table.add_column(name, overflow="fold")
    for row in value if columns else value.items():
        table.add_row(*(_cell(row.get(name, "")) for name in columns) if columns else (row[0], _cell(row[1])))
    console().print(table)


def console() -> Any:
    """Where people read; wide where it is no terminal, so that lines stay whole."""
    from rich.console import Console  # noqa: PLC0415 - only for people

    return Console(width=None if sys.stdout.isatty() else 250, markup=False, highlight=False)


def local_time(seconds: float | None) -> str:
    """A time as people read it."""
    return "" if seconds is None else datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "seconds")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return " ".join(f"{key}={_cell(each)}" for key, each in value.items())
    if isinstance(value, list):
        return "\n".join(_cell(each) for each in value)
    return str(value)
