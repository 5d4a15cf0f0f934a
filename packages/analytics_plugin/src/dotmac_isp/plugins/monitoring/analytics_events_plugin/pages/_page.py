"""The page around the charts. Every text that came from outside is escaped, in HTML and inside the script."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from string import Template
from typing import Any, Final

import msgspec

from ._charts import Panel, column_words, specification
from ._words import clock, flat, number_words

__all__ = ["Live", "draw_page", "draw_report", "panel_updates"]

_MOST_TABLE_ROWS: Final = 50
_SMALL_CHANGE: Final = 0.05
#: A table with more columns takes the whole width.
_NARROW: Final = 4


class Live(msgspec.Struct, frozen=True):
    """A page that a server shows: where its code and its news come from. `nonce` lets the page's own scripts run."""

    bundle: str
    stream: str
    files: Mapping[str, str]
    nonce: str


def _escaped(value: object) -> str:
    return html.escape(str(value), quote=True)


def _for_script(value: object) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _number(value: object) -> str:
    return _escaped(number_words(value))


def draw_page(
    *,
    title: str,
    description: str,
    since: float,
    until: float,
    panels: Sequence[Panel],
    bundle: str = "",
    live: Live | None = None,
) -> str:
    """A dashboard: with `bundle` (the code of Vega-Lite) a file that opens without a server, with `live` a page that one shows."""
    period = f"{clock(since)} – {clock(until)}"
    return _page(title, description, period, "", panels, bundle, live)


def draw_report(
    *, title: str, since: str, until: str, totals: Mapping[str, Any], panels: Sequence[Panel], bundle: str
) -> str:
    """A report: its totals as tiles, its sections as charts with their tables. Times are RFC 3339."""
    cells = "".join(_tile(name.replace("_", " "), value) for name, value in flat(totals))
    lead = f'<div class="tiles">{cells}</div>'
    return _page(f"{title} report", "", f"{_short(since)} – {_short(until)}", lead, panels, bundle, None)


def _short(text: str) -> str:
    return clock(datetime.fromisoformat(text).timestamp())


def _tile(name: str, value: object) -> str:
    return f'<div class="tile"><b>{_number(value)}</b><span>{_escaped(name)}</span></div>'


def _page(
    title: str, description: str, period: str, lead: str, panels: Sequence[Panel], bundle: str, live: Live | None
) -> str:
    specs = {f"chart{index}": spec for index, panel in enumerate(panels) if (spec := specification(panel))}
    template = Template(files(__package__).joinpath("page.html").read_text("utf-8"))
    own = f' nonce="{live.nonce}"' if live else ""
    code = (
        f'<script{own} src="{_escaped(live.bundle)}"></script>'
        if live
        else f"<script>{bundle if specs else ''}</script>"
    )
    return template.substitute(
        title=_escaped(title),
        description=f"<p>{_escaped(description)}</p>" if description else "",
        period=_escaped(period),
        lead=lead,
        tools=_tools(live),
        panels="\n".join(_panel(panel, index, f"chart{index}" in specs) for index, panel in enumerate(panels)),
        code=code,
        own=own,
        specs=_for_script(specs),
        stream=_for_script(live.stream if live else ""),
        made=_escaped(clock(datetime.now(UTC).timestamp())),
    )


def _tools(live: Live | None) -> str:
    if live is None:
        return ""
    links = "".join(f'<a href="{_escaped(path)}">{_escaped(name)}</a>' for name, path in live.files.items())
    state = '<span class="state" id="state" role="status">connecting …</span>'
    return f'<nav class="tools">{state}{links}<button type="button" id="print">Print</button></nav>'


def panel_updates(panels: Sequence[Panel]) -> list[dict[str, Any]]:
    """What a page that is open needs to show the panels anew: HTML without charts, and the charts."""
    told = []
    for index, panel in enumerate(panels):
        spec = specification(panel)
        told.append({"id": index, "html": _body(panel, index, spec is not None), "spec": spec})
    return told


def _panel(panel: Panel, index: int, charted: bool) -> str:
    broad = panel.chart in {"line", "area", "heatmap"} or (panel.chart == "table" and len(panel.columns) > _NARROW)
    size = "small" if panel.chart == "number" else "wide" if broad else ""
    body = _body(panel, index, charted)
    return (
        f'<section class="panel {size}"><h2>{_escaped(panel.title)}</h2><div id="panel{index}">{body}</div></section>'
    )


def _body(panel: Panel, index: int, charted: bool) -> str:
    if panel.error:
        return f'<p class="empty">This cannot be shown: {_escaped(panel.error)}</p>'
    if panel.chart == "number":
        return _big_number(panel)
    if panel.empty:
        return '<p class="empty">Nothing was recorded in this time.</p>'
    if charted:
        chart = f'<div class="chart" id="chart{index}" role="img" aria-label="{_escaped(panel.title)}"></div>'
        return f"{chart}<details><summary>Numbers</summary>{_table(panel)}</details>"
    return _funnel(panel) if panel.chart == "funnel" else _table(panel)


def _big_number(panel: Panel) -> str:
    return f'<p class="number">{_number(panel.number)}<span>{_escaped(panel.unit)}</span></p>{_change(panel)}'


def _change(panel: Panel) -> str:
    """Against the span before, in words and not in colour: whether more is better is not for us to say."""
    now, before = panel.number, panel.before
    if now is None or before is None:
        return ""
    if not before:
        return '<p class="change">none in the time before</p>' if now else ""
    percent = 100 * (now - before) / abs(before)
    if abs(percent) < _SMALL_CHANGE:
        return '<p class="change">as in the time before</p>'
    sign = "▲" if percent > 0 else "▼"
    return f'<p class="change">{sign} {abs(percent):,.1f} % to the time before</p>'


def _funnel(panel: Panel) -> str:
    most = max((row["people"] for row in panel.rows), default=0) or 1
    steps = "".join(
        f"<li><span>{_escaped(row['step'])}</span>{_bar(100 * row['people'] / most)}"
        f"<b>{_number(row['people'])}</b><small>{row['of_first_percent']:g} %</small></li>"
        for row in panel.rows
    )
    return f'<ol class="funnel">{steps}</ol>'


def _bar(percent: float) -> str:
    """An SVG of its own, for a style in an attribute would not be let pass where the page comes from a server."""
    return (
        '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect width="{max(percent, 0.5):.1f}" height="10"/></svg>'
    )


def _table(panel: Panel) -> str:
    head = "".join(f"<th>{_escaped(column_words(panel, column))}</th>" for column in panel.columns)
    lines = "".join(
        "<tr>" + "".join(f"<td>{_number(row.get(column))}</td>" for column in panel.columns) + "</tr>"
        for row in panel.rows[:_MOST_TABLE_ROWS]
    )
    more = len(panel.rows) - _MOST_TABLE_ROWS
    note = f'<p class="empty">and {more:,} more</p>' if more > 0 else ""
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>{note}'
