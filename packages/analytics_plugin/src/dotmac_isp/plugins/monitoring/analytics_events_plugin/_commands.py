"""`dotmac-plugins analytics …`: events, questions, reports, dashboards, alerts, schemas. Mounted by the console package.

Loaded only there, so typer and rich come with it; each command goes to the running host, else to a short-lived one.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from dotmac_isp.plugins.core.errors import PluginError

from ._alert_commands import add_alert_commands
from ._command_tools import PLUGIN, AsJson, Since, Tenant, Where, ask, fail, json_file, pairs, show, write
from ._dashboard_commands import add_dashboard_commands
from ._report_commands import add_report_commands
from ._store_commands import add_store_commands

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Analytics events: questions, reports, dashboards, alerts, schemas.")
_schema = typer.Typer(no_args_is_help=True, help="Schemas of events' properties.")
_quarantine = typer.Typer(no_args_is_help=True, help="Events that did not fit their schema.")
app.add_typer(_schema, name="schema")
app.add_typer(_quarantine, name="quarantine")
add_store_commands(app)
add_report_commands(app)
add_dashboard_commands(app)
add_alert_commands(app)

_LINE: Final = ("timestamp", "event_name", "severity", "user_id", "customer_id", "device_id", "properties")
_POLL_SECONDS: Final = 1.0
_SEEN: Final = 5000
File = Annotated[Path, typer.Argument(metavar="FILE", help="A JSON file; - is standard input.")]
EventName = Annotated[str, typer.Option("--event", help="Only events of this name.")]


@app.command()
def tail(
    event: EventName = "",
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, max=1000, help="How many.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until interrupted.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Whole properties, however long.")] = False,
    since: Since = "24h",
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Show the latest events, the newest last."""
    wish: dict[str, Any] = {"kind": "timeline", "limit": lines, "since": since}
    if event:
        wish["where"] = {"event_name": event}
    if not follow:
        show(reversed(ask(tenant, as_json, "query", wish)["rows"]), as_json, _LINE, cut=not full)
        return
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_follow(tenant, wish, as_json, cut=not full))
    except PluginError as error:
        fail(as_json, error.message, error.remedy)


async def _follow(tenant: str | None, wish: dict[str, Any], as_json: bool, *, cut: bool) -> None:
    from dotmac_plugins_console import connect  # noqa: PLC0415 - loads the runtime

    seen: dict[str, None] = {}
    async with connect(tenant) as host:
        while True:
            answer = await host.call(PLUGIN, "query", wish)
            fresh = [row for row in reversed(answer["rows"]) if row["event_id"] not in seen]
            if fresh:
                show(fresh, as_json, _LINE, cut=cut)
            seen |= dict.fromkeys(row["event_id"] for row in fresh)
            seen = dict.fromkeys(list(seen)[-_SEEN:])
            wish = {**wish, "limit": 1000, "since": time.time() - 3600}
            await asyncio.sleep(_POLL_SECONDS)


