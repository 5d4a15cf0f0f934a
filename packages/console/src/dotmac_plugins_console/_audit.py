"""`dotmac-plugins audit …` and `dotmac-plugins compliance report`. They read the host's folder themselves; the host may be running."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ._options import Debug, Home, Json, Tenant  # noqa: TC001 - typer reads the annotations
from ._output import guarded, write_json
from ._text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dotmac_isp.plugins.core.audit import Verification

__all__ = ["add_to"]

_DAY: Final = 86_400.0
_FORMATS: Final = ("html", "json", "csv")

From = Annotated[
    str | None, typer.Option("--from", metavar="TIME", help="From this time on: 2026-11-01, or 2026-11-01T08:00 (UTC).")
]
To = Annotated[str | None, typer.Option("--to", metavar="TIME", help="Until before this time; a date means its end.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write there, not to stdout.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    audit = typer.Typer(
        help="Verify, show, export and archive the audit trail.", no_args_is_help=True, rich_markup_mode=None
    )
    for command in (verify, show, export, archive):
        audit.command()(command)
    app.add_typer(audit, name="audit")
    compliance = typer.Typer(help="Reports from the audit trail.", no_args_is_help=True, rich_markup_mode=None)
    compliance.callback()(_compliance)
    compliance.command()(report)
    app.add_typer(compliance, name="compliance")


def _compliance() -> None:
    """Reports from the audit trail."""


def verify(
    tenant: Tenant = None,
    against: Annotated[
        Path | None,
        typer.Option("--against", metavar="FILE", help="Heads that 'audit export --heads' wrote, kept elsewhere."),
    ] = None,
    home: Home = None,
    as_json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Check every chain from its first record to its signed head, and the archives; exit code 1 when something is wrong."""

    def work() -> Verification:
        from dotmac_isp.plugins.core.audit import verify as check  # noqa: PLC0415 - not for --help

        return check(_home(home), tenant=tenant, kept=None if against is None else _kept(against))

    found = guarded(work, as_json=as_json)
    if as_json:
        write_json({"ok": found.ok, **_plain(found)})
    else:
        _show_verification(found)
    if not found.ok:
        raise typer.Exit(1)


