"""A report in the form that somebody wants: JSON, HTML, PDF, PNG, CSV, Parquet."""

from __future__ import annotations

import asyncio
import csv
import io
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..._plain import EventError
from ...pages import Panel, chart_bundle, draw_report, sheet_job

if TYPE_CHECKING:
    from pathlib import Path

    from ...pages import Drawing
    from ._making import Report, Section

__all__ = ["FORMS", "check_form", "file_name", "formed"]

#: Each form's media type.
FORMS: Final = {
    "json": "application/json",
    "html": "text/html",
    "pdf": "application/pdf",
    "png": "image/png",
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
}
#: What a spreadsheet would take for a formula.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_ENDINGS: Final = ("value", "people")


def check_form(value: object) -> str:
    """Raises `EventError`."""
    form = "json" if value in {None, "dict"} else str(value).lower()
    if form not in FORMS:
        raise EventError("parameters.format", value, "one of " + ", ".join(FORMS))
    return form


def file_name(report: Report, form: str) -> str:
    return f"{report.report_type}-{report.generated_at.replace(':', '').replace('-', '')}.{form}"


async def formed(report: Report, form: str, *, cache: Path, drawing: Drawing) -> bytes:
    """The report's bytes. Raises `ChartsMissingError` and `DrawingError`."""
    if form == "json":
        return msgspec.json.encode(report)
    if form == "csv":
        return as_csv(report)
    if form == "parquet":
        columns, rows = table(report)
        return await drawing.draw({"form": form, "columns": columns, "rows": rows})
    if form == "html":
        bundle = await chart_bundle(cache)
        return (await asyncio.to_thread(_page, report, bundle)).encode()
    since, until, made = (_seconds(text) for text in (report.since, report.until, report.generated_at))
    job = sheet_job(
        form,
        title=f"{report.title} report",
        since=since,
        until=until,
        made=made,
        panels=_panels(report),
        totals=report.totals,
    )
    return await drawing.draw(job)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _page(report: Report, bundle: str) -> str:
    return draw_report(
        title=report.title,
        since=report.since,
        until=report.until,
        totals=report.totals,
        panels=_panels(report),
        bundle=bundle,
    )


def _panels(report: Report) -> list[Panel]:
    since, until = _seconds(report.since), _seconds(report.until)
    return [_panel(section, since, until) for section in report.sections]


def _panel(section: Section, since: float, until: float) -> Panel:
    return Panel(
        title=section.title,
        chart=section.chart,
        columns=section.columns,
        rows=section.rows,
        unit=section.unit,
        since=since,
        until=until,
        interval=section.interval,
        counts=section.unit == "events",
    )


def table(report: Report) -> tuple[list[str], list[dict[str, Any]]]:
    """All sections as one table: the column `section` says which; totals are a section too."""
    rows: list[dict[str, Any]] = []
    for name, value in report.totals.items():
        inner = value if isinstance(value, dict) else {"": value}
        rows.extend(
            {"section": "totals", "total": f"{name} {key}".strip(), "value": item} for key, item in inner.items()
        )
    for section in report.sections:
        rows.extend({"section": section.title, **row} for row in section.rows)
    names = dict.fromkeys(name for row in rows for name in row)
    last = [name for name in _ENDINGS if name in names]
    columns = [name for name in names if name not in last] + last
    return columns or ["section"], rows


def as_csv(report: Report) -> bytes:
    """With a byte order mark, by which spreadsheets know that it is UTF-8; nothing in it is taken for a formula."""
    columns, rows = table(report)
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row.get(name)) for name in columns])
    return b"\xef\xbb\xbf" + out.getvalue().encode()


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    text = value if isinstance(value, str) else None
    return f"'{text}" if text is not None and text.startswith(_FORMULA) else value
