"""The page around the charts. Every text that came from outside is escaped, in HTML and inside the script."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from string import Template
from typing import Any, Final

from ._charts import Panel, specification

__all__ = ["draw_page", "draw_report"]

_MOST_TABLE_ROWS: Final = 50
_BAR_CHARTS: Final = frozenset({"bar", "funnel"})


def _escaped(value: object) -> str:
    return html.escape(str(value), quote=True)


def _for_script(value: object) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _number(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return _escaped(value)
    return f"{value:,.2f}" if isinstance(value, float) and not value.is_integer() else f"{int(value):,}"


def draw_page(*, title: str, description: str, since: float, until: float, panels: Sequence[Panel], bundle: str) -> str:
    """A dashboard. `bundle` is the code of Vega-Lite; times are Unix seconds."""
    period = f"{_clock(since)} – {_clock(until)}"
    return _page(title, description, period, "", panels, bundle)


def draw_report(
    *, title: str, since: str, until: str, totals: Mapping[str, Any], panels: Sequence[Panel], bundle: str
) -> str:
    """A report: its totals as tiles, its sections as charts with their tables. Times are RFC 3339."""
    cells = "".join(_tile(name.replace("_", " "), value) for name, value in _flat(totals))
    return _page(
        f"{title} report", "", f"{_short(since)} – {_short(until)}", f'<div class="tiles">{cells}</div>', panels, bundle
    )


def _short(text: str) -> str:
    return _clock(datetime.fromisoformat(text).timestamp())


def _flat(totals: Mapping[str, Any]) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for name, value in totals.items():
        if isinstance(value, Mapping):
            pairs.extend((f"{name} {key}", inner) for key, inner in value.items())
        else:
            pairs.append((name, value))
    return pairs


def _tile(name: str, value: object) -> str:
    return f'<div class="tile"><b>{_number(value)}</b><span>{_escaped(name)}</span></div>'


def _page(title: str, description: str, period: str, lead: str, panels: Sequence[Panel], bundle: str) -> str:
    specs = {f"chart{index}": spec for index, panel in enumerate(panels) if (spec := specification(panel))}
    template = Template(files(__package__).joinpath("page.html").read_text("utf-8"))
    return template.substitute(
        title=_escaped(title),
        description=f"<p>{_escaped(description)}</p>" if description else "",
        period=_escaped(period),
        lead=lead,
        panels="\n".join(_panel(panel, index, f"chart{index}" in specs) for index, panel in enumerate(panels)),
        bundle=bundle if specs else "",
        specs=_for_script(specs),
        made=_escaped(_clock(datetime.now(UTC).timestamp())),
    )


def _panel(panel: Panel, index: int, charted: bool) -> str:
    if panel.chart == "number":
        body = _big_number(panel)
    elif panel.empty:
        body = '<p class="empty">Nothing was recorded in this time.</p>'
    elif charted:
        chart = f'<div class="chart" id="chart{index}" role="img" aria-label="{_escaped(panel.title)}"></div>'
        body = f"{chart}<details><summary>Numbers</summary>{_table(panel)}</details>"
    else:
        body = _funnel(panel) if panel.chart == "funnel" else _table(panel)
    size = "small" if panel.chart == "number" else "wide" if panel.chart in {"line", "area"} else ""
    return f'<section class="panel {size}"><h2>{_escaped(panel.title)}</h2>{body}</section>'


def _big_number(panel: Panel) -> str:
    values = [row["value"] for row in panel.rows if row.get("value") is not None]
    value = sum(values) if values else (0 if panel.counts else None)
    return f'<p class="number">{_number(value)}<span>{_escaped(panel.unit)}</span></p>'


def _funnel(panel: Panel) -> str:
    most = max((row["people"] for row in panel.rows), default=0) or 1
    steps = "".join(
        f'<li><span>{_escaped(row["step"])}</span><i style="width:{100 * row["people"] / most:.1f}%"></i>'
        f"<b>{_number(row['people'])}</b><small>{row['of_first_percent']:g} %</small></li>"
        for row in panel.rows
    )
    return f'<ol class="funnel">{steps}</ol>'


def _table(panel: Panel) -> str:
    head = "".join(f"<th>{_escaped(panel.unit if column == 'value' else column)}</th>" for column in panel.columns)
    lines = "".join(
        "<tr>" + "".join(f"<td>{_number(row.get(column))}</td>" for column in panel.columns) + "</tr>"
        for row in panel.rows[:_MOST_TABLE_ROWS]
    )
    more = len(panel.rows) - _MOST_TABLE_ROWS
    note = f'<p class="empty">and {more:,} more</p>' if more > 0 else ""
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>{note}'
