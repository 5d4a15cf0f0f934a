"""`dotmac-plugins analytics alert …`: rules, silences, and who is told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from ._command_tools import AsJson, Since, Tenant, ask, fail, json_file, pairs, show, write

__all__ = ["add_alert_commands"]

_alert = typer.Typer(no_args_is_help=True, help="Alert rules.")
_silence = typer.Typer(no_args_is_help=True, help="Silences and maintenance windows.")
_ALERT: Final = (
    "alert_id",
    "name",
    "kind",
    "state",
    "value",
    "operator",
    "threshold",
    "condition",
    "severity",
    "error",
)
_SILENCE: Final = ("id", "alert_id", "match", "schedule", "duration", "ends_at", "comment", "by")
File = Annotated[Path, typer.Argument(metavar="FILE", help="A JSON file; - is standard input.")]
AlertId = Annotated[str, typer.Argument(metavar="ID", help="As `alert list` shows it.")]
_LISTED: Final = "`dotmac-plugins analytics alert list` lists them"


def _flat(alert: dict[str, Any]) -> dict[str, Any]:
    return {**alert["rule"], **alert}


@_alert.command("list")
def list_alerts(tenant: Tenant = None, as_json: AsJson = False) -> None:
    """List the rules and their states."""
    show([_flat(alert) for alert in ask(tenant, as_json, "alerts")], as_json, _ALERT)


@_alert.command("create")
def create_alert(file: File, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """Store a rule."""
    show([{"alert_id": ask(tenant, as_json, "create_alert", json_file(file))}], as_json)


@_alert.command("change")
def change_alert(alert_id: AlertId, file: File, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """Put another rule in the place of one; its states begin anew."""
    if not ask(tenant, as_json, "change_alert", alert_id, json_file(file)):
        fail(as_json, f"there is no alert {alert_id!r}", _LISTED)


@_alert.command("delete")
def delete_alert(alert_id: AlertId, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """Forget a rule."""
    if not ask(tenant, as_json, "delete_alert", alert_id):
        fail(as_json, f"there is no alert {alert_id!r}", _LISTED)


@_alert.command("status")
def alert_status(alert_id: AlertId, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """Evaluate one rule now."""
    status = ask(tenant, as_json, "get_alert_status", alert_id)
    if status is None:
        fail(as_json, f"there is no alert {alert_id!r}", _LISTED)
    show([_flat(status)], as_json, _ALERT)
    if not as_json and status.get("instances"):
        show([{**one["labels"], **{key: one[key] for key in ("state", "value")}} for one in status["instances"]], False)


@_alert.command("acknowledge")
def acknowledge(
    alert_id: AlertId,
    by: Annotated[str, typer.Option("--by", help="Who looks after it.")],
    note: Annotated[str, typer.Option("--note")] = "",
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Say that somebody looks after what fires; it is not repeated until it ends."""
    count = ask(tenant, as_json, "acknowledge_alert", alert_id, by, note)
    if count is None:
        fail(as_json, f"there is no alert {alert_id!r}", _LISTED)
    show([{"alert_id": alert_id, "acknowledged": count}], as_json)


@_alert.command("backtest")
def backtest(
    file: File,
    since: Since = "7d",
    step: Annotated[str, typer.Option("--step", help="Between evaluations.")] = "5m",
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Say what a rule would have done."""
    told = ask(tenant, as_json, "backtest_alert", json_file(file), since, "now", step)
    if as_json:
        write(told)
        return
    show([{key: told[key] for key in ("rule", "evaluations", "episodes", "firing_seconds")}], as_json=False)
    show(told["changes"], as_json=False, columns=("at", "labels", "state", "value"))


@_alert.command("policy")
def policy(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="A JSON file with a new policy.")] = None,
    tenant: Tenant = None,
) -> None:
    """Show how alerts are told, or say how they shall be."""
    write(ask(tenant, True, "alert_policy", *([] if file is None else [json_file(file)])))


@_silence.command("list")
def list_silences(tenant: Tenant = None, as_json: AsJson = False) -> None:
    """List what is in force or will be."""
    show(ask(tenant, as_json, "silences"), as_json, _SILENCE)


@_silence.command("add")
def add_silence(
    match: Annotated[
        list[str] | None, typer.Option("--match", metavar="LABEL=VALUE", help="alert, severity or a label.")
    ] = None,
    alert: Annotated[str, typer.Option("--alert", metavar="ID", help="One rule.")] = "",
    duration: Annotated[str, typer.Option("--for", help="How long, each time.")] = "1h",
    schedule: Annotated[str, typer.Option("--schedule", help="A maintenance window: five fields of cron.")] = "",
    timezone: Annotated[str, typer.Option("--timezone")] = "UTC",
    comment: Annotated[str, typer.Option("--comment")] = "",
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Tell nobody for a while."""
    wish: dict[str, Any] = {"match": pairs(match, "--match"), "alert_id": alert, "duration": duration}
    wish |= {"schedule": schedule, "timezone": timezone, "comment": comment}
    show([ask(tenant, as_json, "silence_alerts", wish)], as_json, _SILENCE)


@_silence.command("end")
def end_silence(
    silence_id: Annotated[str, typer.Argument(metavar="ID")], tenant: Tenant = None, as_json: AsJson = False
) -> None:
    """End a silence now."""
    if not ask(tenant, as_json, "end_silence", silence_id):
        fail(as_json, f"there is no silence {silence_id!r}", "`dotmac-plugins analytics silence list` lists them")


def add_alert_commands(app: typer.Typer) -> None:
    app.add_typer(_alert, name="alert")
    app.add_typer(_silence, name="silence")
