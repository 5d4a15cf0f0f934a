"""`dotmac-plugins serve`."""

from __future__ import annotations

import contextlib
import enum
import sys
from typing import Annotated

import typer

from ._options import Debug, Home  # noqa: TC001 - typer reads the annotations
from ._output import guarded

__all__ = ["add_to"]

_LARGEST_PORT = 65_535


class LogFormat(enum.StrEnum):
    """How log records are written to stderr."""

    JSON = "json"
    TEXT = "text"


class LogLevel(enum.StrEnum):
    """The least that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(serve)


def serve(  # noqa: PLR0917 - options, which typer gives by name
    home: Home = None,
    environment: Annotated[
        str | None,
        typer.Option("--environment", "-e", metavar="NAME", envvar="DOTMAC_ENVIRONMENT", help="Deployment scenario."),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option("--metrics", metavar="HOST:PORT", help="Serve /metrics and /healthz there; port 0: a free one."),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option("--storage", metavar="URL", envvar="DOTMAC_STORAGE", help="Where plugins' documents are kept."),
    ] = None,
    log_level: Annotated[LogLevel, typer.Option("--log-level", case_sensitive=False)] = LogLevel.INFO,
    log_format: Annotated[LogFormat, typer.Option("--log-format", case_sensitive=False)] = LogFormat.TEXT,
    safe_mode: Annotated[
        str | None,
        typer.Option("--safe-mode", metavar="all|ID,ID", help="Plugins that stay off [env: DOTMAC_SAFE_MODE]."),
    ] = None,
    require: Annotated[
        list[str] | None,
        typer.Option(
            "--require", metavar="ID", help="A plugin without which the host does not start; may be repeated."
        ),
    ] = None,
    installs: Annotated[
        bool,
        typer.Option("--follow-installs/--no-follow-installs", help="Follow what pip installs, upgrades and removes."),
    ] = True,
    watch: Annotated[
        bool, typer.Option("--watch", help="For development: reload plugins whose files are edited (extra watch).")
    ] = False,
    debug: Debug = False,  # noqa: ARG001 - its callback is its effect
) -> None:
    """Run plugins for every tenant that has a file in tenants/, until SIGINT or SIGTERM. SIGHUP reloads."""
    address = None if metrics is None else parse_address(metrics)

    def work() -> None:
        import asyncio  # noqa: PLC0415 - not for --help

        from ._host import HostOptions, run_host  # noqa: PLC0415

        options = HostOptions(
            home=home,
            environment=environment or None,
            metrics=address,
            storage_url=storage or None,
            log_level=log_level.value.upper(),
            json_logs=log_format is LogFormat.JSON,
            safe_mode=safe_mode,
            required=tuple(dict.fromkeys(require or ())),
            installs=installs,
            watch=watch,
        )
        asyncio.run(run_host(options, _say))

    guarded(work)


def _say(line: str) -> None:
    # A host goes on when nobody reads its output any more.
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def parse_address(text: str) -> tuple[str, int]:
    """`HOST:PORT`, `[::1]:PORT`. Raises a usage error."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal() or int(port) > _LARGEST_PORT:
        raise typer.BadParameter(f"{text!r} is no HOST:PORT, such as 127.0.0.1:9464", param_hint="--metrics")
    return host, int(port)
