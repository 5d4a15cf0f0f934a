"""What a command writes: tables for people, JSON for machines, errors with their remedy and no traceback."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import traceback
from typing import TYPE_CHECKING, Any

import typer

from ._text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from rich.console import Console

    from ._client import RunningHost
    from ._short_lived import ShortLivedHost

    Host = RunningHost | ShortLivedHost

__all__ = ["ask", "console", "debugging", "fail", "guarded", "write_json"]

_WIDTH = 250


def debugging() -> bool:
    """Whether `--debug` was given: errors come with their traceback."""
    return bool(os.environ.get("DOTMAC_DEBUG"))


def console() -> Console:
    """For tables. Colours only on a terminal and without NO_COLOR; elsewhere lines are as long as they must be."""
    from rich.console import Console  # noqa: PLC0415 - takes long, and JSON needs none

    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _WIDTH
    return Console(width=width, markup=False, highlight=False, emoji=False)


def write_json(value: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def fail(message: str, remedy: str | None = None) -> None:
    """An error and its remedy on stderr."""
    sys.stderr.write(clean(f"error: {message}") + "\n")
    if remedy:
        sys.stderr.write(clean(f"  fix: {remedy}") + "\n")


def guarded(work: Callable[[], Any], *, as_json: bool = False) -> Any:
    """Run a command's work. What fails becomes an error with its remedy, and exit code 1."""
    from dotmac_isp.plugins.core.errors import PluginError  # noqa: PLC0415 - not for --help

    from ._errors import error_fields  # noqa: PLC0415

    try:
        return work()
    except typer.Exit:
        raise
    except BrokenPipeError:
        raise
    except Exception as error:
        if debugging():
            traceback.print_exc()
        fields = error_fields(error)
        if not isinstance(error, PluginError):
            fields["message"] = f"{fields['type']}: {fields['message']}"
            fields["remedy"] = None if debugging() else "Run it again with --debug to see where this comes from"
        if as_json:
            write_json({"error": fields})
        fail(fields["message"], fields["remedy"])
        raise typer.Exit(1) from error


def ask(
    method: str,
    params: Mapping[str, Any],
    *,
    home: Path | None,
    as_json: bool,
    environment: str | None = None,
    asked: Callable[[Host], None] | None = None,
) -> Any:
    """Ask the host, say on stderr which it was, and give its answer; errors end the command."""

    async def work() -> Any:
        from ._connect import open_host  # noqa: PLC0415 - not for --help

        async with open_host(home, environment=environment) as host:
            sys.stderr.write(f"{host.how}\n")
            sys.stderr.flush()
            if asked is not None:
                asked(host)
            return await host.request(method, params, _progress)

    return guarded(lambda: asyncio.run(work()), as_json=as_json)


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(clean(f"… {text}") + "\n")