def show(  # noqa: PLR0917 - options
    tenant: Tenant = None,
    since: From = None,
    until: To = None,
    action: Annotated[str | None, typer.Option("--action", metavar="TEXT", help="Only this action.")] = None,
    outcome: Annotated[str | None, typer.Option("--outcome", metavar="TEXT", help="Only this outcome.")] = None,
    plugin: Annotated[str | None, typer.Option("--plugin", metavar="ID", help="Only this plugin.")] = None,
    last: Annotated[int, typer.Option("--last", "-n", metavar="N", min=0, help="At most so many; 0 is all.")] = 100,
    home: Home = None,
    as_json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Show records by time."""
    span = _span(since, until)
    given = {"action": action, "outcome": outcome, "plugin_id": plugin}
    fields = {name: value for name, value in given.items() if value is not None}

    def work() -> list[Any]:
        from dotmac_isp.plugins.core.audit import records  # noqa: PLC0415 - not for --help

        found = sorted(
            records(_home(home), tenant=tenant, since=span[0], until=span[1], **fields), key=lambda one: one.record.at
        )
        return found[-last:] if last else found

    found = guarded(work, as_json=as_json)
    if as_json:
        write_json([_plain(one) for one in found])
        return
    from ._views import rows  # noqa: PLC0415 - loads rich

    headings = ("TIME (UTC)", "TENANT", "NO", "WHO", "PLUGIN", "ACTION", "OUTCOME", "DETAIL")
    rows(headings, (_line(one) for one in found))


def export(
    tenant: Tenant = None,
    heads: Annotated[
        bool,
        typer.Option("--heads", help="The signed heads only: a few lines to keep elsewhere, for verify --against."),
    ] = False,
    since: From = None,
    until: To = None,
    output: Output = None,
    home: Home = None,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Write records with their numbers and hashes as JSON lines, or the signed heads."""
    span = _span(since, until)

    def work() -> None:
        import msgspec  # noqa: PLC0415 - not for --help

        from dotmac_isp.plugins.core.audit import exported_heads, records  # noqa: PLC0415

        place = _home(home)
        with _writing(output) as write:
            if heads:
                write(msgspec.json.encode(exported_heads(place, tenant=tenant)) + b"\n")
                return
            for one in records(place, tenant=tenant, since=span[0], until=span[1]):
                write(msgspec.json.encode(one) + b"\n")

    guarded(work)


def archive(
    keep_days: Annotated[
        float | None, typer.Option("--keep-days", metavar="N", min=0, help="Move what is older than so many days.")
    ] = None,
    before: Annotated[
        str | None, typer.Option("--before", metavar="TIME", help="Move what is from before this time.")
    ] = None,
    tenant: Tenant = None,
    folder: Annotated[
        Path | None, typer.Option("--folder", metavar="DIR", help="Where to; default audit-archive in the home.")
    ] = None,
    home: Home = None,
    as_json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Move old records to files that can be verified; the chain goes on from a signed anchor. The host may be running."""
    if (keep_days is None) == (before is None):
        raise typer.BadParameter("give either --keep-days or --before")
    limit = time.time() - keep_days * _DAY if keep_days is not None else _moment(before or "", "--before")

    def work() -> list[Any]:
        from dotmac_isp.plugins.core.audit import archive as move  # noqa: PLC0415 - not for --help

        return move(_home(home), before=limit, tenant=tenant, folder=folder)

    done = guarded(work, as_json=as_json)
    if as_json:
        write_json([_plain(one) for one in done])
    elif not done:
        typer.echo("nothing is that old")
    for one in done if not as_json else ():
        typer.echo(f"tenant {one.tenant}: records {one.first} to {one.last} → {one.file}")


def report(
    tenant: Annotated[str, typer.Option("--tenant", "-t", metavar="ID", help="The tenant; '-' is the system tenant.")],
    since: From = None,
    until: To = None,
    form: Annotated[str, typer.Option("--format", metavar="html|json|csv", help="For people or machines.")] = "html",
    output: Output = None,
    home: Home = None,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """What ran, who was granted what and used it, secrets, licences, refusals, changes, and whether the trail is whole."""
    if form not in _FORMATS:
        raise typer.BadParameter(f"{form!r} is none of {', '.join(_FORMATS)}", param_hint="--format")
    first, end = _span(since, until)
    text = guarded(lambda: _report(tenant, first or 0.0, end or time.time(), form, _home(home)))
    with _writing(output) as write:
        write(text.encode())


def _report(tenant: str, since: float, until: float, form: str, home: Path) -> str:
    import msgspec  # noqa: PLC0415 - not for --help

    from dotmac_isp.plugins.core import audit  # noqa: PLC0415

    made = audit.compliance_report(
        audit.records(home, tenant=tenant, since=since, until=until),
        audit.verify(home, tenant=tenant),
        tenant=tenant,
        since=since,
        until=until,
        made=time.time(),
        grants=_grants(home, tenant),
    )
    if form == "html":
        return audit.report_as_html(made)
    if form == "csv":
        return audit.report_as_csv(made)
    return msgspec.json.format(msgspec.json.encode(made)).decode() + "\n"


def _grants(home: Path, tenant: str) -> list[dict[str, Any]]:
    """The policy's rules for the tenant as they are now; without a policy every plugin has what its manifest asks for."""
    from dotmac_isp.plugins.core.permissions import read_policy  # noqa: PLC0415 - not for --help

    path = home / "policy.toml"
    if not path.exists():
        return [{"who": "every plugin", "permission": "what its manifest asks for", "effect": "no policy", "line": 0}]
    return [
        {"who": f"{one.kind} {one.subject}", "permission": one.pattern, "effect": str(one.effect), "line": one.line}
        for one in read_policy(path).rules
        if one.tenant in {None, tenant}
    ]


def _home(home: Path | None) -> Path:
    from ._places import find_home  # noqa: PLC0415 - not for --help

    return find_home(home)


def _kept(path: Path) -> Any:
    import msgspec  # noqa: PLC0415 - not for --help

    from dotmac_isp.plugins.core.audit import AuditError, HeadFile  # noqa: PLC0415

    try:
        return msgspec.json.decode(path.read_bytes(), type=HeadFile)
    except (OSError, msgspec.MsgspecError) as error:
        raise AuditError(
            f"{path} holds no heads: {error}", remedy="dotmac-plugins audit export --heads -o FILE"
        ) from None


def _span(since: str | None, until: str | None) -> tuple[float | None, float | None]:
    end = None if until is None else _moment(until, "--to") + (_DAY if "T" not in until and " " not in until else 0)
    return None if since is None else _moment(since, "--from"), end


def _moment(text: str, option: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no time; write 2026-11-01 or 2026-11-01T08:00", param_hint=option
        ) from None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


@contextlib.contextmanager
def _writing(output: Path | None) -> Iterator[Any]:
    if output is None:
        sys.stdout.flush()
        yield sys.stdout.buffer.write
        sys.stdout.buffer.flush()
        return
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        yield file.write


def _plain(value: Any) -> dict[str, Any]:
    import msgspec  # noqa: PLC0415 - not for --help

    plain: dict[str, Any] = msgspec.to_builtins(value)
    return plain


def _line(entry: Any) -> tuple[object, ...]:
    one = entry.record
    at = datetime.fromtimestamp(one.at, tz=UTC).strftime("%Y-%m-%d %H:%M:%S")
    tenant = "-" if one.tenant_id is None else one.tenant_id
    detail = one.detail or ", ".join(f"{key}={value}" for key, value in one.values.items())
    return (at, tenant, entry.sequence, one.user_id or "", one.plugin_id, one.action, one.outcome, detail)


def _show_verification(found: Verification) -> None:
    from ._views import rows  # noqa: PLC0415 - loads rich

    headings = ("TENANT", "RECORDS", "FIRST", "LAST", "ARCHIVED TO", "STATE")
    rows(
        headings,
        (
            (one.tenant, one.records, one.first, one.last, one.archived_to, "DAMAGED" if one.problems else "whole")
            for one in found.chains
        ),
    )
    for chain in found.chains:
        for note in chain.notes:
            typer.echo(clean(f"note: tenant {chain.tenant}: {note}"))
    for problem in found.problems:
        typer.echo(clean(f"problem: {problem}"), err=True)
    word = "whole" if found.ok else "DAMAGED"
    typer.echo(f"the trail is {word} (signed with {found.algorithm}, key {found.key})")