@app.command()
def query(  # noqa: PLR0917 - typer's way to declare options
    measure: Annotated[
        str, typer.Argument(metavar="MEASURE", help="count, unique, sum, p95, unique_users, …")
    ] = "count",
    event: EventName = "",
    field: Annotated[str, typer.Option("--field", help="What is measured: amount, or a property.")] = "",
    group_by: Annotated[list[str] | None, typer.Option("--by", help="A column or property. Repeatable.")] = None,
    where: Where = None,
    interval: Annotated[str, typer.Option("--interval", help="A row for each: 5m, 1h, 1d.")] = "",
    top: Annotated[int, typer.Option("--top", min=1, max=10_000, help="At most so many rows.")] = 1000,
    since: Since = "24h",
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Count or measure events."""
    wish: dict[str, Any] = {
        "measure": measure,
        "group_by": group_by or [],
        "where": pairs(where, "--where"),
        "since": since,
    }
    wish |= {"limit": top, **_given(field=field, interval=interval)}
    if event:
        wish["where"]["event_name"] = event
    answer = ask(tenant, as_json, "query", wish)
    show(answer["rows"], as_json, answer["columns"])


def _given(**options: str) -> dict[str, str]:
    return {name: value for name, value in options.items() if value}


@app.command()
def funnel(
    steps: Annotated[list[str], typer.Argument(metavar="EVENT...", help="The steps, in order.")],
    window: Annotated[str, typer.Option("--window", help="From the first step to the last.")] = "24h",
    where: Where = None,
    since: Since = "7d",
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Show how many people came how far."""
    wish = {"kind": "funnel", "steps": steps, "window": window, "since": since, "where": pairs(where, "--where")}
    show(ask(tenant, as_json, "query", wish)["rows"], as_json)


@app.command()
def sql(
    text: Annotated[
        str, typer.Argument(metavar="SELECT", help="One SELECT over events and events_per_minute; - is standard input.")
    ],
    value: Annotated[
        list[str] | None,
        typer.Option("--value", metavar="NAME=TEXT", help="For {NAME:String} in the text. Repeatable."),
    ] = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Ask in ClickHouse's SQL; needs the permission analytics.sql.query."""
    answer = ask(tenant, as_json, "sql", sys.stdin.read() if text == "-" else text, pairs(value, "--value"))
    show(answer["rows"], as_json, answer["columns"])


@app.command()
def retention(
    event: Annotated[str, typer.Argument(metavar="EVENT", help="What people come for.")],
    back: Annotated[str, typer.Option("--back", help="What they come back for; the same when left out.")] = "",
    period: Annotated[str, typer.Option("--period", help="day or week.")] = "day",
    after: Annotated[list[int] | None, typer.Option("--after", help="So many periods later. Repeatable.")] = None,
    where: Where = None,
    since: Since = "30d",
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Show who comes back."""
    wish: dict[str, Any] = {"kind": "retention", "event": event, "period": period, "since": since}
    wish |= {"where": pairs(where, "--where"), **_given(return_event=back), **({"periods": after} if after else {})}
    answer = ask(tenant, as_json, "query", wish)
    show(answer["rows"], as_json, answer["columns"])


@app.command()
def sessions(
    gap: Annotated[str, typer.Option("--gap", help="A pause that ends a session.")] = "30m",
    interval: Annotated[str, typer.Option("--interval", help="A row for each: 1h, 1d.")] = "",
    where: Where = None,
    since: Since = "7d",
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Count sessions and say how long they are."""
    wish = {
        "kind": "sessions",
        "gap": gap,
        "since": since,
        "where": pairs(where, "--where"),
        **_given(interval=interval),
    }
    show(ask(tenant, as_json, "query", wish)["rows"], as_json)


@app.command()
def paths(
    start: Annotated[str, typer.Option("--start", help="From here on.")] = "",
    end: Annotated[str, typer.Option("--end", help="Up to here.")] = "",
    by: Annotated[str, typer.Option("--by", help="What a step is: a column or property, such as page.")] = "event_name",
    depth: Annotated[int, typer.Option("--depth", min=2, max=10)] = 5,
    where: Where = None,
    since: Since = "7d",
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Show the ways that people go within a session."""
    wish = {"kind": "paths", "by": by, "depth": depth, "since": since, "where": pairs(where, "--where")}
    rows = ask(tenant, as_json, "query", wish | _given(start=start, end=end))["rows"]
    show(rows if as_json else [{**row, "path": " → ".join(row["path"])} for row in rows], as_json)


@_schema.command("list")
def list_schemas(tenant: Tenant = None, as_json: AsJson = False) -> None:
    """List all versions of all schemas."""
    show(ask(tenant, as_json, "schemas"), as_json, ("event_name", "version", "mode", "compatibility"))


@_schema.command("add")
def add_schema(
    event_name: Annotated[str, typer.Argument(metavar="EVENT")],
    file: File,
    mode: Annotated[str | None, typer.Option("--mode", help="accept, warn, quarantine or reject.")] = None,
    compatibility: Annotated[
        str | None, typer.Option("--compatibility", help="none, backward, forward or full.")
    ] = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Add the next version of a schema."""
    wish = {"mode": mode, "compatibility": compatibility}
    entry = ask(tenant, as_json, "register_schema", event_name, json_file(file), **wish)
    show([entry], as_json, ("event_name", "version", "mode", "compatibility"))


@_schema.command("mode")
def schema_mode(
    event_name: Annotated[str, typer.Argument(metavar="EVENT")],
    mode: Annotated[str, typer.Argument(metavar="MODE", help="accept, warn, quarantine or reject.")],
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Say what happens to events that do not fit."""
    entry = ask(tenant, as_json, "register_schema", event_name, mode=mode)
    show([entry], as_json, ("event_name", "version", "mode", "compatibility"))


@_schema.command("infer")
def infer_schema(
    event_name: Annotated[str, typer.Argument(metavar="EVENT")], since: Since = "7d", tenant: Tenant = None
) -> None:
    """Propose a schema from what came, as JSON for `schema add`."""
    proposal = ask(tenant, False, "infer_schema", event_name, since)
    if proposal is None:
        fail(False, f"no event {event_name!r} came since {since}", "--since takes a longer time")
    write(proposal["schema"])


@_quarantine.command("list")
def list_quarantine(
    event: EventName = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000)] = 100,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """List what waits, the oldest first."""
    show(ask(tenant, as_json, "quarantine", event, limit), as_json, ("event_id", "event_name", "reasons"))


@app.command("replay")
@_quarantine.command("replay")
def replay(
    event_ids: Annotated[list[str] | None, typer.Argument(metavar="ID...", help="These; all when left out.")] = None,
    event: EventName = "",
    rename: Annotated[list[str] | None, typer.Option("--rename", metavar="OLD=NEW")] = None,
    put: Annotated[list[str] | None, typer.Option("--set", metavar="NAME=TEXT")] = None,
    drop: Annotated[list[str] | None, typer.Option("--drop", metavar="NAME")] = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Take events after all, with properties renamed, set or dropped."""
    changes = {"rename": pairs(rename, "--rename"), "set": pairs(put, "--set"), "drop": drop or []}
    done = ask(tenant, as_json, "replay", event_ids or [], event_name=event, changes=changes)
    show([{**done, "still_held": len(done["still_held"])}] if not as_json else [done], as_json)
