"""Tables for people."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from rich import box
from rich.table import Table
from rich.text import Text

from ._output import console
from ._text import age, clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["paragraph", "rows", "show_health", "show_isolation", "show_list", "show_settings", "show_tenants"]

_COLOURS: Final = {
    "active": "green",
    "healthy": "green",
    "initialised": "cyan",
    "retrying": "yellow",
    "awaiting secret": "yellow",
    "degraded": "yellow",
    "held back": "yellow",
    "suspended": "yellow",
    "misconfigured": "red",
    "failed": "red",
    "unhealthy": "red",
    "disabled": "dim",
    "unknown": "dim",
    "not loaded": "dim",
}


def rows(headings: Iterable[str], lines: Iterable[Iterable[object]], *, title: str = "") -> None:
    """Print a table; nothing when it has no lines."""
    table = Table(box=box.SIMPLE_HEAD if sys.stdout.isatty() else None, title=title or None, title_justify="left")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for line in lines:
        table.add_row(*(_cell(one) for one in line))
    if table.row_count:
        console().print(table)


def paragraph(text: str, style: str = "") -> None:
    """Print text as it is, but for control signs."""
    console().print(Text(clean(text), style=style))


def tenant_name(tenant_id: str | None) -> str:
    """The system tenant is `-`."""
    return "-" if tenant_id is None else tenant_id


def show_list(answer: Mapping[str, Any]) -> None:
    """`dotmac-plugins list`."""
    there: list[tuple[str, ...]] = [_instance_line(one) for one in answer["instances"]]
    versions = {one["id"]: one["version"] for one in answer["plugins"]}
    absent: list[tuple[str, ...]] = [
        (
            one["plugin_id"],
            tenant_name(one["tenant_id"]),
            "not loaded",
            one["reason"],
            "",
            "",
            "",
            versions[one["plugin_id"]],
        )
        for one in answer["not_loaded"]
    ]
    headings = ("PLUGIN", "TENANT", "STATE", "REASON", "HEALTH", "SINCE", "RUNS", "VERSION")
    lines = sorted([*there, *absent], key=lambda line: (line[1], line[0]))
    rows(headings, lines)
    if not there and not absent:
        paragraph("No plugin is installed." if not answer["plugins"] else "Nothing is loaded.")
    rows(
        ("SERVICE", "PLUGIN", "HEALTH", "MESSAGE", "RESTARTS"),
        ([one["name"], one["plugin_id"], one["status"], one["message"], one["restarts"]] for one in answer["services"]),
    )
    show_problems(answer["problems"])
    paragraph(f"policy: {answer['policy']}")


def show_problems(problems: Iterable[Mapping[str, Any]]) -> None:
    """What cannot be used, each with its remedy."""
    for one in problems:
        word, style = ("problem", "red") if one["severity"] == "error" else ("note", "")
        paragraph(f"{word}: {one['message']}", style)
        if one["remedy"]:
            paragraph(f"  fix: {one['remedy']}")


def show_isolation(isolation: Mapping[str, Any]) -> None:
    """Where an instance runs, and what keeps it apart."""
    if not isolation:
        return
    process = f", process {isolation['pid']}" if isolation.get("pid") else ""
    detail = f": {isolation['detail']}" if isolation.get("detail") else ""
    paragraph(f"runs {isolation['mode']}{process}{detail}")
    rows(
        ("GUARANTEE", "HOLDS", "HOW", "MISSING", "FIX"),
        (
            (name, one["strength"], one["how"], one["missing"], one["remedy"])
            for name, one in (isolation.get("guarantees") or {}).items()
        ),
    )


def show_tenants(answer: Mapping[str, Any]) -> None:
    """`dotmac-plugins tenants list`."""
    lines = [
        (
            tenant_name(one["tenant_id"]),
            "suspended" if one["suspended"] else "on",
            f"{one['active']} of {one['instances']}",
            "yes" if one["file"] else "no",
            one["problem"] or "",
        )
        for one in answer["tenants"]
    ]
    rows(("TENANT", "STATE", "ACTIVE", "FILE", "PROBLEM"), lines)
    if not lines:
        paragraph("There is no tenant.")


def show_health(answer: Mapping[str, Any], *, details: bool) -> None:
    """`dotmac-plugins health`: all in one table; what else an instance tells below it, for those that are not well or for all."""
    lines = [
        (
            one["plugin_id"],
            tenant_name(one["tenant_id"]),
            one["status"],
            *(one["parts"][part]["status"] for part in ("process", "plugin", "vendor")),
            one["message"],
            f"{age(one['checked_at'])} ago",
        )
        for one in answer["instances"]
    ]
    headings = ("PLUGIN", "TENANT", "HEALTH", "PROCESS", "CODE", "VENDOR", "MESSAGE", "CHECKED")
    rows(headings, lines)
    rows(
        ("SERVICE", "PLUGIN", "HEALTH", "MESSAGE", "RESTARTS"),
        ([one["name"], one["plugin_id"], one["status"], one["message"], one["restarts"]] for one in answer["services"]),
    )
    for one in answer["instances"]:
        if one["details"] and (details or one["status"] != "healthy"):
            paragraph(f"\n{one['plugin_id']}@{tenant_name(one['tenant_id'])}")
            rows(("DETAIL", "VALUE"), _flat(one["details"]))
    if not lines:
        paragraph("There is no instance to ask.")


def _flat(details: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, object]]:
    """Details within details under dotted names."""
    for key, value in details.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", ", ".join(map(str, value)) if isinstance(value, list | tuple) else value


def show_settings(settings: Iterable[Mapping[str, Any]]) -> None:
    """Each setting with its layer and what it overrode."""
    lines = [
        (
            one["key"],
            _value(one["value"]),
            one["layer"],
            one["source"],
            "; ".join(f"{_value(value)} ({layer})" for layer, _, value in reversed(one["overrode"])),
        )
        for one in settings
    ]
    rows(("SETTING", "VALUE", "LAYER", "SOURCE", "OVERRODE"), lines)
    if not lines:
        paragraph("It has no settings.")


def _instance_line(one: Mapping[str, Any]) -> tuple[str, ...]:
    reason = one["reason"]
    if one["retry_at"]:
        reason = f"{reason} (next try {age(one['retry_at'])})"
    health = one["health"]["status"]
    since, runs = age(one["since"]), _runs(one.get("isolation") or {})
    return (one["plugin_id"], tenant_name(one["tenant_id"]), one["state"], reason, health, since, runs, one["version"])


def _runs(isolation: Mapping[str, Any]) -> str:
    """Where an instance runs, and which guarantees the kernel does not enforce there."""
    held = isolation.get("guarantees") or {}
    weak = [f"{name} {one['strength']}" for name, one in held.items() if one["strength"] != "enforced"]
    return f"{isolation['mode']} ({', '.join(weak)})" if weak else str(isolation.get("mode", ""))


def _value(value: object) -> str:
    return value if isinstance(value, str) else repr(value)


def _cell(value: object) -> Text:
    text = clean(str(value))
    return Text(text, style=_COLOURS.get(text, ""))
