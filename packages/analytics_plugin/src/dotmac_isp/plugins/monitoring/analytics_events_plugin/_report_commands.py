"""`dotmac-plugins analytics report …`: reports now and by schedule."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from ._command_tools import AsJson, Since, Tenant, ask, fail, json_file, pairs, show, write

__all__ = ["add_report_commands"]

_report = typer.Typer(no_args_is_help=True, help="Reports.")
_SCHEDULE: Final = (
    "schedule_id",
    "name",
    "report_type",
    "schedule",
    "timezone",
    "format",
    "notify",
    "next_at",
    "last_error",
)
File = Annotated[Path, typer.Argument(metavar="FILE", help="A JSON file; - is standard input.")]
ScheduleId = Annotated[str, typer.Argument(metavar="SCHEDULE-ID", help="As `report schedules` shows it.")]


@_report.command("make")
def make_report(
    report_type: Annotated[str, typer.Argument(metavar="TYPE", help="As `report types` lists them.")],
    form: Annotated[
        str, typer.Option("--format", help="json, html, pdf, png, csv or parquet; all but json write a file.")
    ] = "json",
    parameter: Annotated[
        list[str] | None, typer.Option("--with", metavar="NAME=VALUE", help="A parameter of the report. Repeatable.")
    ] = None,
    since: Since = "7d",
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Make a report."""
    wish = {"since": since, "format": form, **{name: _value(text) for name, text in pairs(parameter, "--with").items()}}
    made = ask(tenant, as_json, "generate_report", report_type, wish)
    made.pop("html", None)
    if as_json:
        write(made)
        return
    typer.echo(f"{made['title']}  {made['since']} to {made['until']}" + (f"  {made['path']}" if "path" in made else ""))
    show([{"total": name, "value": value} for name, value in made["totals"].items()], as_json=False)
    for section in made["sections"]:
        typer.echo(f"\n{section['title']}")
        show(section["rows"], as_json=False, columns=section["columns"])


def _value(text: str) -> Any:
    """Several with commas between; whole numbers as such."""
    items = [int(part) if part.isdecimal() else part for part in text.split(",")]
    return items if len(items) > 1 else items[0]


@_report.command("types")
def report_types(tenant: Tenant = None, as_json: AsJson = False) -> None:
    """List the types of report."""
    found = ask(tenant, as_json, "report_types")
    show([{"type": name, "title": title} for name, title in found.items()], as_json)


@_report.command("schedule")
def schedule_report(file: File, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """Have a report made and sent by schedule: report_type, schedule, timezone, format, notify, parameters."""
    show([ask(tenant, as_json, "schedule_report", json_file(file))], as_json, _SCHEDULE)


@_report.command("schedules")
def report_schedules(tenant: Tenant = None, as_json: AsJson = False) -> None:
    """List the scheduled reports."""
    show(ask(tenant, as_json, "report_schedules"), as_json, _SCHEDULE)


@_report.command("send")
def send_report(schedule_id: ScheduleId, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """Make and send a scheduled report now."""
    done = ask(tenant, as_json, "run_scheduled_report", schedule_id)
    if done is None:
        fail(as_json, f"there is no schedule {schedule_id!r}", "`dotmac-plugins analytics report schedules` lists them")
    show([done], as_json)


@_report.command("unschedule")
def unschedule_report(schedule_id: ScheduleId, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """Make it no more."""
    if not ask(tenant, as_json, "unschedule_report", schedule_id):
        fail(as_json, f"there is no schedule {schedule_id!r}", "`dotmac-plugins analytics report schedules` lists them")


def add_report_commands(app: typer.Typer) -> None:
    app.add_typer(_report, name="report")
