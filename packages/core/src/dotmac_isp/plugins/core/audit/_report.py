"""The compliance report: what the trail says about a tenant and a time. Pure over records; the check of the chain is handed in."""

from __future__ import annotations

import collections
import csv
import html
import io
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..permissions import PERMISSION_USED
from ._verify import ChainState, Verification

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ._read import Entry
    from ._record import AuditRecord

__all__ = [
    "ComplianceReport",
    "Event",
    "PluginRun",
    "SecretUse",
    "compliance_report",
    "report_as_csv",
    "report_as_html",
]

_REFUSALS: Final = frozenset({"permission", "licence"})
_CHANGES: Final = frozenset({"configure", "tenant", "reload", "permissions", "policy", "audit"})


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One record of the trail, with its number in the chain. `at` is UTC, ISO 8601."""

    sequence: int
    at: str
    user: str
    plugin_id: str
    action: str
    outcome: str
    detail: str
    request_id: str = ""
    values: Any = None


class PluginRun(msgspec.Struct, frozen=True, kw_only=True):
    """How a plugin ran: how often it was started and failed, its last state in the time, and its failed calls by kind."""

    plugin_id: str
    starts: int
    failures: int
    last_state: str
    last_reason: str
    since: str
    failed_calls: dict[str, int]


class SecretUse(msgspec.Struct, frozen=True, kw_only=True):
    """How often a plugin asked for a secret and with what outcome; `rotated`: new values that it was told of."""

    plugin_id: str
    name: str
    given: int
    missing: int
    refused: int
    failed: int
    rotated: int
    not_taken: int
    last: str


class PermissionUse(msgspec.Struct, frozen=True, kw_only=True):
    """Who was let through or refused, by operation: calls that needed a permission, and calls over the control interface."""

    user: str
    plugin_id: str
    operation: str
    allowed: int
    refused: int


class ComplianceReport(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the trail says about a tenant (a label) in a time, `since` included and `until` not.

    `grants` are the policy's as they are now, where they were handed in.
    """

    tenant: str
    since: str
    until: str
    made: str
    records: int
    ran: tuple[PluginRun, ...]
    grants: tuple[dict[str, Any], ...]
    permissions: tuple[PermissionUse, ...]
    secrets: tuple[SecretUse, ...]
    licences: tuple[Event, ...]
    refusals: tuple[Event, ...]
    changes: tuple[Event, ...]
    administration: tuple[Event, ...]
    trail_is_whole: bool
    signing: str
    chain: ChainState | None
    problems: tuple[str, ...]


def compliance_report(
    entries: Iterable[Entry],
    verification: Verification,
    *,
    tenant: str,
    since: float,
    until: float,
    made: float,
    grants: Sequence[Mapping[str, Any]] = (),
) -> ComplianceReport:
    """Make the report from the tenant's entries (`records`) and a check of its chain (`verify`). Times are Unix times."""
    chosen = [one for one in entries if since <= one.record.at < until]
    return ComplianceReport(
        tenant=tenant,
        since=_time(since),
        until=_time(until),
        made=_time(made),
        records=len(chosen),
        ran=_runs(chosen),
        grants=tuple(dict(one) for one in grants),
        permissions=_permissions(chosen),
        secrets=_secrets(chosen),
        licences=_events(chosen, _is_licence),
        refusals=_events(
            chosen, lambda one: one.outcome in _REFUSALS or (one.action, one.outcome) == ("secret", "refused")
        ),
        changes=_events(
            chosen, lambda one: one.action in _CHANGES or (one.action, one.outcome) == ("secret", "rotated")
        ),
        administration=_events(chosen, lambda one: one.action.startswith("control ")),
        trail_is_whole=verification.ok,
        signing=f"{verification.algorithm}, key {verification.key}",
        chain=next((one for one in verification.chains if one.tenant == tenant), None),
        problems=tuple(str(one) for one in verification.problems),
    )


