"""Commands that act: load, start, stop, unload, reload, configure, enable, disable."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ._assignments import parse_assignment, put, value_of
from ._options import Debug, Environment, Home, Json, OneTenant, Plugin  # noqa: TC001 - typer reads the annotations
from ._output import ask, write_json
from ._text import clean

__all__ = ["add_to"]

_NOTE = "and stopped again, because no host is running (dotmac-plugins serve)"


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (load, start, stop, unload, reload, configure, enable, disable):
        app.command()(command)


def load(
    plugin: Plugin,
    tenant: OneTenant = None,
    environment: Environment = None,
    home: Home = None,
    as_json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Make a plugin's instance for a tenant and initialise it."""
    given = {"plugin_id": plugin, "tenant": tenant, "environment": environment}
    _act(
        "load",
        given,
        home=home,
        as_json=as_json,
        told="is loaded",
        note="and unloaded again, because no host is running",
    )


def start(
    plugin: Plugin,
    tenant: OneTenant = None,
    environment: Environment = None,
    home: Home = None,
    as_json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Load a plugin for a tenant where it is not, and start it."""
    given = {"plugin_id": plugin, "tenant": tenant, "environment": environment}
    _act("start", given, home=home, as_json=as_json, told="is started", note=_NOTE)


def stop(
    plugin: Plugin,
    tenant: OneTenant = None,
    home: Home = None,
    as_json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Stop a plugin for a tenant, and before it what requires it."""
    _act("stop", {"plugin_id": plugin, "tenant": tenant}, home=home, as_json=as_json, told="is stopped")


def unload(
    plugin: Plugin,
    tenant: OneTenant = None,
    home: Home = None,
    as_json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Stop a plugin for a tenant and release everything that it holds."""
    _act("unload", {"plugin_id": plugin, "tenant": tenant}, home=home, as_json=as_json, told="is unloaded")


def enable(
    plugin: Plugin,
    tenant: OneTenant = None,
    home: Home = None,
    as_json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Switch a plugin on for a tenant, for good; a running host starts it."""
    _act("enable", {"plugin_id": plugin, "tenant": tenant}, home=home, as_json=as_json, told="is enabled")


def disable(
    plugin: Plugin,
    tenant: OneTenant = None,
    home: Home = None,
    as_json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Switch a plugin off for a tenant, for good; a running host stops it."""
    _act("disable", {"plugin_id": plugin, "tenant": tenant}, home=home, as_json=as_json, told="is disabled")


def reload(
    plugin: Annotated[str | None, typer.Argument(metavar="[PLUGIN]", help="Only this plugin.")] = None,
    anew: Annotated[bool, typer.Option("--anew", help="Also what did not change.")] = False,
    home: Home = None,
    as_json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Look again at what is installed and configured: make anew what changed, without losing a call; start what is new."""
    answer = ask("reload", {"plugin_id": plugin, "anew": anew}, home=home, as_json=as_json)
    if as_json:
        write_json(answer)
    else:
        for action in answer["actions"]:
            where = f"{action['plugin_id'] or 'every plugin'}@{action['tenant_id'] or '-'}"
            settings = f" ({', '.join(action['settings'])})" if action["settings"] else ""
            typer.echo(clean(f"{action['action']:<16} {where}  {action['reason']}{settings}"))
        typer.echo(f"{answer['unchanged']} instances unchanged, {len(answer['problems'])} problems")
    if any(action["action"] == "failed" for action in answer["actions"]):
        raise typer.Exit(1)


def configure(
    plugin: Plugin,
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE…", help="Values are JSON where they can be read so, else texts."),
    ] = None,
    unset: Annotated[
        list[str] | None, typer.Option("--unset", metavar="KEY", help="Take a key out of the tenant's file.")
    ] = None,
    for_now: Annotated[
        bool, typer.Option("--for-now", help="Only until the instance ends; without it, in the tenant's file.")
    ] = False,
    tenant: OneTenant = None,
    home: Home = None,
    as_json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Change settings of a plugin for a tenant; a running instance has them at once."""
    if not settings and not unset:
        raise typer.BadParameter("give at least one key=value or --unset KEY")
    try:
        parsed = [parse_assignment(one) for one in settings or ()]
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    values: dict[str, Any] = {}
    texts: dict[str, Any] = {}
    for path, text in parsed:
        put(values, path, value_of(text))
        put(texts, path, text)
    given = {"plugin_id": plugin, "tenant": tenant, "unset": unset or [], "for_now": for_now}
    answer = ask("configure", {**given, "settings": values, "texts": texts}, home=home, as_json=as_json)
    if as_json:
        write_json(answer)
        return
    where = "until the instance ends" if for_now else "in the tenant's file"
    typer.echo(f"{plugin}@{answer['tenant_id'] or '-'} is configured, {where}")
    for change in answer["changes"]:
        typer.echo(clean(f"  {change['key']}: {change['before']!r} → {change['after']!r}"))


def _act(method: str, params: dict[str, Any], *, home: Any, as_json: bool, told: str, note: str = "") -> None:
    lasting = True

    def asked(host: Any) -> None:
        nonlocal lasting
        lasting = hasattr(host, "pid")

    answer = ask(method, params, home=home, as_json=as_json, asked=asked, environment=params.get("environment"))
    if as_json:
        write_json(answer)
        return
    where = f"{answer['plugin_id']}@{answer['tenant_id'] or '-'}"
    typer.echo(" ".join(part for part in (where, told, "" if lasting else note) if part))
