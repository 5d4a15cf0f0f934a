"""Pages: one HTML file that opens without a server, the same page live, and on paper as PDF or PNG."""

from __future__ import annotations

from ._bundle import ChartsMissingError, chart_bundle
from ._charts import CHARTS, Panel
from ._custom import check_spec
from ._drawing import Drawing, DrawingError, sheet_job
from ._page import Live, draw_page, draw_report, panel_updates

__all__ = [
    "CHARTS",
    "ChartsMissingError",
    "Drawing",
    "DrawingError",
    "Live",
    "Panel",
    "chart_bundle",
    "check_spec",
    "draw_page",
    "draw_report",
    "panel_updates",
    "sheet_job",
]
