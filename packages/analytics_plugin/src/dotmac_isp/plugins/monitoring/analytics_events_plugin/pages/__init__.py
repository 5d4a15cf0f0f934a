"""Pages that a person opens without a server: one HTML file with data, charts and the code that draws them."""

from __future__ import annotations

from ._bundle import ChartsMissingError, chart_bundle
from ._charts import CHARTS, Panel
from ._page import draw_page, draw_report

__all__ = ["CHARTS", "ChartsMissingError", "Panel", "chart_bundle", "draw_page", "draw_report"]