def report_as_csv(report: ComplianceReport) -> str:
    """One table: a line for each event and each sum, with the section it belongs to in the first column."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["section", "at", "user", "plugin", "what", "outcome", "detail", "sequence"])
    for line in _csv_lines(report):
        writer.writerow([_harmless(str(one)) for one in line])
    return out.getvalue()


def _csv_lines(report: ComplianceReport) -> Iterable[Sequence[object]]:
    whole = "whole" if report.trail_is_whole else "damaged"
    yield ("integrity", report.made, "", "", "trail", whole, "; ".join(report.problems) or report.signing, "")
    for run in report.ran:
        what = f"{run.starts} starts, {run.failures} failures"
        yield ("ran", run.since, "", run.plugin_id, what, run.last_state, run.last_reason, "")
    for grant in report.grants:
        yield ("grants", "", grant.get("who", ""), "", grant.get("permission", ""), grant.get("effect", ""), "", "")
    for use in report.permissions:
        detail = f"{use.allowed} allowed, {use.refused} refused"
        yield ("permissions", "", use.user, use.plugin_id, use.operation, "", detail, "")
    for secret in report.secrets:
        detail = ", ".join(f"{count} {name}" for name, count in _counts(secret))
        yield ("secrets", secret.last, "", secret.plugin_id, secret.name, "", detail, "")
    for section in ("licences", "refusals", "changes", "administration"):
        for one in getattr(report, section):
            yield (section, one.at, one.user, one.plugin_id, one.action, one.outcome, one.detail, one.sequence)


def _harmless(text: str) -> str:
    """A cell that a spreadsheet takes for a formula could do what its author wants."""
    return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r"} and text != "-" else text


_STYLE: Final = (
    "body{font:14px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem;color:#1b1f24}"
    "table{border-collapse:collapse;width:100%;margin:.5rem 0 1.5rem}"
    "th,td{border:1px solid #d0d7de;padding:.3rem .5rem;text-align:left;vertical-align:top;overflow-wrap:anywhere}"
    "th{background:#f3f5f7}.good{color:#116329}.bad{color:#a40e26;font-weight:600}.none{color:#57606a}"
)


def report_as_html(report: ComplianceReport) -> str:
    """A page for people, complete in itself: no scripts, nothing loaded."""
    title = f"Compliance report: tenant {report.tenant}"
    whole = "good" if report.trail_is_whole else "bad"
    said = "The trail is whole." if report.trail_is_whole else "The trail is damaged:"
    chain = report.chain
    span = f"records {chain.first} to {chain.last}, archived to {chain.archived_to}" if chain else "no chain"
    parts = [
        f"<h1>{_text(title)}</h1>",
        f"<p>{_text(report.since)} to {_text(report.until)}, {report.records} records; made {_text(report.made)}</p>",
        f'<h2>Integrity</h2><p class="{whole}">{said}</p>',
        f"<p>{_text(span)}; signed with {_text(report.signing)}</p>",
        "".join(f'<p class="bad">{_text(one)}</p>' for one in report.problems),
        _section("What ran", report.ran),
        _section("Grants now", report.grants),
        _section("Who used or was refused which operation", report.permissions),
        _section("Secrets", report.secrets),
        _section("Licences", report.licences),
        _section("Refusals", report.refusals),
        _section("Changes", report.changes),
        _section("Administrative calls", report.administration),
        "<p>Ordinary successful calls that need no permission are counted, not audited, and do not appear here.</p>",
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{_text(title)}</title>'
        f"<style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _section(title: str, lines: Sequence[Any]) -> str:
    heading = f"<h2>{_text(title)}</h2>"
    if not lines:
        return f'{heading}<p class="none">none</p>'
    plain = [msgspec.to_builtins(one) for one in lines]
    names = list(plain[0])
    head = "".join(f"<th>{_text(name.replace('_', ' '))}</th>" for name in names)
    body = "".join(
        f"<tr>{''.join(f'<td>{_text(_cell(line.get(name)))}</td>' for name in names)}</tr>" for line in plain
    )
    return f"{heading}<table><tr>{head}</tr>{body}</table>"


def _text(value: object) -> str:
    return html.escape(str(value))


def _cell(value: Any) -> str:
    if value is None or value in ({}, []):
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _time(at: float) -> str:
    try:
        return datetime.fromtimestamp(at, tz=UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):
        return str(at)


def _events(entries: Iterable[Entry], wanted: Callable[[AuditRecord], bool]) -> tuple[Event, ...]:
    return tuple(_event(one) for one in entries if wanted(one.record))


def _event(entry: Entry) -> Event:
    one = entry.record
    return Event(
        sequence=entry.sequence,
        at=_time(one.at),
        user=one.user_id or "",
        plugin_id=one.plugin_id,
        action=one.action,
        outcome=one.outcome,
        detail=one.detail,
        request_id=one.request_id,
        values=one.values or None,
    )


def _is_licence(one: AuditRecord) -> bool:
    return one.action.startswith("licence") or one.outcome == "licence"


def _runs(entries: Sequence[Entry]) -> tuple[PluginRun, ...]:
    by_plugin: dict[str, list[AuditRecord]] = {}
    for entry in entries:
        if entry.record.plugin_id:
            by_plugin.setdefault(entry.record.plugin_id, []).append(entry.record)
    return tuple(_run(plugin_id, found) for plugin_id, found in sorted(by_plugin.items()))


def _run(plugin_id: str, found: Sequence[AuditRecord]) -> PluginRun:
    states = [one for one in found if one.action == "lifecycle" and one.outcome != "slow"]
    last = states[-1] if states else None
    calls = collections.Counter(one.outcome for one in found if one.action.startswith("call "))
    return PluginRun(
        plugin_id=plugin_id,
        starts=sum(one.outcome == "active" for one in states),
        failures=sum(one.outcome in {"failed", "retrying", "misconfigured", "awaiting secret"} for one in states),
        last_state=last.outcome if last else "unknown",
        last_reason=last.detail if last else "",
        since=_time(last.at) if last else "",
        failed_calls=dict(sorted(calls.items())),
    )


def _permissions(entries: Sequence[Entry]) -> tuple[PermissionUse, ...]:
    sums: dict[tuple[str, str, str], list[int]] = {}
    for entry in entries:
        one = entry.record
        refused = one.action.startswith("call ") and one.outcome == "permission"
        key = (one.user_id or "", one.plugin_id, one.action)
        if refused or one.action.startswith("control "):
            sums.setdefault(key, [0, 0])[refused or one.outcome != "done"] += 1
        elif (one.action, one.outcome) == PERMISSION_USED:
            operation = f"permission {one.values.get('permission')}"
            sums.setdefault((*key[:2], operation), [0, 0])[0] += int(one.values.get("calls", 0))
    return tuple(
        PermissionUse(user=user, plugin_id=plugin_id, operation=operation, allowed=allowed, refused=refused)
        for (user, plugin_id, operation), (allowed, refused) in sorted(sums.items())
    )


def _secrets(entries: Sequence[Entry]) -> tuple[SecretUse, ...]:
    found: dict[tuple[str, str], list[AuditRecord]] = {}
    for entry in entries:
        one = entry.record
        if one.action == "secret":
            found.setdefault((one.plugin_id, str(one.values.get("name", ""))), []).append(one)
    return tuple(_secret(*key, records) for key, records in sorted(found.items()))


def _secret(plugin_id: str, name: str, records: Sequence[AuditRecord]) -> SecretUse:
    counts = collections.Counter(one.outcome.replace(" ", "_") for one in records)
    kinds = ("given", "missing", "refused", "failed", "rotated", "not_taken")
    return SecretUse(
        plugin_id=plugin_id, name=name, last=_time(records[-1].at), **{kind: counts[kind] for kind in kinds}
    )


def _counts(secret: SecretUse) -> list[tuple[str, int]]:
    fields = msgspec.structs.asdict(secret)
    return [(name.replace("_", " "), count) for name, count in fields.items() if isinstance(count, int) and count]
