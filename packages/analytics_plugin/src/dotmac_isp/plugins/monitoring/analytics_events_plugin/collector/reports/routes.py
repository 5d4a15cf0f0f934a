"""Reports over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from ..._plain import EventError
from ...pages import Panel, chart_bundle, draw_report
from .._http import answer, json_of, questions, settled
from ._reports import REPORTS, Report, make_report

if TYPE_CHECKING:
    from .._collector import Collector

__all__ = ["report_routes"]


async def _report(request: web.Request) -> web.Response:
    given = await json_of(request)
    collector = await settled(request)
    parameters = dict(given.get("parameters") or {})
    form = str(parameters.pop("format", "json")).lower()
    if form not in {"json", "dict", "html"}:
        raise EventError("parameters.format", form, "'json' or 'html'")
    report = await make_report(questions(request), given.get("report_type"), parameters)
    made: dict[str, Any] = msgspec.to_builtins(report)
    if form == "html":
        made["html"] = await _drawn(report, collector)
    return answer(made)


async def _drawn(report: Report, collector: Collector) -> str:
    since, until = (datetime.fromisoformat(text).timestamp() for text in (report.since, report.until))
    panels = [
        Panel(
            title=item.title,
            chart=item.chart,
            columns=item.columns,
            rows=item.rows,
            unit=item.unit,
            since=since,
            until=until,
            interval=item.interval,
            counts=item.unit == "events",
        )
        for item in report.sections
    ]
    return draw_report(
        title=report.title,
        since=report.since,
        until=report.until,
        totals=report.totals,
        panels=panels,
        bundle=await chart_bundle(collector.config.data_dir / "cache"),
    )


async def _report_types(_: web.Request) -> web.Response:
    return answer({name: title for name, (title, _) in REPORTS.items()})


def report_routes() -> list[web.RouteDef]:
    return [
        web.get("/v1/reports", _report_types),
        web.post("/v1/reports", _report),
    ]
