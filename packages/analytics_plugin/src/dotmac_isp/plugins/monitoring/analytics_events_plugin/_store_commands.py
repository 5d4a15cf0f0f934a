"""`dotmac-plugins analytics …` for what is stored: rules, keys, one customer's events, backup and restore."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ._command_tools import AsJson, Tenant, ask, fail, json_file, show, write

__all__ = ["add_store_commands"]

_rules = typer.Typer(no_args_is_help=True, help="What happens to events on their way in, and how long they are kept.")
_key = typer.Typer(no_args_is_help=True, help="API keys of a tenant at the collector.")
_KEY = ("key_id", "name", "scopes", "expires_at", "events_per_second", "requests_per_second", "key")
Data = Annotated[
    Path | None, typer.Option("--data", help="The collector's data folder; that of this host when left out.")
]
Customer = Annotated[str, typer.Argument(metavar="CUSTOMER", help="The customer's id.")]
AsUser = Annotated[bool, typer.Option("--user", help="It is a user's id.")]
KeyId = Annotated[str, typer.Argument(metavar="KEY-ID", help="As `key list` shows it.")]


@_rules.command("show")
def show_rules(tenant: Tenant = None) -> None:
    """Show the rules, as JSON for `rules set`."""
    write(ask(tenant, True, "rules"))


@_rules.command("set")
def set_rules(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A JSON file; - is standard input.")],
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Change rules; what the file leaves out stays."""
    write(ask(tenant, as_json, "set_rules", json_file(file)))


@_key.command("list")
def list_keys(tenant: Tenant = None, as_json: AsJson = False) -> None:
    """List the keys and what each may do; the keys themselves are nowhere."""
    show(ask(tenant, as_json, "api_keys"), as_json, _KEY[:-1])


@_key.command("make")
def make_key(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the key is for.")],
    scopes: Annotated[list[str], typer.Option("--scope", help="write, read or admin. Repeatable.")],
    expires_in: Annotated[str, typer.Option("--expires-in", help="A span such as 90d.")] = "",
    events_per_second: Annotated[int, typer.Option("--events-per-second", min=0, help="0: no limit.")] = 0,
    requests_per_second: Annotated[int, typer.Option("--requests-per-second", min=0, help="0: no limit.")] = 0,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Make a key; it is shown this once."""
    limits = {"events_per_second": events_per_second, "requests_per_second": requests_per_second}
    show([ask(tenant, as_json, "create_api_key", name, scopes, expires_in=expires_in, **limits)], as_json, _KEY)


@_key.command("rotate")
def rotate_key(
    key_id: KeyId,
    overlap: Annotated[str, typer.Option("--overlap", help="How long the old one goes on: 24h.")] = "",
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Make a new key that may do the same."""
    show([ask(tenant, as_json, "rotate_api_key", key_id, overlap=overlap)], as_json, _KEY)


@_key.command("revoke")
def revoke_key(key_id: KeyId, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """End a key now."""
    show([ask(tenant, as_json, "revoke_api_key", key_id)], as_json)


def delete_customer(
    customer: Customer,
    user: AsUser = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Delete all events of one customer for good."""
    if not yes and not as_json:
        typer.confirm(f"Delete all events of {customer!r} for good?", abort=True)
    show([ask(tenant, as_json, "delete_customer", **_who(customer, user))], as_json)


def export_customer(customer: Customer, user: AsUser = False, tenant: Tenant = None) -> None:
    """Write all that is stored about one customer, as JSON lines."""
    typer.echo(ask(tenant, False, "export_customer", **_who(customer, user)), nl=False)


def _who(customer: str, user: bool) -> dict[str, str]:
    return {"user_id" if user else "customer_id": customer}


def list_deletions(tenant: Tenant = None, as_json: AsJson = False) -> None:
    """List deletions and how far they are."""
    show(ask(tenant, as_json, "deletions"), as_json, ("deletion_id", "state", "deleted_events", "proof"))


def back_up(
    to: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new or empty folder.")],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Write all events, keys, rules and schemas of the embedded store into a folder, whether the host runs or not."""
    from .collector.owner import make_backup  # noqa: PLC0415 - the collector; only here

    _done(as_json, make_backup, _folder(data), to)


def restore(
    source: Annotated[Path, typer.Argument(metavar="BACKUP", help="The backup's folder.")],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Make the collector's data of a backup; the folder must be new or empty, and the host stopped."""
    from .collector.owner import restore_backup  # noqa: PLC0415

    _done(as_json, restore_backup, source, _folder(data))


def _folder(data: Path | None) -> Path:
    if data is not None:
        return data
    from dotmac_isp.plugins.core.settings import state_home  # noqa: PLC0415 - loads the file formats

    return state_home() / "services" / "analytics_events" / "collector"


def _done(as_json: bool, work: Any, *arguments: Path) -> None:
    try:
        told = work(*arguments)
    except (RuntimeError, OSError) as error:
        fail(as_json, str(error))
    if as_json:
        write(told)
    else:
        show([told], as_json=False)


def add_store_commands(app: typer.Typer) -> None:
    app.add_typer(_rules, name="rules")
    app.add_typer(_key, name="key")
    app.command("delete-customer")(delete_customer)
    app.command("export-customer")(export_customer)
    app.command("deletions")(list_deletions)
    app.command("backup")(back_up)
    app.command("restore")(restore)
